"""What several runs answered to the same held-out images."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from src.core.errors import Problem
from src.evaluation.held_out import HeldOut, RunTable, joined, refuse_other_folds
from src.reporting.run_results import RunResults


@dataclass(frozen=True)
class Compared:
    """held: the rows that every run holds out. tables: {run: (rows, classes) plain out-of-fold probabilities}.

    best: the run with the best score on them.
    """

    subjects: dict[str, RunResults]
    held: HeldOut
    tables: dict[str, np.ndarray]
    best: str

    @property
    def answers(self) -> dict[str, np.ndarray]:
        return {run: self.held.target.decide(p) for run, p in self.tables.items()}

    @property
    def right(self) -> pd.DataFrame:
        """(rows,) whether each run answers a row rightly, a column a run."""
        return pd.DataFrame({run: self.held.target.right(self.held.targets, a) for run, a in self.answers.items()})

    @property
    def first(self) -> RunResults:
        return next(iter(self.subjects.values()))


def compared_of(subjects: dict[str, RunResults]) -> Compared:
    """Raises Problem where the runs stand on different folds, or share no held-out row."""
    first = next(iter(subjects.values()))
    refuse_other_folds({run: s.competition.folds.hash for run, s in subjects.items()}, first.competition.folds.hash)
    without = [run for run, results in subjects.items() if results.held is None]
    if without:
        raise Problem(
            f"run {without[0]} has a model of all rows only, and no held-out row to be compared on",
            code="no-held-out-rows",
        )
    tables = [RunTable(run, s.competition.folds.hash, s.held.id, s.plain) for run, s in subjects.items()]
    ids, found = joined(tables, first.held.id, first.competition.folds.hash, shared=True)
    held = first.held.only(ids)
    best = max(found, key=lambda run: held.objective((found[run], None)))
    return Compared(subjects, held, found, best)
