"""Parts of pictures as images: boxes of a table, and tiles."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from src.competition.quality.image_index import index_images
from src.images import decode
from src.images.decode import ImageFault
from src.images.pixel_format import PixelFormat
from src.images.read import identifying_bytes, image_size, raw_image, read_image
from src.predict import main as predict
from src.prepare import main as prepare
from src.train import main as train
from tests.fixtures.codes import refused


@pytest.fixture
def photo(tmp_path) -> tuple[Path, np.ndarray]:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "p.png"), pixels[..., ::-1])
    return tmp_path / "p.png", pixels


@pytest.mark.parametrize(
    ("part", "rows", "columns"),
    [
        ("box=10,5,20,12", (5, 17), (10, 30)),
        ("box=[10, 5, 20, 12]", (5, 17), (10, 30)),
        ("box=10.0 5.0 20.0 12.0", (5, 17), (10, 30)),
        ("corners=10,5,30,17", (5, 17), (10, 30)),
        ("yolo=0.5,0.5,0.5,0.25", (15, 25), (15, 45)),
        ("box=10,10,20,10,50%", (5, 25), (0, 40)),
        ("box=0.25,0.125,0.5,0.5,shares", (5, 25), (15, 45)),
        ("corners=[0.25 0.125 0.75 0.625],shares,50%", (0, 35), (0, 60)),
        ("center=30,20,30,10", (15, 25), (15, 45)),
        ("box=-5,30,20,40", (30, 40), (0, 15)),  # what lies outside is cut off
        ("box=10.4,5.2,1.2,1.2", (5, 7), (10, 12)),
        ("tile=0,2,1,3", (0, 40), (40, 60)),
        ("tile=1,0,2,2", (20, 40), (0, 30)),
    ],
)
def test_a_part_is_the_pixels_there(photo, part, rows, columns):
    path, pixels = photo
    expected = pixels[slice(*rows), slice(*columns)]
    found = read_image(path / part)
    assert (found.pixels == expected).all() and found.size == expected.shape[:2]
    assert image_size(path / part) == expected.shape[1::-1]
    assert (raw_image(path / part).values == expected).all()
    assert found.data == identifying_bytes(path / part) != identifying_bytes(path)
    deep = read_image(path / part, PixelFormat(3, 16)).pixels
    assert (deep == expected.astype(np.uint16) * 257).all()


@pytest.mark.parametrize(
    "part",
    ["box=1,2,3", "box=a,b,c,d", "box=nan,1,2,3", "box=100,5,20,12", "box=5,5,0,5", "corners=9,9,3,12", "tile=2,0,2,2",
     "tile=0,0,0,0", "tile=0.5,0,2,2", "box=", "box=1,2,3,4,-5%", "yolo=2,2,0.1,0.1",
     "box=0.1,0.1,0.5,0.5", "corners=0.1,0.1,0.9,0.9", "yolo=0.5,0.5,0.01,0.01", "corners=0,0,30,30,shares", "box=,,,"],
)  # fmt: skip
def test_a_wrong_box_is_told(photo, part):
    for read in (read_image, image_size, raw_image):
        with pytest.raises(ImageFault):
            read(photo[0] / part)


def test_the_tiles_are_the_picture(photo):
    path, pixels = photo
    rows = [np.hstack([read_image(path / f"tile={k},{j},3,7").pixels for j in range(7)]) for k in range(3)]
    assert np.vstack(rows).shape[0] >= pixels.shape[0]
    assert (read_image(path / "tile=0,0,1,1").pixels == pixels).all()


def test_a_picture_is_hashed_once_for_all_its_boxes(photo, tmp_path, monkeypatch):
    other = tmp_path / "q.png"
    cv2.imwrite(str(other), photo[1])
    parts = [f"{path}/box={k},{k},20,20" for path in (photo[0], other) for k in range(12)]
    expected = [int.from_bytes(hashlib.md5(identifying_bytes(Path(part))).digest()[:8]) for part in parts]
    hashed, md5 = [], hashlib.md5
    monkeypatch.setattr(hashlib, "md5", lambda data, **how: hashed.append(len(data)) or md5(data, **how))
    index = index_images(parts, tmp_path / "index")
    assert index.digest[index.of(parts)].tolist() == expected
    assert len(hashed) == 2  # of each picture


def test_a_jpeg_beyond_the_limit_is_read_reduced(tmp_path, monkeypatch):
    path = tmp_path / "big.jpg"
    cv2.imwrite(str(path), np.full((300, 400, 3), 99, np.uint8))
    monkeypatch.setattr(decode, "LARGEST", 100 * 100)
    assert read_image(path, at_least=32).pixels.shape == (38, 50, 3)
    with pytest.raises(ImageFault):
        read_image(path)


def test_a_row_for_each_box_from_card_to_csv(home, tmp_path, capsys):
    """Two things in each photo: only their boxes tell them apart."""
    rng, folder = np.random.default_rng(0), tmp_path / "reef"
    rows = []
    for part, count in (("train", 20), ("test", 5)):
        (folder / part).mkdir(parents=True)
        for k in range(count):
            photo = rng.integers(0, 60, (40, 60, 3)).astype(np.uint8)
            for at, kind in enumerate(("crab", "fish")):
                left, top = 4 + 30 * at, int(rng.integers(2, 16))
                photo[top : top + 16, left : left + 16, at] += 150
                rows.append((part, f"{part}{k}.png", f"{part[:2]}{k}_{at}", kind, left, top, 16, 16))
            cv2.imwrite(str(folder / part / f"{part}{k}.png"), photo)
    table = pd.DataFrame(rows, columns=["part", "photo", "box_id", "kind", "left", "top", "width", "height"])
    for part, held in table.groupby("part"):
        held.drop(columns=["part"] if part == "train" else ["part", "kind"]).to_csv(folder / f"{part}.csv", index=False)
    test = table[table["part"] == "test"]
    pd.DataFrame({"box_id": test["box_id"], "kind": "crab"}).to_csv(folder / "sample_submission.csv", index=False)
    assert prepare([str(folder), "id=reef"]) == 0
    card = home / "competition/reef/card.yaml"
    found = yaml.safe_load(card.read_text())
    for part in ("train", "test"):
        assert found[part]["images"] == f"{part}/{{photo}}/box={{left}},{{top}},{{width}},{{height}}"
        assert found[part]["id"] == "box_id"
    net = ["model.name=resnet8", "model.pretrained=false", "images.size=16", "data.folds=2", "augment.transforms=[]"]
    net += ["train.batch=8", "machine.threads=1", "machine.device=cpu", "train.precision=fp32", "optim.lr=1e-2"]
    assert train(["fold=0..1", "competition=reef", "run=r", "train.epochs=6", *net]) == 0
    assert predict(["competition=reef", "run=r"]) == 0
    (csv,) = (home / "submissions/reef").glob("r-*.csv")
    answers = pd.read_csv(csv).set_index("box_id")["kind"]
    assert (answers[test["box_id"]].to_numpy() == test["kind"].to_numpy()).mean() >= 0.9
    card.write_text(card.read_text().replace("{width}", "{box_id}"))
    refused(capsys, train, ["fold=0", "competition=reef", "run=s", "train.epochs=1", *net], "bad-image", "box=")
