"""Images that stand in a table as numbers, written as PNG files, so that everything after sees files."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from src.competition import templates
from src.competition.card import Card, Table
from src.core.console import log
from src.core.errors import Problem, UsageError

FOLDER = "pixels"  # below data/, where the templates of such tables must begin
ROWS = 2000  # read at a time


def ensure_images(card: Card) -> None:
    """Write the images of every table that holds pixels, unless they are there; all of them appear together."""
    sources = [
        source for source in (card.train, card.validation, *card.extra.values(), card.test) if source and source.pixels
    ]
    goal, part = card.data / FOLDER, card.data / f".{FOLDER}.part"
    if not sources or goal.is_dir():
        return
    shutil.rmtree(part, ignore_errors=True)
    for source in sources:
        if not source.images.startswith(f"{FOLDER}/") or len(source.tables) != 1:
            raise UsageError(
                f"the card of {card.id}: a table with pixels is one table, and its images begin with {FOLDER}/",
                code="pixel-table",
            )
        log.info(f"writing the images in {source.name} as PNG files")
        for name, image in _images(card.data / source.tables[0], source):
            path = part / name.removeprefix(f"{FOLDER}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            if not cv2.imwrite(str(path), image[:, :, ::-1] if image.ndim == 3 else image):
                raise Problem(f"{path} cannot be written: is the disk full?", code="disk-full")
    part.rename(goal)


def _images(path: Path, source: Table) -> Iterator[tuple[str, np.ndarray]]:
    """File names and images (height, width[, 3]) uint8, a block of rows at a time: such tables are large."""
    head = next(_chunks(path, source, 1))
    columns = pixel_columns(head.columns, source.pixels.columns)
    named = [column for column in templates.fields(source.images) if column in head]
    start, scale = 0, None
    for block in _chunks(path, source, ROWS, [*columns, *named]):
        values = _numbers(block, columns, source, path, start)
        if scale is None:
            scale = 255.0 if values.max() <= 1 and (values % 1).any() else 1.0
        if values.min() < 0 or values.max() * scale > 255:
            raise Problem(
                f"{path.name}: pixels reach from {values.min():g} to {values.max():g}, "
                "and must lie within 0 to 255, or 0 to 1",
                code="pixel-range",
            )
        block["row"], block["row0"] = [(np.arange(start, start + len(block)) + k).astype(str) for k in (1, 0)]
        images = np.rint(values * scale).astype(np.uint8).reshape(-1, *source.pixels.shape)
        yield from zip(templates.fill(source.images, block), images, strict=True)
        start += len(block)


def _chunks(path: Path, source: Table, rows: int, columns: list[str] | None = None) -> Iterator[pd.DataFrame]:
    encoding = "utf-8-sig" if source.encoding.lower() in ("utf-8", "utf8") else source.encoding
    options = {"sep": source.separator, "encoding": encoding, "dtype": str, "na_filter": False}
    if not source.header:
        width = pd.read_csv(path, header=None, nrows=1, **options).shape[1]
        options |= {"header": None, "names": [f"column{i + 1}" for i in range(width)]}
    yield from pd.read_csv(path, chunksize=rows, usecols=columns, **options)


def pixel_columns(columns: pd.Index, wanted: str) -> list[str]:
    """The columns that a card means: one, or first..last. Raises Problem where they are not there."""
    first, _, last = wanted.partition("..")
    places = [columns.get_loc(name) if name in columns else None for name in (first, last or first)]
    if None in places or places[0] > places[1]:
        raise Problem(f"there are no pixel columns {wanted!r}: mend the card's pixels", code="missing-column")
    return columns[places[0] : places[1] + 1].tolist()


def _numbers(block: pd.DataFrame, columns: list[str], source: Table, path: Path, start: int) -> np.ndarray:
    """(rows, pixels) float32."""
    wanted = int(np.prod(source.pixels.shape))
    try:
        if len(columns) > 1:
            values = block[columns].to_numpy(dtype=object).astype(np.float32)
        else:
            rows = [
                np.array(cell.replace(",", " ").strip("[] ").split(), dtype=np.float32) for cell in block[columns[0]]
            ]
            wrong = next((k for k, row in enumerate(rows) if len(row) != wanted), None)
            if wrong is not None:
                raise Problem(
                    f"{path.name}, row {start + wrong + 1}: {len(rows[wrong])} pixels, "
                    f"and the card's shape needs {wanted}",
                    code="pixel-count",
                )
            values = np.stack(rows)
    except ValueError as error:
        raise Problem(
            f"{path.name}, rows {start + 1} to {start + len(block)}: a pixel is no number ({error})", code="pixel-value"
        ) from None
    if values.shape[1] != wanted:
        raise Problem(
            f"{path.name} has {values.shape[1]} pixel columns, and the card's shape needs {wanted}", code="pixel-count"
        )
    return values
