"""Scores of shares of classes against the true shares, of which some rows may count more than others."""

from typing import ClassVar

import numpy as np

from src.metrics import METRICS
from src.metrics.metric import Metric, Rows
from src.targets.soft_labels import SoftLabels, divergence


class _OfShares(Metric):
    targets: ClassVar = (SoftLabels,)
    higher_is_better = False

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        return self.per_row(truth, answers).mean()


@METRICS.register("kl_divergence")
class KLDivergence(_OfShares):
    """The mean of sum t log(t / p) over the classes, both clipped at 1e-15."""

    def per_row(self, truth: np.ndarray, answers: np.ndarray) -> np.ndarray:
        return divergence(truth, answers)


@METRICS.register("brier")
class Brier(_OfShares):
    """The mean of the squared distance, summed over the classes (Brier, 1950)."""

    def per_row(self, truth: np.ndarray, answers: np.ndarray) -> np.ndarray:
        return np.square(truth - answers).sum(axis=1)
