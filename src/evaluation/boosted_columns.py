"""What the columns beside the pictures add: boosted trees over out-of-fold answers and columns, judged nested."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from src.core.errors import Problem
from src.evaluation.bootstrap import Gain, gains
from src.evaluation.comparisons import Candidate, Comparison, judged
from src.evaluation.held_out import HeldOut
from src.targets.boosting import Columns

ALONE, BOOSTED, BLIND = "picture alone", "boosted trees", "trees without columns"
MOST_OUTPUTS = 100  # classes up to which trees are fitted: each wants trees of its own
FEWEST = 50  # held-out rows without which nothing is fitted
AXES = 32  # of the features, that the trees are given
SHUFFLES = 5  # of a column, to see what it is worth


@dataclass(frozen=True)
class Beside:
    """What is known of rows beside the networks' answers. features: (n, width) what a frozen network sees in the
    pictures, None where there are none."""

    columns: Columns
    features: np.ndarray | None = None

    def at(self, rows: np.ndarray) -> "Beside":
        """The same of these rows."""
        return Beside(self.columns.at(rows), None if self.features is None else self.features[rows])


Apply = Callable[[np.ndarray, Beside], np.ndarray]  # (n, outputs) answers and what is beside -> (n, outputs) answers


@dataclass(frozen=True)
class ColumnsChoice:
    """answer: (rows, outputs) the nested out-of-fold predictions to go on with. own: the gain of the trees over trees
    that see no columns. importance: {column: the loss of score where its cells are shuffled}, of the trees, whether or
    not they are taken. fitted: on all held-out rows; None where the pictures alone answer better, or as well."""

    answer: np.ndarray
    comparison: Comparison
    own: Gain
    importance: dict[str, float]
    fitted: Apply | None

    @property
    def taken(self) -> bool:
        return self.fitted is not None

    @property
    def trees(self) -> Candidate:
        """The trees as they were judged."""
        return next(one for one in self.comparison.candidates if one.name == BOOSTED)

    def apply(self, answers: np.ndarray, beside: Beside) -> np.ndarray:
        """(rows, outputs) predictions, of the pictures' (rows, outputs)."""
        return self.fitted(answers, beside) if self.fitted else answers

    @property
    def lines(self) -> tuple[str, ...]:
        """The table to print, with what each column is worth."""
        worth = ", ".join(f"{name} {value:+.4f}" for name, value in self.importance.items())
        lines = self.comparison.lines
        if self.trees.gain.real and not self.own.real:
            told = "trees without columns gain as much, so that the gain is none of the columns'"
            lines = (*lines[:-1], f"using {ALONE}: {told}")
        return (*lines, f"the trees lose where a column is shuffled: {worth}")


def choose_columns(held: HeldOut, answers: np.ndarray, beside: Beside, names: tuple[str, ...]) -> ColumnsChoice:
    """Judge the trees against the pictures alone, (rows, outputs) predictions; each fold by trees of the others. They
    are taken where they are better than the pictures, and than trees that see no columns.

    beside: of the held-out rows; names: of its columns. Raises Problem where there are too many outputs or too few rows
    for trees.
    """
    if answers.shape[1] > MOST_OUTPUTS:
        text = f"boosted trees are fitted for {MOST_OUTPUTS} classes at most, and there are {answers.shape[1]}"
        raise Problem(text, code="too-many-classes")
    if len(answers) < FEWEST:
        raise Problem(f"boosted trees want {FEWEST} held-out rows, and there are {len(answers)}", code="too-few-rows")
    kept = [(rows, _fit(held, answers, beside, others)) for others, rows in held.splits()]
    nested = _nested(kept, answers, beside)
    every = _fit(held, answers, beside, np.arange(len(answers)))
    # Trees of the answers alone may make them surer or less sure: a gain over these is the columns' own.
    nothing = Beside(beside.columns.none())
    blind = _nested([(rows, _fit(held, answers, nothing, others)) for others, rows in held.splits()], answers, nothing)
    candidates = {ALONE: (None, (answers, None)), BOOSTED: ((every(answers, beside), None), (nested, None))}
    comparison = judged(held, ALONE, candidates, beside={BLIND: (None, (blind, None))})
    (own,) = gains(held.metric, held.targets, (blind, None), [(nested, None)], held.groups, rows=held.rows)
    taken = comparison.taken == BOOSTED and own.real
    comparison = replace(comparison, taken=BOOSTED if taken else ALONE)
    whole, importance = held.objective((nested, None)), {}
    for k, name in enumerate(names):
        shuffled = [held.objective((_nested(kept, answers, _shuffled(beside, k, s)), None)) for s in range(SHUFFLES)]
        importance[name] = float(whole - np.mean(shuffled))
    importance = dict(sorted(importance.items(), key=lambda pair: -pair[1]))
    return ColumnsChoice(nested if taken else answers, comparison, own, importance, every if taken else None)


def _fit(held: HeldOut, answers: np.ndarray, beside: Beside, rows: np.ndarray) -> Apply:
    """The trees of these rows, and the main axes of their features."""
    weights = None if held.weights is None else held.weights[rows]
    axes = None if beside.features is None else _axes(beside.features[rows])

    def known(beside: Beside) -> Columns:
        return beside.columns if axes is None else beside.columns.plus(axes(beside.features))

    trees = held.target.fit_boosted(held.targets[rows], answers[rows], known(beside.at(rows)), weights)
    return lambda answers, beside: trees(answers, known(beside))


def _axes(features: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """What turns features to the main axes of these."""
    from sklearn.decomposition import PCA

    return PCA(min(AXES, *features.shape), svd_solver="randomized", random_state=0).fit(features).transform


def _nested(kept: list[tuple[np.ndarray, Apply]], answers: np.ndarray, beside: Beside) -> np.ndarray:
    """Every row answered by the trees that never saw it."""
    found = np.empty(answers.shape)
    for rows, fitted in kept:
        found[rows] = fitted(answers[rows], beside.at(rows))
    return found


def _shuffled(beside: Beside, k: int, seed: int) -> Beside:
    """The same with the cells of one column in another order."""
    cells = beside.columns.cells.copy()
    cells[:, k] = np.random.default_rng(seed).permutation(cells[:, k])
    return Beside(Columns(cells, beside.columns.is_category), beside.features)
