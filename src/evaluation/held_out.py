"""The rows that every choice is made on and judged by, those that some fold held out, and the runs' answers to them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from src.core.errors import Problem
from src.evaluation.bootstrap import Answer, units
from src.metrics import Metric, Rows
from src.targets import TargetType

Apply = Callable[[np.ndarray], Answer]  # rows -> their answer
Fit = Callable[[np.ndarray], Apply]  # rows to learn from -> what answers any rows
PARTS = 5  # where the folds are fewer than two


@dataclass(frozen=True)
class HeldOut:
    """id: (n,) text. targets: (n,) int or (n, classes) 0/1. folds: (n,) int, the fold that held each row out.

    groups: (n,) text or int: rows of one group are not independent; see `units`. weights: (n,) how much each row
    counts, None where all count alike.
    """

    metric: Metric
    id: np.ndarray
    targets: np.ndarray
    folds: np.ndarray
    groups: np.ndarray
    weights: np.ndarray | None = None

    @property
    def target(self) -> TargetType:
        return self.metric.target

    @property
    def rows(self) -> Rows:
        """What a metric may want to know of them."""
        return Rows(self.id, self.groups, self.weights)

    def only(self, ids: np.ndarray) -> "HeldOut":
        """Those of the rows whose id is among `ids`, in their order."""
        rows = np.flatnonzero(pd.Index(self.id, dtype=object).isin(ids))
        parts = {name: getattr(self, name)[rows] for name in ("id", "targets", "folds", "groups")}
        parts["weights"] = None if self.weights is None else self.weights[rows]
        return replace(self, **parts)

    def objective(self, answer: Answer, rows: np.ndarray | None = None) -> float:
        """The score of an answer to these rows (None: all), turned so that larger is better."""
        if rows is None:
            return self.metric.objective(self.targets, *answer, self.rows)
        return self.metric.objective(self.targets[rows], *answer, self.rows.at(rows))

    def nested(self, fit: Fit) -> Answer:
        """Every row answered by what was fitted on the other folds: an honest estimate of a fit and its choices."""
        kept = [(rows, fit(others)(rows)) for others, rows in self.splits()]
        order = np.argsort(np.concatenate([rows for rows, _ in kept]))
        probabilities = np.concatenate([answer[0] for _, answer in kept])[order]
        if kept[0][1][1] is None:
            return probabilities, None
        return probabilities, np.concatenate([answer[1] for _, answer in kept])[order]

    def splits(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """(rows to learn from, rows to judge on) for each fold.

        Where one fold alone is there, its rows are dealt into five parts that take the place of folds: its network has
        seen none of them. Raises Problem where its rows are of one group only.
        """
        parts = self.folds
        if len(np.unique(parts)) < 2:
            unit_of_row = units(self.groups)
            count = int(unit_of_row.max(initial=-1)) + 1
            if count < 2:
                raise Problem(
                    "a choice needs held-out rows of more than one group to be judged on: train more folds",
                    code="too-few-groups",
                )
            parts = (np.random.default_rng(0).permutation(count) % PARTS)[unit_of_row]
        return [(np.flatnonzero(parts != part), np.flatnonzero(parts == part)) for part in np.unique(parts)]


@dataclass(frozen=True)
class RunTable:
    """What one run answers. folds: its fold table's hash. id: (n,) text in any order. probabilities: (n, classes)."""

    run: str
    folds: str
    id: np.ndarray
    probabilities: np.ndarray


def joined(
    tables: list[RunTable], ids: np.ndarray, folds: str, shared: bool = False
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The runs' probabilities row by row the same images: the ids answered, and {run: (rows, classes)}, joined by id.

    Rows of a table that `ids` lacks are left out. With `shared` the rows are those that every run answers; else
    Raises Problem where a run lacks rows, has an id twice, stands on other folds than `folds`, or has other classes.
    """
    positions = {}
    refuse_other_folds({table.run: table.folds for table in tables}, folds)
    for table in tables:
        index = pd.Index(np.asarray(table.id, dtype=object))
        if not index.is_unique:
            raise Problem(
                f"run {table.run} answers the id {str(index[index.duplicated()][0])!r} twice", code="repeated-id"
            )
        positions[table.run] = index.get_indexer(np.asarray(ids, dtype=object))
    if len(positions) < len(tables):
        raise Problem(f"a run is named twice: {', '.join(table.run for table in tables)}", code="same-run-twice")
    answered = np.all([at >= 0 for at in positions.values()], axis=0)
    if not shared:
        _refuse_gaps(positions, ids)
    elif not answered.any():
        raise Problem(
            f"the runs {', '.join(positions)} share no held-out row: train the same folds of each",
            code="no-shared-rows",
        )
    shapes = {table.probabilities.shape[1:] for table in tables}
    if len(shapes) > 1:
        raise Problem(
            f"the runs {', '.join(positions)} answer different numbers of classes: {sorted(shapes)}",
            code="classes-differ",
        )
    return np.asarray(ids)[answered], {t.run: t.probabilities[positions[t.run][answered]] for t in tables}


def refuse_other_folds(runs: dict[str, str], folds: str) -> None:
    """Raises Problem for the first run whose fold table has another hash than `folds`."""
    for run, own in runs.items():
        if own != folds:
            raise Problem(
                f"run {run} stands on other folds ({own}) than the rest ({folds}): its held-out rows were seen by the "
                f"other runs' networks. Train it anew with the same rows, data.folds and data.fold_seed",
                code="run-folds-differ",
            )


def _refuse_gaps(positions: dict[str, np.ndarray], ids: np.ndarray) -> None:
    for run, at in positions.items():
        if (at < 0).any():
            first = str(ids[np.flatnonzero(at < 0)[0]])
            raise Problem(
                f"run {run} has no answer to {(at < 0).sum()} of {len(ids)} rows, the first is id {first!r}: "
                f"train the folds that it lacks, or give predict.shared=true to judge on the rows that all runs share",
                code="missing-row",
            )
