"""What lies in a competition's data/: its images, and its tables read whole."""

import csv
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src.competition import json_tables, parquet_tables
from src.competition.card import Pixels, Sheet
from src.competition.detect.roles import Role, role_of_table
from src.competition.detect.sniff import NUMBER, encoding_of, first_cells, sniff
from src.competition.file_tree import Tree
from src.competition.sources.pixel_columns import ARRAY, listed_shape, pixel_columns
from src.competition.tables import read_table
from src.competition.templates import stem
from src.core.errors import Problem

TEXT = (".csv", ".tsv", ".txt", ".data", ".lst")
FEWEST_PIXELS = 49
HEAD = 20  # rows that are looked at for pixels
PARTS = (  # a part of the card, its key that names a table, and the role of such a table
    ("train", "table", "train"),
    ("validation", "table", "validation"),
    ("test", "table", "test"),
    ("submission", "sample", "sample"),
)
# What files that only look like tables raise, whichever library reads them.
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError, csv.Error, OSError)


@dataclass(frozen=True)
class TableFile:
    """One table: its path below data/, how it is written, its cells as text, without those that are pixels.

    cells: (rows, columns), with the columns row and row0 last, which count the rows from 1 and from 0.
    """

    path: str
    role: Role
    sheet: Sheet
    cells: pd.DataFrame
    pixels: Pixels | None = None
    counters: tuple[str, ...] = ("row", "row0")  # columns that the file itself does not have

    @property
    def columns(self) -> list[str]:
        """The file's own columns."""
        return [column for column in self.cells if column not in self.counters]

    @property
    def pixel_ending(self) -> str:
        """Of the files that its pixels are written to: lists may hold any numbers, columns hold bytes."""
        return ARRAY if self.pixels and isinstance(self.pixels.columns, list) else ".png"

    def __len__(self) -> int:
        return len(self.cells)


def read_tables(tree: Tree, given: Mapping[str, Any]) -> tuple[list[TableFile], list[str]]:
    """The tables below a folder, and a line on each that cannot be read. `given`: facts of the card, by key."""
    found, notes = [], []
    endings = (*TEXT, *json_tables.SUFFIXES, *parquet_tables.SUFFIXES)
    tables = [path for path in tree.files if path.lower().endswith(endings)]
    texts = [path for path in tables if path.lower().endswith(TEXT)]
    begins = Counter(cell for path in texts for cell in set(first_cells(tree.root / path)) if cell)
    shared = {cell for cell, count in begins.items() if count > 1}
    for path in tables:
        try:
            table = _read(tree, path, shared, _sheet_given(path, role_of_table(path, tree.shared), given))
        except (Problem, *UNREADABLE) as error:
            text = " ".join(str(error).split()) or type(error).__name__
            notes.append(f"{path} is left aside: {text.removeprefix(f'{tree.root / path} ')}")
            continue
        if table is not None and len(table) and (table.columns or table.pixels):
            found.append(table)
    return found, notes


def without_image_notes(tables: list[TableFile], tree: Tree) -> list[TableFile]:
    """The tables without those that tell something of one image each, such as p1.txt beside p1.jpg, where most do."""
    kept = [table for table in tables if Path(table.path).stem not in tree.by_stem]
    return kept if len(tables) - len(kept) > max(2, len(tables) / 2) else tables


def _sheet_given(path: str, role: Role, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the user says of how this table is written: by the part that it is said to be, else that it sounds like."""
    said: dict[str, Any] = {}
    for part, key, like in PARTS:
        named = given.get(f"{part}.{key}")
        if path == named or (isinstance(named, list) and path in named) or (named is None and role == like):
            for fact in Sheet.model_fields:
                if f"{part}.{fact}" in given:
                    value = str(given[f"{part}.{fact}"])
                    said[fact] = value.lower() == "true" if fact in ("header", "trim") else value
                    said[fact] = int(value) if fact == "skip" and value.isdigit() else said[fact]
    return said


def _read(tree: Tree, path: str, shared: set[str], given: dict[str, Any]) -> TableFile | None:
    file, role = tree.root / path, role_of_table(path, tree.shared)
    if Path(path).suffix.lower() in json_tables.SUFFIXES:
        sheet = Sheet(encoding=encoding_of(file).removesuffix("-sig"))
        cells = json_tables.read(file, sheet.encoding)
        pixels = None if tree.images else _listed_pixels(cells.iloc[:HEAD])
        if pixels is None:
            return _counted_table(path, role, sheet, cells)
        return TableFile(path, role, sheet, counted(cells.drop(columns=pixels.columns)), pixels)
    if Path(path).suffix.lower() in parquet_tables.SUFFIXES:
        head = parquet_tables.head(file, HEAD)
        pixels = None if tree.images else _listed_pixels(head) or _pixels(head, True)
        taken = pixel_columns(head.columns, pixels.columns) if pixels else []
        cells = parquet_tables.read(file, head.columns.drop(taken))
        return (
            TableFile(path, role, Sheet(), counted(cells), pixels)
            if pixels
            else _counted_table(path, role, Sheet(), cells)
        )
    sheet = sniff(file, lambda cell: bool(cell) and stem(cell) in tree.by_stem, shared, given)
    if sheet is None:
        return None
    head = _head(file, sheet)
    pixels = None if tree.images else _listed_pixels(head) or _pixels(head, sheet.header)
    if pixels is None:
        return _counted_table(path, role, sheet, read_table(file, sheet))
    kept = head.columns.drop(pixel_columns(head.columns, pixels.columns)).tolist()
    cells = read_table(file, sheet, kept) if kept else _rows(file, sheet)
    return TableFile(path, role, sheet, counted(cells), pixels)


def _counted_table(path: str, role: Role, sheet: Sheet, cells: pd.DataFrame) -> TableFile:
    counters = tuple(column for column in ("row", "row0") if column not in cells)
    return TableFile(path, role, sheet, counted(cells), counters=counters)


def counted(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells with the columns row and row0, unless the file has such columns itself."""
    for column, start in (("row", 1), ("row0", 0)):
        if column not in cells:
            cells = cells.assign(**{column: (np.arange(len(cells)) + start).astype(str).astype(object)})
    return cells


def _rows(file: Path, sheet: Sheet) -> pd.DataFrame:
    """As many rows as the table has, without columns."""
    with file.open("rb") as lines:
        count = sum(1 for line in lines if line.strip()) - sheet.header - sheet.skip
    return pd.DataFrame(index=range(count))


def _head(file: Path, sheet: Sheet) -> pd.DataFrame:
    encoding = "utf-8-sig" if sheet.encoding == "utf-8" else sheet.encoding
    options = {"sep": sheet.separator, "encoding": encoding, "dtype": str, "na_filter": False, "nrows": HEAD}
    options |= {"skiprows": sheet.skip, "skipinitialspace": sheet.trim}
    head = pd.read_csv(file, header=0 if sheet.header else None, index_col=False, **options)
    return head if sheet.header else head.set_axis([f"column{k + 1}" for k in range(head.shape[1])], axis=1)


def _pixels(head: pd.DataFrame, header: bool) -> Pixels | None:
    """One column of many numbers, or a run of columns of numbers with one beginning, that fill a square."""
    for column in head:
        counts = {len(cell.split()) for cell in head[column]}
        shape = _square(counts.pop()) if len(counts) == 1 else None
        if shape and all(map(NUMBER.fullmatch, head[column].iloc[0].split())):
            return Pixels(columns=column, shape=shape)
    run: list[str] = []
    for _, group in groupby(head.columns, lambda column: _is_numeric(head[column]) and re.sub(r"\d+", "*", column)):
        run = max(run, list(group), key=len)
    if not header and not _square(len(run)):
        run = run[1:]  # without a header the label is a column1 like any other
    shape = _square(len(run))
    return Pixels(columns=f"{run[0]}..{run[-1]}", shape=shape) if shape else None


def _listed_pixels(head: pd.DataFrame) -> Pixels | None:
    """Columns of lists of numbers, all of one shape: each is a channel."""
    found: dict[str, tuple[int, ...]] = {}
    for column in head:
        shapes = {listed_shape(cell) for cell in head[column]}
        shape = shapes.pop() if len(shapes) == 1 else None
        if shape and len(shape) == 1 and (side := math.isqrt(shape[0])) ** 2 == shape[0]:
            shape = (side, side)
        if shape and len(shape) in (2, 3) and math.prod(shape) >= FEWEST_PIXELS:
            found[str(column)] = shape
    if not found or len(set(found.values())) > 1:
        return None
    columns, shape = list(found), next(iter(found.values()))
    if len(columns) > 1 and len(shape) > 2:
        return None
    return Pixels(columns=columns, shape=[*shape, *[len(columns)] * (len(columns) > 1)])


def _is_numeric(cells: pd.Series) -> bool:
    return all(NUMBER.fullmatch(cell) for cell in cells)


def _square(count: int) -> list[int] | None:
    """The height and width, and 3 for colours, that so many numbers fill."""
    for channels in (1, 3):
        side = round((count / channels) ** 0.5)
        if count >= FEWEST_PIXELS and side * side * channels == count:
            return [side, side] + [3] * (channels == 3)
    return None
