"""Logits of several views, folds and seeds become one table of probabilities."""

import numpy as np


def probabilities_of(logits: np.ndarray, target: str) -> np.ndarray:
    """(n, classes) logits -> (n, classes) probabilities: a softmax, or one sigmoid a class for multilabel targets."""
    logits = logits.astype(np.float64)
    if target == "multilabel":
        return 1 / (1 + np.exp(-logits))
    exps = np.exp(logits - logits.max(1, keepdims=True))
    return exps / exps.sum(1, keepdims=True)


def mean_probabilities(tables: list[np.ndarray], target: str) -> np.ndarray:
    """The mean over tables of logits. Probabilities are averaged, not logits: one sure and wrong member weighs less."""
    return np.mean([probabilities_of(table, target) for table in tables], axis=0)


def likeliest(logits: np.ndarray, target: str) -> np.ndarray:
    """The plain answers: (n,) class indices, or (n, classes) bool where several classes may apply."""
    return logits >= 0 if target == "multilabel" else logits.argmax(1)
