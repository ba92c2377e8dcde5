"""Files of one id as the channels of one picture, `bag: channels`: from `prepare` to a checked CSV."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile

from src.competition.card import Card, load_card
from src.competition.file_tree import Tree
from src.competition.quality.image_index import stamp_of
from src.competition.row_files import Bands, banded_files
from src.export.export_file import read_export
from src.export.hidden_test import read_hidden
from src.export.predict import main as answer
from src.images.bands import banded, bands_among
from src.images.decode import ImageFault
from src.images.pixel_format import PixelFormat
from src.images.read import identifying_bytes, image_size, raw_image, read_image
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
    tifffile.imwrite(data / "train7/train7_B04.tif", np.zeros((9, 12), np.uint16))
    refused(capsys, train, again, "bad-image", "B04")
    (data / "train7/train7_B04.tif").unlink()
    refused(capsys, train, again, "bands-differ", "train7")


def test_bands_of_another_name_are_not_taken_for_those_of_training(home, tmp_path, capsys):
    write_scenes(tmp_path / "host")
    assert prepare([str(tmp_path / "host"), "id=scenes", "bag=channels", "confirm=all"]) == 0
    run, data = ["competition=scenes", "run=r"], home / "competition/scenes/data"
    assert train([*run, "fold=0", "train.epochs=1", *NET]) == 0
    assert predict([*run, "--export"]) == 0
    file = home / "runs/scenes/r/export/r.safetensors"
    card = load_card("scenes")
    for one in data.glob("test/*/*_B8A.tif"):
        one.rename(one.with_name(one.name.replace("B8A", "B11")))
    refused(capsys, predict, run, "bands-differ", "B11", "B8A")
    refused(capsys, answer, [str(file), str(data / "test/test0")], "bands-differ", "B11", "B8A")
    hidden = read_hidden(card, read_export(file)[0])
    assert len(hidden.absent) == 8 and not len(hidden.samples.test)
    for one in data.glob("test/test0/*_B11.tif"):
        one.rename(one.with_name(one.name.replace("B11", "B8A")))
    assert read_hidden(card, read_export(file)[0]).samples.test["id"].tolist() == ["test0"]


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("{id}/*.tif", "{id}/{id}_{band}.tif"),
        ("{id}/*.tif", "{id}/{band}.tif"),
        ("{id}/*_{id}.tif", "{id}/{band}_{id}.tif"),
        ("{id}/*", "{id}/{band}_{id}.tif"),
        ("{id}x*.tif", "{id}x{band}.tif"),
        ("**/{id}_*_L1.tif", "part{id}/{id}_{band}_L1.tif"),
    ],
)
def test_what_tells_the_files_apart_is_the_same_in_every_row(tmp_path, pattern, name):
    card = Card.model_construct(id="scenes", on_bad_image="stop")
    for row in ("1", "2", "10", "s7"):
        for band in ("1", "2", "10"):
            file = tmp_path / name.format(id=row, band=band)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"II*\0")
    found, absent = banded_files(
        [pattern.format(id=row) for row in ("1", "2", "10", "s7")], Tree(tmp_path), card, Bands()
    )
    assert not absent.any()
    assert found[3] == banded([name.format(id="s7", band=band) for band in ("1", "2", "10")])


def test_the_files_of_a_folder_are_found_by_what_tells_them_apart():
    names = ["x_B02.tif", "x_B03.tif", "x_B8A.tif", "preview.tif"]
    assert bands_among(names, ["B03", "B02"]) == ["x_B03.tif", "x_B02.tif"]
    assert bands_among(names, ["_B02", "_B8A"]) == ["x_B02.tif", "x_B8A.tif"]
    for ends in (["B02", "B8"], ["B02", "B04"], ["2", "3"]):
        with pytest.raises(ValueError, match="channels"):
            bands_among(names, ends)
    with pytest.raises(ValueError, match="several"):
        bands_among([*names, "y_B02.tif", "y_B03.tif"], ["B02", "B03"])


def test_bands_of_fewer_pixels_are_brought_to_the_largest(tmp_path, notes):
    rng = np.random.default_rng(0)
    fine, coarse = (rng.integers(0, 4000, (side, side * 2)).astype(np.uint16) for side in (12, 6))
    tifffile.imwrite(tmp_path / "a.tif", coarse)
    tifffile.imwrite(tmp_path / "b.tif", fine)
    path = Path(banded([f"{tmp_path}/a.tif", f"{tmp_path}/b.tif"]))
    for _ in range(2):
        seen = raw_image(path).values
    assert (seen[..., 1] == fine).all() and (seen[..., 0] == coarse.repeat(2, 0).repeat(2, 1)).all()
    assert image_size(path, PixelFormat(2, 16)) == (24, 12)
    assert len(notes.texts("bands-resized", 6, 12)) == 1
    tifffile.imwrite(tmp_path / "a.tif", coarse.T.copy())
    with pytest.raises(ImageFault, match="proportions"):
        raw_image(path)


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
