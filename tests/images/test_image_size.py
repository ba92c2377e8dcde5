"""Images that are not square: fits, views and augmentation keep the shape, and a run goes the whole way with it."""

import json
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from src.config.image_size import Size
from src.config.load import load
from src.config.schema import Model
from src.export.predict import Exported
from src.images.augment import Augmentation
from src.images.fits import FITS, fitted
from src.inference.tta import VIEWS, seen_in, view_names, views_of
from src.models.factory import build
from src.predict import main as predict
from src.prepare import main as prepare
from src.report import main as report
from src.train import main as train
from tests.fixtures.codes import raises, refused

NET = ["model.name=resnet8", "model.pretrained=false", "data.folds=2", "train.batch=8", "machine.threads=1"]
NET += [
    "machine.device=cpu",
    "train.precision=fp32",
    "train.ema_decay=0.9",
    "optim.lr=1e-2",
    "augment.transforms=[HorizontalFlip]",
]
WIDE = [*NET, "images.size=16x40", "images.fit=pad"]


@pytest.mark.parametrize(
    ("written", "kept", "loaded"),
    [("64", 64, 72), ("[16, 40]", "16x40", "18x45"), ("16x40", "16x40", "18x45"), ("[32, 32]", 32, 36)],
)
def test_how_a_size_is_written_and_kept(written, kept, loaded):
    config = load("demo-digits", {"images.size": written, "images.load_size": "null"})
    assert (config.images.size, config.images.load_side()) == (kept, loaded)
    again = load("demo-digits", {"images.size": str(kept), "images.load_size": "null"})
    assert again.hash() == config.hash()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("bad-value", {"images.size": "16x"}),
        ("bad-value", {"images.size": "4x40"}),
        ("bad-value", {"images.size": "[16, 40, 3]"}),
        ("bad-value", {"images.size": "0.5"}),
        ("size-proportions", {"images.size": "16x40", "images.load_size": "48"}),
        ("size-proportions", {"images.size": "16x40", "images.load_size": "null", "predict.size": "32"}),
        ("size-proportions", {"images.size": "16x40", "images.load_size": "null", "train.stages": "[{epochs: 1, size: 8}]"}),  # noqa: E501
    ],
)  # fmt: skip
def test_a_size_that_cannot_be(code, words):
    with raises(code):
        load("demo-digits", words)


@pytest.mark.parametrize("shape", [(30, 30, 3), (20, 70, 3), (70, 20, 1)])
def test_fits_keep_what_they_promise(shape):
    image = np.random.default_rng(0).integers(1, 255, shape).astype(np.uint8)
    size = Size(16, 40)
    made = {fit: fitted(image, size, fit) for fit in ("stretch", "crop", "pad")}
    assert {one.shape for one in made.values()} == {(16, 40, shape[2])}
    bars = ~made["pad"].any(axis=2)
    high, wide = (~bars).any(axis=1).sum(), (~bars).any(axis=0).sum()
    assert high == 16 or wide == 40
    assert abs(high * shape[1] - wide * shape[0]) <= max(shape)  # the proportions, to whole pixels
    if shape[1] == 70:  # 20 x 50 of 20 x 70, the middle
        assert (made["crop"] == fitted(image[:, 10:60], size, "stretch")).all()


def test_a_fit_that_makes_squares_alone_is_refused_for_others(tmp_path):
    FITS.add("old", lambda image, side: image[:side, :side], "tests.images.test_image_size")
    image = np.zeros((20, 20, 3), np.uint8)
    assert fitted(image, 16, "old").shape == (16, 16, 3)
    from src.images.stream import ImageStream

    assert ImageStream([tmp_path / "a.png"], 16, "old").size == Size(16, 16)
    with raises("fit-makes-squares"):
        ImageStream([tmp_path / "a.png"], "16x40", "old")
    with raises("square-step"):
        ImageStream([tmp_path / "a.png"], "16x40", "pad", ("square_pad",))


def test_views_keep_the_shape_or_are_left_out():
    images = torch.randint(0, 255, (2, 3, 16, 40), dtype=torch.uint8)
    turning = {"rot90", "rot270", "transpose", "antitranspose"}
    assert set(views_of("16x40")) == set(VIEWS) - turning and set(views_of(16)) == set(VIEWS)
    for view in views_of("16x40"):
        seen_in(view, images)
    assert (seen_in("left", images)[..., :-3] == images[..., 3:]).all()  # a twelfth of the width
    assert (seen_in("up", images)[..., :-1, :] == images[..., 1:, :]).all()  # and of the height
    with raises("turn-needs-square"):
        view_names(["square"], "16x40")


def test_augmentation_knows_both_sides():
    transforms = [{"RandomResizedCrop": {"size": ["size", "size"], "scale": [0.3, 0.9]}}]
    transforms += [{"RandomCrop": {"height": "size", "width": "size"}}]
    images = np.random.default_rng(0).integers(0, 255, (2, 18, 45, 3)).astype(np.uint8)
    square = np.zeros((1, 160, 400, 3), np.uint8)
    square[:, 60:100, 180:220] = 255
    crop = {"RandomResizedCrop": {"size": ["size", "size"], "scale": [0.5, 0.5], "ratio": [1, 1]}}
    made = Augmentation([crop], "160x400")(square, (0,))[0, ..., 0] > 127
    assert abs(made.any(0).sum() - made.any(1).sum()) <= 2  # what is square stays square
    assert Augmentation(transforms, "16x40", "18x45")(images, (0,)).shape == (2, 16, 40, 3)
    for turn in ("RandomRotate90", "Transpose", "D4", {"OneOf": {"transforms": ["D4", "HorizontalFlip"]}}):
        with raises("turn-needs-square"):
            Augmentation([turn], "16x40")
        Augmentation([turn], 16)
    with raises("size-not-square"):
        Augmentation([{"LongestMaxSize": {"max_size": "size"}}], "16x40")


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "convnext_atto", "resnet18"])
def test_networks_take_them(name):
    plain = {"pretrained": False, "weights": None, "stem": "auto", "drop_rate": 0.0, "pool": "stock", "head": "linear"}
    network = build(Model(name=name, args={}, **plain), 3, "64x128").eval()
    with torch.no_grad():
        assert network(torch.zeros(2, 3, 64, 128, dtype=torch.uint8)).shape == (2, 3)


def write_wide(folder: Path) -> pd.Series:
    """Strips with a mark at the left or right end, which a middle square does not hold. Returns the test's truth."""
    rng, rows = np.random.default_rng(0), {"train": [], "test": []}
    for part, count in (("train", 32), ("test", 8)):
        (folder / part).mkdir(parents=True)
        for k in range(count):
            image = rng.integers(0, 60, (24, 60, 3)).astype(np.uint8)
            image[:, 50:, k % 2] += 150
            cv2.imwrite(str(folder / part / f"{part}{k}.png"), image)
            rows[part].append((f"{part}{k}.png", "red" if k % 2 == 0 else "green"))
    frames = {part: pd.DataFrame(held, columns=["file", "kind"]) for part, held in rows.items()}
    frames["train"].to_csv(folder / "train.csv", index=False)
    frames["test"].assign(kind="red").to_csv(folder / "sample_submission.csv", index=False)
    return frames["test"].set_index("file")["kind"]


@pytest.fixture(scope="module")
def strips(tmp_path_factory):
    """A competition `strips` from `prepare`, and its run `r`, trained in two sizes, predicted and exported."""
    home, source = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("source") / "strips"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(home))
        truth = write_wide(source)
        assert prepare([str(source), "id=strips"]) == 0
        stages = "train.stages=[{epochs: 3, size: 8x20}, {epochs: 3}]"
        assert train(["fold=0..1", "competition=strips", "run=r", stages, *WIDE]) == 0
        assert predict(["competition=strips", "run=r", "--tta", "--export", "predict.views=[flips,crops]"]) == 0
        yield home, truth


def answers(home: Path, run: str = "r") -> pd.Series:
    (file,) = (home / "submissions/strips").glob(f"{run}-*.csv")
    return pd.read_csv(file).set_index("file")["kind"]


def test_from_prepare_to_a_checked_csv(strips):
    home, truth = strips
    assert (answers(home)[truth.index] == truth).all()
    stored = yaml.safe_load((home / "runs/strips/r/config.yaml").read_text())
    assert stored["images"]["size"] == "16x40"
    (cache,) = (home / "competition/strips/cache").glob("18x45px-pad-*.npy")
    assert np.load(cache).shape[1:] == (18, 45, 3)


def test_the_exported_file_answers_alike(strips):
    home, truth = strips
    exported = Exported.open(home / "runs/strips/r/export/r.safetensors")
    found = exported.predict([home / "competition/strips/data/test" / name for name in truth.index])
    assert exported.words(found.decisions) == truth.tolist()


def test_page_with_maps_of_heat(strips):
    home, _ = strips
    assert report(["competition=strips", "run=r"]) == 0
    page = next((home / "runs/strips/r").rglob("*.html")).read_text()
    assert page.count("data:image") > 4 or "<img" in page


@pytest.mark.slow
@pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed")
def test_openvino_answers_alike(strips, capsys):
    home, _ = strips
    words = ["competition=strips", "run=r", "predict.engine=openvino", "predict.precision=fp32", "--json"]
    assert predict(words) == 0
    assert json.loads(capsys.readouterr().out)["submission"]
    folder = home / "runs/strips/r/seed0/fold0/logits"
    tables = [np.load(folder / name)["logits"] for name in ("test-identity.npz", "openvino-fp32/test-identity.npz")]
    assert np.allclose(*tables, atol=1e-3)


def test_runs_of_different_shapes_answer_together(strips, capsys):
    _, truth = strips
    square = [word for word in WIDE if not word.startswith("images.size")]
    assert train(["fold=0..1", "competition=strips", "run=q", "train.epochs=1", "images.size=16", *square]) == 0
    capsys.readouterr()
    assert predict(["competition=strips", "runs=r,q", "--json"]) == 0
    found = pd.read_csv(json.loads(capsys.readouterr().out)["submission"])
    assert found["file"].tolist() == truth.index.tolist()


def test_at_another_size(strips, capsys):
    words = ["competition=strips", "run=r"]
    assert predict([*words, "predict.size=24x60"]) == 0
    refused(capsys, predict, [*words, "--tta", "predict.views=[rot90]"], "turn-needs-square")
    refused(capsys, predict, [*words, "predict.size=24"], "size-proportions")
    refused(
        capsys, train, ["fold=0", "competition=strips", "run=s", *WIDE, "predict.views=[square]"], "turn-needs-square"
    )
