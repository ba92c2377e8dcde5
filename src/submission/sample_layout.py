"""What the sample submission asks for: which column holds the ids, and which the answers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from src.competition.card import Card
from src.competition.sample_submission import class_columns, long_ids
from src.competition.samples import Samples
from src.competition.submission_kinds import SUBMISSION_KINDS
from src.competition.tables import columns_of, values
from src.core.errors import Problem, UsageError


@dataclass(frozen=True)
class Layout:
    """header: every column, as the sample has them. id: the column of the ids, or the template that makes them of
    several. kept: the columns that are copied from the sample, such as an index.

    answers: the one answer column, or for kind `columns` one a class, in the order of the classes. rows: where the
    sample has a row for each image and output, how their ids are made, see Submission; then there is one answer column,
    unless the kind has more. questions: what such a row may ask for.
    """

    header: tuple[str, ...]
    id: str
    answers: tuple[str, ...]
    kept: tuple[str, ...]
    rows: str | None = None
    questions: tuple[str, ...] = ()

    def ids(self, table: pd.DataFrame) -> pd.Series:
        """(n,) of a table that has the sample's columns."""
        return pd.Series(values(table, self.id, "the submission"), dtype=object)

    def asked(self, samples: Samples, ids: Iterable[str]) -> tuple[pd.Series, np.ndarray | None]:
        """(rows of the sample,) each: the id of its image, and the number of the question that it asks, None where a
        row asks for all. ids: those of the images that there may be."""
        found = self.ids(samples.sample)
        if self.rows is None:
            return found, None
        known = long_ids(self.rows, ids, self.questions)
        asked = [known.get(one, (one, 0)) for one in found]
        return pd.Series([one for one, _ in asked], dtype=object), np.array([k for _, k in asked], dtype=np.int64)


def layout_of(card: Card, samples: Samples) -> Layout:
    """Read the sample's columns. Raises UsageError or Problem where card, classes and sample do not fit together."""
    _check_kind(card, samples.classes)
    header, key = list(samples.sample.columns), card.submission.id or samples.sample.columns[0]
    keys = [key] if key in header else columns_of(key)
    if not set(keys) <= set(header):
        raise UsageError(
            f"the card's submission id is {key!r}, but the sample has the columns {_format(header)}",
            code="missing-column",
        )
    others = [name for name in header if name not in keys]
    rows, kind = card.submission.rows, card.submission_kind
    questions = kind.asked(samples.classes, samples.target)
    each = questions if rows is None else kind.long_columns(samples.classes, samples.target)
    if kind.column_each and each is not None:
        answers = _class_columns(each, others)
    else:
        answers = (_answer_column(card, samples, others),)
    kept = tuple(name for name in others if name not in answers)
    _check_kept(card, samples, kept)
    kept = (*(name for name in keys if name != key), *kept)
    return Layout(tuple(header), key, answers, kept, rows, questions)


def _check_kept(card: Card, samples: Samples, kept: Sequence[str]) -> None:
    """A column of one number in every row, beside answers that are numbers, asks for what no output answers."""
    if not card.submission_kind.column_each or not samples.target.own_unit:
        return
    for name in kept:
        cells = samples.sample[name]
        if cells.nunique() == 1 and pd.to_numeric(cells, errors="coerce").notna().all():
            raise Problem(
                f"the sample submission asks for {name!r}, and no column of {card.train.name} that is a label has that "
                f"name: name it in the card's train.label, which has {_format(list(samples.classes))}",
                code="column-without-target",
            )


def _check_kind(card: Card, classes: tuple[str, ...]) -> None:
    if card.submission is None:
        raise UsageError(f"{card.id} has nothing to submit: its card has no test images", code="no-test-images")
    kind, target = card.submission_kind, card.target_type
    if not kind.fits(target):
        allowed = " or ".join(name for name, other in SUBMISSION_KINDS.items() if other.fits(target))
        raise UsageError(
            f"the card's submission kind is {kind.registered}, but its target is {target.name}: set kind to {allowed}",
            code="submission-kind",
        )
    kind.check_classes(classes)


def _class_columns(classes: tuple[str, ...], columns: list[str]) -> tuple[str, ...]:
    found = class_columns(classes, columns)
    if found is None:
        absent = next((name for name in classes if name not in columns), classes[0])
        raise Problem(
            f"the sample submission has no column for class {absent!r}: it has {_format(columns)}. "
            "Name the classes in the card as the sample does (classes: [...])",
            code="missing-column",
        )
    return found


def _answer_column(card: Card, samples: Samples, others: list[str]) -> str:
    """The one column beside the id, an index left apart; among several the one named as the training label."""
    sample = samples.sample
    if len(others) > 1 and class_columns(samples.classes, others):
        raise UsageError(
            f"the card's submission kind is {card.submission_kind.registered}, but the sample has a column for each "
            "class: set submission.kind to columns",
            code="submission-kind",
        )
    if len(others) > 1:
        others = [name for name in others if not _counts(sample[name])]
    if len(others) > 1:
        others = [name for name in others if name == card.train.label] or others
    if len(others) != 1:
        raise Problem(
            f"the sample submission has the columns {_format(sample.columns)}: which of them is the answer? "
            "Leave only that one beside the id, or name it as the training table's label",
            code="several-columns",
        )
    return others[0]


def _counts(column: pd.Series) -> bool:
    """Whether a column counts its rows, from 0 or 1: an index that the host's program wrote along."""
    cells = column.tolist()
    return bool(cells) and any(cells == [str(row + start) for row in range(len(cells))] for start in (0, 1))


def _format(columns: Sequence[str]) -> str:
    return ", ".join(map(repr, columns[:8])) + (", ..." if len(columns) > 8 else "")
