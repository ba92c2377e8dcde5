"""Rows of boxes: each row of a table is a part of a picture, told by its corners or its size."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from src.competition.detect.draft import Draft, Evidence
from src.competition.detect.roles import words
from src.competition.detect.sniff import NUMBER
from src.competition.templates import fill, literal

LOOKED_AT = 500  # cells
SHARED = 0.05  # of a table's rows are of a picture that has another row, where they are boxes
BOX = re.compile(r"\[?\s*-?[\d.]+([ ,;]+-?[\d.]+){3}\s*\]?")
WORDS = {"bbox", "bboxes", "box", "boxes"}
# The columns of each form, in its order.
FORMS = (
    ("corners", ("xmin", "ymin", "xmax", "ymax")),
    ("corners", ("x_min", "y_min", "x_max", "y_max")),
    ("corners", ("x1", "y1", "x2", "y2")),
    ("corners", ("left", "top", "right", "bottom")),
    ("box", ("x", "y", "w", "h")),
    ("box", ("x", "y", "width", "height")),
    ("box", ("left", "top", "width", "height")),
    ("box", ("bbox_x", "bbox_y", "bbox_w", "bbox_h")),
)


def box_columns(cells: pd.DataFrame) -> list[str]:
    """The columns of a table that tell a box in each row; none where there are none, or where cells are no numbers."""
    return _read(cells)[1]


def box_template(cells: pd.DataFrame) -> tuple[str, str, tuple[str, ...]]:
    """The end of a template of images, how it was found, and rivals: what else it may be. Empty without boxes."""
    form, columns = _read(cells)
    if not columns:
        return "", "", ()
    fields = ",".join(f"{{{literal(column)}}}" for column in columns)
    if len(columns) > 1:
        return f"/{form}={fields}", f"each row is a box, by its columns {', '.join(columns)}", ()
    column, numbers = columns[0], _numbers(cells[columns[0]])
    as_corners = (numbers[:, 2] > numbers[:, 0]).all() and (numbers[:, 3] > numbers[:, 1]).all()
    if not as_corners:
        return f"/box={fields}", f"each row is a box, {column}: left, top, width, height", ()
    how = f"each row is a box, {column}; left, top, width, height as COCO has it, or left, top, right, bottom"
    return f"/box={fields}", how, (f"/corners={fields}",)


def boxed(
    part: str, cells: pd.DataFrame, column: str, files: Sequence[str | None], draft: Draft
) -> tuple[str | None, ...] | None:
    """The boxes of a part's rows, where several rows are of one picture and each tells a box of its own; else None.

    column: that names the pictures. files: of the rows. What was found of the pictures goes on in `draft`.
    """
    key = f"{part}.images"
    fact = draft.facts[key]
    if cells[column].nunique() >= (1 - SHARED) * len(cells) or fact.certainty == "given":
        return None
    end, how, others = box_template(cells)
    if not end:
        return None
    rivals = tuple(f"{key}={fact.value}{other}" for other in others)
    draft.put(key, f"{fact.value}{end}", how, guess=bool(rivals) or fact.guess, evidence=Evidence(rivals=rivals))
    ends = fill(end, cells)
    return tuple(file and f"{file}{one}" for file, one in zip(files, ends, strict=True))


def put_box_ids(cells: pd.DataFrame, picture: str, draft: Draft, wanted: str | None) -> None:
    """An id for each training box, and the picture as the group that keeps its boxes in one fold.

    wanted: what the sample submission calls its ids.
    """
    asked = [column for column in (wanted, *cells.columns) if column in cells and column not in ("row", "row0")]
    unique = next((column for column in asked if cells[column].is_unique), None)
    if draft.get("train.id") == picture:
        how = "each box has its own" if unique else "no column tells boxes apart: their rows do"
        draft.put("train.id", unique or f"{{{literal(picture)}}}:{{row}}", how)
    draft.put("group", picture, "the boxes of a picture stay in one fold")


def _read(cells: pd.DataFrame) -> tuple[str, list[str]]:
    called = {column.casefold(): column for column in cells.columns}
    for form, names in FORMS:
        columns = [called[name] for name in names if name in called]
        if len(columns) == len(names):
            return (form, columns) if all(_numeric(cells[column]) for column in columns) else ("", [])
    for column in cells.columns:
        held = [cell.strip() for cell in cells[column].iloc[:LOOKED_AT] if cell.strip()]
        if {*words(column), column.casefold()} & WORDS and held and all(map(BOX.fullmatch, held)):
            return "box", [column]
    return "", []


def _numbers(cells: pd.Series) -> np.ndarray:
    """(rows, 4) of the first cells."""
    held = [re.findall(r"-?[\d.]+", cell) for cell in cells.iloc[:LOOKED_AT] if cell.strip()]
    return np.array(held, dtype=float)


def _numeric(cells: pd.Series) -> bool:
    return all(NUMBER.fullmatch(cell) for cell in cells.iloc[:LOOKED_AT])
