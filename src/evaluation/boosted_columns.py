"""What the columns beside the pictures add: boosted trees over out-of-fold answers and columns, judged nested."""

from dataclasses import dataclass

import numpy as np

from src.core.errors import Problem
from src.evaluation.comparisons import Candidate, Comparison, judged
from src.evaluation.held_out import HeldOut
from src.targets.boosting import Columns, Fitted

ALONE, BOOSTED = "picture alone", "boosted trees"
MOST_OUTPUTS = 100  # classes up to which trees are fitted: each wants trees of its own
FEWEST = 50  # held-out rows without which nothing is fitted
SHUFFLES = 5  # of a column, to see what it is worth


@dataclass(frozen=True)
class ColumnsChoice:
    """answer: (rows, outputs) the nested out-of-fold predictions to go on with. importance: {column: the loss of score
    where its cells are shuffled}, of the trees, whether or not they are taken. fitted: on all held-out rows; None
    where the pictures alone answer better, or as well."""

    answer: np.ndarray
    comparison: Comparison
    importance: dict[str, float]
    fitted: Fitted | None

    @property
    def taken(self) -> bool:
        return self.fitted is not None

    @property
    def trees(self) -> Candidate:
        """The trees as they were judged."""
        return next(one for one in self.comparison.candidates if one.name == BOOSTED)

    def apply(self, answers: np.ndarray, columns: Columns) -> np.ndarray:
        """(rows, outputs) predictions, of the pictures' (rows, outputs)."""
        return self.fitted(answers, columns) if self.fitted else answers

    @property
    def lines(self) -> tuple[str, ...]:
        """The table to print, with what each column is worth."""
        worth = ", ".join(f"{name} {value:+.4f}" for name, value in self.importance.items())
        return (*self.comparison.lines, f"the trees lose where a column is shuffled: {worth}")


def choose_columns(held: HeldOut, answers: np.ndarray, columns: Columns, names: tuple[str, ...]) -> ColumnsChoice:
    """Judge the trees against the pictures alone, (rows, outputs) predictions; each fold by trees of the others.

    columns: of the held-out rows. Raises Problem where there are too many outputs or too few rows for trees.
    """
    if answers.shape[1] > MOST_OUTPUTS:
        text = f"boosted trees are fitted for {MOST_OUTPUTS} classes at most, and there are {answers.shape[1]}"
        raise Problem(text, code="too-many-classes")
    if len(answers) < FEWEST:
        raise Problem(f"boosted trees want {FEWEST} held-out rows, and there are {len(answers)}", code="too-few-rows")
    kept: list[tuple[np.ndarray, Fitted]] = []
    for others, rows in held.splits():
        kept.append((rows, _fit(held, answers, columns, others)))
    nested = _nested(kept, answers, columns)
    every = _fit(held, answers, columns, np.arange(len(answers)))
    candidates = {ALONE: (None, (answers, None)), BOOSTED: ((every(answers, columns), None), (nested, None))}
    comparison = judged(held, ALONE, candidates)
    taken = comparison.taken == BOOSTED
    whole, importance = held.objective((nested, None)), {}
    for k, name in enumerate(names):
        shuffled = [
            held.objective((_nested(kept, answers, _shuffled(columns, k, seed)), None)) for seed in range(SHUFFLES)
        ]
        importance[name] = float(whole - np.mean(shuffled))
    importance = dict(sorted(importance.items(), key=lambda pair: -pair[1]))
    return ColumnsChoice(nested if taken else answers, comparison, importance, every if taken else None)


def _fit(held: HeldOut, answers: np.ndarray, columns: Columns, rows: np.ndarray) -> Fitted:
    weights = None if held.weights is None else held.weights[rows]
    return held.target.fit_boosted(held.targets[rows], answers[rows], columns.at(rows), weights)


def _nested(kept: list[tuple[np.ndarray, Fitted]], answers: np.ndarray, columns: Columns) -> np.ndarray:
    """Every row answered by the trees that never saw it."""
    found = np.empty(answers.shape)
    for rows, fitted in kept:
        found[rows] = fitted(answers[rows], columns.at(rows))
    return found


def _shuffled(columns: Columns, k: int, seed: int) -> Columns:
    """The same with the cells of one column in another order."""
    cells = columns.cells.copy()
    cells[:, k] = np.random.default_rng(seed).permutation(cells[:, k])
    return Columns(cells, columns.is_category)
