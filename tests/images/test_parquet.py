"""Encoded images in the cells of Parquet, as bytes and as {bytes, path}: from `prepare` to a checked CSV."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from src.images.decode import ImageFault, decode
from src.images.read import read_image
from src.images.readers import keys_of
from src.predict import main as predict
from src.prepare import main as prepare
from src.train import main as train
from tests.fixtures.codes import refused
from tests.fixtures.deep_files import jpeg_bytes
from tests.images.test_bags import NET

pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
COLOURS = ["blue", "green", "red"]


def picture(colour: int, seed: int) -> np.ndarray:
    image = np.random.default_rng(seed).integers(0, 80, (24, 24, 3)).astype(np.uint8)
    image[4:20, 4:20, colour] = 240
    return image


def write(path: Path, cells: list, **columns: list) -> None:
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({**columns, "image": cells}), path, row_group_size=20)


def write_host(folder: Path, nested: bool, broken: bytes | None = None) -> pd.Series:
    folder.mkdir(parents=True)
    for part, count in (("train", 48), ("test", 9)):
        held = [jpeg_bytes(picture(k % 3, k)) for k in range(count)]
        if broken is not None and part == "train":
            held[30] = broken
        labels = {"label": [COLOURS[k % 3] for k in range(count)]} if part == "train" else {}
        cells = [{"bytes": one, "path": f"{k}.jpg"} for k, one in enumerate(held)] if nested else held
        write(folder / f"{part}.parquet", cells, id=[f"{part}{k}" for k in range(count)], **labels)
    truth = pd.Series([COLOURS[k % 3] for k in range(9)], index=[f"test{k}" for k in range(9)])
    sample = pd.DataFrame({"id": truth.index, "label": "red"})
    sample.to_csv(folder / "sample_submission.csv", index=False)
    return truth


@pytest.mark.parametrize("nested", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_from_prepare_to_a_checked_csv(home, tmp_path, nested):
    truth = write_host(tmp_path / "host", nested)
    assert prepare([str(tmp_path / "host"), "id=cells", "confirm=all"]) == 0
    words = ["fold=0..1", "competition=cells", "run=r", "train.epochs=6", "optim.lr=1e-2", "train.ema_decay=0.9"]
    assert train([*words, *NET]) == 0
    assert predict(["competition=cells", "run=r", "--tta"]) == 0
    (csv,) = (home / "submissions/cells").glob("r-*.csv")
    assert (pd.read_csv(csv).set_index("id")["label"][truth.index] == truth).mean() > 0.7


def test_each_row_is_read_whatever_its_group(tmp_path):
    held = [jpeg_bytes(picture(k % 3, k)) for k in range(45)]
    write(tmp_path / "flat.parquet", held)
    write(tmp_path / "nested.parquet", [{"bytes": one, "path": "x"} for one in held])
    (tmp_path / "one.jpg").write_bytes(held[0])
    for name in ("flat.parquet", "nested.parquet"):
        assert keys_of(tmp_path / name) == {f"image/{k}" for k in range(45)}
        for row in (0, 19, 20, 44):
            (tmp_path / "one.jpg").write_bytes(held[row])
            assert (read_image(tmp_path / name / f"image/{row}").pixels == decode(tmp_path / "one.jpg")).all()


def test_a_group_of_rows_is_opened_once_and_a_large_one_told(tmp_path, monkeypatch, notes):
    from pyarrow import parquet

    held = [jpeg_bytes(picture(k % 3, k)) for k in range(40)]
    write(tmp_path / "a.parquet", held)
    opened, file = [], parquet.ParquetFile
    monkeypatch.setattr(parquet, "ParquetFile", lambda *words, **more: opened.append(words) or file(*words, **more))
    monkeypatch.setattr("src.images.readers.parquet.LARGE", 2000)
    for row in (0, 19, 5, 20, 39):
        read_image(tmp_path / f"a.parquet/image/{row}")
    assert len(opened) == 2 and len(notes.texts("large-row-groups")) == 1
    write(tmp_path / "a.parquet", held[:3])  # another file by its size
    with pytest.raises(ImageFault):
        read_image(tmp_path / "a.parquet/image/39")


def test_a_folder_of_parts_may_be_named_like_a_container(tmp_path):
    (tmp_path / "train.parquet").mkdir()
    cell = jpeg_bytes(picture(1, 0))
    write(tmp_path / "train.parquet/part-0.parquet", [cell])
    (tmp_path / "one.jpg").write_bytes(cell)
    seen = read_image(tmp_path / "train.parquet/part-0.parquet/image/0")
    assert (seen.pixels == decode(tmp_path / "one.jpg")).all()


@pytest.mark.parametrize("broken", [b"\xff\xd8\xff\xe0 and no more", b""])
def test_broken_bytes_are_told_with_their_row(home, tmp_path, capsys, broken):
    write_host(tmp_path / "host", False, broken)
    assert prepare([str(tmp_path / "host"), "id=cells", "confirm=all"]) == 0
    words = ["fold=0", "competition=cells", "run=r", "train.epochs=1", *NET]
    refused(capsys, train, words, "bad-image", "30")


def test_keys_and_files_that_are_none(tmp_path):
    write(tmp_path / "a.parquet", [b"x"], id=["a"])
    for key in ("image/1", "image/x", "id/0", "other/0"):
        with pytest.raises(ImageFault):
            read_image(tmp_path / "a.parquet" / key)
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-9])
    with pytest.raises(ImageFault, match="Parquet"):
        read_image(tmp_path / "cut.parquet/image/0")
    cv2.imwrite(str(tmp_path / "x.png"), picture(0, 0))
    write(tmp_path / "b.parquet", [(tmp_path / "x.png").read_bytes()])
    assert read_image(tmp_path / "b.parquet/image/0").pixels.shape == (24, 24, 3)
