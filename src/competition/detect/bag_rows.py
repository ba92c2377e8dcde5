"""Rows that share an answer: the images of a patient, or of a patient's left side, each in a row of its own."""

import re
from collections.abc import Sequence

import pandas as pd

from src.competition.bags import ROWS
from src.competition.detect.context import Context
from src.competition.detect.draft import Evidence
from src.competition.detect.train import Train
from src.competition.detect.undecided import Try, Undecided
from src.competition.tables import columns_of
from src.competition.templates import fill, literal
from src.core.wording import plural

SEVERAL = 1.2  # rows of an answer, on average
COUNTERS = ("row", "row0")


def shared_id(cells: pd.DataFrame, image: str, ids: Sequence[str]) -> str | None:
    """The column, or two columns as a template, whose values are these ids exactly, each in several rows.

    cells: a row for each test image, which the column `image` names. None where each row has an answer of its own.
    """
    wanted = set(ids)
    if len(cells) < SEVERAL * len(wanted) or wanted <= set(cells[image]):
        return None
    others = [column for column in cells.columns if column not in (image, *COUNTERS)]
    same = next((column for column in others if set(cells[column]) == wanted), None)
    return same or next((pair for pair in _pairs(cells, others, ids[0]) if set(fill(pair, cells)) == wanted), None)


def put_bag(cells: pd.DataFrame, spec: str, context: Context) -> None:
    """The fact that the rows of one id are a bag, with how many there are."""
    values = pd.Series(cells[spec] if spec in cells else fill(spec, cells))
    sizes = values.value_counts()
    each = " to ".join(map(str, sorted({sizes.min(), sizes.max()})))
    how = (
        f"the sample asks for one answer to each {spec}, and each has {each} rows of images: "
        f"{plural(len(sizes), 'answer')} of {plural(len(cells), 'image')}"
    )
    signal = f"the values of {spec} are the ids of the sample submission"
    context.draft.put("bag", ROWS, how, evidence=Evidence(len(cells), len(cells), "test rows", (signal,)))


def put_training_bags(train: Train | None, test: pd.DataFrame, spec: str, context: Context) -> None:
    """The same id in the training table, where it may be made of two columns. Raises Undecided where nothing tells it.

    test: the test table's cells.
    """
    draft = context.draft
    if "train.id" in draft.given:
        return
    cells = train.cells if train is not None else pd.DataFrame()
    found = spec if set(columns_of(spec)) <= set(cells.columns) else None
    if found is None and spec in test and train is not None:
        both = [column for column in test.columns if column in cells and column not in (train.id, *COUNTERS)]
        pairs = _pairs(test, both, test[spec].iloc[0])
        found = next((pair for pair in pairs if fill(pair, test) == test[spec].tolist()), None)
    if found is None:
        tries = [Try(column, found=", ".join(cells[column].unique()[:3])) for column in list(cells.columns)[:8]]
        what = f"the sample asks for one answer to each {spec}, and nothing tells it of the training images:"
        raise Undecided(what, tries, "Say it: train.id=COLUMN, or train.id='{patient}_{side}' of two columns")
    draft.put("train.id", found, "the images of one answer are a bag, as those of the test part")


def _pairs(cells: pd.DataFrame, columns: Sequence[str], first: str) -> list[str]:
    """Templates of two columns that could make such an id: a cell begins it, a mark may follow, a cell ends it."""
    held = {column: set(cells[column]) for column in columns}
    found = []
    for column in columns:
        for head in {value for value in held[column] if value and first.startswith(value) and value != first}:
            mark = re.match(r"[^A-Za-z0-9]*", first[len(head) :])[0]
            tail = first[len(head) + len(mark) :]
            ends = [other for other in columns if other != column and tail in held[other]]
            found += [f"{{{literal(column)}}}{literal(mark)}{{{literal(other)}}}" for other in ends]
    return found
