"""Frames of a file as a bag of pictures: `clips/{id}.gif/frame=*`, from `prepare` to a checked CSV."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from src.export.predict import main as answer
from src.images.decode import ImageFault
from src.images.frames import frame_names
from src.images.pixel_format import PixelFormat
from src.images.read import identifying_bytes, image_size, raw_image, read_image
from src.predict import main as predict
from src.prepare import main as prepare
from src.train import main as train
from tests.fixtures.codes import raises
from tests.fixtures.deep_files import write_dicom
from tests.images.test_bags import NET

RULES = [f"{part}.images={part}/{{clip}}.gif/frame=*" for part in ("train", "test")]


def animated(path: Path, frames: np.ndarray, **more: object) -> None:
    first, *others = [Image.fromarray(one) for one in frames]
    first.save(path, save_all=True, append_images=others, **more)


def write_clips(folder: Path) -> pd.Series:
    """Clips of four gray frames; in half of them the last one holds a light spot."""
    rng, truth = np.random.default_rng(0), {}
    for part, count in (("train", 48), ("test", 8)):
        (folder / part).mkdir(parents=True)
        for k in range(count):
            frames = rng.integers(0, 80, (4, 16, 16)).astype(np.uint8)
            frames[3, 4:12, 4:12] = 250 if k % 2 else 40
            animated(folder / part / f"{part}{k}.gif", frames)
        truth[part] = pd.DataFrame({"clip": [f"{part}{k}" for k in range(count)], "spot": ["no", "yes"] * (count // 2)})
    truth["train"].to_csv(folder / "train.csv", index=False)
    truth["test"].assign(spot="no").to_csv(folder / "sample_submission.csv", index=False)
    return truth["test"].set_index("clip")["spot"]


def test_from_prepare_to_a_checked_csv_and_a_file_that_predicts_alone(home, tmp_path, capsys):
    truth = write_clips(tmp_path / "host")
    assert prepare([str(tmp_path / "host"), "id=clips", "bag=files", *RULES, "confirm=all"]) == 0
    run = ["competition=clips", "run=r"]
    learned = ["train.epochs=14", "optim.lr=1e-2", "train.ema_decay=0.9", "model.bag=max"]
    assert train([*run, "fold=0..1", *learned, *NET]) == 0
    assert predict([*run, "--tta", "--export", "predict.views=[identity]"]) == 0
    answers = pd.read_csv(home / "submissions/clips/r.csv").set_index("clip")["spot"]
    assert (answers[truth.index] == truth).mean() > 0.8  # the first frames alone tell nothing
    (cache,) = (home / "competition/clips/cache").glob("16px-*.npy")
    assert len(np.load(cache)) == 4 * 56
    capsys.readouterr()
    assert answer([str(home / "runs/clips/r/export/r.safetensors"), str(tmp_path / "host/test"), "--json"]) == 0
    found = {Path(one["file"]).stem: one["answer"] for one in json.loads(capsys.readouterr().out)["answers"]}
    assert found == answers[truth.index].to_dict()


@pytest.fixture
def frames() -> np.ndarray:
    """(5, 20, 30), each with a band of its own."""
    made = np.full((5, 20, 30), 7, np.uint8)
    for k, one in enumerate(made):
        one[:, 4 * k : 4 * k + 6] = 40 * k + 20
    return made


@pytest.mark.parametrize("kind", ["gif", "webp", "tif", "deep.tif", "dcm"])
def test_each_frame_is_an_image_of_its_own(tmp_path, frames, kind):
    file, form, top = tmp_path / f"a.{kind}", PixelFormat(), 255
    if kind == "dcm":
        write_frames(file, frames)
        form, top = PixelFormat(3, 16, (0.0, 255.0)), 65535
    elif kind == "deep.tif":
        tifffile.imwrite(file, frames.astype(np.uint16) * 257, photometric="minisblack")
        form, top = PixelFormat(3, 16), 65535
    else:
        animated(file, frames, **({"lossless": True} if kind == "webp" else {}))
    names = frame_names(str(file), file)
    assert len(names) == len(frames)
    for k in (0, 3, 1, 4):
        seen = read_image(Path(names[k]), form)
        assert np.abs(seen.pixels[..., 0] / top * 255 - frames[k]).max() < 1, k
        assert image_size(Path(names[k])) == (30, 20)
        assert seen.data == identifying_bytes(Path(names[k])) != identifying_bytes(Path(names[2]))
    for wrong in ("5", "x", "-1"):
        with pytest.raises(ImageFault):
            read_image(file / f"frame={wrong}", form)
    half = read_image(file / "frame=2" / "tile=0,0,1,2", form).pixels
    assert np.abs(half[..., 0] / top * 255 - frames[2, :, :15]).max() < 1


def shapes(file: Path, channels: int = 3) -> list[tuple[int, ...]]:
    """Of all frames of a file, before any rule."""
    return [raw_image(Path(name), channels).values.shape for name in frame_names(str(file), file)]


def test_a_page_is_an_image_whatever_its_channels(tmp_path):
    rng, file = np.random.default_rng(0), tmp_path / "a.tif"
    colours = rng.integers(0, 255, (20, 30, 3)).astype(np.uint8)
    tifffile.imwrite(file, colours, photometric="rgb")
    assert shapes(file) == [(20, 30, 3)]
    assert (read_image(file / "frame=0").pixels == colours).all()
    with tifffile.TiffWriter(file) as out:  # pages of two sizes, of which the first has a smaller copy beside it
        out.write(colours, photometric="rgb")
        out.write(colours[::2, ::2], photometric="rgb", subfiletype=1)
        out.write(colours[:8, :6], photometric="rgb")
    assert shapes(file) == [(20, 30, 3), (8, 6, 3)]
    assert (read_image(file / "frame=1").pixels == colours[:8, :6]).all()
    assert image_size(file / "frame=1") == (6, 8)
    with tifffile.TiffWriter(file) as out:
        out.write(colours, photometric="rgb", subifds=1)
        out.write(colours[::2, ::2], photometric="rgb", subfiletype=1)
    assert shapes(file) == [(20, 30, 3)]
    stack = rng.integers(0, 4000, (70, 16, 64)).astype(np.uint16)
    tifffile.imwrite(file, stack, photometric="minisblack", metadata=None)
    assert shapes(file) == [(16, 64, 1)] * 70
    assert (raw_image(file / "frame=33").values[..., 0] == stack[33]).all()


@pytest.mark.parametrize("mode", ["P", "white", "L"])
def test_pages_are_seen_as_the_whole_file_is(tmp_path, mode):
    pages = np.random.default_rng(0).integers(0, 255, (2, 20, 30)).astype(np.uint8)
    for name, held in (("both", pages), ("second", pages[1:])):
        if mode == "white":
            tifffile.imwrite(tmp_path / f"{name}.tif", held, photometric="miniswhite")
        else:
            first, *others = [Image.fromarray(one).convert(mode) for one in held]
            for image in (first, *others) if mode == "P" else ():
                image.putpalette(bytes(range(255, -1, -1)) * 3)
            first.save(tmp_path / f"{name}.tif", save_all=True, append_images=others)
    seen = read_image(tmp_path / "both.tif/frame=1").pixels
    assert (seen == read_image(tmp_path / "second.tif").pixels).all()


def test_frames_of_colours_and_files_without_an_ending(tmp_path):
    import pydicom

    frames, file = np.random.default_rng(0).integers(0, 255, (4, 20, 30, 3)).astype(np.uint8), tmp_path / "IM1"
    write_frames(file, frames[..., 0])
    assert shapes(file, 1) == [(20, 30, 1)] * 4
    held = pydicom.dcmread(file)
    held.SamplesPerPixel, held.PhotometricInterpretation, held.PlanarConfiguration = 3, "RGB", 0
    held.BitsAllocated = held.BitsStored = 8
    held.HighBit, held.PixelData = 7, frames.tobytes()
    held.save_as(file)
    assert shapes(file) == [(20, 30, 3)] * 4
    assert (read_image(file / "frame=2").pixels == frames[2]).all()
    with pytest.raises(ImageFault):
        read_image(file)  # which is no picture


def test_kinds_without_frames_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((5, 20, 30), np.uint8))
    with raises("bad-card", "a.npy"):
        frame_names("a.npy", tmp_path / "a.npy")
    with raises("bad-image"):
        read_image(tmp_path / "a.npy/frame=0")


def write_frames(path: Path, frames: np.ndarray) -> None:
    import pydicom

    write_dicom(path, frames[0].astype(np.uint16))
    file = pydicom.dcmread(path)
    file.NumberOfFrames, file.PixelData = len(frames), frames.astype(np.uint16).tobytes()
    file.save_as(path)
