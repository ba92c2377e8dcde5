"""Files that are more than pictures of 8 bits: what is read, how it becomes pixels, and the whole way with them."""

import gzip
import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from src.export.predict import main as predict_file
from src.images.cache import ImageCache
from src.images.decode import ImageFault, decode
from src.images.pixel_format import PixelFormat, to_levels, to_shown
from src.images.read import image_size, raw_image, read_image
from src.predict import main as predict
from src.prepare import main as prepare
from src.report import main as report
from src.train import main as train
from tests.fixtures.codes import raises, refused
from tests.fixtures.deep_files import jpeg_bytes, write_dicom

TWELVE = PixelFormat(3, 16, (0.0, 4095.0))
SIX = PixelFormat(6, 16, (0.0, 1.0))


@pytest.fixture
def gray() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4096, (20, 30)).astype(np.uint16)


@pytest.fixture
def bands() -> np.ndarray:
    """(6, 20, 30) from 0 to 1."""
    return np.random.default_rng(1).random((6, 20, 30)).astype(np.float32)


def reason(path: Path | str, pixels: PixelFormat) -> str:
    with pytest.raises(ImageFault) as caught:
        read_image(Path(path), pixels)
    return caught.value.reason


def test_both_polarities_of_dicom_are_the_png_that_they_were_made_of(tmp_path, gray):
    cv2.imwrite(str(tmp_path / "a.png"), gray)
    write_dicom(tmp_path / "plain.dcm", gray)
    write_dicom(tmp_path / "turned.dcm", 4095 - gray, inverted=True)
    (tmp_path / "bare").write_bytes((tmp_path / "plain.dcm").read_bytes())
    expected = read_image(tmp_path / "a.png", TWELVE).pixels
    assert expected.dtype == np.uint16 and expected.shape == (20, 30, 3)
    assert (expected[..., 0] == np.rint(gray / 4095 * 65535)).all()
    for name in ("plain.dcm", "turned.dcm", "bare"):
        for pixels in (TWELVE, PixelFormat(3, 16, "type")):
            assert (read_image(tmp_path / name, pixels).pixels == expected).all(), name
        assert image_size(tmp_path / name) == (30, 20)


def test_the_window_of_a_file_and_slopes(tmp_path, gray):
    write_dicom(tmp_path / "a.dcm", gray, window=(1000, 400))
    seen = read_image(tmp_path / "a.dcm", PixelFormat(3, 16, "window")).pixels[..., 0]
    assert (seen[gray <= 800] == 0).all() and (seen[gray >= 1200] == 65535).all()
    middle = (gray > 800) & (gray < 1200)
    assert np.allclose(seen[middle], (gray[middle] - 800.0) / 400 * 65535, atol=0.6)
    write_dicom(tmp_path / "b.dcm", gray)
    without = read_image(tmp_path / "b.dcm", PixelFormat(3, 16, "window")).pixels
    assert (without == read_image(tmp_path / "b.dcm", PixelFormat(3, 16, "type")).pixels).all()
    import pydicom

    file = pydicom.dcmread(tmp_path / "b.dcm")
    file.RescaleSlope, file.RescaleIntercept = 2, -1000
    file.save_as(tmp_path / "b.dcm")
    raw = raw_image(tmp_path / "b.dcm")
    assert (raw.values[..., 0] == gray * 2.0 - 1000).all() and (raw.low, raw.high) == (-1000, 7190)


def test_bands_are_the_same_from_every_kind_of_file(tmp_path, bands):
    import h5py
    import tifffile

    np.save(tmp_path / "first.npy", bands)
    np.save(tmp_path / "last.npy", bands.transpose(1, 2, 0))
    np.savez(tmp_path / "one.npz", bands)
    np.savez(tmp_path / "many.npz", a=bands, b=1 - bands)
    np.savez(tmp_path / "stack.npz", x=np.stack([1 - bands, bands]))
    tifffile.imwrite(tmp_path / "pages.tif", bands)
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file["deep/a"] = bands
        file["stack"] = np.stack([1 - bands, bands])
    expected = np.rint(bands.transpose(1, 2, 0) * 65535)
    for name in ("first.npy", "last.npy", "one.npz", "many.npz/a", "stack.npz/x/1", "pages.tif"):
        assert np.abs(read_image(tmp_path / name, SIX).pixels - expected).max() <= 1, name
    for name in ("all.h5/deep/a", "all.h5/stack/1"):
        assert np.abs(read_image(tmp_path / name, SIX).pixels - expected).max() <= 1, name
    shown = to_shown(read_image(tmp_path / "first.npy", SIX).pixels)
    assert shown.dtype == np.uint8 and shown.shape == (20, 30, 3)
    assert np.abs(shown - expected[..., :3] / 257).max() <= 1


def test_encoded_images_in_a_container(tmp_path):
    import h5py

    image = np.random.default_rng(2).integers(0, 255, (16, 24, 3)).astype(np.uint8)
    data = jpeg_bytes(image)
    (tmp_path / "a.jpg").write_bytes(data)
    with h5py.File(tmp_path / "all.hdf5", "w") as file:
        file["ISIC_1"] = np.void(data)
        file["ISIC_2"] = np.frombuffer(data, np.uint8)
    for key in ("ISIC_1", "ISIC_2"):
        assert (read_image(tmp_path / "all.hdf5" / key).pixels == decode(tmp_path / "a.jpg")).all()
    with raises("bad-image", "ISIC_3"):
        read_image(tmp_path / "all.hdf5" / "ISIC_3")


def test_a_container_names_no_other_file(tmp_path):
    """A download could show what else lies on this machine."""
    import h5py

    (tmp_path / "secret").write_bytes(bytes(range(64)))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["a"] = np.zeros((8, 8), np.uint8)
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file["link"] = h5py.ExternalLink("other.h5", "a")
        file.create_dataset("raw", (8, 8), np.uint8, external=[(str(tmp_path / "secret"), 0, 64)])
        layout = h5py.VirtualLayout((8, 8), np.uint8)
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "a", (8, 8))
        file.create_virtual_dataset("virtual", layout)
    for key in ("link", "raw", "virtual"):
        with raises("bad-image", key):
            read_image(tmp_path / "all.h5" / key)


def test_16_bits_of_a_png_are_kept_where_the_card_says_so(tmp_path):
    values = np.array([[[0, 256, 65535, 65535], [100, 200, 300, 0]]], np.uint16)  # red, green, blue, opacity
    cv2.imwrite(str(tmp_path / "a.png"), cv2.cvtColor(values, cv2.COLOR_RGBA2BGRA))
    kept = read_image(tmp_path / "a.png", PixelFormat(3, 16)).pixels
    assert kept.tolist() == [[[0, 256, 65535], [65535, 65535, 65535]]]
    assert read_image(tmp_path / "a.png").pixels.dtype == np.uint8  # as ever without the card's word
    assert np.allclose(to_levels(kept)[0, 0], [0, 256 / 257, 255], atol=1e-4)


def test_what_does_not_fit_is_told(tmp_path, gray, bands):
    np.save(tmp_path / "six.npy", bands)
    assert "6" in reason(tmp_path / "six.npy", PixelFormat(4, 16, (0.0, 1.0)))
    assert "float32" in reason(tmp_path / "six.npy", PixelFormat(6, 16))
    odd = bands.copy()
    odd[0, 0, :3] = np.nan, np.inf, np.nan
    np.save(tmp_path / "odd.npy", odd)
    assert reason(tmp_path / "odd.npy", SIX).startswith("3 of 3600")
    filled = read_image(tmp_path / "odd.npy", PixelFormat(6, 16, (0.0, 1.0), nan=0.0)).pixels
    assert (filled[0, :3, 0] == 0).all()
    cv2.imwrite(str(tmp_path / "shallow.png"), (gray >> 4).astype(np.uint8))
    assert "4095" in reason(tmp_path / "shallow.png", TWELVE)  # 8 bits among images of 12
    np.save(tmp_path / "row.npy", np.zeros(7))
    np.save(tmp_path / "texts.npy", np.array([["a", "b"]]))
    np.save(tmp_path / "objects.npy", np.array([[{}]]), allow_pickle=True)
    np.save(tmp_path / "empty.npy", np.zeros((0, 4)))
    for name in ("row.npy", "texts.npy", "objects.npy", "empty.npy", "absent.npy"):
        assert reason(tmp_path / name, SIX)
    write_dicom(tmp_path / "a.dcm", gray)
    np.savez(tmp_path / "a.npz", bands)
    for name in ("a.dcm", "six.npy", "a.npz"):
        whole = (tmp_path / name).read_bytes()
        for share in (0.9, 0.5, 0.01, 0):
            (tmp_path / name).write_bytes(whole[: int(share * len(whole))])
            assert reason(tmp_path / name, SIX), (name, share)


def test_a_missing_library_is_asked_for_by_name(tmp_path, monkeypatch):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(b"\x5c\x01\0\0" + bytes(400)))
    import sys

    monkeypatch.setitem(sys.modules, "nibabel", None)
    with raises("bad-image", "nibabel", "a.nii.gz"):
        read_image(tmp_path / "a.nii.gz")


def test_the_cache_keeps_what_the_format_has(tmp_path, gray, bands):
    cv2.imwrite(str(tmp_path / "a.png"), gray)
    deep = ImageCache.open(tmp_path / "cache", [tmp_path / "a.png"], 12, "pad", pixels=TWELVE)
    assert deep[0].dtype == np.uint16 and deep[0].shape == (12, 12, 3) and deep[0].max() > 255
    flat = ImageCache.open(tmp_path / "cache", [tmp_path / "a.png"], 12, "pad")
    assert flat[0].dtype == np.uint8 and flat.file != deep.file
    np.save(tmp_path / "b.npy", bands)
    for fit in ("pad", "stretch", "crop"):
        kept = ImageCache.open(tmp_path / "cache", [tmp_path / "b.npy"], 12, fit, pixels=SIX)
        assert kept[0].shape == (12, 12, 6)
        again = ImageCache.open(tmp_path / "cache", [tmp_path / "b.npy"], 12, fit, pixels=SIX)
        assert (again[0] == kept[0]).all()


# The whole way

WORDS = (
    "model.name=resnet8",
    "model.pretrained=false",
    "images.size=16",
    "data.folds=2",
    "augment.transforms=[HorizontalFlip]",
)
WORDS += ("train.batch=8", "machine.threads=1", "machine.device=cpu", "train.precision=fp32")
WORDS += ("machine.layout=channels_last",)  # and not what a trial finds


def host(folder: Path, save: object) -> None:
    """48 training and 8 test images of two classes; `save(path, class, number)` writes one, and gives its name."""
    (folder / "train").mkdir(parents=True)
    (folder / "test").mkdir()
    names = [
        [save(folder / part / f"{part}{k:03d}", k % 2, k + n) for k in range(n)]
        for part, n in (("train", 48), ("test", 8))
    ]
    train, test = (
        [f"{part}{k:03d}" for k in range(len(held))] for part, held in zip(("train", "test"), names, strict=True)
    )
    pd.DataFrame({"id": train, "label": ["ab"[k % 2] for k in range(len(train))]}).to_csv(
        folder / "train.csv", index=False
    )
    pd.DataFrame({"id": test, "label": "a"}).to_csv(folder / "sample_submission.csv", index=False)


def card(home: Path, name: str) -> dict:
    return yaml.safe_load((home / f"competition/{name}/card.yaml").read_text())


def logits(home: Path, name: str, run: str = "r") -> np.ndarray:
    with np.load(home / f"runs/{name}/{run}/seed0/fold0/logits/oof-identity.npz") as table:
        return table["logits"]


def test_the_whole_way_with_six_channels(home, tmp_path, capsys):
    def save(path: Path, kind: int, number: int) -> None:
        values = np.random.default_rng(number).normal(0, 1, (6, 20, 24)).astype(np.float32)
        values[1 + 3 * kind] += 4  # only the bands tell the classes
        np.save(f"{path}.npy", values)

    host(tmp_path / "planes", save)
    assert prepare([str(tmp_path / "planes"), "id=planes"]) == 0
    facts = card(home, "planes")["image"]
    assert facts["channels"] == 6 and facts["values"][0] < -2 and facts["values"][1] > 5
    assert (home / "competition/planes/preview.html").stat().st_size > 5000
    assert train(["fold=0..1", "competition=planes", "run=r", "train.epochs=6", "optim.lr=1e-2", *WORDS]) == 0
    capsys.readouterr()
    assert predict(["competition=planes", "run=r", "--tta", "--export", "--json"]) == 0
    out = json.loads(capsys.readouterr().out)
    answers = pd.read_csv(out["submission"])
    assert (answers["label"] == [("a", "b")[k % 2] for k in range(8)]).all()
    assert report(["competition=planes", "run=r"]) == 0
    # A network that was trained on colours begins with its first layer spread over the bands.
    frozen = ["competition=planes", "run=p", "config=probe", "images.size=32", "images.load_size=32", "data.folds=2"]
    assert train(["fold=0", *frozen, "machine.device=cpu", "machine.threads=1"]) == 0
    assert len(logits(home, "planes", "p")) == 24
    file, images = home / "runs/planes/r/export/r.safetensors", home / "competition/planes/data/test"
    assert predict_file([str(file), str(images), f"out={tmp_path / 'again.csv'}"]) == 0
    again = pd.read_csv(tmp_path / "again.csv")
    assert again["answer"].tolist() == answers["label"].tolist()
    # Another depth among the rest is told, and answered by the classes' shares.
    np.save(images / "test003.npy", np.zeros((5, 20, 24), np.float32))
    refused(capsys, predict, ["competition=planes", "run=r"], "bad-image", "test003.npy", "5", "6")


def test_dicom_trains_as_the_png_that_it_was_made_of(home, tmp_path):
    def stored(kind: int, number: int) -> np.ndarray:
        values = np.random.default_rng(number).normal(1000, 200, (20, 20))
        values[4:12, 4:12] += 600 + 600 * kind
        return values.clip(0, 4095).astype(np.uint16)

    host(tmp_path / "png", lambda path, kind, k: cv2.imwrite(f"{path}.png", stored(kind, k)))
    host(
        tmp_path / "dcm", lambda path, kind, k: write_dicom(Path(f"{path}.dcm"), 4095 - stored(kind, k), inverted=True)
    )
    for name in ("png", "dcm"):
        assert prepare([str(tmp_path / name), f"id={name}"]) == 0
        assert card(home, name)["image"] == {"values": [0, 4095]}
        assert train(["fold=0", f"competition={name}", "run=r", "train.epochs=1", *WORDS]) == 0
        assert predict([f"competition={name}", "run=r"]) == 0
    assert (logits(home, "png") == logits(home, "dcm")).all()
    png, dcm = (next((home / "submissions" / name).glob("r-*.csv")).read_text() for name in ("png", "dcm"))
    assert png == dcm and png.count("\n") == 9  # checked against the sample's eight rows


def test_a_container_is_recognised(home, tmp_path):
    import h5py

    held = {part: {} for part in ("train", "test")}

    def save(path: Path, kind: int, number: int) -> None:
        image = np.random.default_rng(number).integers(0, 80, (20, 20, 3)).astype(np.uint8)
        image[..., kind] += 150
        held[path.parent.name][path.name] = np.void(jpeg_bytes(image))

    folder = tmp_path / "isic"
    host(folder, save)
    for part, images in held.items():
        (folder / part).rmdir()
        with h5py.File(folder / f"{part}-image.hdf5", "w") as file:
            for key, value in images.items():
                file[key] = value
    assert prepare([str(folder), "id=isic"]) == 0
    found = card(home, "isic")
    assert found["train"]["images"] == "train-image.hdf5/{id}" and found["test"]["images"] == "test-image.hdf5/{id}"
    assert "image" not in found  # JPEG of 8 bits
    assert train(["fold=0..1", "competition=isic", "run=r", "train.epochs=6", "optim.lr=1e-2", *WORDS]) == 0
    assert predict(["competition=isic", "run=r"]) == 0
    (csv,) = (home / "submissions/isic").glob("r-*.csv")
    assert (pd.read_csv(csv)["label"] == [("a", "b")[k % 2] for k in range(8)]).all()
