"""Gradient-boosted trees over the answers of networks and the columns beside the pictures, one way for each kind of
truth: scikit-learn's HistGradientBoosting, which takes missing values and categories as they are."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

RATE, STEPS = 0.05, 100  # of the boosting, and
TREES = 1000  # of all classes together: of many, each gets fewer and larger steps
SETTINGS = {"max_leaf_nodes": 15, "min_samples_leaf": 20, "l2_regularization": 1.0, "early_stopping": False}
MOST = 250  # categories that the trees tell apart: the most frequent ones
MANY = 32  # classes up to which each is told from the answers to all

Fitted = Callable[[np.ndarray, "Columns"], np.ndarray]  # answers (n, outputs) and columns -> answers (n, outputs)


@dataclass(frozen=True)
class Columns:
    """cells: (n, columns), NaN is missing; a category is a number of 1 or more, 0 unknown. is_category: (columns,)."""

    cells: np.ndarray
    is_category: np.ndarray

    def at(self, rows: np.ndarray) -> "Columns":
        """Those of these rows."""
        return Columns(self.cells[rows], self.is_category)

    def none(self) -> "Columns":
        """The same rows, of which nothing is known."""
        return Columns(self.cells[:, :0], self.is_category[:0])

    def plus(self, numbers: np.ndarray) -> "Columns":
        """The same with further columns of numbers, (n, more)."""
        more = np.zeros(numbers.shape[1], dtype=bool)
        return Columns(np.concatenate([self.cells, numbers], axis=1), np.append(self.is_category, more))


def fit_numbers(truth: np.ndarray, answers: np.ndarray, columns: Columns, weights: np.ndarray | None) -> Fitted:
    """truth: (n, outputs) numbers. What the answers lack is learned, output by output, and added to them."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    table = _Table.of(columns)
    models = []
    for k in range(truth.shape[1]):
        model = HistGradientBoostingRegressor(categorical_features=table.mask(answers), random_state=0, **_steps(1))
        models.append(_fit(model, table(answers, columns), truth[:, k] - answers[:, k], weights))

    def apply(answers: np.ndarray, columns: Columns) -> np.ndarray:
        x = table(answers, columns)
        return answers + np.stack([_one_thread(model.predict, x) for model in models], axis=1)

    return apply


def fit_classes(truth: np.ndarray, answers: np.ndarray, columns: Columns, weights: np.ndarray | None) -> Fitted:
    """truth: (n,) int64. Classes that no row has keep the answers' probability."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    table, known = _Table.of(columns), np.unique(truth)
    if len(known) < 2:
        return lambda answers, columns: answers
    steps = _steps(len(known) if len(known) > 2 else 1)
    model = HistGradientBoostingClassifier(categorical_features=table.mask(answers), random_state=0, **steps)
    _fit(model, table(answers, columns), truth, weights)

    def apply(answers: np.ndarray, columns: Columns) -> np.ndarray:
        found = answers.astype(np.float64)
        left = found[:, known].sum(axis=1, keepdims=True)
        found[:, known] = left * _one_thread(model.predict_proba, table(answers, columns))
        return found

    return apply


def fit_marks(truth: np.ndarray, answers: np.ndarray, columns: Columns, weights: np.ndarray | None) -> Fitted:
    """truth: (n, classes) bool. Each class against the rest, from the columns and the answers to all classes."""

    def asked(answers: np.ndarray, columns: Columns, k: int) -> tuple[np.ndarray, Columns]:
        others = answers if answers.shape[1] <= MANY else answers[:, :0]
        return np.stack([1 - answers[:, k], answers[:, k]], axis=1), columns.plus(others)

    classes = range(truth.shape[1])
    models = [fit_classes(truth[:, k].astype(np.int64), *asked(answers, columns, k), weights) for k in classes]

    def apply(answers: np.ndarray, columns: Columns) -> np.ndarray:
        return np.stack([model(*asked(answers, columns, k))[:, 1] for k, model in enumerate(models)], axis=1)

    return apply


@dataclass(frozen=True)
class _Table:
    """What the trees are given: the answers, then the columns, of categories the most frequent of the fitted rows."""

    kept: tuple[np.ndarray | None, ...]

    @classmethod
    def of(cls, columns: Columns) -> "_Table":
        kept = []
        for cells, category in zip(columns.cells.T, columns.is_category, strict=True):
            values, counts = np.unique(cells[cells > 0], return_counts=True)
            kept.append(np.sort(values[np.argsort(-counts, kind="stable")[:MOST]]) if category else None)
        return cls(tuple(kept))

    def mask(self, answers: np.ndarray) -> np.ndarray:
        return np.array([False] * answers.shape[1] + [one is not None for one in self.kept])

    def __call__(self, answers: np.ndarray, columns: Columns) -> np.ndarray:
        parts = [answers]
        for cells, kept in zip(columns.cells.T, self.kept, strict=True):
            codes = cells
            if kept is not None:
                codes = np.where(np.isin(cells, kept), np.searchsorted(kept, cells) + 1.0, 0.0)
                codes = np.where(np.isnan(cells), np.nan, codes)
            parts.append(codes[:, None])
        return np.concatenate(parts, axis=1)


def _steps(classes: int) -> dict[str, float]:
    steps = int(np.clip(TREES // classes, 10, STEPS))
    return SETTINGS | {"max_iter": steps, "learning_rate": min(0.3, RATE * STEPS / steps)}


def _fit(model, x: np.ndarray, truth: np.ndarray, weights: np.ndarray | None):  # noqa: ANN001  any estimator
    _one_thread(model.fit, x, truth, sample_weight=weights)
    return model


def _one_thread(call: Callable, *args: np.ndarray, **more: np.ndarray | None) -> np.ndarray:
    """Sums of several threads come in any order: the same bits need one."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="openmp"):
        return call(*args, **more)
