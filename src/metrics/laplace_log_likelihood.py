"""How likely the truth is under the number and the spread that were answered."""

from typing import ClassVar

import numpy as np

from src.metrics import METRICS
from src.metrics.metric import Metric, Rows, positive
from src.targets.laplace import ROOT2, Laplace


@METRICS.register("laplace_log_likelihood")
class LaplaceLogLikelihood(Metric):
    """The mean of -sqrt(2) e / s - ln(sqrt(2) s), where e = |truth - number| counts as `most_error` at most and the
    spread s as `least_spread` at least (OSIC pulmonary fibrosis: 1000 and 70)."""

    targets: ClassVar = (Laplace,)
    parameters: ClassVar = {"least_spread": 70.0, "most_error": 1000.0}

    def check(self) -> None:
        positive(self, least_spread=self.least_spread, most_error=self.most_error)

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        return self.per_row(truth, answers).mean()

    def per_row(self, truth: np.ndarray, answers: np.ndarray) -> np.ndarray:
        number, spread = self.target.decide(answers.astype(np.float64)).T
        error = np.abs(truth[:, 0].astype(np.float64) - number).clip(max=self.most_error)
        spread = spread.clip(self.least_spread)
        return -ROOT2 * error / spread - np.log(ROOT2 * spread)
