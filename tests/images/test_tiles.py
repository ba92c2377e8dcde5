"""Pictures as bags of their tiles: small signs in large pictures, from `prepare` to a checked CSV."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from src.config.load import load
from src.images.read import read_image
from src.images.regions import tile_names
from src.predict import main as predict
from src.prepare import main as prepare
from src.train import main as train
from tests.fixtures.codes import raises, refused
from tests.fixtures.notes import Notes
from tests.images.test_bags import NET, learn, write_bags

TILES = ["competition=plots", "images.tiles=2x3", "model.bag=max", "train.ema_decay=0.9", "optim.lr=1e-2", *NET]
SPECIES = ["fern", "moss", "reed"]


def write_plots(folder: Path, train_rows: int = 48, test_rows: int = 8) -> pd.DataFrame:
    """Plots of 48 x 72 pixels, in each of whose species a spot of its colour stands in one of six tiles."""
    rng = np.random.default_rng(0)
    truth = {}
    for part, count in (("train", train_rows), ("test", test_rows)):
        (folder / part).mkdir(parents=True)
        rows = []
        for k in range(count):
            image = rng.integers(0, 60, (48, 72, 3)).astype(np.uint8)
            grows = rng.random(3) < 0.5 if k > 2 else np.arange(3) == k
            for colour in np.flatnonzero(grows):
                top, left = 24 * int(rng.integers(2)), 24 * int(rng.integers(3))
                image[top + 7 : top + 15, left + 7 : left + 15, 2 - colour] = 255
            cv2.imwrite(str(folder / part / f"{part}{k}.png"), image)
            rows.append((f"{part}{k}.png", *grows.astype(int)))
        truth[part] = pd.DataFrame(rows, columns=["plot", *SPECIES])
    truth["train"].to_csv(folder / "train.csv", index=False)
    truth["test"].assign(**dict.fromkeys(SPECIES, 0)).to_csv(folder / "sample_submission.csv", index=False)
    return truth["test"].set_index("plot")


@pytest.fixture(scope="module")
def plots(tmp_path_factory):
    home, source = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("source") / "plots"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(home))
        truth = write_plots(source)
        assert prepare([str(source), "id=plots"]) == 0
        assert train(["fold=0..1", "run=r", "train.epochs=10", *TILES]) == 0
        assert predict(["competition=plots", "run=r", "--tta", "predict.views=[identity,hflip]"]) == 0
        yield home, truth


def test_the_tiles_of_a_tile_name_parts_of_a_part(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "p.png"), pixels[..., ::-1])
    names = tile_names(f"{tmp_path}/p.png/box=10,0,40,40", "2x4")
    assert len(names) == 8
    assert (read_image(Path(names[5])).pixels == pixels[20:40, 20:30]).all()


def test_tiles_of_plots_from_prepare_to_a_checked_csv(plots):
    home, truth = plots
    (csv,) = (home / "submissions/plots").glob("r-*.csv")
    answers = pd.read_csv(csv).set_index("plot").loc[truth.index, SPECIES]
    assert ((answers > 0.5).to_numpy() == truth.to_numpy(bool)).mean() > 0.7
    stored = yaml.safe_load((home / "runs/plots/r/config.yaml").read_text())
    assert (stored["images"]["tiles"], stored["images"]["bag_size"], stored["model"]["bag"]) == ("2x3", 6, "max")
    (cache,) = (home / "competition/plots/cache").glob("16px-*.npy")
    assert len(np.load(cache)) == 6 * (48 + 8)


def test_a_probe_sees_tiles_and_not_the_whole(plots, capsys):
    home, _ = plots
    frozen = ["competition=plots", "config=probe", "images.size=32", "images.load_size=32", "data.folds=2"]
    frozen += ["machine.device=cpu", "fold=0..1", "probe.views=[identity]", "predict.views=[identity]"]
    for run, words in (("p", ["images.tiles=2x3", "model.bag=max"]), ("w", [])):
        assert train([*frozen, f"run={run}", *words]) == 0
    scores = {run: json.loads((home / f"runs/plots/{run}/seed0/fold0/done.json").read_text())["score"] for run in "pw"}
    assert scores["p"] > scores["w"]


def test_tiles_of_bags_are_one_larger_bag(home, notes: Notes):
    write_bags(home, "files", animals=8, tests=2, most=3)
    assert learn("r", "images.tiles=1x2", epochs=1) == 0
    images = yaml.safe_load((home / "runs/bags/r/config.yaml").read_text())["images"]
    assert images["bag_size"] == 6  # of at most three pictures, their halves


@pytest.mark.parametrize("tiles", ["2", "1x1", "9x9", "[2]", "2x", "0x3"])
def test_tiles_that_cannot_be(tiles):
    with raises("bad-value", "images.tiles"):
        load("demo-digits", {"images.tiles": tiles})


def test_mixing_tiles_is_refused(plots, capsys):
    refused(capsys, train, ["fold=0", "run=m", "train.epochs=1", *TILES, "train.mixup=0.2"], "unfit-for-bags")
