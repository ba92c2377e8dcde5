"""Images that stand in a table as numbers, written as PNG or NumPy files, so that everything after sees files."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from src.competition import json_tables, parquet_tables, templates
from src.competition.card import Card, Table
from src.core.console import log
from src.core.errors import Problem, UsageError

ARRAY = ".npy"  # an ending of images that keep their numbers as they are
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
        log.info(f"writing the images in {source.name} as files")
        for name, image in _images(card.data / source.tables[0], source):
            path = part / name.removeprefix(f"{FOLDER}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ARRAY:
                np.save(path, image)
            elif not cv2.imwrite(str(path), image[:, :, ::-1] if image.ndim == 3 else image):
                raise Problem(f"{path} cannot be written: is the disk full?", code="disk-full")
    part.rename(goal)


def _images(path: Path, source: Table) -> Iterator[tuple[str, np.ndarray]]:
    """File names and images (height, width[, channels]), a block of rows at a time: such tables are large. Float32
    where they are kept as arrays, else uint8."""
    head = next(_chunks(path, source, 1))
    columns = pixel_columns(head.columns, source.pixels.columns)
    named = [column for column in templates.fields(source.images) if column in head]
    start, scale, as_array = 0, None, source.images.endswith(ARRAY)
    for block in _chunks(path, source, ROWS, [*columns, *named]):
        values = _numbers(block, columns, source, path, start)
        if scale is None:
            scale = 255.0 if values.max() <= 1 and (values % 1).any() else 1.0
        if not as_array and not (values.min() >= 0 and values.max() * scale <= 255):
            raise Problem(
                f"{path.name}: pixels reach from {values.min():g} to {values.max():g}, "
                "and must lie within 0 to 255, or 0 to 1; to keep them as they are, let the card's images end with "
                f"{ARRAY}",
                code="pixel-range",
            )
        block["row"], block["row0"] = [(np.arange(start, start + len(block)) + k).astype(str) for k in (1, 0)]
        images = values if as_array else np.rint(values * scale).astype(np.uint8)
        yield from zip(templates.fill(source.images, block), images.reshape(-1, *source.pixels.shape), strict=True)
        start += len(block)


def _chunks(path: Path, source: Table, rows: int, columns: list[str] | None = None) -> Iterator[pd.DataFrame]:
    suffix = path.suffix.lower()
    if suffix in json_tables.SUFFIXES:
        table = json_tables.read(path, source.encoding)
        yield from (table.iloc[start : start + rows].reset_index(drop=True) for start in range(0, len(table), rows))
        return
    if suffix in parquet_tables.SUFFIXES:
        yield from parquet_tables.blocks(path, rows, columns)
        return
    encoding = "utf-8-sig" if source.encoding.lower() in ("utf-8", "utf8") else source.encoding
    options = {"sep": source.separator, "encoding": encoding, "dtype": str, "na_filter": False}
    if not source.header:
        width = pd.read_csv(path, header=None, nrows=1, **options).shape[1]
        options |= {"header": None, "names": [f"column{i + 1}" for i in range(width)]}
    yield from pd.read_csv(path, chunksize=rows, usecols=columns, **options)


def listed_shape(cell: object) -> tuple[int, ...] | None:
    """The shape of a cell that is a list of numbers, or lists of them; None for other cells."""
    try:
        values = _listed(cell)
    except ValueError:
        return None
    return values.shape if values is not None and values.ndim else None


def _listed(cell: object) -> np.ndarray | None:
    """None for a cell that is no list. Raises ValueError for one whose numbers make no array."""
    if isinstance(cell, str):
        if not cell.lstrip().startswith("["):
            return None
        cell = json.loads(cell)
    elif isinstance(cell, np.ndarray) and cell.dtype == object:
        cell = [one.tolist() for one in cell]
    return np.asarray(cell, dtype=np.float32)


def pixel_columns(columns: pd.Index, wanted: str | list[str]) -> list[str]:
    """The columns that a card means: one, first..last, or several. Raises Problem where they are not there."""
    if isinstance(wanted, list):
        return [one for name in wanted for one in pixel_columns(columns, name)]
    first, _, last = wanted.partition("..")
    places = [columns.get_loc(name) if name in columns else None for name in (first, last or first)]
    if None in places or places[0] > places[1]:
        raise Problem(f"there are no pixel columns {wanted!r}: mend the card's pixels", code="missing-column")
    return columns[places[0] : places[1] + 1].tolist()


def _bands(block: pd.DataFrame, columns: list[str], wanted: int, path: Path, start: int) -> np.ndarray:
    """(rows, pixels) of columns of lists, the channels of each pixel together. Raises Problem."""
    rows = []
    for number, cells in enumerate(block[columns].itertuples(index=False)):
        bands = [_listed(cell) for cell in cells]
        counts = [0 if band is None else band.size for band in bands]
        if sum(counts) != wanted or len(set(counts)) > 1:
            raise Problem(
                f"{path.name}, row {start + number + 1}: {' and '.join(map(str, counts))} numbers in "
                f"{', '.join(columns)}, and the card's shape needs {wanted}",
                code="pixel-count",
            )
        rows.append(np.stack([band.reshape(-1) for band in bands], axis=1).reshape(-1))
    return np.stack(rows)


def _numbers(block: pd.DataFrame, columns: list[str], source: Table, path: Path, start: int) -> np.ndarray:
    """(rows, pixels) float32."""
    wanted = int(np.prod(source.pixels.shape))
    try:
        if isinstance(source.pixels.columns, list):
            values = _bands(block, columns, wanted, path, start)
        elif len(columns) > 1:
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
