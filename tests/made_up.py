"""Made-up tables of known truth: held-out rows, and networks whose skill is set."""

import numpy as np

from src.judging.ensemble import probabilities_of
from src.judging.heldout import HeldOut
from src.metrics import metric


def held_out(name: str, targets: np.ndarray, folds: int = 5, groups: np.ndarray | None = None) -> HeldOut:
    rows = np.arange(len(targets))
    ids = np.array([f"{row:05d}" for row in rows])
    return HeldOut(metric(name), ids, targets, rows % folds, np.full(len(rows), "") if groups is None else groups)


def network(generator: np.random.Generator, targets: np.ndarray, classes: int, skill: float) -> np.ndarray:
    """(n, classes) probabilities of a network that is right of itself: each class's logit is noise, the true one's
    lies `skill` higher, and the noise is as large as makes the probabilities calibrated."""
    logits = generator.normal(0, np.sqrt(skill), (len(targets), classes))
    if targets.ndim == 2:
        return probabilities_of(logits + skill * (targets - 0.5), "multilabel")
    logits[np.arange(len(targets)), targets] += skill
    return probabilities_of(logits, "multiclass")


def as_two(p: np.ndarray) -> np.ndarray:
    """(n, 2) from the probability of the second class."""
    return np.stack([1 - p, p], axis=1)
