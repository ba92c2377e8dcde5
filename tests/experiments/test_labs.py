"""The five lab reports: their settings are those reported, and each goes its whole way at a small size on made data."""

import re
import shlex
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from src import predict, prepare, report, review, submit
from src.config.load import config_names
from src.config.request import parse
from src.core.files import read_json
from src.core.paths import REPOSITORY, runs_folder, submissions_folder
from src.experiments.sweep_plan import plan_of
from src.images.augment import Augmentation
from src.sweep import main as sweep
from src.train import main as train
from src.training.learning_rates import rates
from src.training.stages import stages_of
from tests.fixtures.codes import refused
from tests.fixtures.lab_data import LABS, PREPARE
from tests.fixtures.layouts import BUILDERS
from tests.fixtures.pages import sections

SWEEPS = [name for name in config_names("sweeps") if name.startswith(tuple(LABS))]

# What each report says of its settings, and what is usual here and would change them: {key: value}.
ARGMAX = {"predict.decide": "plain"}
PLAIN = {
    "loss.smoothing": 0,
    "train.ema_decay": 0,
    "schedule.warmup_epochs": 0,
    "predict.views": ["identity"],
    **ARGMAX,
}
BY_255 = {"model.mean": [0, 0, 0], "model.std": [1, 1, 1]}
REPORTED = {
    "butterflies": PLAIN
    | BY_255
    | {
        "model.name": "vgg19_scratch",
        "model.pretrained": False,
        "model.drop_rate": 0.5,
        "images.size": 224,
        "loss.name": "cross_entropy",
        "optim.name": "momentum",
        "optim.lr": 1e-3,
        "train.epochs": 50,
        "data.validation": "host",
    },
    "retinopathy": PLAIN
    | {
        "model.name": "resnet50",
        "augment.only": "all_but_largest",
        "augment.transforms": [{"HorizontalFlip": {"p": 0.5}}],
        "schedule.name": "step",
        "data.validation": "host",
    },
    "two-classes": PLAIN
    | BY_255
    | {
        "model.name": "cnn6",
        "model.pretrained": False,
        "images.size": 444,
        "train.batch": 100,
        "optim.name": "adam",
        "optim.lr": 1e-4,
        "optim.weight_decay": 0,
        "train.epochs": 3,
        "augment.transforms": [],
    },
    "animals": PLAIN
    | BY_255
    | {
        "model.name": "cnn4",
        "model.pretrained": False,
        "images.size": 128,
        "train.batch": 256,
        "optim.name": "adam",
        "optim.lr": 1e-3,
        "optim.weight_decay": 0,
        "train.epochs": 50,
        "augment.transforms": [],
    },
    "contest": ARGMAX
    | {
        "model.name": "resnet18_biased",
        "model.pretrained": False,
        "model.mean": [0.485, 0.456, 0.406],
        "model.std": [0.229, 0.224, 0.225],
        "loss.smoothing": 0,
        "train.ema_decay": 0,
        "optim.name": "momentum",
        "optim.lr": 5e-4,
        "optim.momentum": 0.9,
        "optim.weight_decay": 1e-5,
        "log.tensorboard": True,
        "augment.transforms": [{"Affine": {"rotate": [-15, 15], "p": 0.5}}, {"HorizontalFlip": {"p": 0.5}}],
    },
}
# {sweep: (the keys that tell its runs apart, the value of each in every run, in their order)}
VGG, RESNET, NORM = "vgg19_scratch", "resnet50_projected", ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
FLIP, BY, OWN = [{"HorizontalFlip": {"p": 0.5}}], ([0, 0, 0], [1, 1, 1]), (None, None)  # OWN: those of the weights
TURNS = [
    {"OneOf": {"transforms": [{"HorizontalFlip": {"p": 1}}, {"VerticalFlip": {"p": 1}}], "p": 0.5}},
    {"RandomRotate90": {"p": 0.6}},
]
FOUR = {"kernels": [5, 5, 5, 5], "channels": [8, 16, 32, 64]}
MEAN_STD = ["model.mean", "model.std"]
GRIDS = {
    "butterflies-rates": (
        ["model.name", "optim.lr"],
        [(name, rate) for name in (VGG, RESNET) for rate in (2e-3, 1e-3, 8e-4)],
    ),
    "butterflies-optimizers": (
        ["model.name", "optim.name", "optim.lr"],
        [(name, way, 1e-3) for name in (VGG, RESNET) for way in ("momentum", "adagrad", "adam")],
    ),
    "butterflies-augmentation": (
        ["model.name", "augment.transforms"],
        [(name, way) for name in (VGG, RESNET) for way in ([], TURNS)],
    ),
    "retinopathy-networks": (
        ["model.name", "model.pretrained"],
        [(name, start) for name in ("resnet18", "resnet50") for start in (False, True)],
    ),
    "retinopathy-mirrors": (
        ["augment.transforms", "augment.only", "data.sampler"],
        [([], None, "plain"), (FLIP, "all_but_largest", "plain"), (FLIP, None, "plain"), (FLIP, None, "weighted")],
    ),
    "two-classes-networks": (
        ["model.name", "train.frozen", "model.pretrained", "model.args", *MEAN_STD],
        [
            ("cnn6", "nothing", False, {}, *BY),
            ("cnn6", "nothing", False, FOUR, *BY),
            ("cnn6", "nothing", False, {"hidden": [100]}, *BY),
            ("cnn6", "nothing", False, {}, *NORM),
            ("resnet101", "trunk", True, {}, *OWN),
        ],
    ),
    "animals-networks": (
        [
            "model.name",
            "model.head",
            "model.pretrained",
            *MEAN_STD,
            "optim.weight_decay",
            "optim.lr",
            "model.drop_rate",
        ],
        [
            (*network, *way)
            for network in (
                ("cnn4", "linear", False, *BY),
                ("resnet18_mlp", "linear", False, *BY),
                ("resnet18", "mlp", True, *OWN),
            )
            for way in ((0, 1e-3, 0), (1e-5, 5e-3, 0), (0, 1e-3, 0.3))
        ],
    ),
    "contest-networks": (
        ["model.name", "model.pretrained", "optim.lr", *MEAN_STD],
        [
            ("resnet18_biased", False, 5e-4, *NORM),
            ("resnet18", True, 5e-4, *NORM),
            ("resnet50", False, 3.5e-4, *NORM),
            ("resnet50", True, 3.5e-4, *NORM),
        ],
    ),
}


@pytest.mark.parametrize("lab", LABS)
def test_the_settings_are_those_reported(lab):
    config = parse([f"config=labs/{lab}"]).config
    assert config.competition == lab
    assert {key: config.value(key) for key in REPORTED[lab]} == REPORTED[lab]
    small = parse([f"config=labs/{lab}-small", "competition=mine"]).config
    alike = [key for key in REPORTED[lab] if key.split(".")[0] in ("augment", "loss", "data", "log")]
    assert {key: small.value(key) for key in alike} == {key: REPORTED[lab][key] for key in alike}


def test_the_sweeps_are_those_of_the_reports():
    assert set(SWEEPS) == set(GRIDS)


@pytest.mark.parametrize("name", GRIDS)
def test_a_sweep_compares_what_the_report_compares(name):
    first = (REPOSITORY / "configs" / "sweeps" / f"{name}.yaml").read_text().splitlines()[0]
    plan = plan_of(first.removeprefix("# python -m src.sweep ").split())
    keys, wanted = GRIDS[name]
    assert [tuple(cell.request.config.value(key) for key in keys) for cell in plan.cells] == wanted
    assert name.startswith(plan.competition)


def test_the_butterflies_sweeps_train_what_they_share_once():
    plans = [plan_of([f"sweep={name}"]) for name in SWEEPS if name.startswith("butterflies")]
    runs = {(cell.request.config.hash(), cell.request.run) for plan in plans for cell in plan.cells}
    assert sum(len(plan.cells) for plan in plans) == 16
    assert len(runs) == len({settings for settings, _ in runs}) == 12


def test_the_files_that_the_chapter_shows_are_a_lab_and_its_sweep(home):
    chapter = (REPOSITORY / "configs" / "README.md").read_text().partition("## From a lab sheet")[2]
    texts = [textwrap.dedent(text) for text in re.findall(r"^ *```yaml\n(.*?)^ *```", chapter, re.S | re.M)]
    for folder, text in zip(("labs", "sweeps"), texts, strict=True):
        (home / "configs" / folder).mkdir(parents=True)
        (home / "configs" / folder / "mine.yaml").write_text(text)
    found = [cell.request.config for cell in plan_of(["sweep=mine"]).cells]
    assert [(one.optim.lr, bool(one.augment.transforms)) for one in found] == [
        (rate, flips) for rate in (1e-2, 1e-3) for flips in (False, True)
    ]
    assert {(one.competition, one.loss.smoothing, one.train.ema_decay) for one in found} == {("mine", 0, 0)}


@pytest.mark.parametrize("name", [name for name in config_names("sweeps") if name.startswith("observed-")])
def test_what_was_observed_can_be_repeated_by_one_command(name):
    first = (REPOSITORY / "configs" / "sweeps" / f"{name}.yaml").read_text().splitlines()[0]
    cells = plan_of(first.removeprefix("# python -m src.sweep ").split()).cells
    assert all((cell.request.folds, cell.request.seeds) == ((0,), (0, 1, 2)) for cell in cells)
    config = cells[0].request.config
    assert config.competition.startswith("butterflies") and config.images.size <= 64


def test_half_of_the_images_are_flipped_and_45_percent_turned():
    config = parse(["config=labs/butterflies"]).config
    image = np.arange(4, dtype=np.uint8).reshape(2, 2, 1).repeat(3, axis=2)
    made = Augmentation(config.augment.transforms, 2, 2)(np.stack([image] * 4000), (1,))[..., 0]
    turned = [np.rot90(image[..., 0], k) for k in range(4)]
    seen = np.array([[(one == form).all() for form in turned] for one in made])
    flipped = ~seen.any(axis=1)
    assert flipped.mean() == pytest.approx(0.5, abs=0.03)
    assert seen[~flipped][:, 1:].any(axis=1).mean() == pytest.approx(0.45, abs=0.04)
    assert all(share == pytest.approx(0.15, abs=0.03) for share in seen[~flipped][:, 1:].mean(axis=0))


def test_the_rate_of_the_grades_is_set_in_stages():
    config = parse(["config=labs/retinopathy"]).config
    lr = rates(config, stages_of(config), steps=3).lr.reshape(config.train.epochs, 3)
    assert lr[:10] == pytest.approx(np.full((10, 3), 1e-3))
    assert lr[10:] == pytest.approx(np.full((5, 3), 1e-4))


# The whole way, at the small size of each lab, on made data in the layout of its host

WAY = {  # the words of its small sweep, and the runs that it makes
    "butterflies": ("sweep=butterflies-rates", 6),
    "retinopathy": ("sweep=retinopathy-mirrors", 4),
    "two-classes": ("sweep=two-classes-networks network='plain,fewer dense layers,normalised'", 3),
    "animals": ("sweep=animals-networks network='small CNN,ResNet18'", 6),
    "contest": ("sweep=contest-networks network='ResNet18 by hand,ResNet50'", 2),
}


def made(lab: str, home: Path) -> None:
    LABS[lab](home / "host" / lab)
    assert prepare.main([str(home / "host" / lab), f"id={lab}", *PREPARE.get(lab, [])]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("lab", LABS)
def test_a_lab_goes_its_whole_way(lab, home, drawn):
    made(lab, home)
    words = [f"config=labs/{lab}-small", f"competition={lab}", "fold=0", "machine.threads=1"]
    assert train(words) == 0
    assert predict.main([*words, "--tta"]) == 0
    assert report.main(words) == 0
    run = runs_folder(lab) / f"labs-{lab}-small"
    assert {"answer", "learning", "mistakes"} <= sections((run / "report" / "report.html").read_text())
    if lab != "animals":  # it has no test images, and goes on to its page all the same
        assert (submissions_folder(lab) / f"labs-{lab}-small.csv").exists()
    if lab == "two-classes":  # whose test images come from another camera
        assert review.main(words) == 0
        shift = read_json(run / "review" / "review.json")["shift"]
        assert shift["flagged"] and shift["low"] > 0.9
        held_out = pd.read_csv(run / "seed0" / "fold0" / "log.csv")["score"].iloc[-1]
        assert held_out > 0.9  # and yet the validation looks well
    if lab == "contest":
        assert list((run / "seed0" / "fold0" / "tensorboard").iterdir())
        assert submit.main([*words, "--dry-run"]) == 0
    compared, count = WAY[lab]
    compared = [*shlex.split(compared), *words]
    assert sweep(compared) == 0
    folder = plan_of(compared).folder
    table = pd.read_csv(folder / "summary.csv")
    assert len(table) == count
    assert table[["accuracy", "train_accuracy", "answers"]].notna().all(axis=None)
    for figure in ("scores", "best", "confusions", "curves", "per_class"):
        assert cv2.imread(str(folder / f"{figure}.png")).std() > 5
    best, confusions = pd.read_csv(folder / "best.csv"), pd.read_csv(folder / "confusions.csv")
    assert (best["best"] >= best["last"]).all()
    assert set(confusions["label"]) == set(table["label"])


@pytest.mark.slow
def test_a_lab_from_scratch_is_compared_with_published_weights(home):
    """Those that Podium brings: they need no network, and no hub."""
    made("retinopathy", home)
    words = shlex.split("config=labs/retinopathy-small competition=retinopathy model.name=tf_efficientnet_lite0")
    words = ["sweep=retinopathy-networks", *words, "train.epochs=1", "machine.threads=1"]
    assert sweep(words) == 0
    plan = plan_of(words)
    assert [cell.request.config.model.pretrained for cell in plan.cells] == [False, True]
    table = pd.read_csv(plan.folder / "summary.csv")
    assert table["train_loss"].iloc[1] < table["train_loss"].iloc[0]


def test_the_host_s_own_validation_and_test_are_used(home):
    host = BUILDERS["collection"](home / "host" / "butterflies")
    assert prepare.main([str(host.source), "id=butterflies"]) == 0
    words = [
        "config=labs/butterflies-small",
        "competition=butterflies",
        "fold=0",
        "train.epochs=1",
        "machine.threads=1",
    ]
    assert train(words) == 0
    assert predict.main(words) == 0
    run = "labs-butterflies-small+train.epochs=1"
    member = runs_folder("butterflies") / run / "seed0" / "fold0"
    assert pd.read_csv(member / "log.csv")["steps"].tolist() == [5]  # 72 training images in batches of 16
    held_out = np.load(member / "logits" / "oof-identity.npz")["id"]
    assert set(held_out) == {path for path in host.train if "/valid/" in path}
    answered = pd.read_csv(submissions_folder("butterflies") / f"{run}.csv")
    assert answered["id"].tolist() == list(host.truth)


def test_a_collection_without_test_images_goes_on_to_its_page(home, notes, capsys):
    made("animals", home)
    words = ["config=labs/animals-small", "competition=animals", "fold=0", "train.epochs=1", "machine.threads=1"]
    assert train(words) == 0
    assert predict.main([*words, "--tta"]) == 0
    assert "no-test-images" in notes.codes
    refused(capsys, sweep, [*words, "optim.lr=1e-3,1e-4", "--predict"], "no-test-images")
    assert report.main(words) == 0
    run = runs_folder("animals") / "labs-animals-small+train.epochs=1"
    assert "answer" in sections((run / "report" / "report.html").read_text())
