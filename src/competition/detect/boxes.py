"""Rows of boxes: each row of a table is a part of a picture, told by its corners or its size."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from src.competition.detect.draft import Draft, Evidence
from src.competition.detect.roles import words
from src.competition.detect.sniff import NUMBER
from src.competition.detect.undecided import Try, Undecided
from src.competition.templates import fill, literal
from src.images.regions import split_region

LOOKED_AT = 500  # cells
SHARED = 0.05  # of a table's rows are of a picture that has another row, where they are boxes
BOX = re.compile(r"\[?\s*-?[\d.]+([ ,;]+-?[\d.]+){3}\s*\]?")
COCO = {"image_id", "annotation_id"}  # columns of such a file, whose boxes are left, top, width, height
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
    ("yolo", ("x_center", "y_center", "width", "height")),
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
    if not as_corners or {*cells.columns} >= COCO:
        return f"/box={fields}", f"each row is a box, {column}: left, top, width, height", ()
    how = f"each row is a box, {column}; left, top, width, height as COCO has it, or left, top, right, bottom"
    return f"/box={fields}", how, (f"/corners={fields}",)


def boxed(
    part: str, cells: pd.DataFrame, column: str, files: Sequence[str | None], draft: Draft, wanted: bool = False
) -> tuple[str | None, ...] | None:
    """The boxes of a part's rows, where several rows are of one picture and each tells a box of its own; else None.

    column: that names the pictures. files: of the rows. What was found of the pictures goes on in `draft`.
    wanted: whether boxes are asked for, also where each picture has one.
    """
    key = f"{part}.images"
    fact = draft.facts[key]
    if fact.certainty == "given":
        return tuple(files) if any(map(is_box, files)) else None
    if not wanted and cells[column].nunique() >= (1 - SHARED) * len(cells):
        return None
    end, how, others = box_template(cells)
    if not end:
        return None
    rivals = tuple(f"{key}={fact.value}{other}" for other in others)
    draft.put(key, f"{fact.value}{end}", how, guess=bool(rivals) or fact.guess, evidence=Evidence(rivals=rivals))
    ends = fill(end, cells)
    return tuple(file and f"{file}{one}" for file, one in zip(files, ends, strict=True))


def is_box(file: str | None) -> bool:
    """Whether the file of a row is a part of a picture."""
    return file is not None and split_region(file)[1] is not None


def box_id(cells: pd.DataFrame, ids: Sequence[str]) -> str | None:
    """The column, or the template of the picture and the number of its box, whose values hold all these ids."""
    wanted = set(ids)
    for column in cells.columns.drop(["row", "row0"], errors="ignore"):
        if cells[column].is_unique and wanted <= set(cells[column]):
            return column
    return next((spec for spec in numbered_ids(cells, ids) if wanted <= set(fill(spec, cells))), None)


def numbered_ids(cells: pd.DataFrame, ids: Sequence[str]) -> list[str]:
    """Templates of ids such as photo_1_0, of files that each tell the boxes of one picture."""
    end = re.search(r"([^A-Za-z0-9]+(?:[A-Za-z]+[^A-Za-z0-9]*)?)(\d+)$", ids[0]) if len(ids) else None
    if end is None or not {"file", "object", "object0"} <= {*cells.columns}:
        return []
    padded = len({len(one) for one in ids}) == 1 and len(end[2]) > 1
    change = f":0{len(end[2])}" * padded
    heads = ("{file}", "{file:name}")
    return [f"{head}{literal(end[1])}{{{n}{change}}}" for head in heads for n in ("object0", "object")]


def own_id(cells: pd.DataFrame, picture: str, wanted: str | None = None) -> tuple[str, str]:
    """An id for each box, and how it was found; wanted: the column that goes before others."""
    asked = [column for column in (wanted, *cells.columns) if column in cells and column not in ("row", "row0")]
    unique = next((column for column in asked if cells[column].is_unique), None)
    if unique:
        return unique, "each box has its own"
    if "object0" in cells:
        return f"{{{literal(picture)}}}_{{object0}}", "the number of each box in its file"
    return f"{{{literal(picture)}}}:{{row}}", "no column tells boxes apart: their rows do"


def check_boxes(
    train: Sequence[str | None], test: Sequence[str | None] | None, draft: Draft, questions: list[Undecided]
) -> None:
    """Ask where one part has boxes and the other whole pictures, whichever the user has not said.

    train, test: the files of the rows; None without a test part: then nothing but the rows speaks for boxes.
    """
    boxes = any(map(is_box, train))
    if {"train.images", "test.images"} & draft.given.keys():
        return
    if test is None:
        fact = draft.facts.get("train.images")
        if boxes and fact and "train.table" not in draft.given:
            draft.put("train.images", fact.value, fact.how, guess=True, evidence=fact.evidence)
        return
    if boxes == any(map(is_box, test)):
        return
    whole, cut = ("test", "train") if boxes else ("train", "test")
    parted = draft.get(f"{cut}.images")
    picture = split_region(parted)[0]
    tries = [Try(f"{cut}.images", found=parted), Try(f"{whole}.images", found=draft.get(f"{whole}.images") or "")]
    what = f"the rows of the {cut} part are boxes of pictures, and those of the {whole} part are whole pictures:"
    remedy = (
        f"Say it: {cut}.images='{parted}' if that is right; {cut}.images='{picture}' takes whole pictures there too "
        "(target=multilabel, if a picture may have several labels)"
    )
    answers = [{f"{cut}.images": parted}, {f"{cut}.images": picture}]
    questions.append(Undecided(what, tries, remedy, answers))


def put_box_ids(cells: pd.DataFrame, picture: str, draft: Draft, wanted: str | None) -> None:
    """An id for each training box, and the picture as the group that keeps its boxes in one fold.

    wanted: what the sample submission calls its ids.
    """
    if draft.get("train.id") == picture:
        draft.put("train.id", *own_id(cells, picture, wanted))
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
