"""Is the test set like the training set? Adversarial validation on a trained network's features of both."""

from dataclasses import dataclass

import numpy as np

from src.errors import Problem
from src.inference.intervals import bootstrap_interval, units
from src.metrics import metric

FOLDS = 5
MOST = 3000  # rows of either side that are looked at; more would narrow an interval that is narrow already
COMPONENTS = 32
ALARM = 0.6


@dataclass(frozen=True)
class Shift:
    """auc: how well test rows can be told from training rows, 0.5 not at all, with its 95 % interval.

    unlike: (test rows looked at,) their positions among the test rows, the most unlike the training set first; likeness:
    the probability, as balanced as a coin, that each of them is a training row.
    """

    auc: float
    interval: tuple[float, float]
    unlike: np.ndarray
    likeness: np.ndarray

    @property
    def flagged(self) -> bool:
        return self.interval[0] > ALARM


def compare_sets(
    train: np.ndarray,
    test: np.ndarray,
    train_groups: np.ndarray | None = None,
    test_groups: np.ndarray | None = None,
    seed: int = 0,
) -> Shift:
    raise NotImplementedError
