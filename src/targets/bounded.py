"""Numbers in a range, which the network answers by their place in it: truth and predictions are in their own unit."""

import math
from typing import Any

import numpy as np

from src.core.errors import Problem, UsageError
from src.targets import TARGETS, Evidence
from src.targets.label_cells import Cells
from src.targets.regression import Regression


@TARGETS.register("bounded")
class Bounded(Regression):
    """As `regression`, of numbers between `low` and `high`: logits are the log-odds of the place between them."""

    usual_loss = "scaled_binary_cross_entropy"
    own_unit = False

    def __init__(self, **given: float) -> None:
        super().__init__(**given)
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            told = f"{{name: {self.registered}, low: 1, high: 100}}"
            raise UsageError(f"target {self.name} needs low and high: {told}", code="bad-parameter")

    @property
    def learned(self) -> dict[str, Any]:
        return super().learned | {"low": self.low, "high": self.high}

    @classmethod
    def recognise(cls, evidence: Evidence) -> None:
        """Never: no file tells the range."""
        return None

    @classmethod
    def doubt(cls, evidence: Evidence) -> str:
        return ""

    def read(self, cells: Cells) -> np.ndarray:
        """Raises Problem for a number outside the range, too."""
        truth = super().read(cells)
        outside = np.argwhere((truth < self.low) | (truth > self.high))
        if len(outside):
            row, k = outside[0]
            text = f"{cells.columns[k]} is {cells.text[k][row]}, outside {self.low:g} to {self.high:g}"
            more = f"({len(outside)} such cells): mend the card's target"
            raise Problem(f"{cells.place(int(row))}: {text} {more}", code="bad-label")
        return truth

    def predictions(self, logits: np.ndarray) -> np.ndarray:
        from scipy.special import expit

        return self.low + (self.high - self.low) * expit(logits.astype(np.float64))
