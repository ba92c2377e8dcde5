"""Logits of several views, folds and seeds become one table of probabilities."""

from collections.abc import Iterable

import numpy as np


def probabilities_of(logits: np.ndarray, target: str) -> np.ndarray:
    """(n, classes) logits -> (n, classes) probabilities: a softmax, or one sigmoid a class for multilabel targets."""
    logits = logits.astype(np.float64)  # a copy
    if target == "multilabel":
        return 1 / (1 + np.exp(-logits))
    logits -= logits.max(1, keepdims=True)
    exps = np.exp(logits, out=logits)
    return np.divide(exps, exps.sum(1, keepdims=True), out=exps)


def mean_probabilities(tables: Iterable[np.ndarray], target: str) -> np.ndarray:
    """The mean over tables of logits, of which no more than one is held at a time.

    Probabilities are averaged, not logits: one sure and wrong member weighs less.
    """
    total, count = None, 0
    for table in tables:
        p = probabilities_of(table, target)
        total, count = p if total is None else np.add(total, p, out=total), count + 1
    return np.divide(total, count, out=total)


def likeliest(logits: np.ndarray, target: str) -> np.ndarray:
    """The plain answers: (n,) class indices, or (n, classes) bool where several classes may apply."""
    return logits >= 0 if target == "multilabel" else logits.argmax(1)
