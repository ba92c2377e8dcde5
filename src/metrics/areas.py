"""Areas under ROC curves.

The resampled areas are those of the first order: positives placed among all negatives and the reverse (DeLong, 1988).
Exact where all weights are alike; elsewhere what is left out is of the order of one over the rows.
"""

import warnings
from itertools import pairwise
from typing import ClassVar

import numpy as np

from src.core.errors import UsageError
from src.metrics import METRICS
from src.metrics.metric import Metric, Rows, Statistic, mean_where, undefined
from src.targets.binary import Binary


class _Area(Metric):
    """Areas under the curves of columns."""

    ignores_prior = True

    def columns(self, truth: np.ndarray, answers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, columns) each: truth, bool, and the scores that are ranked."""
        return self.target.indicators(truth, answers.shape[1]), answers

    def statistic(self, truth: np.ndarray, answers: np.ndarray, outputs: int) -> Statistic:
        return Statistic(_placements(*self.columns(truth, answers)), _mean_area)

    def plain_score(self, truth: np.ndarray, predictions: np.ndarray, decisions: np.ndarray | None) -> float:
        """Without the sums, which take longer to make than to use once."""
        there, scores = self.columns(truth, predictions)
        areas = [_placed(scores[there[:, c], c], scores[~there[:, c], c]).mean() for c in _with_both(there)]
        return float(np.mean(areas)) if areas else np.nan

    def independent_rows(self, truth: np.ndarray, units: np.ndarray) -> float:
        """An area is no less sure than a share of the rows of its smaller side (van Dantzig, 1951)."""
        marks = self.target.indicators(truth, 1 + int(truth.max(initial=0)))
        sides = [len(np.unique(units[side])) for column in marks.T for side in (column, ~column)]
        return min((count for count in sides if count), default=np.nan)


@METRICS.register("auc")
class Auc(_Area):
    """Area under the ROC curve of the second class. NaN where the truth holds one class only."""

    targets = (Binary,)

    def columns(self, truth: np.ndarray, answers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return truth[:, None] == 1, answers[:, 1:]

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        from sklearn.metrics import roc_auc_score

        if len(np.unique(truth)) < 2:
            return undefined("auc: every row is of one class")
        return roc_auc_score(truth, answers[:, 1])

    @property
    def blends_ranks(self) -> bool:
        return True


@METRICS.register("mean_column_auc")
class MeanColumnAuc(_Area):
    """Mean over the classes of each class's AUC against the rest.

    A class that no row or every row has, has no AUC: the mean leaves it out, with a warning. NaN where none is left.
    """

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        from sklearn.metrics import roc_auc_score

        truth, _ = self.columns(truth, answers)
        both = _with_both(truth)
        if not len(both):
            return undefined("mean_column_auc: no class has rows with it and rows without")
        if len(both) < truth.shape[1]:
            left = ", ".join(map(str, sorted(set(range(truth.shape[1])) - set(both.tolist()))[:10]))
            warnings.warn(
                f"mean_column_auc leaves out classes that no row or every row has: numbers {left}", stacklevel=2
            )
        return np.mean([roc_auc_score(truth[:, c], answers[:, c]) for c in both])

    @property
    def blends_ranks(self) -> bool:
        return not self.target.sums_to_one


@METRICS.register("micro_auc")
class MicroAuc(_Area):
    """The AUC of all cells together, a row and a class each. NaN where all cells are alike."""

    ignores_prior = False  # cells of different classes are compared

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        truth, scores = self.columns(truth, answers)
        truth, scores = truth.ravel(), scores.ravel()
        if truth.all() or not truth.any():
            return undefined("micro_auc: no cell, or every cell, is true")
        return _placed(scores[truth], scores[~truth]).mean()

    def plain_score(self, truth: np.ndarray, predictions: np.ndarray, decisions: np.ndarray | None) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.score(truth, predictions, decisions)

    def statistic(self, truth: np.ndarray, answers: np.ndarray, outputs: int) -> Statistic:
        """A row's cells are drawn together: their placements are added up."""
        truth, scores = self.columns(truth, answers)
        cells = _placements(truth.reshape(-1, 1), scores.reshape(-1, 1))
        return Statistic(cells.reshape(*truth.shape, 4).sum(axis=1), _mean_area)

    def independent_rows(self, truth: np.ndarray, units: np.ndarray) -> float:
        return np.nan


class _Strips(Metric):
    """Areas of strips between two true positive rates, under the ROC curve of the second class."""

    targets = (Binary,)
    ignores_prior = True

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        if len(np.unique(truth)) < 2:
            return undefined(f"{self.name}: every row is of one class")
        return self.of_curve(truth == 1, answers[:, 1])

    def of_curve(self, truth: np.ndarray, scores: np.ndarray) -> float:
        raise NotImplementedError

    @property
    def blends_ranks(self) -> bool:
        return True


@METRICS.register("weighted_auc")
class WeightedAuc(_Strips):
    """The area under the ROC curve in which strips of the true positive rate count differently.

    Between `tpr[i]` and `tpr[i + 1]` the area counts `weights[i]`; 1 is the best there is. Without parameters as
    ALASKA2 has it: below a rate of 0.4 twice.
    """

    parameters: ClassVar = {"tpr": [0.0, 0.4, 1.0], "weights": [2.0, 1.0]}

    def check(self) -> None:
        ends, weights = np.array(self.tpr, float), np.array(self.weights, float)
        rising = len(ends) == len(weights) + 1 and (np.diff(ends) > 0).all() and ends[0] >= 0 and ends[-1] <= 1
        if not rising or not (weights >= 0).all() or not weights.any():
            raise UsageError(
                f"{self.name}: tpr must rise from 0 on to 1 at most, with one weight between each two",
                code="bad-parameter",
            )

    def of_curve(self, truth: np.ndarray, scores: np.ndarray) -> float:
        strips = zip(pairwise(self.tpr), self.weights, strict=True)
        found = [(weight * strip(truth, scores, low, high), weight * (high - low)) for (low, high), weight in strips]
        return sum(area for area, _ in found) / sum(most for _, most in found)


@METRICS.register("partial_auc")
class PartialAuc(_Strips):
    """The area under the ROC curve above a true positive rate of `min_tpr`, between 0 and 1 - min_tpr."""

    parameters: ClassVar = {"min_tpr": 0.8}

    def check(self) -> None:
        if not 0 <= self.min_tpr < 1:
            raise UsageError(f"{self.name}: min_tpr must lie between 0 and 1", code="bad-parameter")

    def of_curve(self, truth: np.ndarray, scores: np.ndarray) -> float:
        return strip(truth, scores, self.min_tpr, 1.0)


def strip(truth: np.ndarray, scores: np.ndarray, low: float, high: float) -> float:
    """The area under the ROC curve between two true positive rates; the curve is straight between its points."""
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.diff(-scores[order], append=np.inf))  # of each group of equal scores
    tpr = np.concatenate([[0.0], truth[order].cumsum()[last] / truth.sum()])
    fpr = np.concatenate([[0.0], (~truth)[order].cumsum()[last] / (~truth).sum()])
    area = 0.0
    for (y0, y1), (x0, x1) in zip(pairwise(tpr), pairwise(fpr), strict=True):
        bottom, top = max(y0, low), min(y1, high)
        if top > bottom:  # a trapezoid between the curve and the right edge
            xs = [x0 + (x1 - x0) * (y - y0) / (y1 - y0) for y in (bottom, top)]
            area += (top - bottom) * (1 - (xs[0] + xs[1]) / 2)
    return area


def _placements(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(n, 4 columns): a positive's share of negatives below it, and that it is one; then a negative's, the same way.

    Both shares are given less half the AUC, so that their means add up to it. Equal scores count one half.
    A column that every row or none has is left out.
    """
    shares = np.zeros((4, *truth.shape))
    shares[1], shares[3] = truth, ~truth
    for column in _with_both(truth):
        there, one = truth[:, column], scores[:, column]
        below, above = _placed(one[there], one[~there]), 1 - _placed(one[~there], one[there])
        shares[0, there, column] = below - below.mean() / 2
        shares[2, ~there, column] = above - above.mean() / 2
    return np.concatenate(list(shares), axis=1)


def _placed(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The share of the others below each score, equal ones counted half."""
    ordered = np.sort(others)
    return (np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")) / (2 * len(ordered))


def _with_both(truth: np.ndarray) -> np.ndarray:
    return np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0))


def _mean_area(sums: np.ndarray) -> np.ndarray:
    below, positives, above, negatives = np.split(sums, 4, axis=1)
    there = (positives > 0) & (negatives > 0)
    area = below / np.where(there, positives, 1) + above / np.where(there, negatives, 1)
    # To first order a draw of few rows may leave what an area can be.
    return mean_where(np.where(there, area.clip(0, 1), 0), there.astype(float))
