"""Numbers: the one that is predicted, or a column for each of several."""

import math
from collections.abc import Collection, Sequence
from typing import ClassVar

import numpy as np
import pandas as pd

from src.competition.submission_kinds import SUBMISSION_KINDS
from src.competition.submission_kinds.submission_kind import Classes, SubmissionKind, number_faults, number_in
from src.core.errors import UsageError
from src.targets import TargetType
from src.targets.laplace import Laplace
from src.targets.regression import Regression


class _Numbers(SubmissionKind):
    targets: ClassVar = (Regression,)
    numbers = True

    def sound(self, p: np.ndarray, target: TargetType) -> np.ndarray:
        return np.isfinite(p).all(axis=1)

    def sound_name(self, target: TargetType) -> str:
        return "finite numbers"

    def trimmed(self, p: np.ndarray) -> np.ndarray:
        return p

    def right(self, numbers: np.ndarray, target: TargetType) -> bool:
        return bool(np.isfinite(numbers).all())

    def takes(self, cell: str, names: Collection[str]) -> bool:
        return math.isfinite(number_in(cell))

    def columns(self, p: np.ndarray, d: np.ndarray | None, classes: Classes) -> Sequence[Sequence[str]]:
        return [[f"{x:.9g}" for x in column.tolist()] for column in classes.target.decide(p).T]

    def faults(self, table: pd.DataFrame, answers: Sequence[str], classes: Classes) -> list[str]:
        return number_faults(table, answers, "number")[0]


@SUBMISSION_KINDS.register("number")
class Number(_Numbers):
    """One number a row, in the one column beside the id."""

    def check_classes(self, names: tuple[str, ...]) -> None:
        if len(names) != 1:
            raise UsageError(
                f"the card's submission kind is number, but there are {len(names)} numbers: set kind to numbers",
                code="unfit-for-target",
            )


@SUBMISSION_KINDS.register("numbers")
class Numbers(_Numbers):
    """A column for each number, under its name."""

    targets: ClassVar = (Regression, Laplace)
    column_each = True
