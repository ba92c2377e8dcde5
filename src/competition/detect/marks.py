"""Columns of yes and no in which some cells are neither: uncertain ones, such as -1, and blanks."""

import json
from collections.abc import Sequence

import pandas as pd

from src.competition.detect.context import Context
from src.competition.detect.draft import typed
from src.competition.detect.undecided import Try, Undecided
from src.competition.labels import with_marks
from src.core.errors import UsageError
from src.targets.label_cells import NO, YES

DOUBTFUL = {"-1", "-1.0", "u", "?", "-", "nan", "na", "n/a", "null", "none", "uncertain", "unknown", "maybe", "missing"}


def is_marked(column: pd.Series) -> bool:
    """Whether the column holds yes and no, and beside them nothing but doubt."""
    held = set(column.unique())
    return bool(held & YES and held & NO) and all(cell.strip().casefold() in DOUBTFUL for cell in held - YES - NO)


def ask_about_doubt(cells: pd.DataFrame, table: str) -> None:
    """Raises Undecided where these columns, one a class, are marks of which some are in doubt."""
    if cells.shape[1] < 2 or not all(is_marked(cells[column]) for column in cells):
        return
    counts = pd.Series(cells.to_numpy().ravel()).value_counts()
    doubts = [cell for cell in counts.index if cell not in YES | NO]
    if not doubts:
        return
    rows = int(cells.isin(doubts).any(axis=1).sum())
    tries = [Try(repr(cell), found=f"{count} cells") for cell, count in counts.items()]
    no, yes = (typed(dict.fromkeys(doubts, mark)) for mark in "01")
    out = json.dumps(doubts, ensure_ascii=False)
    remedy = (
        f"Say what they mean: train.marks='{no}' if they count as no (U-Zeros), train.marks='{yes}' if as yes "
        f"(U-Ones); train.missing='{out}' leaves their rows out, {rows} of {len(cells)}"
    )
    if "" in counts.index:
        remedy += '. Blank cells count as no; if they are unknown too, put "" beside them'
    names = ", ".join(map(repr, doubts))
    raise Undecided(f"{table}: columns of 0 and 1, one for each class, also hold {names}:", tries, remedy)


def as_given(cells: pd.DataFrame, context: Context) -> pd.DataFrame:
    """The cells with the user's `train.marks` in the columns of the answer."""
    marks = context.given("train.marks")
    if marks is None:
        return cells
    if not isinstance(marks, dict) or not set(marks.values()) <= YES | NO:
        raise UsageError("train.marks: give what each cell stands for, 0 or 1, such as '{-1: 0}'", code="bad-value")
    return with_marks(cells, _answers(cells, context), marks)


def without_unknown(cells: pd.DataFrame, columns: Sequence[str], context: Context) -> pd.DataFrame:
    """Without the rows of which one of several columns holds a cell that the user's `train.missing` names."""
    missing = context.given("train.missing")
    if not missing or len(columns) < 2 or not set(columns) <= set(cells):
        return cells
    return cells[~cells[list(columns)].isin(missing).any(axis=1)]


def blanks(cells: pd.DataFrame, columns: Sequence[str], context: Context) -> str:
    """What is told of blank cells in columns that write a no as 0; empty where there is nothing to tell."""
    held = cells[list(columns)]
    count = int((held == "").sum().sum())
    if not count or not held.isin(NO - {""}).any().any() or "" in (context.given("train.marks") or {}):
        return ""
    return f"{count} blank cells count as no; train.missing='[\"\"]' leaves their rows out"


def _answers(cells: pd.DataFrame, context: Context) -> list[str]:
    label = context.given("train.label")
    columns = label if isinstance(label, list) else context.sample.answers if context.sample else ()
    columns = columns if len(columns) > 1 else [column for column in cells if is_marked(cells[column])]
    return [column for column in columns if column in cells]
