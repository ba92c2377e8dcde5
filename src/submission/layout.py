"""What the sample submission asks for: which column holds the ids, which the answers, and how the file is written."""

import csv
from dataclasses import dataclass

import pandas as pd

from src.competition.card import Card
from src.competition.samples import Samples
from src.errors import Problem, UsageError


@dataclass(frozen=True)
class Layout:
    """`names` are the sample's columns in memory, `header` the same as the file spells them.

    answers: the one answer column, or for kind `columns` one a class, in the order of the classes.
    kept: columns that are copied from the sample as they are, such as an index.
    """

    names: tuple[str, ...]
    header: tuple[str, ...]
    separator: str
    id: str
    answers: tuple[str, ...]
    kept: tuple[str, ...]


def layout_of(card: Card, samples: Samples) -> Layout:
    """Read the sample's columns. Raises UsageError or Problem where card, classes and sample do not fit together."""
    _check_kind(card, samples.classes)
    sample, kind, file = samples.sample, card.submission.kind, card.submission.sample
    free = [name for name in sample.columns if kind != "columns" or name not in samples.classes]
    key = _id_column(card, samples, free)
    if kind == "columns":
        absent = [name for name in samples.classes if name not in sample.columns]
        if absent:
            raise Problem(
                f"{file} has no column for {len(absent)} of {len(samples.classes)} classes, the first {absent[0]!r}: "
                f"the card's classes must be named as the sample's columns {', '.join(sample.columns[:4])}, ..."
            )
        answers = samples.classes
    else:
        answers = (_answer_column(card, sample, [name for name in free if name != key]),)
    kept = tuple(name for name in sample.columns if name != key and name not in answers)
    header, separator = _spelling(card, sample)
    return Layout(tuple(sample.columns), header, separator, key, answers, kept)


def _check_kind(card: Card, classes: tuple[str, ...]) -> None:
    kind = card.submission.kind
    if kind == "label" and card.target == "multilabel":
        raise UsageError(
            "the card's submission kind is label, but its target is multilabel: set kind to set or columns"
        )
    if kind == "probability" and len(classes) != 2:
        raise UsageError(
            f"the card's submission kind is probability, the positive class's, but there are {len(classes)} classes: "
            "set kind to columns or label"
        )
    blank = next((name for name in classes if " " in name), None)
    if kind in ("set", "ranked") and blank is not None:
        raise UsageError(f"class {blank!r} holds a blank, and submissions of kind {kind} part the classes by blanks")


def _id_column(card: Card, samples: Samples, free: list[str]) -> str:
    """The column that best holds the test ids, each once; among equals the one named as the test table's id."""
    ids = pd.Index(samples.test["id"])

    def fitness(name: str) -> tuple[float, int, bool]:
        column = samples.sample[name]
        return column.isin(ids).sum(), column.nunique(), name == card.test.id

    best = max(free, key=fitness, default=None)
    if best is None or (len(samples.sample) and not fitness(best)[0]):
        raise Problem(f"no column of {card.submission.sample} holds ids of the test images, such as {ids[0]!r}")
    return best


def _answer_column(card: Card, sample: pd.DataFrame, others: list[str]) -> str:
    """The one column beside the id, an index left apart; among several the one named as the training label."""
    counts = [[str(start + row) for row in range(len(sample))] for start in (0, 1)]
    if len(others) > 1:
        others = [name for name in others if sample[name].tolist() not in counts]
    if len(others) > 1:
        others = [name for name in others if name == card.train.label] or others
    if len(others) != 1:
        held = ", ".join(map(repr, sample.columns))
        raise Problem(f"{card.submission.sample} has the columns {held}: one must be the answer beside the id")
    return others[0]


def _spelling(card: Card, sample: pd.DataFrame) -> tuple[tuple[str, ...], str]:
    """The header as the file spells it (pandas gives a column without a name one), and the file's separator:
    the one that cuts the first line into as many names as the sample has columns."""
    path = card.data / card.submission.sample
    if path.is_file():
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            line = file.readline(1 << 20)
        for separator in ",;\t|":
            cells = next(csv.reader([line], delimiter=separator), [])
            if len(cells) == sample.shape[1]:
                return tuple(name if cell else "" for name, cell in zip(sample.columns, cells, strict=True)), separator
    return tuple(sample.columns), ","
