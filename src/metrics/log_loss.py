"""Log loss, plain and with a weight for each class."""

from typing import ClassVar

import numpy as np

from src.core.errors import UsageError
from src.metrics import METRICS
from src.metrics.metric import Metric, Rows, Statistic
from src.metrics.rules import Rule, Temperature


@METRICS.register("log_loss")
class LogLoss(Metric):
    """As Kaggle computes it: rows divided by their sums, then clipped. Several classes a row: mean over all cells."""

    higher_is_better = False

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        return self.target.cross_entropy(truth, answers).mean()

    def per_row(self, truth: np.ndarray, answers: np.ndarray) -> np.ndarray:
        return self.target.cross_entropy(truth, answers).reshape(len(truth), -1).mean(axis=1)

    def rules(self, shift: np.ndarray | None) -> tuple[Rule, ...]:
        return (Temperature(),) if shift is None else (Temperature(), Temperature(shift))


@METRICS.register("weighted_log_loss")
class WeightedLogLoss(Metric):
    """Log loss in which class c counts `weights[c]`, in the order of the classes.

    Several classes a row: the weighted mean over the columns. One class a row: the weighted mean over the classes of
    the mean loss of each class's rows; a class without a row is left out.
    """

    higher_is_better = False
    parameters: ClassVar = {"weights": list}

    def check(self) -> None:
        self.column_weights = np.array(self.weights, dtype=float)
        if not (self.column_weights.ndim == 1 and (self.column_weights >= 0).all() and self.column_weights.any()):
            raise UsageError(
                f"{self.name}: weights must be numbers from 0 on, one for each class", code="bad-parameter"
            )

    def check_outputs(self, outputs: tuple[str, ...]) -> None:
        if len(self.weights) != len(outputs):
            raise UsageError(
                f"{self.name}: {len(self.weights)} weights for {len(outputs)} classes: give one for each",
                code="bad-parameter",
            )

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        return self.once(truth, answers)

    def statistic(self, truth: np.ndarray, answers: np.ndarray, outputs: int) -> Statistic:
        weights = self.column_weights
        # (n, classes) what each class's column adds, and how often it is asked.
        losses = self.target.cross_entropy(truth, answers).reshape(len(truth), -1)
        asked = self.target.indicators(truth, outputs) if self.target.one_class else np.ones(losses.shape, bool)

        def finish(sums: np.ndarray) -> np.ndarray:
            loss, count = np.split(sums, 2, axis=1)
            there = count > 0
            parts = np.where(there, loss / np.where(there, count, 1), 0) * weights
            total = (there * weights).sum(axis=1)
            return np.where(total > 0, parts.sum(axis=1) / np.where(total > 0, total, 1), np.nan)

        return Statistic(np.concatenate([losses * asked, asked], axis=1), finish)

    def rules(self, shift: np.ndarray | None) -> tuple[Rule, ...]:
        return (Temperature(),)
