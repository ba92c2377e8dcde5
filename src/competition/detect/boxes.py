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
from src.images.regions import NUMBERS, SHARES, sides, split_region

LOOKED_AT = 500  # cells
SHARED = 0.05  # of a table's rows are of a picture that has another row, where they are boxes
ANY_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
BOX = re.compile(rf"[\[(]?\s*{ANY_NUMBER}([ ,;]+{ANY_NUMBER}){{3}}\s*[\])]?")
COCO = {"image_id", "annotation_id"}  # columns of such a file, whose boxes are left, top, width, height
WORDS = {"bbox", "bboxes", "box", "boxes"}
NEARLY = 0.95  # of the boxes
EDGE = 0.02  # of a picture, that a box in shares may stand out by
FORMS = {
    "box": "left, top, width, height",
    "corners": "left, top, right, bottom",
    "center": "middle from left, middle from top, width, height",
}
# Columns in the order of a form, and the forms that they may mean: in pixels the first.
NAMED = (
    (("xmin", "ymin", "xmax", "ymax"), ("corners",)),
    (("x_min", "y_min", "x_max", "y_max"), ("corners",)),
    (("x1", "y1", "x2", "y2"), ("corners",)),
    (("left", "top", "right", "bottom"), ("corners",)),
    (("x", "y", "w", "h"), ("box", "center")),
    (("x", "y", "width", "height"), ("box", "center")),
    (("left", "top", "width", "height"), ("box",)),
    (("bbox_x", "bbox_y", "bbox_w", "bbox_h"), ("box", "center")),
    (("x_center", "y_center", "width", "height"), ("center",)),
)


def box_columns(cells: pd.DataFrame) -> list[str]:
    """The columns of a table that tell a box in nearly each row; none where there are none, or cells are no numbers."""
    return _read(cells)[1]


def box_template(cells: pd.DataFrame, key: str, images: str, usual: str = "") -> tuple[str, str, tuple[str, ...]]:
    """The end of a template of images, how it was found, and rivals: what else it may be. Empty without boxes.

    key, images: the fact that it is the end of. usual: the form that goes before others, where the boxes may have it.
    Raises Undecided where some boxes are in pixels and others in shares of the picture.
    """
    forms, columns = _read(cells)
    if not columns:
        return "", "", ()
    fields, numbers = ",".join(f"{{{literal(column)}}}" for column in columns), _numbers(cells, columns)
    inside = ((numbers >= -0.1) & (numbers <= 1.1)).all(1)
    shares, fractions = inside.mean() >= NEARLY, (numbers % 1 != 0).any(1)
    if not shares and (inside & fractions).mean() > 1 - NEARLY:
        some = [numbers[rows][0] for rows in (inside & fractions, ~inside)]
        tries = [Try(",".join(columns), found=" and ".join(",".join(f"{one:g}" for one in box) for box in some))]
        ends = [f"/{forms[0]}={fields}{end}" for end in (",shares", "")]
        what = f"{int(inside.sum())} of {len(inside)} boxes are shares of the picture, and the others pixels:"
        remedy = f"Write all of them in one unit, and say it: {key}='{images}{ends[0]}', or without ,shares for pixels"
        raise Undecided(what, tries, remedy, [{key: f"{images}{end}"} for end in ends])
    possible = [form for form in forms if _may_be(form, numbers, shares)] or [forms[0]]
    if not shares and len(columns) > 1:  # a middle in pixels has names that say so
        possible = possible[:1]
    possible.sort(key=lambda form: form != usual)
    unit = " as shares of the picture" if shares else ""
    how = f"each row is a box, {', '.join(columns)}: {'; or '.join(FORMS[form] for form in possible)}{unit}"
    first, *others = (_end(form, fields, shares) for form in possible)
    return first, how, tuple(others)


def _end(form: str, fields: str, shares: bool) -> str:
    if form == "center" and shares:
        return f"/yolo={fields}"
    return f"/{form}={fields}{f',{SHARES}' if shares else ''}"


def _may_be(form: str, numbers: np.ndarray, shares: bool) -> bool:
    """Whether nearly all boxes, read in this form, have a size, and lie within the picture where that can be told."""
    left, top, right, bottom = sides(form, *numbers.T)
    fits = (left < right) & (top < bottom)
    if shares:
        fits &= (np.minimum(left, top) >= -EDGE) & (np.maximum(right, bottom) <= 1 + EDGE)
    return fits.mean() >= NEARLY


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
    region = split_region(str(draft.get("train.images") or ""))[1] if part != "train" else None
    usual = {"yolo": "center"}.get(region.kind, region.kind) if region else ""
    end, how, others = box_template(cells, key, fact.value, usual)
    if not end:
        return None
    rivals = tuple(f"{key}={fact.value}{other}" for other in others)
    draft.put(key, f"{fact.value}{end}", how, guess=bool(rivals) or fact.guess, evidence=Evidence(rivals=rivals))
    ends = fill(end, cells)
    return tuple(file and f"{file}{one}" for file, one in zip(files, ends, strict=True))


def is_box(file: str | None) -> bool:
    """Whether the file of a row is a part of a picture."""
    region = split_region(file)[1] if file is not None else None
    return region is not None and region.is_box


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


def _read(cells: pd.DataFrame) -> tuple[tuple[str, ...], list[str]]:
    """The forms that the columns may mean, and the columns."""
    called = {column.casefold(): column for column in cells.columns}
    for names, forms in NAMED:
        columns = [called[name] for name in names if name in called]
        if len(columns) == len(names):
            return (forms, columns) if _tell_boxes(cells, columns, NUMBER) else ((), [])
    for column in cells.columns:
        if {*words(column), column.casefold()} & WORDS and _tell_boxes(cells, [column], BOX):
            return ("box",) if {*cells.columns} >= COCO else ("box", "corners", "center"), [column]
    return (), []


def _tell_boxes(cells: pd.DataFrame, columns: list[str], one: re.Pattern[str]) -> bool:
    """Whether nearly all rows tell a box, and the others nothing."""
    few = cells[columns].iloc[:: max(1, len(cells) // LOOKED_AT)]
    held = few[few.apply(lambda column: column.str.strip() != "").any(axis=1)]
    return len(held) >= NEARLY * len(few) > 0 and all(one.fullmatch(cell.strip()) for cell in held.to_numpy().ravel())


def _numbers(cells: pd.DataFrame, columns: list[str]) -> np.ndarray:
    """(rows that tell a box, 4)."""
    if len(columns) == NUMBERS:
        found = cells[columns].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
        return found[~np.isnan(found).any(1)]
    held = [re.findall(ANY_NUMBER, text) for text in cells[columns[0]]]
    return np.array([one for one in held if len(one) == NUMBERS], dtype=float)
