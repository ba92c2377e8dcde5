"""The scores of src/metrics.py under row weights, many weightings at once: what makes a thousand resamplings quick.

Nearly every score is a function of sums over rows (a mean, the cells of a confusion table, moments), so that one
matrix product scores all draws; the AUCs are so to first order. Only `own` is scored draw by draw.
"""

import re
from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_array

from src.metrics import CLIP, Metric, decide

Weighted = Callable[[np.ndarray], np.ndarray]  # (draws, n) how often each row counts -> (draws,) scores
Finish = Callable[[np.ndarray], np.ndarray]  # (draws, s) sums over rows -> (draws,) scores


def weighted_score(
    metric: Metric, targets: np.ndarray, probabilities: np.ndarray, decisions: np.ndarray | None = None
) -> Weighted:
    """A function from row weights to scores: `metric.score` of the rows so often repeated, the AUCs nearly.

    targets: (n,) int or (n, classes) 0/1. probabilities: (n, classes). decisions: as `metric.score` takes them.
    A score that is not defined under some weights is NaN there.
    """
    if not np.isfinite(probabilities).all():
        return lambda weights: np.full(len(weights), np.nan)
    if metric.name == "own":
        return _repeated(metric, targets, probabilities, decisions)
    if metric.needs == "labels" and decisions is None:
        decisions = decide(targets.ndim == 2, probabilities)
    answers = decisions if metric.needs == "labels" else probabilities
    sums, finish = _sums(metric.name, targets, answers, probabilities.shape[1])
    if isinstance(sums, csr_array):
        return lambda weights: finish((sums.T @ weights.T).T)
    return lambda weights: finish(weights @ sums)


def quick_score(
    metric: Metric, targets: np.ndarray, probabilities: np.ndarray, decisions: np.ndarray | None = None
) -> float:
    """`metric.score`, in a fraction of the time, for a search that asks hundreds of times. No warnings."""
    if metric.name == "own":
        return metric.score(targets, probabilities, decisions)
    if metric.name in ("auc", "mean_column_auc") and np.isfinite(probabilities).all():
        truth, scores = _columns(metric.name, targets, probabilities)
        areas = [_placed(scores[truth[:, c], c], scores[~truth[:, c], c]).mean() for c in _with_both(truth)]
        return float(np.mean(areas)) if areas else np.nan
    return float(weighted_score(metric, targets, probabilities, decisions)(np.ones((1, len(targets))))[0])


def _sums(name: str, targets: np.ndarray, answers: np.ndarray, classes: int) -> tuple[np.ndarray | csr_array, Finish]:
    """(n, s) columns whose weighted sums decide the score, and how."""
    several = targets.ndim == 2
    if name in ("auc", "mean_column_auc"):
        return _placements(*_columns(name, targets, answers)), _mean_area
    if name == "qwk":
        return _moments(targets, answers), _kappa
    if name == "f1":
        truth, answer = (targets == 1).astype(float), (answers == 1).astype(float)
        return np.stack([2 * truth * answer, truth + answer], axis=1), _ratio
    if name == "micro_f1" and several:
        truth = targets > 0.5
        return np.stack([2.0 * (truth & answers).sum(1), 1.0 * truth.sum(1) + answers.sum(1)], axis=1), _ratio
    if name in ("macro_f1", "balanced_accuracy"):
        table = _agreement(targets > 0.5, answers) if several else _sparse_agreement(targets, answers, classes)
        return table, _macro_f1 if name == "macro_f1" else _mean_recall
    gains = _by_row(name, targets, answers).astype(float)
    return np.stack([gains, np.ones(len(gains))], axis=1), _mean


def _by_row(name: str, targets: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """(n,) what each row adds to a score that is a mean over rows."""
    several = targets.ndim == 2
    if name in ("accuracy", "micro_f1"):
        right = targets == answers
        return right.all(axis=1) if several else right
    if name == "log_loss" and several:
        clipped = answers.clip(CLIP, 1 - CLIP)
        return -np.where(targets > 0.5, np.log(clipped), np.log1p(-clipped)).mean(axis=1)
    if name == "log_loss":
        true = answers[np.arange(len(targets)), targets] / answers.sum(axis=1)
        return -np.log(true.clip(CLIP, 1 - CLIP))
    if name == "sample_f1":
        truth = targets > 0.5
        size = 1.0 * truth.sum(1) + answers.sum(1)
        return np.where(size > 0, 2 * (truth & answers).sum(1) / np.maximum(size, 1), 1.0)
    return _average_precision(targets, answers, int(re.fullmatch(r"map@(\d+)", name)[1]))


def _average_precision(targets: np.ndarray, probabilities: np.ndarray, k: int) -> np.ndarray:
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    truth = _cells(targets, probabilities.shape[1])
    hits = np.take_along_axis(truth, best, axis=1)
    precision = hits.cumsum(axis=1) / np.arange(1, best.shape[1] + 1)
    return (precision * hits).sum(axis=1) / truth.sum(axis=1).clip(1, k)


def _cells(labels: np.ndarray, classes: int) -> np.ndarray:
    return labels > 0.5 if labels.ndim == 2 else labels[:, None] == np.arange(classes)


def _agreement(truth: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """(n, 3 classes) 0/1: a class is true and answered, is true, is answered."""
    return np.concatenate([truth & answer, truth, answer], axis=1).astype(float)


def _sparse_agreement(targets: np.ndarray, labels: np.ndarray, classes: int) -> csr_array:
    """The same of one class a row, with what is not 0 only: many classes would make it slow."""
    right = np.flatnonzero(targets == labels)
    rows = np.concatenate([right, np.arange(len(targets)), np.arange(len(targets))])
    columns = np.concatenate([targets[right], classes + targets, 2 * classes + labels])
    return csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(targets), 3 * classes))


def _moments(targets: np.ndarray, labels: np.ndarray) -> np.ndarray:
    t, d = targets.astype(float), labels.astype(float)
    return np.stack([np.ones(len(t)), t, d, (t - d) ** 2, t * t + d * d], axis=1)


def _kappa(sums: np.ndarray) -> np.ndarray:
    """Cohen's kappa with quadratic weights from moments: the expected squared distance needs the marginals only."""
    count, t, d, apart, squares = sums.T
    expected = count * squares - 2 * t * d
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(expected > 0.5, 1 - count * apart / expected, np.nan)


def _mean(sums: np.ndarray) -> np.ndarray:
    return sums[:, 0] / sums[:, 1]


def _ratio(sums: np.ndarray) -> np.ndarray:
    return sums[:, 0] / np.where(sums[:, 1] > 0, sums[:, 1], 1)


def _macro_f1(sums: np.ndarray) -> np.ndarray:
    both, truth, answer = np.split(sums, 3, axis=1)
    return _mean_where(2 * both, truth + answer)


def _mean_recall(sums: np.ndarray) -> np.ndarray:
    both, truth, _ = np.split(sums, 3, axis=1)
    return _mean_where(both, truth)


def _mean_where(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """The mean of above / below over the columns where below is not 0; NaN where there is none."""
    there = below > 0
    number = there.sum(axis=1)
    total = np.where(there, above / np.where(there, below, 1), 0).sum(axis=1)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _columns(name: str, targets: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, columns) truth and scores of what is ranked: of `auc` the second class alone, else every class."""
    if name == "auc":
        return targets[:, None] == 1, probabilities[:, 1:]
    return _cells(targets, probabilities.shape[1]), probabilities


def _placements(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(n, 4 classes): a positive's share of negatives below it, and that it is one; then a negative's, the same way.

    Both shares are given less half the AUC, so that their means add up to it. Equal scores count one half.
    A column that every row or none has is left out.
    """
    shares = np.zeros((4, *truth.shape))
    shares[1], shares[3] = truth, ~truth
    for column in _with_both(truth):
        there, scores = truth[:, column], probabilities[:, column]
        below, above = _placed(scores[there], scores[~there]), 1 - _placed(scores[~there], scores[there])
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
    """The AUC to first order, positives placed among all negatives and the reverse (DeLong, 1988); mean over columns.

    Exact where all weights are alike; elsewhere what is left out is of the order of one over the rows.
    """
    below, positives, above, negatives = np.split(sums, 4, axis=1)
    there = (positives > 0) & (negatives > 0)
    area = below / np.where(there, positives, 1) + above / np.where(there, negatives, 1)
    # To first order a draw of few rows may leave what an area can be.
    return _mean_where(np.where(there, area.clip(0, 1), 0), there.astype(float))


def _repeated(metric: Metric, targets: np.ndarray, probabilities: np.ndarray, decisions: np.ndarray | None) -> Weighted:
    def one(weights: np.ndarray) -> float:
        rows = np.repeat(np.arange(len(targets)), weights.astype(int))
        return metric.score(targets[rows], probabilities[rows], None if decisions is None else decisions[rows])

    return lambda weights: np.array([one(row) for row in weights])
