"""One class a row."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pandas as pd

from src.competition.submission_kinds import SUBMISSION_KINDS
from src.competition.submission_kinds.submission_kind import Classes, SubmissionKind, empty_faults, listed
from src.targets.single_label import SingleLabel


@SUBMISSION_KINDS.register("label")
class Label(SubmissionKind):
    targets: ClassVar = (SingleLabel,)

    def labels(self, cell: str) -> list[str]:
        return [cell]

    def columns(self, p: np.ndarray, d: np.ndarray | None, classes: Classes) -> Sequence[Sequence[str]]:
        return [np.array(classes.names, dtype=object)[(p if d is None else d).argmax(axis=1)]]

    def faults(self, table: pd.DataFrame, answers: Sequence[str], classes: Classes) -> list[str]:
        cells = table[answers[0]]
        unknown = np.flatnonzero(~cells.isin([*classes.names, ""]).to_numpy())
        return empty_faults(cells, answers[0]) + listed(
            unknown, "unknown labels", lambda row: f"{cells[row]!r} is no class of {classes.competition}"
        )
