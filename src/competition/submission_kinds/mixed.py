"""Several answers of different kinds: a column for each, with a class or a number."""

from collections.abc import Collection, Sequence
from typing import ClassVar

import numpy as np
import pandas as pd

from src.competition.submission_kinds import SUBMISSION_KINDS
from src.competition.submission_kinds.submission_kind import (
    Classes,
    SubmissionKind,
    empty_faults,
    listed,
    number_faults,
)
from src.targets import TargetType
from src.targets.mixed import Mixed


@SUBMISSION_KINDS.register("mixed")
class MixedAnswers(SubmissionKind):
    targets: ClassVar = (Mixed,)
    column_each = True
    alike = False

    def asked(self, names: tuple[str, ...], target: TargetType) -> tuple[str, ...]:
        return tuple(target.columns)

    def sound(self, p: np.ndarray, target: TargetType) -> np.ndarray:
        return np.isfinite(p).all(axis=1)

    def sound_told(self, target: TargetType) -> str:
        return "finite numbers"

    def trimmed(self, p: np.ndarray) -> np.ndarray:
        return p

    def takes(self, cell: str, names: Collection[str]) -> bool:
        return True

    def columns(self, p: np.ndarray, d: np.ndarray | None, classes: Classes) -> Sequence[Sequence[str]]:
        answers = classes.target.decide(p)
        return [classes.target.texts(answers, k) for k in range(answers.shape[1])]

    def faults(self, table: pd.DataFrame, answers: Sequence[str], classes: Classes) -> list[str]:
        faults = []
        for column, part in zip(answers, classes.target.members, strict=True):
            if part.classes is None:
                faults += number_faults(table, [column], "number")[0]
                continue
            cells = table[column]
            wrong = np.flatnonzero(~cells.isin([*part.classes, ""]).to_numpy())
            faults += empty_faults(cells, column)
            what = f"unknown classes of {column}"
            faults += listed(wrong, what, lambda row, cells=cells: f"{cells[row]!r} is no class")
        return faults
