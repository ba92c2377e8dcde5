"""The base class of the submission kinds, and how faults of a file are listed."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from src.core.registry import Configurable
from src.targets import TargetType
from src.targets.target_type import ClassTarget

LISTED = 5  # of each kind of fault


@dataclass(frozen=True)
class Classes:
    """What is asked of each test image. never_empty: whether each training row has at least one class; then an answer
    without any is a fault."""

    competition: str
    names: tuple[str, ...]
    target: TargetType
    never_empty: bool


class SubmissionKind(Configurable):
    """One form of the answers.

    parameters: each with its usual value; those that are keys of the card's `submission` come from there.
    """

    targets: ClassVar[tuple[type[TargetType], ...]] = (ClassTarget,)
    column_each: ClassVar[bool] = False  # a column for each class, where others have one column beside the id
    numbers: ClassVar[bool] = False  # whether the answers are probabilities, 0 to 1
    positive_class: ClassVar[bool] = False  # whether the answer is the probability of the last of two classes

    @classmethod
    def fits(cls, target: TargetType) -> bool:
        return isinstance(target, cls.targets)

    def check_classes(self, names: tuple[str, ...]) -> None:
        """Raise UsageError where answers of these classes cannot be written in this form."""

    def sums_to_one(self, target: TargetType) -> bool:
        """Whether the numbers of a row must."""
        return False

    def labels(self, cell: str) -> list[str] | None:
        """The classes that a cell names; None where it names none."""
        return None

    @abstractmethod
    def columns(self, p: np.ndarray, d: np.ndarray | None, classes: Classes) -> Sequence[Sequence[str]]:
        """The answer columns, a text a row. p: (n, classes) probabilities. d: (n, classes) bool, where decisions are
        to be written."""

    @abstractmethod
    def faults(self, table: pd.DataFrame, answers: Sequence[str], classes: Classes) -> list[str]:
        """What is wrong in the columns `answers` of a submission, every cell text; row r is line r + 2 of the file."""


def listed(rows: np.ndarray, what: str, wording: Callable[[int], str]) -> list[str]:
    """One fault a row for the first few, by line, then their number."""
    faults = [f"line {row + 2}: {wording(row)}" for row in rows[:LISTED].tolist()]
    return [*faults, f"{what}: {len(rows)} in all"] if len(rows) > LISTED else faults


def empty_faults(cells: pd.Series, name: str) -> list[str]:
    return listed(np.flatnonzero((cells == "").to_numpy()), "empty answers", lambda row: f"{name} is empty")
