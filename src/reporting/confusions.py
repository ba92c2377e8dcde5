"""Which classes are taken for which: counted, and put in an order in which they stand side by side."""

import numpy as np

from src.reporting.run_results import RunResults
from src.targets import TargetType

MOST = 400  # classes up to which the order is worked out


def confusion_of(results: RunResults) -> np.ndarray:
    """(classes, classes) held-out images by truth and plain answer, of targets with one class an image."""
    count = len(results.classes)
    counts = np.zeros((count, count), dtype=int)
    np.add.at(counts, (results.held.targets, results.answers), 1)
    return counts


def pairs_of(counts: np.ndarray) -> list[tuple[int, int, int]]:
    """(truth, answer, images) of every confusion, the most frequent first."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    truths, answers = np.nonzero(wrong)
    order = np.argsort(-wrong[truths, answers], kind="stable")
    return [(int(truths[k]), int(answers[k]), int(wrong[truths[k], answers[k]])) for k in order]


def frequent_confusions(times: int) -> str:
    return "once" if times == 1 else f"{times} times"


def order_alike(counts: np.ndarray, target: TargetType) -> np.ndarray:
    """(classes,) the order of the leaves of a tree that joins what is confused most; grades keep their own order."""
    count = len(counts)
    if target.ordered or not 3 <= count <= MOST:
        return np.arange(count)
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    shares = counts / counts.sum(axis=1, keepdims=True).clip(1)
    likeness = (shares + shares.T) / 2
    distance = 1 - likeness / max(likeness[~np.eye(count, dtype=bool)].max(), 1e-12)
    np.fill_diagonal(distance, 0)
    return leaves_list(linkage(squareform(distance.clip(0), checks=False), "average"))
