"""Configuration files and `key=value` words: all shipped ones load, what is misspelt is told with what is near."""

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from src.config.load import config_names
from src.config.request import default_run, parse
from src.config.schema import FREE_SECTIONS, Config
from src.core.errors import UsageError
from src.core.paths import REPOSITORY, home
from tests.fixtures.codes import raises

EXPERIMENTS = config_names()
MODELS, AUGMENTS = config_names("model"), config_names("augment")
pytestmark = pytest.mark.usefixtures("home")


def test_what_is_collected_is_not_empty():
    files = {str(path.relative_to(REPOSITORY / "configs")) for path in (REPOSITORY / "configs").rglob("*.yaml")}
    files = {name for name in files if not name.startswith("sweeps/")}  # loaded, and run, by the tests of the sweep
    collected = {"default.yaml", *(f"{name}.yaml" for name in EXPERIMENTS)}
    collected |= {f"model/{name}.yaml" for name in MODELS} | {f"augment/{name}.yaml" for name in AUGMENTS}
    assert files <= collected, "a file that no test here loads"
    assert {"demo-digits", "butterflies-mini", "butterflies-100"} <= set(EXPERIMENTS)
    assert {"resnet18", "resnet34", "resnet50", "resnet101", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"} <= set(MODELS)
    assert len(AUGMENTS) >= 3


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_loads(name):
    own = OmegaConf.load(REPOSITORY / "configs" / f"{name}.yaml")
    extra = [] if own.get("competition") else ["competition=demo-digits"]
    request = parse([f"config={name}", *extra])
    run = name.replace("/", "-")
    assert request.run == run
    assert request.competition == (own.get("competition") or "demo-digits")
    first = (REPOSITORY / "configs" / f"{name}.yaml").read_text().splitlines()[0]
    # Each file opens with the command that runs it; a competition without test images is trained only.
    command = re.fullmatch(r"# (\./run\.sh|python -m src\.train) (.*)", first)
    words = [word for word in command[2].split() if word != "model.weights=PATH"]
    assert parse([word.replace("=NAME", "=demo-digits") for word in words]).run == run


@pytest.mark.parametrize("name", MODELS)
def test_every_network_file_loads(name):
    assert parse([f"model={name}"]).config.model.name == name


@pytest.mark.parametrize("name", AUGMENTS)
def test_every_augmentation_file_loads(name):
    assert isinstance(parse([f"augment={name}"]).config.augment.transforms, list)


def keys_of(section: type, prefix: str = "") -> set[str]:
    keys = set()
    for name, field in section.model_fields.items():
        inner = getattr(field.annotation, "model_fields", None)
        keys |= keys_of(field.annotation, f"{prefix}{name}.") if inner else {prefix + name}
    return keys


def test_the_default_holds_every_key_with_its_meaning():
    text = (REPOSITORY / "configs" / "default.yaml").read_text()
    tree = OmegaConf.to_container(OmegaConf.create(text))
    given = {f"{top}.{key}" for top, section in tree.items() if isinstance(section, dict) for key in section}
    given |= {top for top, section in tree.items() if not isinstance(section, dict)}
    schema = keys_of(Config)
    files = {key for key in schema if key.startswith(("model.", "augment."))}
    assert given - {"model", "augment"} == schema - files
    assert len(given) > 30
    for name in MODELS:  # the model's keys stand in its own files
        own = OmegaConf.load(REPOSITORY / "configs" / "model" / f"{name}.yaml")
        assert {f"model.{key}" for key in own} == {key for key in files if key.startswith("model.")}, name


# Misspelt


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["confg=demo-digits"], ["confg", "config?"]),
        (["optim.lrr=1"], ["optim.lrr", "optim.lr?"]),
        (["optm.lr=1"], ["optm", "optim"]),
        (["epochs=3"], ["epochs", "train.epochs"]),
        (["lr=3"], ["lr", "optim.lr"]),
        (["data.samplr=plain"], ["data.sampler"]),
        (["model.pretraind=true"], ["model.pretrained"]),
        (["data.sampler=wieghted"], ["data.sampler=wieghted", "weighted"]),
        (["images.fit=strech"], ["images.fit", "stretch"]),
        (["train.keep=bets"], ["train.keep", "best"]),
        (["train.batch=aut"], ["train.batch=aut", "auto"]),
        (["machine.threads=aut"], ["machine.threads=aut", "auto"]),
        (["images.size=aut"], ["images.size=aut", "auto"]),
        (["schedule.name=cosinus"], ["schedule.name", "cosine"]),
        (["model=resnet81"], ["model=resnet81", "resnet8?"]),
        (["model=vgg16bn"], ["model=vgg16bn", "vgg16_bn"]),
        (["augment=lihgt"], ["augment=lihgt", "light"]),
        (["config=demo-digit"], ["config=demo-digit", "demo-digits"]),
        (["competition=demo-digit", "config=demo-digits"], ["demo-digit", "demo-digits"]),
        (["model=3"], ["model=3"]),
        (["train=fast"], ["train=fast"]),
        (["train.epochs=0"], ["train.epochs=0", "greater than 0"]),
        (["train.epochs=2.5"], ["train.epochs=2.5"]),
        (["optim.lr=-1"], ["optim.lr=-1"]),
        (["optim.lr=nan"], ["optim.lr=nan"]),
        (["optim.lr=inf"], ["optim.lr=inf"]),
        (["optim.lr=fast"], ["optim.lr=fast"]),
        (["optim.lr=true"], ["optim.lr"]),
        (["optim.lr=null"], ["optim.lr"]),
        (["train.ema_decay=1"], ["train.ema_decay=1", "less than 1"]),
        (["data.folds=1"], ["data.folds=1"]),
        (["model.pretrained=ture"], ["model.pretrained=ture"]),
        (["optim.args=7"], ["optim.args=7"]),
        (["augment=[7]"], ["augment"]),
        (["images.prepare=[crop_border"], ["images.prepare", "'[a, b]'"]),
        (["predict.views=[]"], ["predict.views"]),
        (["images.size.x=3"], ["images.size"]),
    ],
)
def test_a_wrong_word_names_the_key_and_what_is_near(words, told):
    with pytest.raises(UsageError) as raised:
        parse(words)
    message = str(raised.value)
    assert "\n" not in message
    for part in told:
        assert part in message, message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("competition: demo-digits\noptim: {lrr: 1}", ["optim.lrr", "optim.lr?"]),
        ("competition: demo-digits\noptim: {lr: [", ["mine.yaml", "YAML"]),
        ("- competition", ["mine.yaml"]),
        ("competition: demo-digits\nmodel: resnet81", ["model=resnet81", "resnet8?"]),
        ("competition: demo-digits\nmodel: {name: resnet8", ["mine.yaml", "YAML"]),
        ("optim: {lr: 1}", ["config=mine", "competition=ID"]),
    ],
)
def test_a_wrong_file_is_told(text, told):
    (home() / "configs").mkdir()
    (home() / "configs" / "mine.yaml").write_text(text)
    with pytest.raises(UsageError) as raised:
        parse(["config=mine"])
    for part in told:
        assert part in str(raised.value)


def test_a_broken_section_file_is_told():
    (home() / "configs" / "model").mkdir(parents=True)
    (home() / "configs" / "model" / "mine.yaml").write_text("name: [")
    with raises("damaged-file", "mine.yaml"):
        parse(["model=mine"])


# Layers


def test_the_default_then_the_file_then_the_words(home):
    (home / "configs").mkdir()
    (home / "configs" / "mine.yaml").write_text("competition: x\noptim: {lr: 0.5, clip: 2}\ntrain: {epochs: 7}")
    config = parse(["config=mine", "train.epochs=9", "model=resnet50", "model.drop_rate=0.25"]).config
    assert (config.optim.lr, config.optim.clip, config.train.epochs) == (0.5, 2, 9)
    assert config.optim.name == parse([]).config.optim.name  # what neither says stays
    assert (config.model.name, config.model.drop_rate) == ("resnet50", 0.25)


def test_a_file_may_hold_what_differs_from_another(home):
    (home / "configs" / "lab").mkdir(parents=True)
    (home / "configs" / "lab" / "full.yaml").write_text("competition: x\noptim: {lr: 0.5, clip: 2}\nmodel: resnet8")
    (home / "configs" / "lab" / "short.yaml").write_text("base: lab/full\ncompetition: null\noptim: {lr: 0.25}")
    request = parse(["config=lab/short", "competition=y", "train.epochs=3"])
    config = request.config
    assert (config.competition, config.optim.lr, config.optim.clip, config.model.name) == ("y", 0.25, 2, "resnet8")
    assert request.run == "lab-short+train.epochs=3"
    assert {"optim.clip", "model.name", "train.epochs"} <= request.given
    with raises("config-of-another-competition", "config=lab/full"):
        parse(["config=lab/full", "competition=y"])
    with raises("unknown-config", "lab/short?"):
        parse(["config=lab/shrt"])


@pytest.mark.parametrize(
    ("base", "code", "name"),
    [
        ("mine", "bad-config-file", "mine -> mine"),
        ("[a]", "bad-config-file", "mine.yaml"),
        ("none", "unknown-config", "base: none"),
    ],
)
def test_a_base_that_is_none_is_told(home, base, code, name):
    (home / "configs").mkdir()
    (home / "configs" / "mine.yaml").write_text(f"base: {base}\ncompetition: x")
    with raises(code, name):
        parse(["config=mine"])


def test_the_order_of_words_does_not_matter():
    words = ["model.drop_rate=0.25", "model=resnet50", "train.epochs=3"]
    assert parse(words) == parse(words[::-1])


def test_lists_and_maps_are_read_from_words():
    words = ["augment=[{HorizontalFlip: {p: 0.2}}, VerticalFlip]", "predict.views=[identity,hflip]"]
    config = parse([*words, "optim.args={betas: [0.8, 0.9]}", "model.args.block_size=3"]).config
    assert config.augment.transforms == [{"HorizontalFlip": {"p": 0.2}}, "VerticalFlip"]
    assert config.predict.views == ["identity", "hflip"]
    assert config.optim.args == {"betas": [0.8, 0.9]}
    assert config.model.args == {"block_size": 3}


def test_the_users_folder_comes_before_the_repositorys(home: Path):
    (home / "configs" / "model").mkdir(parents=True)
    (home / "configs" / "model" / "resnet18.yaml").write_text(
        (REPOSITORY / "configs" / "model" / "resnet18.yaml").read_text().replace("drop_rate: 0.0", "drop_rate: 0.125")
    )
    assert parse(["model=resnet18"]).config.model.drop_rate == 0.125


# A run's name and hash


def test_the_run_is_named_by_the_config_and_its_overrides():
    assert parse([]).run == "demo-digits"
    assert parse(["train.epochs=3", "optim.lr=1e-3"]).run == "demo-digits+optim.lr=1e-3+train.epochs=3"
    assert parse(["optim.lr=1e-3", "train.epochs=3"]).run == "demo-digits+optim.lr=1e-3+train.epochs=3"
    assert parse(["fold=0", "seed=1,2", "train.epochs=3"]).run == "demo-digits+train.epochs=3"
    assert parse(["run=mine", "config=demo-digits", "train.epochs=3"]).run == "mine"


def test_a_name_is_fit_for_a_folder_and_stays_apart():
    odd = parse(["augment=[{OneOf: {transforms: [HorizontalFlip]}}]", "model.weights=/a/b c/../d.pth"]).run
    assert re.fullmatch(r"[\w.=+-]+", odd)
    assert parse([f"run={odd}", "config=demo-digits"]).run == odd  # it can be given back
    long = [{"augment": f"[{', '.join(['HorizontalFlip'] * 40)}, {last}]"} for last in ("Transpose", "VerticalFlip")]
    names = [default_run("x", words) for words in long]
    assert names[0] != names[1]
    assert all(len(name) <= 120 for name in names)


FREE = ["machine.workers=3", "machine.device=cpu", "predict.size=32", "predict.views=[hflip]", "log.tensorboard=true"]
FREE += ["kernel.hours=0.5"]


@pytest.mark.parametrize("word", FREE)
def test_free_sections_enter_neither_name_nor_hash(word):
    request = parse([word])
    assert request.config != parse([]).config
    assert request.run == "demo-digits"
    assert request.config.hash() == parse([]).config.hash()


def test_every_free_section_is_looked_at():
    assert {word.split(".")[0] for word in FREE} == set(FREE_SECTIONS)


@pytest.mark.parametrize(
    "word",
    [
        "competition=other",
        "data.fold_seed=1",
        "images.size=20",
        "model.drop_rate=0.1",
        "augment=none",
        "loss.smoothing=0",
        "optim.args.a=1",
        "schedule.warmup_epochs=0",
        "train.keep=best",
    ],
)
def test_what_decides_the_learning_enters_the_hash(word):
    (home() / "configs").mkdir()
    (home() / "configs" / "mine.yaml").write_text("images: {size: 16}")
    before = {"competition": "mine", "config": "mine"}
    key, value = word.split("=")
    hashes = {parse([f"{k}={v}" for k, v in words.items()]).config.hash() for words in (before, before | {key: value})}
    assert len(hashes) == 2
