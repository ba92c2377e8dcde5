"""Images of more pixels than are read: reduced where the file allows it, else a clear fault, and never a crash."""

import pickle
from pathlib import Path

import cv2
import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from src import prepare
from src.competition.auto_config import usual_side
from src.competition.card import load_card
from src.competition.samples import load_samples
from src.images import decode
from src.images.decode import ImageFault, TooLarge
from src.images.pixel_format import STANDARD, PixelFormat
from src.images.read import image_size, raw_image, read_for_both, read_image
from src.images.regions import tile_names
from src.images.stream import ImageStream
from tests.fixtures.deep_files import jpeg_bytes, write_dicom

LIMIT = 10_000
DEEP = PixelFormat(3, 16, "type")


@pytest.fixture(autouse=True)
def limit(monkeypatch):
    monkeypatch.setattr(decode, "LARGEST", LIMIT)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", LIMIT // 2)  # Pillow refuses twice as many when it opens a file


def smooth(height: int = 240, width: int = 320) -> np.ndarray:
    """Different everywhere, and nearly the same when it is reduced."""
    down, across = np.mgrid[:height, :width]
    return np.stack([down * 250 // height, across * 250 // width, (down + across) % 200], axis=2).astype(np.uint8)


@pytest.fixture
def jpeg(tmp_path) -> Path:
    """240 x 320, which fits when it is reduced by four."""
    cv2.imwrite(str(tmp_path / "a.jpg"), smooth()[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])
    return tmp_path / "a.jpg"


def test_a_large_jpeg_has_a_size_and_is_read_on_demand(jpeg):
    assert image_size(jpeg) == image_size(jpeg, STANDARD, 50) == (320, 240)
    with pytest.raises(TooLarge) as caught:
        image_size(jpeg, STANDARD, 100)
    assert pickle.loads(pickle.dumps(caught.value)).at_least == caught.value.at_least == 60
    stream = ImageStream([jpeg], 32, "stretch")
    stream.check()
    assert not stream.faults and np.abs(stream[0].astype(int).mean(axis=(0, 1)) - smooth().mean(axis=(0, 1))).max() < 3
    assert "pixels" in ImageStream([jpeg], 100, "stretch").fault(0)
    deep = read_image(jpeg, DEEP, 50)
    assert deep.size == (240, 320) and deep.pixels.shape == (60, 80, 3)


@pytest.mark.parametrize(
    ("part", "rows", "columns"),
    [
        ("tile=1,0,2,2", (120, 240), (0, 160)),
        ("box=80,40,160,120", (40, 160), (80, 240)),
        ("corners=80,40,240,160", (40, 160), (80, 240)),
        ("yolo=0.5,0.5,0.5,0.5", (60, 180), (80, 240)),
        ("box=40,40,240,200/tile=0,1,1,2", (40, 240), (160, 280)),
    ],
)
def test_parts_of_a_large_jpeg_are_where_they_are_named(jpeg, part, rows, columns):
    whole = smooth()[slice(*rows), slice(*columns)]
    for form in (STANDARD, DEEP):
        found = read_image(jpeg / part, form, 20)
        assert found.size == whole.shape[:2] and image_size(jpeg / part, form, 20) == whole.shape[1::-1]
        seen = found.pixels.astype(float) / (257 if form is DEEP else 1)
        expected = cv2.resize(whole, seen.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(seen - expected)[..., :2].mean() < 3
        for read in (read_image, image_size):
            with pytest.raises(ImageFault):  # not so few pixels that detail is lost
                read(jpeg / part, form, 90)
    assert abs(raw_image(jpeg / part).values[..., 0].mean() - whole[..., 0].mean()) < 3


@pytest.fixture
def pyramid(tmp_path) -> Path:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(smooth(), subifds=2, photometric="rgb", tile=(64, 64))
        for by in (2, 4):
            file.write(smooth()[::by, ::by], subfiletype=1, photometric="rgb", tile=(64, 64))
    return tmp_path / "a.tif"


def test_a_large_tiff_is_read_by_its_smaller_copies(pyramid, monkeypatch):
    monkeypatch.setattr(decode, "LARGEST", 2 * LIMIT)
    whole, half = smooth(), smooth()[::2, ::2]
    for form in (STANDARD, PixelFormat(3, 8, "type")):
        found = read_image(pyramid, form, 100)
        assert found.size == (240, 320) and (found.pixels == half).all()
        assert image_size(pyramid, form) == image_size(pyramid, form, 100) == (320, 240)
        cut = read_image(pyramid / "box=80,40,160,120", form, 50)
        assert cut.size == (120, 160) and (cut.pixels == half[20:80, 40:120]).all()
        for read in (read_image, image_size):
            with pytest.raises(TooLarge):
                read(pyramid, form, 130)
    assert (read_for_both(pyramid, STANDARD, 20, 100)[1] == half).all()
    tifffile.imwrite(pyramid, whole, photometric="rgb")
    for form in (STANDARD, DEEP):  # without copies
        for read in (read_image, image_size):
            with pytest.raises(TooLarge):
                read(pyramid, form, 10)


def arrays(folder: Path) -> dict[str, Path]:
    """A file of each kind with 60,000 numbers: 30,000 is the most."""
    values = np.zeros((200, 300), np.uint16)
    np.save(folder / "a.npy", values)
    np.save(folder / "s.npy", np.stack([values] * 70))
    np.savez_compressed(folder / "a.npz", x=values)
    np.savez_compressed(folder / "s.npz", x=np.stack([values] * 70))
    with h5py.File(folder / "a.h5", "w") as file:
        file["x"], file["s"] = values, np.stack([values] * 70)
    write_dicom(folder / "a.dcm", values)
    tifffile.imwrite(folder / "a.tif", values)
    cv2.imwrite(str(folder / "a.png"), values)
    names = "a.npy s.npy/3 a.npz a.npz/x s.npz/x/3 a.h5/x a.h5/s/3 a.dcm a.tif a.png"
    return {name: folder / name for name in names.split()}


def test_arrays_that_are_too_large_are_told(tmp_path):
    for name, path in arrays(tmp_path).items():
        with pytest.raises(ImageFault) as caught:
            read_image(path, DEEP)
        assert str(LIMIT) in caught.value.reason, name


def test_too_little_memory_is_no_damage(tmp_path, monkeypatch):
    """And so no reason to leave an image out, or to answer it by the classes' shares."""
    monkeypatch.setattr(decode, "LARGEST", 10**6)
    found = arrays(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("pydicom.dataset.Dataset.pixel_array", property(full))
    monkeypatch.setattr("tifffile.TiffPageSeries.asarray", full)
    monkeypatch.setattr("numpy.lib.format.read_array", full)
    monkeypatch.setattr("src.images.readers.arrays.np.frombuffer", full)  # of a file whose bytes are in memory
    for name in ("a.dcm", "a.tif", "a.npy", "a.npz", "a.npz/x"):
        with pytest.raises(MemoryError):
            read_image(found[name], DEEP)


def test_an_encoded_image_in_a_container_is_as_sharp_as_a_file(tmp_path, monkeypatch):
    """Where `prepare` looks at an image and makes its square of one reading."""
    monkeypatch.setattr(decode, "LARGEST", 10**6)
    (tmp_path / "a.jpg").write_bytes(jpeg_bytes(smooth()))
    (tmp_path / "bare").write_bytes(jpeg_bytes(smooth()))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.void(jpeg_bytes(smooth()))
    for name in ("a.jpg", "bare", "a.h5/x"):
        seen, square = read_for_both(tmp_path / name, STANDARD, 30, 120)
        assert (seen.pixels.shape, square.shape) == ((30, 40, 3), (120, 160, 3)), name
        assert (square == read_image(tmp_path / name, STANDARD, 120).pixels).all()


@pytest.mark.parametrize("kind", ["jpg", "tif"])
def test_large_images_are_prepared(tmp_path, monkeypatch, jpeg, pyramid, kind):
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("src.reporting.preview.write_preview", lambda done: done.card.folder / "preview.html")
    monkeypatch.setattr("src.competition.quality.image_index.DECODED_SIDE", 40)
    root, data = tmp_path / "host", {"jpg": jpeg, "tif": pyramid}[kind].read_bytes()
    for part, count in (("train", 8), ("test", 3)):
        (root / part).mkdir(parents=True)
        for k in range(count):
            (root / part / f"{part[1]}{k}.{kind}").write_bytes(data + f"{part}{k}".encode())
    pd.DataFrame({"id": [f"r{k}" for k in range(8)], "kind": ["x", "y"] * 4}).to_csv(root / "train.csv", index=False)
    pd.DataFrame({"id": [f"e{k}" for k in range(3)], "kind": "x"}).to_csv(root / "sample_submission.csv", index=False)
    assert prepare.main([str(root), "id=c"]) == 0
    card = load_card("c")
    samples = load_samples(card)
    assert (len(samples.train), len(samples.test), card.image) == (8, 3, None)
    assert usual_side(samples) == 240 and usual_side(samples, "2x2") == 120
    stream = ImageStream([name for path in samples.test["path"] for name in tile_names(path, "2x2")], 30, "stretch")
    stream.check()
    assert not stream.faults and stream[5][..., 0].mean() < 100 < stream[6][..., 0].mean()
