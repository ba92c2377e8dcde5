"""Masks beside pictures: each picture is seen where its mask shows something, from `prepare` to a checked CSV."""

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from src.competition.card import Table, load_card
from src.competition.detect.mask_crops import masks_told
from src.competition.file_tree import Tree
from src.competition.quality.image_index import stamp_of
from src.competition.samples import load_samples
from src.images.decode import ImageFault, upright
from src.images.masks import mask_files, whole_masks
from src.images.read import identifying_bytes, image_size, raw_image, read_image
from src.predict import main as predict
from src.prepare import main as prepare
from src.train import main as train
from tests.fixtures.codes import refused
from tests.fixtures.notes import Notes
from tests.images.test_bags import NET


def write_host(folder: Path) -> pd.Series:
    """Pictures of two spots of colour, of which the masked one is the answer."""
    rng, names, truth = np.random.default_rng(0), ["blue", "green", "red"], {}
    for part, count in (("train", 48), ("test", 9)):
        for kind in ("images", "masks"):
            (folder / part / kind).mkdir(parents=True)
        rows = []
        for k in range(count):
            image, mask = rng.integers(0, 60, (48, 48, 3)).astype(np.uint8), np.zeros((48, 48), np.uint8)
            shown, other = k % 3, (k + 1 + k % 2) % 3
            left, top = (4 + 24 * int(one) for one in rng.permutation(2))
            image[top : top + 14, left : left + 14, shown] = 250
            image[24 - top + 8 : 24 - top + 22, left : left + 14, other] = 250
            mask[top : top + 14, left : left + 14] = 1
            cv2.imwrite(str(folder / part / "images" / f"{part}{k}.png"), image)
            cv2.imwrite(str(folder / part / "masks" / f"{part}{k}.png"), mask)
            rows.append((f"{part}{k}", names[shown]))
        truth[part] = pd.DataFrame(rows, columns=["id", "colour"])
    truth["train"].to_csv(folder / "train.csv", index=False)
    truth["test"].assign(colour="red").to_csv(folder / "sample_submission.csv", index=False)
    return truth["test"].set_index("id")["colour"]


def test_from_prepare_to_a_checked_csv(home, tmp_path, capsys):
    truth = write_host(tmp_path / "host")
    plain = [f"{part}.images={part}/images/{{id}}.png" for part in ("train", "test")]
    words = [f"{word}/mask={part}/masks/{{id}}.png,10%" for word, part in zip(plain, ("train", "test"), strict=True)]
    refused(capsys, prepare, [str(tmp_path / "host"), "id=spots"], "undecided", words[0].partition("=")[2])
    assert prepare([str(tmp_path / "host"), "id=spots", *plain, "--json"]) == 0
    (told,) = (one["text"] for one in json.loads(capsys.readouterr().out)["notes"] if one["code"] == "masks-beside")
    assert all(word.partition("=")[2] in told for word in words)
    (home / "competition/spots/card.yaml").unlink()
    assert prepare(["spots", *words, "confirm=all"]) == 0
    run = ["competition=spots", "run=r"]
    assert train([*run, "fold=0..1", "train.epochs=6", "optim.lr=1e-2", "train.ema_decay=0.9", *NET]) == 0
    assert predict([*run, "--tta"]) == 0
    (csv,) = (home / "submissions/spots").glob("r-*.csv")
    assert (pd.read_csv(csv).set_index("id")["colour"][truth.index] == truth).mean() > 0.7
    Image.new("L", (48, 48)).save(home / "competition/spots/data/train/masks/train7.png")
    refused(capsys, train, ["competition=spots", "run=s", "fold=0", "train.epochs=1", *NET], "bad-image", "train7.png")


@pytest.fixture
def photo(tmp_path) -> tuple[Path, np.ndarray, np.ndarray]:
    (tmp_path / "masks").mkdir()
    (tmp_path / "images").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8)
    mask = np.zeros((40, 60), np.uint8)
    mask[10:20, 30:50] = 3  # the number of an object
    Image.fromarray(pixels).save(tmp_path / "images/p.png")
    Image.fromarray(mask).save(tmp_path / "masks/p.png")
    return tmp_path / "images/p.png", pixels, mask


def test_a_picture_is_the_part_that_its_mask_shows(photo):
    path, pixels, mask = photo
    part = path / "mask=../masks/p.png"
    assert (read_image(part).pixels == pixels[10:20, 30:50]).all() and image_size(part) == (20, 10)
    assert (raw_image(part).values == pixels[10:20, 30:50]).all()
    assert (read_image(path / "mask=../masks/p.png,10%").pixels == pixels[9:21, 28:52]).all()
    assert (read_image(part / "tile=0,1,1,2").pixels == pixels[10:20, 40:50]).all()
    before, stamp = identifying_bytes(part), stamp_of(str(part))
    assert before == read_image(part).data
    masks = path.parents[1] / "masks"
    (masks / "same.png").write_bytes((masks / "p.png").read_bytes())
    assert identifying_bytes(path / "mask=../masks/same.png") == before  # a duplicate, whatever its mask is called
    assert identifying_bytes(path / "mask=../masks/same.png,10%") != before
    for name, image in {
        "half.png": Image.fromarray(mask[::2, ::2]),
        "palette.gif": Image.fromarray(mask, "P"),
        "colour.bmp": Image.fromarray(np.repeat(mask[..., None], 3, 2)),
        "alpha.png": Image.fromarray(np.dstack([pixels, mask * 80])),
        "photo.jpg": Image.fromarray(mask * 80),
    }.items():
        image.save(masks / name)
        found = image_size(path / f"mask=../masks/{name}")
        assert found == (20, 10), name
    Image.fromarray(mask[::-1]).save(masks / "p.png")
    assert identifying_bytes(part) != before and stamp_of(str(part)) != stamp


def test_one_value_of_a_coded_mask(photo):
    path, pixels, mask = photo
    coded = np.where(mask == 3, 1, 2).astype(np.uint8)  # a trimap: nothing is 0
    coded[8:22, 28:52][coded[8:22, 28:52] == 2] = 3
    Image.fromarray(coded).save(path.parents[1] / "masks/p.png")
    whole, one = path / "mask=../masks/p.png", path / "mask=../masks/p.png=1"
    assert image_size(whole) == (60, 40)
    assert (read_image(one).pixels == pixels[10:20, 30:50]).all()
    assert image_size(path / "mask=../masks/p.png=1,10%") == (24, 12)
    assert image_size(path / "mask=../masks/p.png=3") == (24, 14)
    assert mask_files(str(one)) == [path.parent / "../masks/p.png"]
    assert "1, 2, 3" in whole_masks([str(whole)] * 3)
    assert whole_masks([str(one)] * 3) == whole_masks([str(path)]) == ""
    for value in ("=4", "=300"):
        with pytest.raises(ImageFault, match=r"p\.png"):
            read_image(path / f"mask=../masks/p.png{value}")


def test_masks_that_leave_nothing_out_are_told(home):
    folder = home / "competition/coded"
    write_host(folder / "data")
    facts = {part: f"{part}/images/{{id}}.png/mask={part}/masks/{{id}}.png" for part in ("train", "test")}
    (folder / "card.yaml").write_text(
        f"""\
title: Coded
train: {{table: train.csv, id: id, images: "{facts["train"]}", label: colour}}
test: {{table: sample_submission.csv, id: id, images: "{facts["test"]}"}}
target: multiclass
metric: accuracy
submission: {{sample: sample_submission.csv, kind: label}}
"""
    )
    assert not Notes(load_samples(load_card("coded")).notes).texts("masks-whole")
    for file in (folder / "data/train/masks").iterdir():
        cv2.imwrite(str(file), cv2.imread(str(file), cv2.IMREAD_UNCHANGED) + 1)
    assert len(Notes(load_samples(load_card("coded")).notes).texts("masks-whole", 1, 2)) == 1


def test_a_picture_that_its_exif_turns(photo):
    path, pixels, mask = photo
    photo, masks = path.with_name("p.jpg"), path.parents[1] / "masks"
    Image.fromarray(mask.T.copy()).save(masks / "upright.png")
    Image.fromarray(mask[:, :40]).save(masks / "other.png")
    exif = Image.Exif()
    for number in (6, 8, 5, 7):
        exif[0x0112] = number
        Image.fromarray(pixels).save(photo, exif=exif, quality=95)
        seen = read_image(photo).pixels
        assert seen.shape == (60, 40, 3)
        shown = upright(mask[..., None], number)[..., 0] > 0
        part = read_image(photo / "mask=../masks/p.png").pixels  # a mask of the stored size
        assert (part == seen[shown.any(1)][:, shown.any(0)]).all()
        assert (read_image(photo / "mask=../masks/upright.png").pixels == seen[30:50, 10:20]).all()
        with pytest.raises(ImageFault, match="EXIF"):
            read_image(photo / "mask=../masks/other.png")
    exif[0x0112] = 3
    Image.fromarray(pixels).save(photo, exif=exif)
    with pytest.raises(ImageFault, match="EXIF"):  # upside down: the mask may be or not
        read_image(photo / "mask=../masks/p.png")


@pytest.mark.parametrize(("background", "told"), [(2, "=1,10%"), (255, "=1,10%"), (1, ""), (0, ",10%")])
def test_crops_to_masks_are_told_where_they_crop(tmp_path, background, told):
    rng, folder = np.random.default_rng(0), tmp_path / "data"
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for k in range(4):
        mask = np.full((24, 24), background, np.uint8)
        mask[4:12, 6:20] = 1
        Image.fromarray(rng.integers(0, 255, (24, 24, 3)).astype(np.uint8)).save(folder / f"images/p{k}.png")
        Image.fromarray(mask).save(folder / f"masks/p{k}.png")
    train = Table(table="train.csv", id="id", images="images/{id}.png")
    card, paths = SimpleNamespace(train=train, test=None), [str(folder / f"images/p{k}.png") for k in range(4)]
    words = masks_told(card, Tree(folder), paths, [])
    assert f"mask=masks/{{id}}.png{told}'" in words if told else words == ""


def test_masks_that_show_nothing_or_do_not_fit(photo):
    path, _, mask = photo
    masks = path.parents[1] / "masks"
    Image.fromarray(mask * 0).save(masks / "empty.png")
    Image.fromarray(mask.T.copy()).save(masks / "turned.png")
    (masks / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for name in ("empty", "turned", "broken", "absent"):
        with pytest.raises(ImageFault, match=name):
            read_image(path / f"mask=../masks/{name}.png")
