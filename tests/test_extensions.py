"""Each extension point: one new file in PODIUM_HOME/extensions, used through the commands, seen in its numbers.

No file of the package is written. The files are those of src/README.md.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from src.predict import main as predict
from src.train import main as train
from tests.fixtures.codes import assert_error
from tests.fixtures.recipes import recipe
from tests.fixtures.tiny import write_tiny

KINDS = ("network", "loss", "sampler", "schedule", "view", "prepare step", "backend", "label source")
KINDS += ("fit", "pool", "head", "branch", "submission kind", "reader")
EXTENSIONS = {kind: recipe(kind.capitalize()) for kind in KINDS}
MEMBER = Path("runs/tiny/r/seed0/fold0")


@pytest.fixture
def tiny(home):
    write_tiny(home, side=8)
    return home


@pytest.fixture
def extended(tiny, request):
    write(tiny, request.param)
    return tiny


def write(home: Path, kind: str, old: str = "", new: str = "") -> None:
    folder = home / "extensions"
    folder.mkdir(exist_ok=True)
    assert old in EXTENSIONS[kind]
    (folder / f"own_{kind.replace(' ', '_')}{'2' if new else ''}.py").write_text(EXTENSIONS[kind].replace(old, new))


def learn(*words: str, run: str = "r", epochs: int = 1, fold: int = 0) -> int:
    return train(["config=tiny", f"fold={fold}", "augment=none", f"run={run}", f"train.epochs={epochs}", *words])


def log(home: Path, member: Path = MEMBER) -> pd.DataFrame:
    return pd.read_csv(home / member / "log.csv")


def logits(home: Path, name: str = "oof-identity") -> np.ndarray:
    with np.load(home / MEMBER / f"logits/{name}.npz") as table:
        return table["logits"]


def only(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("extended", [kind], indirect=True)


@only("network")
def test_a_network(extended):
    assert learn("model.name=own_net", "model.args={width: 5}") == 0
    weights = load_file(extended / MEMBER / "model.safetensors")
    assert {name: weight.shape for name, weight in weights.items()} == {
        **{"conv.weight": (5, 3, 3, 3), "conv.bias": (5,)},
        **{"fc.weight": (3, 5), "fc.bias": (3,)},
    }


@only("branch")
def test_a_branch(extended):
    folder = extended / "competition" / "tiny"
    for name, column in (("train.csv", "image_id"), ("test.csv", "image_id")):
        source = "sample_submission.csv" if name == "test.csv" else name
        table = pd.read_csv(folder / "data" / source, dtype=str)
        table["weight"] = np.linspace(-1, 1, len(table)).round(3)
        table["site"] = np.where(np.arange(len(table)) % 2, "bay", "cape")
        (table if name == "train.csv" else table[[column, "weight", "site"]]).to_csv(
            folder / "data" / name, index=False
        )
    card = (folder / "card.yaml").read_text().replace("test: {table: sample_submission.csv", "test: {table: test.csv")
    (folder / "card.yaml").write_text(card + "metadata: auto\n")
    assert learn("model.metadata=sure_cells") == 0
    weights = load_file(extended / MEMBER / "model.safetensors")
    assert weights["joined.layer.weight"].shape == (3, 64 + 2)  # of resnet8's features; the number and its flag
    assert np.isfinite(log(extended)["loss"]).all()


@only("loss")
def test_a_loss(extended, capsys):
    words = ["train.batch=64"]  # one step, from the same weights on the same images
    assert learn(*words, "loss.smoothing=0") == 0
    assert learn(*words, "loss.name={name: scaled, scale: 4}", run="s") == 0
    scaled = log(extended, Path("runs/tiny/s/seed0/fold0"))
    assert scaled["loss"][0] == pytest.approx(4 * log(extended)["loss"][0], rel=1e-6)
    assert learn("loss.name={name: scaled, scal: 4}", run="t") == 2
    capsys.readouterr()
    assert learn("loss.name=scald", "--json", run="t") == 2
    assert_error(capsys.readouterr().out, "bad-value", "scaled?")


@only("loss")
def test_a_run_belongs_to_the_file_of_its_own_loss(extended, capsys):
    words = ["loss.name={name: scaled, scale: 4}"]
    assert learn(*words) == 0
    other = extended / "extensions/other.py"
    other.write_text(recipe("Metric"))
    assert learn(*words, fold=1) == 0  # a file that the run does not use
    other.unlink()
    (extended / "extensions/own_loss.py").unlink()
    write(extended, "loss", "self.scale *", "2 * self.scale *")
    capsys.readouterr()
    assert learn(*words, "--json", fold=2) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "run-extension-differs"
    assert learn(*words, run="s") == 0


@only("sampler")
def test_a_sampler(extended, capsys):
    assert learn("data.sampler={name: one_class, which: 1}", epochs=6) == 0
    assert set(logits(extended).argmax(axis=1)) == {1}
    capsys.readouterr()
    assert learn("data.sampler={name: one_class, which: 7}", "--json", run="s") == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "sampler-weights"


@only("schedule")
def test_a_schedule(extended):
    assert learn("schedule.name={name: halving, by: 10}", "optim.lr=1e-2", epochs=3) == 0
    np.testing.assert_allclose(log(extended)["lr"], [1e-2, 1e-3, 1e-4])


@only("view")
def test_a_view(extended):
    assert learn() == 0
    words = ["run=r", "fold=0", "--tta", "predict.views=[identity, negative]"]
    assert predict(["competition=tiny", *words]) == 0
    plain, negative = logits(extended), logits(extended, "oof-negative")
    assert np.abs(plain - negative).max() > 1e-3
    (extended / "extensions/own_view.py").unlink()  # the same name with another meaning: what was kept is stale
    write(extended, "view", "255 - images", "images + 0")
    assert predict(["competition=tiny", *words]) == 0
    np.testing.assert_array_equal(logits(extended, "oof-negative"), plain)


@only("prepare step")
def test_a_prepare_step(extended):
    assert learn("images.prepare=[red_only]") == 0
    (cache,) = (extended / "competition/tiny/cache").glob("*.npy")
    pixels = np.load(cache)
    assert (pixels[..., 1:] == 7).all() and pixels[..., 0].std() > 10
    (extended / "extensions/own_prepare_step.py").unlink()
    write(extended, "prepare step", "= 7", "= 9")
    assert learn("images.prepare=[red_only]", run="s") == 0
    assert {int(np.load(file)[0, 0, 0, 2]) for file in (extended / "competition/tiny/cache").glob("*.npy")} == {7, 9}


@only("reader")
def test_a_reader(extended):
    data = extended / "competition/tiny/data"
    for file in [*data.glob("train/*.png"), *data.glob("test/*.png")]:
        (file.parent / f"{file.stem}.flat").write_bytes(cv2.imread(str(file)).tobytes())
        file.unlink()
    card = extended / "competition/tiny/card.yaml"
    card.write_text(card.read_text().replace(".png", ".flat"))
    assert learn() == 0
    assert len(logits(extended)) == 15


@only("backend")
def test_a_backend(extended, capsys):
    assert learn() == 0
    assert predict(["competition=tiny", "run=r", "fold=0", "predict.engine=louder"]) == 0
    np.testing.assert_allclose(logits(extended, "louder-fp32/oof-identity"), logits(extended) * 1.01, rtol=1e-4)
    (facts,) = (extended / "runs/tiny/r/predictions").iterdir()
    assert json.loads(facts.read_text())["engines"] == ["louder fp32"]
    assert predict(["competition=tiny", "run=r", "fold=0", "predict.engine=far_away"]) == 2
    text = capsys.readouterr().err
    assert "cuda" in text and "cpu" in text


@only("label source")
def test_a_label_source(extended):
    assert learn() == 0
    by_column = logits(extended)
    folder = extended / "competition/tiny"
    table = pd.read_csv(folder / "data/train.csv", dtype=str)
    table.assign(colour="x-" + table["colour"].str[0]).to_csv(folder / "data/train.csv", index=False)
    card = folder / "card.yaml"
    card.write_text(card.read_text().replace("label: colour", "label: {name: coded, column: colour}", 1))
    assert learn(run="s") == 0
    with np.load(extended / "runs/tiny/s/seed0/fold0/logits/oof-identity.npz") as other:
        np.testing.assert_array_equal(other["logits"], by_column)
        assert other["classes"].tolist() == ["blue", "green", "red"]


@only("submission kind")
def test_a_submission_kind_with_a_fit_a_pool_and_a_head(extended):
    for kind in ("fit", "pool", "head"):
        write(extended, kind)
    card = extended / "competition/tiny/card.yaml"
    card.write_text(card.read_text().replace("kind: label", "kind: sure_label"))
    words = ["model.name=resnet10t", "model.pool=largest", "model.head=two_layers", "images.fit=corner"]
    assert learn(*words, "images.size=24", "images.load_size=28") == 0
    weights = load_file(extended / MEMBER / "model.safetensors")
    assert weights["fc.0.weight"].shape == (8, 512) and weights["fc.2.weight"].shape == (3, 8)
    (cache,) = (extended / "competition/tiny/cache").glob("*px-corner-*.npy")
    assert not np.load(cache)[:, -1, -1].any()
    assert predict(["competition=tiny", "run=r", "fold=0"]) == 0
    (file,) = (extended / "submissions/tiny").glob("r-*.csv")
    names, sure = zip(*pd.read_csv(file)["colour"].str.split(" "), strict=True)
    assert set(names) <= {"red", "green", "blue"} and 33 <= min(map(int, sure)) <= max(map(int, sure)) <= 100


def test_labels_from_text_files(tiny):
    folder = tiny / "competition/tiny"
    table = pd.read_csv(folder / "data/train.csv", dtype=str)
    for name, colour in zip(table["image_id"], table["colour"], strict=True):
        (folder / "data/train" / f"{name}.txt").write_text(f"{colour}\n")
    table[["image_id"]].to_csv(folder / "data/train.csv", index=False)
    card = folder / "card.yaml"
    spec = 'label: {name: text_file, path: "train/{image_id}.txt"}'
    card.write_text(card.read_text().replace("label: colour", spec, 1))
    assert learn() == 0
    (folder / "data/train" / f"{table['image_id'][0]}.txt").unlink()
    assert learn(run="s") == 1
