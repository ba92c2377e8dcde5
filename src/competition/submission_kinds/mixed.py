"""Several answers of different kinds: a column for each, with a class, labels or a number; or the probabilities of each
one's classes, in rows of their own."""

from collections.abc import Collection, Sequence
from typing import ClassVar

import numpy as np
import pandas as pd

from src.competition.submission_kinds import SUBMISSION_KINDS
from src.competition.submission_kinds.probabilities import printed, probability_faults, sum_faults
from src.competition.submission_kinds.submission_kind import (
    Classes,
    SubmissionKind,
    empty_faults,
    listed,
    number_faults,
)
from src.core.errors import UsageError
from src.targets import TargetType
from src.targets.mixed import SEPARATOR, Mixed, Part


class _OfParts(SubmissionKind):
    targets: ClassVar = (Mixed,)
    column_each = True

    def asked(self, names: tuple[str, ...], target: TargetType) -> tuple[str, ...]:
        return tuple(target.columns)

    def sound(self, p: np.ndarray, target: TargetType) -> np.ndarray:
        return np.isfinite(p).all(axis=1)

    def sound_name(self, target: TargetType) -> str:
        return "finite numbers"

    def trimmed(self, p: np.ndarray) -> np.ndarray:
        return p

    def takes(self, cell: str, names: Collection[str]) -> bool:
        return True


@SUBMISSION_KINDS.register("mixed")
class MixedAnswers(_OfParts):
    """A column for each of the targets; or a row for each image and target, and one column."""

    def columns(self, p: np.ndarray, d: np.ndarray | None, classes: Classes) -> Sequence[Sequence[str]]:
        answers = classes.target.decide(p)
        return [classes.target.texts(answers, part) for part in classes.target.members]

    def faults(self, table: pd.DataFrame, answers: Sequence[str], classes: Classes) -> list[str]:
        every, faults = np.arange(len(table)), []
        for column, part in zip(answers, classes.target.members, strict=True):
            faults += _part_faults(table[column], every, column, part)
        return faults

    def long_faults(
        self, table: pd.DataFrame, answers: Sequence[str], ids: Sequence[str], asked: np.ndarray, classes: Classes
    ) -> list[str]:
        faults, (column,) = [], answers
        for k, part in enumerate(classes.target.members):
            faults += _part_faults(table[column], np.flatnonzero(asked == k), column, part)
        return faults


def _part_faults(cells: pd.Series, rows: np.ndarray, column: str, part: Part) -> list[str]:
    """The faults of these rows of a column, which answer one of the targets."""
    if part.classes is None:
        faults, _ = number_faults(pd.DataFrame({column: cells.iloc[rows]}), [column], "number")
        if not faults or len(rows) == len(cells):
            return faults
        numbers = pd.to_numeric(cells.iloc[rows], errors="coerce").to_numpy(np.float64)
        wrong = rows[~np.isfinite(numbers)]
        return listed(wrong, f"cells that hold no number of {part.column}", lambda row: f"{cells[row]!r} is no number")
    known = frozenset(part.classes)
    held = [{*cell.split(SEPARATOR)} - {""} if part.several else {cell} for cell in cells.iloc[rows]]
    empty = [] if part.several else empty_faults(cells.where(cells.index.isin(rows), "-"), column)
    wrong = rows[[cell != {""} and not known.issuperset(cell) for cell in held]]
    what = f"unknown classes of {part.column}"
    return empty + listed(wrong, what, lambda row: f"{cells[row]!r} is no class of {part.column}")


@SUBMISSION_KINDS.register("mixed_probabilities")
class MixedProbabilities(_OfParts):
    """A row for each image and target, with a column for each of the classes, which all targets share: the
    probabilities of a severity in several places, say."""

    def check_classes(self, names: tuple[str, ...]) -> None:
        """Asked of the target in `long_columns`."""

    def long_columns(self, names: tuple[str, ...], target: TargetType) -> tuple[str, ...]:
        own = {part.classes for part in target.members if not part.several}
        if len(own) != 1 or None in own or any(part.several for part in target.members):
            told = "; ".join(f"{part.column}: {', '.join(part.classes or ['a number'])}" for part in target.members)
            raise UsageError(
                f"kind {self.registered} needs targets of one class each, with the same ones in one order: {told}",
                code="unfit-for-target",
            )
        return own.pop()

    def long_cells(
        self, p: np.ndarray, d: np.ndarray | None, asked: np.ndarray, classes: Classes
    ) -> Sequence[Sequence[str]]:
        starts = np.array([part.at.start for part in classes.target.members])[asked]
        size = classes.target.members[0].size
        return printed(np.take_along_axis(p, starts[:, None] + np.arange(size), axis=1), True)

    def columns(self, p: np.ndarray, d: np.ndarray | None, classes: Classes) -> Sequence[Sequence[str]]:
        raise UsageError(
            f"kind {self.registered} is of samples with a row for each image and target: name how their ids are made, "
            'submission.rows: "{id}_{output}"',
            code="submission-kind",
        )

    def faults(self, table: pd.DataFrame, answers: Sequence[str], classes: Classes) -> list[str]:
        faults, values = probability_faults(table, answers)
        return faults + sum_faults(values)
