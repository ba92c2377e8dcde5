"""The training part: its table, its images and its label, put down as facts."""

import re
from dataclasses import dataclass
from typing import Any

import pandas as pd

from src.competition import tables
from src.competition.card import Join, Sheet
from src.competition.detect import marks
from src.competition.detect.bag_files import put_bags
from src.competition.detect.boxes import boxed, is_box, put_box_ids
from src.competition.detect.choice import choose
from src.competition.detect.context import Context, given_rule, pick, rules_for
from src.competition.detect.inventory import TableFile
from src.competition.detect.roles import parts_of_column, role_of_word
from src.competition.detect.rules import Rule
from src.competition.detect.sample import Sample
from src.competition.detect.several import Label
from src.competition.detect.undecided import Try, Undecided
from src.competition.templates import fields, number
from src.core.wording import plural

NO_LABEL = {
    "nan",
    "null",
    "n/a",
    "#n/a",
    "<na>",
    "?",
    "-",
    "--",
    "unlabeled",
    "unlabelled",
    "unlabled",
    "no label",
    "nil",
}

MAYBE_NONE = {"na", "none", "missing", "undefined"}  # words that classes are called too
MINUS = ("-1", "-1.0")


@dataclass(frozen=True)
class Split:
    """A column that tells the parts of one table apart: the values of each part, and the rows of all of them."""

    column: str
    values: dict[str, list[str]]
    cells: pd.DataFrame


@dataclass(frozen=True)
class Train:
    """The training rows: their cells, the column that names them, their files, and the label."""

    cells: pd.DataFrame
    id: str
    files: tuple[str | None, ...]
    label: Label
    split: Split | None = None


def from_table(context: Context) -> Train | None:
    """The training part of a table that names images; None where no table does and none was given."""
    chosen = choose(context)
    if chosen is None:
        return None
    draft, table, cells = context.draft, context.table(chosen.paths[0]), chosen.cells
    several = len(chosen.paths) > 1
    draft.put("train.table", chosen.paths if several else table.path, "aligned by line" if several else "")
    context.put_sheet("train", table.sheet)
    if chosen.joins:
        draft.put("train.join", [_shown(join) for join in chosen.joins], "they share a key")
    split = _split(cells, chosen.label, context)
    if split:
        text = "this column tells the parts of the data apart"
        draft.put("train.where", {split.column: split.values["train"]}, text)
        cells = cells[cells[split.column].isin(split.values["train"])]
    for column, values in (context.given("train.where") or {}).items():
        cells = cells[cells[column].isin([values] if isinstance(values, str) else values)]
    cells = _without_empty_labels(cells, chosen.label, context)
    if table.pixels:
        return _from_pixels(cells, table, chosen.label, split, context)
    return _with_images(cells, table, chosen.label, split, context)


def _shown(join: Join) -> dict[str, Any]:
    """What a card must say of a side table, the table first."""
    facts = join.model_dump(exclude_defaults=True)
    return {key: facts[key] for key in ("table", "by", "key", *Sheet.model_fields) if key in facts}


def _with_images(cells: pd.DataFrame, table: TableFile, label: Label, split: Split | None, context: Context) -> Train:
    draft = context.draft
    template = context.given("train.images")
    known = [field for field in fields(template or "") if field in cells]
    column = context.given("train.id") or (known or [context.imaged.get(table.path) or "row"])[0]
    named = tables.columns_of(column)[0]
    rules = [given_rule(template, cells, context)] if template else rules_for(cells, named, context)
    rule = pick(rules, "train", f"{table.path} ({plural(len(cells), 'row')})", cells[named].tolist(), context)
    context.taken.update(filter(None, rule.files))
    unique = cells[named].is_unique
    parts = any(map(is_box, rule.files))
    if not unique and not parts and len(set(rule.files)) == len(cells):
        column = rule.images[rule.images.index("{") :]  # names that come again in other folders
    by_row = column in ("row", "row0") and column not in table.columns
    text = "each image once" if unique else f"{named} alone is not unique"
    text = "nothing but the order of the rows tells which row is which image" if by_row else text
    draft.put("train.id", column, text, guess=by_row)
    draft.put("train.images", rule.images, *found_by(rule, cells[named].tolist()))
    _check_folders(cells, rule.files, label, context)
    put_bags(rule, "train", cells, context)
    boxes = boxed("train", cells, named, rule.files, draft, context.boxed)
    if boxes:
        put_box_ids(cells, named, draft, context.sample.id if context.sample else None)
    return Train(cells, named, boxes or rule.files, label, split)


def found_by(rule: Rule, values: list[str]) -> tuple[str, bool]:
    """How a rule finds the images, in words, and whether that is a guess: any list can be counted from 0 or 1 on."""
    if not rule.by_number:
        return "the names agree but for spelling" if rule.by_likeness else "", False
    numbers = sorted({int(number(value)) for value in values})
    counted = numbers[0] in (0, 1) and numbers[-1] - numbers[0] == len(numbers) - 1
    return "nothing but the number in each name is the same", counted


def _split(cells: pd.DataFrame, label: Label, context: Context) -> Split | None:
    """A column whose few values are all names of parts: train, valid, test; or one called train that holds 0 and 1.

    What the sample submission asks for, or the label, is no such column.
    """
    if context.given("train.where"):
        return None
    asked = {*(context.sample.answers if context.sample else ()), *label.columns}
    for column in cells:
        if column in asked or not 1 < cells[column].nunique() <= 6:
            continue
        values = cells[column].unique().tolist()
        roles = {value: role_of_word(value) for value in values}
        if "train" in roles.values() and set(roles.values()) <= {"train", "validation", "test"}:
            parts = {role: [value for value in values if roles[value] == role] for role in roles.values()}
            return Split(column, parts, cells)
        if parts := parts_of_column(column, set(values)):
            return Split(column, parts, cells)
    return None


def _without_empty_labels(cells: pd.DataFrame, label: Label, context: Context) -> pd.DataFrame:
    """Rows without a label are left out: those of test images, and others, which is told.

    A word such as NaN, or -1 among numbers, stands for none unless the sample submission names it.
    """
    if not isinstance(label.column, str):
        return marks.without_unknown(cells, label.column, context)
    if label.several or label.column not in cells:
        return cells
    draft, sample = context.draft, context.sample
    held = cells[label.column]
    missing = _missing(held, sample) if "train.missing" not in draft.given else set(draft.given["train.missing"])
    if missing:
        count = int(held.isin(missing).sum())
        text = (
            f"{count} of {len(held)} rows have {', '.join(map(repr, sorted(missing)))} for a label: no label, left out"
        )
        draft.put("train.missing", sorted(missing), f"{text}; if it is a class: train.missing=[]", guess=True)
        cells = cells[~held.isin(missing)]
        held = cells[label.column]
    empty = held.str.strip() == ""
    if not empty.any() or draft.given.get("train.empty_label") == "stop":
        return cells
    tested = set(sample.ids) if sample else set()
    column = context.imaged.get(draft.get("train.table") or "", "")
    if column in cells and set(cells[column][empty]) <= tested:
        draft.put(
            "train.empty_label", "drop", f"the {plural(empty.sum(), 'row')} without a label belong to the test set"
        )
    else:
        text = f"the label of {empty.sum()} of {len(held)} rows is empty: they are left out"
        draft.put("train.empty_label", "drop", text, guess=True)
    return cells[~empty]


def _missing(held: pd.Series, sample: Sample | None) -> set[str]:
    """The label that means that there is none: a single one, in less than half of the rows, that nothing asks for.

    Raises Undecided for a word such as NA, which classes are called too.
    """
    counts = held.value_counts()
    named = {*sample.answers, *sample.values} if sample else set()
    folded = {one: one.strip().casefold() for one in counts.index if one.strip()}
    others = [one for one, word in folded.items() if word not in NO_LABEL | MAYBE_NONE]
    numbers = bool(others) and all(re.fullmatch(r"\d+(\.0+)?", one) for one in others if one not in MINUS)
    found = {one for one, word in folded.items() if word in NO_LABEL | MAYBE_NONE or (one in MINUS and numbers)}
    if len(found) != 1 or found & named or len(set(others) - found) < 2 or counts[[*found]].sum() > len(held) / 2:
        return set()
    word = next(iter(found))
    if folded[word] in MAYBE_NONE:
        tries = [Try(one, found=f"{plural(count, 'row')}") for one, count in counts.items()]
        remedy = f"Say it: train.missing=[] if it is a class; train.missing=[{word}] leaves its rows out"
        raise Undecided(f"{word!r} may be a class, or stand for no label in {counts[word]} rows:", tries, remedy)
    return found


def _from_pixels(cells: pd.DataFrame, table: TableFile, label: Label, split: Split | None, context: Context) -> Train:
    draft = context.draft
    draft.put("train.id", "row", "rows count from 1")
    draft.put("train.images", f"pixels/train/{{row}}{table.pixel_ending}", "written from the numbers in the table")
    height, width, *more = table.pixels.shape
    channels = f", {more[0]} channels" if more else ""
    draft.put("train.pixels", table.pixels.model_dump(), f"images of {height} x {width}{channels}")
    return Train(cells, "row", (None,) * len(cells), label, split)


def _check_folders(cells: pd.DataFrame, files: tuple[str | None, ...], label: Label, context: Context) -> None:
    """Where the folders name the classes too, they must say what the label says."""
    if not isinstance(label.column, str) or label.several or label.column not in cells:
        return
    pairs = [(name, path.split("/")[:-1]) for name, path in zip(cells[label.column], files, strict=True) if path]
    classes = {name for name, _ in pairs}
    labelled = [(name, parts) for name, parts in pairs if classes.intersection(parts)]
    wrong = [(name, parts) for name, parts in labelled if name not in parts]
    # Where fewer than half agree, the folders are something else than classes.
    if len(labelled) > 0.9 * len(pairs) and 0 < len(wrong) < len(labelled) / 2 and not context.given("train.label"):
        tries = [Try(f"the table says {name!r}", 0, 0, f"the folder is {'/'.join(parts)}") for name, parts in wrong[:5]]
        what = f"the labels of the table and of the folders disagree for {len(wrong)} of {len(pairs)} images:"
        raise Undecided(what, tries, f"Say which holds: train.label={label.column}, or train.files=PATTERN")
