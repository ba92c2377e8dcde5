"""Probabilities: of the last of two classes, or a column for each class."""

from collections.abc import Collection, Sequence
from typing import ClassVar

import numpy as np
import pandas as pd

from src.competition.submission_kinds import SUBMISSION_KINDS
from src.competition.submission_kinds.submission_kind import (
    LISTED,
    Classes,
    SubmissionKind,
    listed,
    number_faults,
    number_in,
)
from src.core.errors import UsageError
from src.targets import ClassTarget, TargetType
from src.targets.soft_labels import SoftLabels

TOLERANCE = 1e-6  # of a row's sum
UNITS = 10**12  # rows that must sum to 1 are printed in twelve decimals


class Probabilities(SubmissionKind):
    numbers = True

    def sound(self, p: np.ndarray, target: TargetType) -> np.ndarray:
        sound = super().sound(p, target)
        return sound & (np.abs(p.sum(axis=1) - 1) < 1e-3) if self.sums_to_one(target) else sound

    def sound_name(self, target: TargetType) -> str:
        return "probabilities that sum to 1" if self.sums_to_one(target) else "probabilities"

    def right(self, numbers: np.ndarray, target: TargetType) -> bool:
        if not ((numbers >= 0) & (numbers <= 1)).all():  # NaN is not
            return False
        # Half of it: a sum at its very edge is judged in one place, of the text.
        return not self.sums_to_one(target) or bool((np.abs(numbers.sum(axis=1) - 1) <= TOLERANCE / 2).all())

    def takes(self, cell: str, names: Collection[str]) -> bool:
        return 0 <= number_in(cell) <= 1

    def columns(self, p: np.ndarray, d: np.ndarray | None, classes: Classes) -> Sequence[Sequence[str]]:
        return printed(p, self.sums_to_one(classes.target)) if d is None else d.astype(int).astype(str).T

    def faults(self, table: pd.DataFrame, answers: Sequence[str], classes: Classes) -> list[str]:
        faults, values = probability_faults(table, answers)
        return faults + (sum_faults(values) if self.sums_to_one(classes.target) else [])


@SUBMISSION_KINDS.register("columns")
class Columns(Probabilities):
    """A column for each class."""

    targets: ClassVar = (ClassTarget, SoftLabels)
    column_each = True

    def sums_to_one(self, target: TargetType) -> bool:
        return target.sums_to_one

    def long_faults(
        self, table: pd.DataFrame, answers: Sequence[str], ids: Sequence[str], asked: np.ndarray, classes: Classes
    ) -> list[str]:
        faults, values = probability_faults(table, answers)
        if faults or not self.sums_to_one(classes.target):
            return faults
        number, first = np.unique(np.asarray(ids, dtype=object).astype(str), return_inverse=True)
        total = np.bincount(first, values[:, 0])
        off = np.flatnonzero(np.abs(total - 1) > TOLERANCE)
        told = [f"the rows of {number[k]!r} sum to {total[k]:.9g} instead of 1" for k in off[:LISTED].tolist()]
        return told + ([f"images whose rows do not sum to 1: {len(off)} in all"] if len(off) > LISTED else [])


@SUBMISSION_KINDS.register("probability")
class Probability(Probabilities):
    """That of the last of two classes, the positive one."""

    positive_class = True

    def check_classes(self, names: tuple[str, ...]) -> None:
        if len(names) != 2:
            raise UsageError(
                f"the card's submission kind is probability, of the positive class, but there are {len(names)} "
                "classes: set kind to columns or label",
                code="submission-kind",
            )

    def columns(self, p: np.ndarray, d: np.ndarray | None, classes: Classes) -> Sequence[Sequence[str]]:
        return super().columns(p, d, classes)[1:]


def probability_faults(table: pd.DataFrame, answers: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """The cells that hold no probability, and (n, answers) float64 of all."""
    return number_faults(table, answers, "probability", (("is outside 0 to 1", _outside),))


def sum_faults(values: np.ndarray) -> list[str]:
    """The rows that do not sum to 1; one with NaN is named elsewhere."""
    total = values.sum(axis=1)
    off = np.flatnonzero(np.abs(total - 1) > TOLERANCE)
    return listed(off, "rows that do not sum to 1", lambda row: f"the row sums to {total[row]:.9g} instead of 1")


def _outside(values: np.ndarray) -> np.ndarray:
    return (values < 0) | (values > 1)


def printed(p: np.ndarray, sums: bool) -> list[list[str]]:
    """Probabilities as text, by column. With `sums` the printed decimals of a row add up to 1 exactly."""
    if not sums:
        return [[f"{x:.9g}" for x in column.tolist()] for column in p.T]
    units = p / p.sum(axis=1, keepdims=True)
    units *= UNITS
    np.floor(units, out=units)
    units[np.arange(len(p)), p.argmax(axis=1)] += UNITS - units.sum(axis=1)  # what rounding took goes to the likeliest
    return [[f"{x:.12f}" for x in column.tolist()] for column in np.divide(units, UNITS, out=units).T]
