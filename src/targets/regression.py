"""Numbers: truth and predictions are (n, outputs), in the unit that the table has them in."""

import math
from typing import ClassVar

import numpy as np

from src.core.errors import Problem, UsageError
from src.targets import TARGETS
from src.targets.label_cells import Cells
from src.targets.target_type import Strata, TargetType

MOST_BINS, ROWS_A_BIN = 20, 10  # of the quantiles that folds are stratified by
SHOWN_BINS = 6  # ranges that a reader is shown
LARGEST = float(np.finfo(np.float32).max)


@TARGETS.register("regression")
class Regression(TargetType):
    """One number a row, or one for each of the label columns that the card lists.

    low, high: what no prediction lies below or above.
    """

    parameters: ClassVar = {"low": -math.inf, "high": math.inf}
    usual_loss = "mse"
    usual_probes = ("ridge",)
    own_unit = True
    parts = ("range", "ranges")
    page = ("answer", "data", "seen", "learning", "residuals", "trust", "again")

    def __init__(self, **given: float) -> None:
        super().__init__(**given)
        if not self.low < self.high:
            raise UsageError(f"target {self.name}: low must lie below high", code="bad-parameter")

    def likely_metrics(self, submission: str, top: int) -> tuple[str, ...]:
        return "rmse", "mae", "r2"

    def read(self, cells: Cells) -> np.ndarray:
        """(n, outputs) float32. Raises Problem for a cell that is no finite number."""
        truth = np.empty((len(cells.text[0]), len(cells.columns)), np.float32)
        for k, (column, text) in enumerate(zip(cells.columns, cells.text, strict=True)):
            for row, cell in enumerate(text):
                truth[row, k] = _number(cell, column, row, cells)
        return truth

    def strata(self, truth: np.ndarray) -> Strata:
        """Quantiles of each number."""
        bins = int(np.clip(len(truth) // ROWS_A_BIN, 1, MOST_BINS))
        return _by_quantile(truth, bins)

    def parted(self, truth: np.ndarray, outputs: tuple[str, ...]) -> tuple[tuple[str, ...], Strata]:
        """Ranges of each number, of equally many rows."""
        strata = _by_quantile(truth, min(SHOWN_BINS, len(truth)))
        bins, names = strata.count // truth.shape[1], []
        for label in range(strata.count):
            output = label // bins
            held = truth[strata.rows[strata.labels == label], output]
            ends = f"{held.min():.4g} to {held.max():.4g}" if len(held) else "none"
            names.append(ends if len(outputs) == 1 else f"{outputs[output]} {ends}")
        return tuple(names), strata

    def predictions(self, logits: np.ndarray) -> np.ndarray:
        return logits.astype(np.float64).clip(self.low, self.high)

    def apply_stack(self, weights: np.ndarray, tables: list[np.ndarray]) -> np.ndarray:
        return super().apply_stack(weights, tables).clip(self.low, self.high)

    def chance_loss(self, truth: np.ndarray, weights: np.ndarray | None, smoothing: float, outputs: int) -> float:
        """Of the mean of the rows: their variance, in units of it."""
        return 1.0


def _by_quantile(truth: np.ndarray, bins: int) -> Strata:
    """Row `rows[k]` is of bin `labels[k]`; the bins of the first output come first. Equal numbers share a bin."""
    labels = np.empty(truth.shape, np.int64)
    for k, numbers in enumerate(truth.T):
        ordered = np.sort(numbers)
        labels[:, k] = np.searchsorted(ordered, numbers) * bins // max(1, len(truth)) + k * bins
    outputs = truth.shape[1]
    return Strata(np.repeat(np.arange(len(truth)), outputs), labels.ravel(), outputs * bins, one_each=outputs == 1)


def _number(cell: str, column: str, row: int, cells: Cells) -> float:
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not abs(number) <= LARGEST:
        what = repr(cell) if cell.strip() else "empty"
        raise Problem(f"{cells.place(row)}: {column} is {what}, and must be a finite number", code="bad-label")
    return number
