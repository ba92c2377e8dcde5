"""The base class of the submission kinds, and how faults of a file are listed."""

import math
from abc import abstractmethod
from collections.abc import Callable, Collection, Sequence
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
    numbers: ClassVar[bool] = False  # whether the answers are numbers: see `right`
    positive_class: ClassVar[bool] = False  # whether the answer is the probability of the last of two classes

    @classmethod
    def fits(cls, target: TargetType) -> bool:
        return isinstance(target, cls.targets)

    def check_classes(self, names: tuple[str, ...]) -> None:
        """Raise UsageError where answers of these classes cannot be written in this form."""

    def asked(self, names: tuple[str, ...], target: TargetType) -> tuple[str, ...]:
        """What there is a column for, where there is one for each: here the network's outputs."""
        return names

    def long_columns(self, names: tuple[str, ...], target: TargetType) -> tuple[str, ...] | None:
        """What the answer columns stand for where the sample has a row for each image and each of `asked`; None where
        there is one column."""
        return None

    def long_cells(
        self, p: np.ndarray, d: np.ndarray | None, asked: np.ndarray, classes: Classes
    ) -> Sequence[Sequence[str]]:
        """`columns` of such a sample. asked: (n,) which of `asked` each row asks for."""
        cells = np.array(self.columns(p, d, classes), dtype=object)
        return [cells[asked, np.arange(len(asked))]]

    def long_faults(
        self, table: pd.DataFrame, answers: Sequence[str], ids: Sequence[str], asked: np.ndarray, classes: Classes
    ) -> list[str]:
        """`faults` of such a file. ids: (n,) the image of each row."""
        return self.faults(table, answers, classes)

    def sums_to_one(self, target: TargetType) -> bool:
        """Whether the numbers of a row must."""
        return False

    def sound(self, p: np.ndarray, target: TargetType) -> np.ndarray:
        """(n,) bool: which rows of (n, outputs) predictions can be answered with; NaN never can. Here probabilities."""
        return ((p >= 0) & (p <= 1 + 1e-6)).all(axis=1)

    def sound_name(self, target: TargetType) -> str:
        """What sound predictions are called."""
        return "probabilities"

    def trimmed(self, p: np.ndarray) -> np.ndarray:
        """Sound predictions as they are written: here without what rounding put beyond 0 and 1."""
        return p.clip(0, 1)

    def right(self, numbers: np.ndarray, target: TargetType) -> bool:
        """Whether the (n, columns) numbers of a file have no fault; asked of kinds whose answers are numbers."""
        raise NotImplementedError(f"{type(self).__name__} defines no right")

    def labels(self, cell: str) -> list[str] | None:
        """The classes that a cell names; None where it names none."""
        return None

    def takes(self, cell: str, names: Collection[str]) -> bool:
        """Whether a cell of a sample is such an answer, where the classes have these names."""
        labels = self.labels(cell)
        return bool(labels) and all(label in names for label in labels)

    @abstractmethod
    def columns(self, p: np.ndarray, d: np.ndarray | None, classes: Classes) -> Sequence[Sequence[str]]:
        """The answer columns, a text a row. p: (n, classes) probabilities. d: (n, classes) bool, where decisions are
        to be written."""

    @abstractmethod
    def faults(self, table: pd.DataFrame, answers: Sequence[str], classes: Classes) -> list[str]:
        """What is wrong in the columns `answers` of a submission, every cell text; row r is line r + 2 of the file."""


def number_in(cell: str) -> float:
    """The number that a cell holds, NaN where it holds none."""
    try:
        return float(cell)
    except ValueError:
        return math.nan


def listed(rows: np.ndarray, what: str, wording: Callable[[int], str]) -> list[str]:
    """One fault a row for the first few, by line, then their number."""
    faults = [f"line {row + 2}: {wording(row)}" for row in rows[:LISTED].tolist()]
    return [*faults, f"{what}: {len(rows)} in all"] if len(rows) > LISTED else faults


def empty_faults(cells: pd.Series, name: str) -> list[str]:
    return listed(np.flatnonzero((cells == "").to_numpy()), "empty answers", lambda row: f"{name} is empty")


def number_faults(
    table: pd.DataFrame,
    answers: Sequence[str],
    what: str,
    further: Sequence[tuple[str, Callable[[np.ndarray], np.ndarray]]] = (),
) -> tuple[list[str], np.ndarray]:
    """The cells that hold no finite number, or one that `further` calls wrong, and (n, answers) float64 of all cells.

    what: such a number is called. further: a fault in words, and which of finite numbers have it.
    """
    text = table[list(answers)].to_numpy(dtype=object)
    values = np.stack([pd.to_numeric(column, errors="coerce").astype(float) for column in text.T], axis=1)
    empty = text == ""
    number, finite = ~np.isnan(values), np.isfinite(values)
    kinds = [("is empty", empty), ("is not a number", ~number & ~empty), ("is not finite", number & ~finite)]
    kinds += [(fault, finite & wrong(values)) for fault, wrong in further]
    faults = []
    for fault, mask in kinds:
        cells = np.argwhere(mask)
        faults += [f"line {r + 2}: {answers[c]} {fault} ({text[r, c]!r})" for r, c in cells[:LISTED].tolist()]
        if len(cells) > LISTED:
            faults.append(f"cells where the {what} {fault}: {len(cells)} in all")
    return faults, values
