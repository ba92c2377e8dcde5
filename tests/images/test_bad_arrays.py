"""Arrays, containers and bags that are not as the card says: a clear code, and each test row is answered."""

import shutil

import cv2
import h5py
import numpy as np
import pandas as pd
import pytest

from src import prepare
from src.competition.bags import find_bags
from src.competition.card import load_card
from src.competition.quality.cleaning import inspect
from src.competition.samples import load_samples
from src.images.bags import BagImages
from tests.fixtures.codes import raises
from tests.fixtures.deep_files import write_dicom
from tests.fixtures.notes import Notes

TRAIN, TEST = [f"a{k:02d}" for k in range(12)], [f"b{k}" for k in range(4)]


def rows():
    return [*(("train", one) for one in TRAIN), *(("test", one) for one in TEST)]


def bands(number, count=4):
    return np.random.default_rng(number).random((count, 10, 12)).astype(np.float32)


def arrays(root):
    for k, (part, one) in enumerate(rows()):
        np.save(root / part / f"{one}.npy", bands(k))


def scans(root):
    for k, (part, one) in enumerate(rows()):
        write_dicom(root / part / f"{one}.dcm", np.random.default_rng(k).integers(0, 4096, (10, 12)).astype(np.uint16))


def containers(root):
    for part in ("train", "test"):
        with h5py.File(root / f"{part}.h5", "w") as file:
            for k, (own, one) in enumerate(rows()):
                if own == part:
                    file[one] = bands(k, 3).transpose(1, 2, 0)


def bags(root):
    for k, (part, one) in enumerate(rows()):
        (root / part / one).mkdir()
        for j in range(3):  # of sizes of their own
            noise = np.random.default_rng(9 * k + j).integers(0, 255, (8 + 4 * j, 9, 3), dtype=np.uint8)
            cv2.imwrite(str(root / part / one / f"{j}.png"), noise)


def other_depth(root, part, one):
    np.save(root / part / f"{one}.npy", bands(99, 7))


def not_a_number(root, part, one):
    values = bands(99)
    values[2, 3, 4] = np.nan
    np.save(root / part / f"{one}.npy", values)


def encrypted(root, part, one):
    """Only the pixels are scrambled, by a compression that they are not."""
    import pydicom

    file = pydicom.dcmread(root / part / f"{one}.dcm")
    file.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
    file.PixelData = pydicom.encaps.encapsulate([b"\x8f\x13secret" * 20])
    file.save_as(root / part / f"{one}.dcm")


def cut_short(root, part, one):
    path = root / part / f"{one}.dcm"
    path.write_bytes(path.read_bytes()[:-100])


def without_key(root, part, one):
    with h5py.File(root / f"{part}.h5", "a") as file:
        del file[one]


def without_files(root, part, one):
    shutil.rmtree(root / part / one)


FAULTS = [
    (arrays, other_depth, "bad-image", "test-images-unreadable"),
    (arrays, not_a_number, "bad-image", "test-images-unreadable"),
    (scans, encrypted, "bad-image", "test-images-unreadable"),
    (scans, cut_short, "bad-image", "test-images-unreadable"),
    (containers, without_key, "missing-image", "test-images-missing"),
    (bags, without_files, "missing-image", "test-images-missing"),
]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("src.reporting.preview.write_preview", lambda done: done.card.folder / "preview.html")


@pytest.mark.parametrize(("build", "harm", "code", "note"), FAULTS, ids=lambda one: getattr(one, "__name__", ""))
def test_a_fault_is_told_and_its_test_row_is_answered(tmp_path, build, harm, code, note):
    root = tmp_path / "host"
    for part in ("train", "test"):
        (root / part).mkdir(parents=True)
    build(root)
    pd.DataFrame({"id": TRAIN, "kind": ["x", "y"] * 6}).to_csv(root / "train.csv", index=False)
    pd.DataFrame({"id": TEST, "kind": "x"}).to_csv(root / "sample_submission.csv", index=False)
    assert prepare.main([str(root), "id=c"]) == 0
    card = load_card("c")
    harm(card.data, "test", "b2")
    with raises(code, "b2"):
        inspect(card, load_samples(card))
    card = card.model_copy(update={"on_bad_image": "drop"})
    samples = inspect(card, load_samples(card))
    assert samples.test_without_image == ("b2",) and samples.test["id"].tolist() == ["b0", "b1", "b3"]
    assert Notes(samples.notes).texts(note, 1)
    harm(card.data, "train", "a05")
    with raises(code, "a05"):
        inspect(load_card("c"), load_samples(load_card("c")))
    samples = inspect(card, load_samples(card))
    assert samples.train["id"].tolist() == [one for one in TRAIN if one != "a05"]


class Listed:
    """A cache that counts what is asked of it."""

    def __init__(self):
        self.asked = 0

    def batch(self, rows):
        self.asked += len(rows)
        return np.zeros((len(rows), 4, 4, 3), np.uint8)


def test_a_bag_of_ten_thousand_images_costs_a_bag_of_eight():
    class Tree:
        images = sorted(f"train/{one}/{k}.png" for one in ("a", "ab") for k in range(10_000))

    first, second = find_bags(["train/a/*.png", "train/ab/*.png"], Tree())
    assert (len(first), len(second)) == (10_000, 10_000) and first[9_999] == "train/a/9999.png"
    held = Listed()
    images = BagImages(held, np.array([0, 10_000, 20_000]), 8)
    assert images.batch([0, 1]).shape == (2, 4, 4, 24)
    assert images.drawn([0, 1], (0, 1))[0].shape == (16, 4, 4, 3) and held.asked == 32
