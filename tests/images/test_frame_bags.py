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
from src.images.read import identifying_bytes, image_size, read_image
from src.predict import main as predict
from src.prepare import main as prepare
from src.train import main as train
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


def write_frames(path: Path, frames: np.ndarray) -> None:
    import pydicom

    write_dicom(path, frames[0].astype(np.uint16))
    file = pydicom.dcmread(path)
    file.NumberOfFrames, file.PixelData = len(frames), frames.astype(np.uint16).tobytes()
    file.save_as(path)
