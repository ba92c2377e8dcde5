"""A number and how far it may lie off, which the network tells of each image: a Laplace distribution around the number.

Truth is (n, 1), the number. Predictions are (n, 2): the number and its standard deviation, of which the network tells
the logarithm.
"""

import math
from typing import Any, ClassVar

import numpy as np

from src.core.errors import UsageError
from src.targets import TARGETS, Cells, Strata, TargetType, boosting, stacking
from src.targets.regression import Regression

ROOT2 = math.sqrt(2)  # a Laplace distribution's standard deviation, in parts of its scale
LEAST = 1e-6  # of the spread of the rows: numbers that are all alike spread a little all the same


@TARGETS.register("laplace")
class Laplace(TargetType):
    """spread: the column of the answers that holds the standard deviation. low, high, decimals: of the number, as of
    `regression`."""

    parameters: ClassVar = {"spread": str, "low": -math.inf, "high": math.inf, "decimals": -1}
    usual_loss = "laplace"
    own_unit = True
    mixes = False
    parts = ("range", "ranges")

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.number = Regression(low=self.low, high=self.high, decimals=self.decimals)

    def likely_metrics(self, submission: str, top: int) -> tuple[str, ...]:
        return ("laplace_log_likelihood",)

    def read(self, cells: Cells) -> np.ndarray:
        """(n, 1) float32. Raises Problem for a cell that is no finite number."""
        return self.number.read(cells)

    def outputs(self, given: Any, columns: tuple[str, ...], listed: bool, parts: Any) -> tuple[str, ...]:
        """The number's column, and that of its spread."""
        (*names,) = super().outputs(given, columns, listed, parts)
        if len(names) != 1 or self.spread in names:
            text = f"target {self.name} is of one number, and its spread has another name: label is {list(names)}"
            raise UsageError(f"{text}, spread {self.spread!r}", code="unfit-for-target")
        return (names[0], self.spread)

    def strata(self, truth: np.ndarray) -> Strata:
        return self.number.strata(truth)

    def parted(self, truth: np.ndarray, outputs: tuple[str, ...]) -> tuple[tuple[str, ...], Strata]:
        return self.number.parted(truth, outputs[:1])

    def prior(self, truth: np.ndarray, outputs: int) -> np.ndarray:
        spread = truth.std(dtype=np.float64)
        return np.array([truth.mean(dtype=np.float64), max(spread, LEAST * float(np.abs(truth).max()), LEAST)])

    def start(self, truth: np.ndarray, outputs: int) -> np.ndarray:
        number, spread = self.prior(truth, outputs)
        return np.array([number, math.log(spread)])

    def unit(self, truth: np.ndarray) -> np.ndarray:
        """The standard deviation of the number; 1 of a logarithm."""
        return np.array([float(self.number.unit(truth)[0]), 1.0])

    def stand_in(self, outputs: int, never_empty: bool) -> np.ndarray:
        return np.zeros((1, 1), np.float32)

    def cells(self, truth: np.ndarray, outputs: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Of truth the number; of decisions the number and its spread."""
        return [tuple(f"{x:.6g}" if k == 0 else f"± {x:.3g}" for k, x in enumerate(row)) for row in truth.tolist()]

    def in_words(self, row: tuple[str, ...]) -> str:
        return " ".join(row)

    def fit_boosted(
        self, truth: np.ndarray, answers: np.ndarray, columns: boosting.Columns, weights: np.ndarray | None
    ) -> boosting.Fitted:
        """Trees for the number; its spread becomes so many times the network's as fits rows that trees had not seen."""
        fitted = boosting.fit_numbers(truth, answers[:, :1], columns, weights)
        off = np.empty(len(truth))
        for half in (np.arange(len(truth)) % 2 == 0, np.arange(len(truth)) % 2 == 1):
            other = None if weights is None else weights[~half]
            trees = boosting.fit_numbers(truth[~half], answers[~half, :1], columns.at(~half), other)
            off[half] = np.abs(truth[half] - trees(answers[half, :1], columns.at(half)))[:, 0]
        factor = ROOT2 * np.average(off, weights=weights) / np.average(answers[:, 1], weights=weights)

        def apply(answers: np.ndarray, columns: boosting.Columns) -> np.ndarray:
            number = fitted(answers[:, :1], columns)[:, 0].clip(self.low, self.high)
            return np.stack([number, factor * answers[:, 1]], axis=1)

        return apply

    def predictions(self, logits: np.ndarray) -> np.ndarray:
        number, log_spread = logits.astype(np.float64).T
        return np.stack([number.clip(self.low, self.high), np.exp(log_spread)], axis=1)

    def decide(self, predictions: np.ndarray) -> np.ndarray:
        """The number rounded as it is asked for."""
        return np.stack([self.number.decide(predictions[:, 0]), predictions[:, 1]], axis=1)

    def plain_loss(self, truth: np.ndarray, logits: np.ndarray) -> float:
        """Minus the mean log likelihood, of numbers that are measured in deviations of these rows."""
        number, spread = self.predictions(logits).T
        unit = float(self.unit(truth)[0])
        off = np.abs(truth[:, 0] - number)
        return float((ROOT2 * off / spread + np.log(ROOT2 * spread / unit)).mean())

    def fit_stack(self, truth: np.ndarray, tables: list[np.ndarray]) -> np.ndarray:
        """A ridge of the numbers, and the mean of the spreads."""
        of_number = stacking.fit_ridge(truth, [table[:, :1] for table in tables])
        return np.concatenate([of_number, [[1 / len(tables)] * len(tables) + [0.0]]])

    def apply_stack(self, weights: np.ndarray, tables: list[np.ndarray]) -> np.ndarray:
        found = super().apply_stack(weights, tables)
        found[:, 0] = found[:, 0].clip(self.low, self.high)
        return found
