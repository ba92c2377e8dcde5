"""Shares of right rows and right classes, and what is left of them by chance."""

from typing import Any

import numpy as np

from src.metrics import METRICS
from src.metrics.metric import Metric, Rows, Statistic, mean_where, undefined
from src.metrics.rules import CutPoints, OneThreshold, Rule, TiltedPrior
from src.targets.single_label import SingleLabel


@METRICS.register("accuracy")
class Accuracy(Metric):
    """Share of right rows. A row of several classes is right where every class of it is."""

    needs = "labels"

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        return self.target.right(truth, answers).mean()

    def per_row(self, truth: np.ndarray, answers: np.ndarray) -> np.ndarray:
        return self.target.right(truth, answers)

    def independent_rows(self, truth: np.ndarray, units: np.ndarray) -> float:
        return units.max() + 1


@METRICS.register("balanced_accuracy")
class BalancedAccuracy(Metric):
    """Mean recall of the classes that the truth holds; a class without a row has no recall."""

    needs = "labels"
    targets = (SingleLabel,)

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        from sklearn.metrics import recall_score

        return recall_score(truth, answers, labels=np.unique(truth), average="macro", zero_division=0)

    def statistic(self, truth: np.ndarray, answers: np.ndarray, outputs: int) -> Statistic:
        return Statistic(agreement_sums(truth, answers, outputs), _mean_recall)

    def rules(self, shift: np.ndarray | None) -> tuple[Rule, ...]:
        return (TiltedPrior(),)


@METRICS.register("qwk")
class QuadraticKappa(Metric):
    """Cohen's kappa with quadratic weights. NaN where truth and answers are all one same class."""

    needs = "labels"
    targets = (SingleLabel,)

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        from sklearn.metrics import cohen_kappa_score

        if len(np.union1d(truth, answers)) == 1:
            return undefined("qwk: truth and answers are all one same class")
        # Every rating up to the highest, so that one that nobody gave still counts as a step of distance.
        ratings = np.arange(max(truth.max(), answers.max()) + 1)
        return cohen_kappa_score(truth, answers, labels=ratings, weights="quadratic")

    def statistic(self, truth: np.ndarray, answers: np.ndarray, outputs: int) -> Statistic:
        t, d = truth.astype(float), answers.astype(float)
        return Statistic(np.stack([np.ones(len(t)), t, d, (t - d) ** 2, t * t + d * d], axis=1), _kappa)

    def rules(self, shift: np.ndarray | None) -> tuple[Rule, ...]:
        return (CutPoints(),)


@METRICS.register("mcc")
class MatthewsCorrelation(Metric):
    """Matthews' correlation of truth and answers (of many classes: Gorodkin, 2004); 0 where either is constant."""

    needs = "labels"
    targets = (SingleLabel,)

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        return self.once(truth, answers)

    def statistic(self, truth: np.ndarray, answers: np.ndarray, outputs: int) -> Statistic:
        return Statistic(agreement_sums(truth, answers, outputs), _correlation)

    def rules(self, shift: np.ndarray | None) -> tuple[Rule, ...]:
        return (OneThreshold() if self.target.positive_class else TiltedPrior(),)


def agreement_sums(truth: np.ndarray, labels: np.ndarray, classes: int) -> Any:
    """(n, 3 classes) 0/1 of one class a row: a class is true and answered, is true, is answered.

    Only what is not 0 is kept: many classes would make it slow.
    """
    from scipy.sparse import csr_array

    every = np.arange(len(truth))
    right = np.flatnonzero(truth == labels)
    columns = np.concatenate([truth[right], classes + truth, 2 * classes + labels])
    rows = np.concatenate([right, every, every])
    return csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(truth), 3 * classes))


def _mean_recall(sums: np.ndarray) -> np.ndarray:
    both, truth, _ = np.split(sums, 3, axis=1)
    return mean_where(both, truth)


def _kappa(sums: np.ndarray) -> np.ndarray:
    """From moments: the expected squared distance needs the marginals only."""
    count, t, d, apart, squares = sums.T
    expected = count * squares - 2 * t * d
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(expected > 0.5, 1 - count * apart / expected, np.nan)


def _correlation(sums: np.ndarray) -> np.ndarray:
    both, truth, answer = (np.asarray(part) for part in np.split(sums, 3, axis=1))
    count = truth.sum(axis=1)
    covariance = both.sum(axis=1) * count - (truth * answer).sum(axis=1)
    spread = (count**2 - (truth**2).sum(axis=1)) * (count**2 - (answer**2).sum(axis=1))
    return np.where(spread > 0, covariance / np.sqrt(np.where(spread > 0, spread, 1)), 0.0)
