"""Files of one id as the channels of one picture, `bag: channels`: from `prepare` to a checked CSV."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile

from src.competition.quality.image_index import stamp_of
from src.export.predict import main as answer
from src.images.bands import banded
from src.images.decode import ImageFault
from src.images.pixel_format import PixelFormat
from src.images.read import identifying_bytes, image_size, read_image
from src.predict import main as predict
from src.prepare import main as prepare
from src.train import main as train
from tests.fixtures.codes import refused
from tests.images.test_bags import NET

BANDS = ("B02", "B03", "B04", "B8A")


def write_scenes(folder: Path) -> pd.Series:
    """Scenes of four bands of 12 bits, a file each, of which the second or the last holds a spot."""
    rng, truth = np.random.default_rng(0), {}
    for part, count in (("train", 40), ("test", 8)):
        for k in range(count):
            scene = folder / part / f"{part}{k}"
            scene.mkdir(parents=True)
            for name in BANDS:
                values = rng.integers(0, 900, (16, 16)).astype(np.uint16)
                values[4:12, 4:12] += 2800 * (name == BANDS[3 if k % 2 else 1])
                tifffile.imwrite(scene / f"{part}{k}_{name}.tif", values)
        ids = [f"{part}{k}" for k in range(count)]
        truth[part] = pd.DataFrame({"scene": ids, "spot": ["early", "late"] * (count // 2)})
    truth["train"].to_csv(folder / "train.csv", index=False)
    truth["test"].assign(spot="late").to_csv(folder / "sample_submission.csv", index=False)
    return truth["test"].set_index("scene")["spot"]


def test_from_prepare_to_a_checked_csv(home, tmp_path, capsys):
    truth = write_scenes(tmp_path / "host")
    refused(capsys, prepare, [str(tmp_path / "host"), "id=scenes"], "undecided", "bag=channels")
    assert prepare(["scenes", "bag=channels", "confirm=all", "--json"]) == 0
    shares = json.loads(capsys.readouterr().out)["files"]["shares"]
    assert sum(one["files"] for one in shares if one["used"]) == 4 * 48 + 2
    run = ["competition=scenes", "run=r"]
    assert train([*run, "fold=0..1", "train.epochs=6", "optim.lr=1e-2", "train.ema_decay=0.9", *NET]) == 0
    assert predict([*run, "--tta", "--export", "predict.views=[identity]"]) == 0
    answers = pd.read_csv(home / "submissions/scenes/r.csv").set_index("scene")["spot"]
    assert (answers[truth.index] == truth).mean() > 0.8
    capsys.readouterr()
    file = home / "runs/scenes/r/export/r.safetensors"
    assert answer([str(file), str(home / "competition/scenes/data/test"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["answers"]
    assert {Path(one["file"]).name: one["answer"] for one in told} == answers[truth.index].to_dict()
    (cache,) = (home / "competition/scenes/cache").glob("16px-*.npy")
    assert np.load(cache).shape == (48, 16, 16, 4)
    data = home / "competition/scenes/data/train"
    again = ["competition=scenes", "run=s", "fold=0", "train.epochs=1", *NET]
    tifffile.imwrite(data / "train7/train7_B04.tif", np.zeros((9, 9), np.uint16))
    refused(capsys, train, again, "bad-image", "B04")
    (data / "train7/train7_B04.tif").unlink()
    refused(capsys, train, again, "bands-differ", "train7")


def test_channels_are_those_of_the_files_in_their_order(tmp_path):
    rng = np.random.default_rng(0)
    bands = rng.integers(0, 256, (3, 12, 14)).astype(np.uint8)
    names = [f"{tmp_path}/x_{k}.png" for k in range(3)]
    for name, band in zip(names, bands, strict=True):
        cv2.imwrite(name, band)
    path = Path(banded(names))
    seen = read_image(path)
    assert (seen.pixels == np.moveaxis(bands, 0, 2)).all() and image_size(path) == (14, 12)
    assert (read_image(path, PixelFormat(3, 16)).pixels == np.moveaxis(bands, 0, 2).astype(int) * 257).all()
    assert (read_image(path / "tile=0,1,1,2").pixels == np.moveaxis(bands, 0, 2)[:, 7:]).all()
    before, stamp = identifying_bytes(path), stamp_of(str(path))
    assert before == seen.data
    cv2.imwrite(names[1], bands[1] // 2)
    assert identifying_bytes(path) != before and stamp_of(str(path)) != stamp
    cv2.imwrite(names[1], bands[1].astype(np.uint16))
    with pytest.raises(ImageFault, match="x_1"):  # of another type
        read_image(path)
    cv2.imwrite(names[1], rng.integers(0, 256, (12, 14, 3)).astype(np.uint8))
    with pytest.raises(ImageFault):  # five channels, and three are asked for
        read_image(path)
    assert banded(names[:1]) == names[0]
    for wrong in ([names[0], "other/x.png"], [names[0], f"{tmp_path}/a,b.png"]):
        with pytest.raises(ValueError, match="folder"):
            banded(wrong)
