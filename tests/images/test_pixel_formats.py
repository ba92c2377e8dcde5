"""How numbers become pixels: polarity, ranges of types and of channels; and what `prepare` makes of the files."""

import pickle
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile

from src import prepare
from src.competition.card import ImageFacts, load_card
from src.competition.samples import load_samples
from src.images.decode import ImageFault
from src.images.pixel_format import STANDARD, PixelFormat, RawImage
from src.images.read import read_for_both, read_image
from tests.fixtures.codes import refused
from tests.fixtures.deep_files import write_dicom


@pytest.fixture
def gray() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4096, (20, 30)).astype(np.uint16)


def shown(path: Path, values: object, **more: object) -> np.ndarray:
    return read_image(path, PixelFormat(3, 16, values, **more)).pixels


@pytest.mark.parametrize("ends", [(100.0, 3000.0), (0.0, 1023.0), (2000.0, 4095.0)])
def test_both_polarities_are_the_png_for_any_range(tmp_path, gray, ends):
    cv2.imwrite(str(tmp_path / "a.png"), gray)
    write_dicom(tmp_path / "plain.dcm", gray)
    write_dicom(tmp_path / "turned.dcm", 4095 - gray, inverted=True)
    expected = np.rint(((gray - np.float32(ends[0])) / np.float32(ends[1] - ends[0])).clip(0, 1) * 65535)
    for name in ("a.png", "plain.dcm", "turned.dcm"):
        assert (shown(tmp_path / name, ends)[..., 0] == expected).all(), name
    assert (shown(tmp_path / "plain.dcm", "own") == shown(tmp_path / "turned.dcm", "own")).all()
    write_dicom(tmp_path / "plain.dcm", gray, window=(1000, 400))
    write_dicom(tmp_path / "turned.dcm", 4095 - gray, inverted=True, window=(3095, 400))
    seen = shown(tmp_path / "turned.dcm", "window").astype(int) - shown(tmp_path / "plain.dcm", "window")
    assert np.abs(seen).max() <= 1


def test_standard_is_known_by_its_value(tmp_path, gray):
    """After pickling too; and a card's word is another rule than none, also with the usual values."""
    again = pickle.loads(pickle.dumps(STANDARD))
    said = ImageFacts(values="type", bits=8).pixels
    assert again == STANDARD != said and STANDARD.to_json() is None and said.to_json()
    cv2.imwrite(str(tmp_path / "a.png"), gray * 16)
    pages = np.random.default_rng(1).integers(0, 255, (3, 12, 14), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack")
    for name in ("a.png", "a.tif"):
        wanted = read_image(tmp_path / name).pixels
        assert (read_image(tmp_path / name, again).pixels == wanted).all()
        assert (read_for_both(tmp_path / name, again, 8, 8)[0].pixels == wanted).all()
        assert (read_image(tmp_path / name, PixelFormat.from_json(said.to_json())).pixels != wanted).any()
    assert (read_image(tmp_path / "a.tif", said).pixels == np.moveaxis(pages, 0, 2)).all()


def test_a_wide_type_is_no_range(tmp_path, gray):
    for kind in (np.int64, np.uint32, np.int32):
        np.save(tmp_path / "a.npy", gray.astype(kind))
        with pytest.raises(ImageFault, match=np.dtype(kind).name):
            shown(tmp_path / "a.npy", "type")
        assert (shown(tmp_path / "a.npy", (0.0, 4095.0))[..., 0] == np.rint(gray / 4095 * 65535)).all()
    np.save(tmp_path / "mask.npy", gray > 2000)
    assert set(np.unique(read_image(tmp_path / "mask.npy").pixels)) == {0, 255}  # true is white


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", ">u2", ">i2"])
def test_small_integers_become_what_the_same_numbers_of_a_wide_type_do(kind):
    """The small ones are looked up in a table, the wide ones are computed."""
    limits, rng = np.iinfo(kind), np.random.default_rng(0)
    ends = float(limits.min), float(limits.max)
    for channels, values in ((1, "type"), (1, "own"), (2, (-90.5, 200.0)), (2, ((-90.5, 200.0), (0.0, 127.0)))):
        held = rng.integers(limits.min, limits.max + 1, (40, 30, channels)).astype(kind)
        for bits, inverted in ((8, False), (16, False), (16, True)):
            form = PixelFormat(3 if channels == 1 else channels, bits, values)
            looked_up, computed = (
                form.pixels(RawImage(numbers, b"", *ends, inverted=inverted)) for numbers in (held, held.astype("i4"))
            )
            assert looked_up.dtype == computed.dtype and (looked_up == computed).all(), (values, bits, inverted)


def test_each_channel_has_its_range(tmp_path):
    raw = RawImage(np.stack([np.linspace(-25, 0, 12), np.linspace(0, 3000, 12)], axis=1).reshape(3, 4, 2), b"")
    form = ImageFacts(channels=2, values=[[-25, 0], [0, 3000]]).pixels
    assert PixelFormat.from_json(form.to_json()) == form
    made = form.pixels(raw)
    assert (made[..., 0] == made[..., 1]).all() and (made.min(), made.max()) == (0, 65535)
    assert ImageFacts(channels=1, values=[[0, 5]]).pixels == PixelFormat(3, 16, (0.0, 5.0))
    for wrong in ({"channels": 3, "values": [[0, 1], [0, 1]]}, {"channels": 2, "values": [[0, 1], [2, 2]]}):
        with pytest.raises(ValueError, match="values"):
            ImageFacts(**wrong)


# What `prepare` makes of the files


def npy(values: np.ndarray, path: Path) -> None:
    np.save(path.with_suffix(".npy"), values)


def radar(rng: np.random.Generator) -> np.ndarray:
    return np.stack([rng.normal(-20, 2, (10, 12)), rng.normal(-12, 2, (10, 12)), rng.uniform(0, 3000, (10, 12))])


def bands(rng: np.random.Generator) -> np.ndarray:
    """uint16 of five bands, of which the last is a mask."""
    return np.stack([*rng.integers(0, 9000, (4, 10, 12)), rng.integers(0, 200, (10, 12))]).astype(np.uint16)


def scan(slope: float | None, rng: np.random.Generator, path: Path) -> None:
    """Of 12 bits, every third of the other polarity; `slope` with an intercept of 0."""
    import pydicom

    path = path.with_suffix(".dcm")
    turned = int(path.stem[1:]) % 3 == 0
    stored = rng.integers(0, 3000, (10, 12)).astype(np.uint16)
    write_dicom(path, 4095 - stored if turned else stored, inverted=turned)
    if slope is not None:
        file = pydicom.dcmread(path)
        file.RescaleSlope, file.RescaleIntercept = slope, 0
        file.save_as(path)


def windowed(rng: np.random.Generator, path: Path) -> None:
    write_dicom(path.with_suffix(".dcm"), rng.integers(0, 3000, (10, 12)).astype(np.uint16), window=(1000, 400))


def host(root: Path, write: object, train: int = 8) -> None:
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("test", 3)):
        (root / part).mkdir(parents=True)
        for k in range(count):
            write(rng, root / part / f"{part[1]}{k}")
    ids = [f"r{k}" for k in range(train)]
    pd.DataFrame({"id": ids, "kind": ["x", "y"] * (train // 2)}).to_csv(root / "train.csv", index=False)
    pd.DataFrame({"id": [f"e{k}" for k in range(3)], "kind": "x"}).to_csv(root / "sample_submission.csv", index=False)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("src.reporting.preview.write_preview", lambda done: done.card.folder / "preview.html")


CASES = {
    "int64": (lambda rng, path: npy(rng.integers(0, 4000, (10, 12)), path), {"values": [0, 4095]}),
    "int16": (lambda rng, path: npy(rng.integers(0, 250, (10, 12)).astype(np.int16), path), {"values": [0, 255]}),
    "slope-1": (lambda rng, path: scan(1, rng, path), {"values": [0, 4095]}),
    "slope-2": (lambda rng, path: scan(2, rng, path), {"values": [0, 16383]}),
    "no-slope": (lambda rng, path: scan(None, rng, path), {"values": [0, 4095]}),
    "window": (windowed, {"values": "window"}),
    "colours": (lambda rng, path: npy((rng.random((10, 12, 3)) * [9e3, 200, 9e3]).astype(np.uint16), path),
                {"values": [0, 16383]}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_plain_types_have_plain_ranges(tmp_path, case):
    write, expected = CASES[case]
    host(tmp_path / "host", write)
    assert prepare.main([str(tmp_path / "host"), "id=c"]) == 0
    card = load_card("c")
    assert card.image == ImageFacts(**expected)
    found = [read_image(Path(path), card.pixel_format) for path in load_samples(card).test["path"]]
    assert all(0 < one.pixels.mean() < 65535 for one in found)


@pytest.mark.parametrize(("make", "small"), [(radar, 0), (bands, 4)])
def test_channels_far_apart_have_a_range_each(tmp_path, make, small):
    host(tmp_path / "host", lambda rng, path: npy(make(rng).astype(np.float32 if make is radar else np.uint16), path))
    assert prepare.main([str(tmp_path / "host"), "id=c"]) == 0
    card = load_card("c")
    values = card.image.values
    assert len(values) == card.image.channels and values[small][1] - values[small][0] < 300 < np.ptp(values)
    seen = read_image(Path(load_samples(card).train["path"][0]), card.pixel_format).pixels
    assert np.ptp(seen[..., small].astype(int)) > 25_000  # and not a few of the 65,536 grays


@pytest.mark.parametrize(
    "words",
    [["image.values=[[-25,0],[-25,0],[0,3000]]"], ["image={channels: 3, values: [[-25,0],[-25,0],[0,3000]]}"]],
)
def test_what_is_given_stands(tmp_path, capsys, words):
    host(tmp_path / "host", lambda rng, path: npy(radar(rng).astype(np.float32), path))
    assert prepare.main([str(tmp_path / "host"), "id=c", *words]) == 0
    assert load_card("c").image == ImageFacts(values=[[-25, 0], [-25, 0], [0, 3000]])
    refused(
        capsys, prepare.main, [tmp_path / "host", "id=d", "image.values=[[0,1],[0,1]]"], "bad-card", "values", "2", "3"
    )
    refused(capsys, prepare.main, [tmp_path / "host", "id=d", "image.valuse=own"], "unknown-key", "image.valuse")


def test_too_many_channels_are_refused_before_anything_is_written(tmp_path, capsys):
    host(
        tmp_path / "host", lambda rng, path: tifffile.imwrite(f"{path}.tif", rng.random((70, 72, 80)).astype("float32"))
    )
    refused(capsys, prepare.main, [str(tmp_path / "host"), "id=c"], "too-many-channels", "70", "64")
    assert not (tmp_path / "home/competition/c/card.yaml").exists()


@pytest.mark.parametrize(("without", "values", "guess"), [(0, "window", False), (1, "window", True), (19, None, False)])
def test_every_file_is_asked_for_its_window(tmp_path, without, values, guess):
    """Of a hundred some eighty are looked at: those that name none are among the rest."""
    train = [f"train/r{k}.dcm" for k in range(100)]
    looked = set(sorted(train)[::2])  # LOOKED_AT of them, rounded up
    odd = [Path(path).stem for path in train if path not in looked][:without]

    def write(rng: np.random.Generator, path: Path) -> None:
        if path.stem in odd:
            write_dicom(path.with_suffix(".dcm"), np.full((10, 12), 2048, np.uint16))
        else:
            windowed(rng, path)

    host(tmp_path / "host", write, train=100)
    assert prepare.main([str(tmp_path / "host"), "id=c"]) == 0
    card = load_card("c")
    assert card.image.values == (values or (0, 4095))
    told = (card.folder / "card.yaml").read_text().split("values:")[1].splitlines()[0]
    assert ("guess" in told) == guess and (not guess or odd[0] in told)
    if odd:
        path = next(Path(path) for path in load_samples(card).train["path"] if Path(path).stem == odd[0])
        assert read_image(path, card.pixel_format).pixels[0, 0, 0] == round(2048 / 4095 * 65535)
