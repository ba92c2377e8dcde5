"""Logits of several views, folds and seeds become one table of predictions."""

from collections.abc import Iterable

import numpy as np

from src.targets import TargetType


def mean_predictions(tables: Iterable[np.ndarray], target: TargetType) -> np.ndarray:
    """The mean over tables of logits, of which no more than one is held at a time.

    Predictions are averaged, not logits: one sure and wrong member weighs less.
    """
    total, count = None, 0
    for table in tables:
        p = target.predictions(table)
        total, count = p if total is None else np.add(total, p, out=total), count + 1
    return np.divide(total, count, out=total)
