"""What the sample submission asks for: which column holds the ids, which the answers, and how the file is written."""

import csv
import re
from collections.abc import Sequence
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
    sample, kind = samples.sample, card.submission.kind
    answers = _class_columns(card, samples) if kind == "columns" else ()
    key = _id_column(card, samples, [name for name in sample.columns if name not in answers])
    answers = answers or (_answer_column(card, sample, [name for name in sample.columns if name != key]),)
    kept = tuple(name for name in sample.columns if name != key and name not in answers)
    header, separator = _spelling(card, sample)
    return Layout(tuple(sample.columns), header, separator, key, answers, kept)


def class_columns(classes: Sequence[str], columns: Sequence[str]) -> tuple[str, ...] | None:
    """The column of each class: named as the class, or all with one same prefix and suffix, as in prob_cat, prob_dog.

    Capitals and blanks around a name count only where names differ in nothing else. None where no rule, or more than
    one, finds every class.
    """
    for spelt in (str, lambda name: name.strip().casefold()):
        wanted, held = [spelt(name) for name in classes], {spelt(name): name for name in columns}
        if len(set(wanted)) < len(classes) or len(held) < len(columns):
            continue
        affixes = {
            (name[: at.start()], name[at.end() :]) for name in held for at in re.finditer(re.escape(wanted[0]), name)
        }
        fitting = [(a, z) for a, z in sorted(affixes) if all(a + name + z in held for name in wanted)]
        if ("", "") in fitting or len(fitting) == 1:
            a, z = ("", "") if ("", "") in fitting else fitting[0]
            return tuple(held[a + name + z] for name in wanted)
    return None


def _class_columns(card: Card, samples: Samples) -> tuple[str, ...]:
    found = class_columns(samples.classes, samples.sample.columns)
    if found is None:
        absent = [name for name in samples.classes if name not in samples.sample.columns]
        raise Problem(
            f"{card.submission.sample} has no column for {len(absent)} of {len(samples.classes)} classes, "
            f"such as {absent[0]!r}. Its columns are {', '.join(samples.sample.columns[:5])}, ...: "
            "name the classes in the card as the sample does (classes: [...])"
        )
    return found


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

    def fitness(name: str) -> tuple[int, int, bool]:
        column = samples.sample[name]
        return column.isin(ids).sum(), column.nunique(), name == card.test.id

    fits = {name: fitness(name) for name in free}
    best = max(fits, key=fits.get, default=None)
    if best is None or not fits[best][0]:
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
