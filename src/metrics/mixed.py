"""The score of several targets of different kinds: the weighted mean of each one's own."""

from typing import ClassVar

import numpy as np

from src.core.errors import UsageError
from src.metrics import METRICS, metric
from src.metrics.metric import Metric, Rows, Statistic
from src.targets.mixed import Mixed

USUAL = {"regression": "r2", "multiclass": "balanced_accuracy", "ordinal": "qwk", "multilabel": "sample_f1"}


@METRICS.register("mixed")
class MixedMetric(Metric):
    """metrics: {column: its metric}; where it is not named, balanced_accuracy of classes, qwk of grades, sample_f1 of
    several labels and r2 of numbers.
    weights: {column: how much it counts}, 1 where it is not named."""

    targets: ClassVar = (Mixed,)
    parameters: ClassVar = {"metrics": {}, "weights": {}}

    def check(self) -> None:
        unknown = [one for one in (*self.metrics, *self.weights) if one not in self.target.columns]
        if unknown:
            text = f"{unknown[0]} is none of {', '.join(self.target.columns)}"
            raise UsageError(f"metric {self.name}: {text}", code="bad-parameter")
        members = self.target.members
        usual = [self.metrics.get(part.column, USUAL[part.target.registered]) for part in members]
        self.own = [metric(name, part.target) for name, part in zip(usual, members, strict=True)]
        ways = {one.higher_is_better for one in self.own}
        if len(ways) > 1:
            told = ", ".join(one.name for one in self.own)
            raise UsageError(f"metric {self.name}: of {told} some are better higher, some lower", code="bad-parameter")
        self.higher_is_better = ways.pop()
        self.shares = np.array([float(self.weights.get(part.column, 1)) for part in self.target.members])
        if not (self.shares >= 0).all() or not self.shares.any():
            raise UsageError(f"metric {self.name}: weights must be 0 or more, and not all 0", code="bad-parameter")

    def check_outputs(self, outputs: tuple[str, ...]) -> None:
        for part, one in zip(self.target.members, self.own, strict=True):
            one.check_outputs(part.classes or (part.column,))

    def undefined_for(self, truth: np.ndarray) -> str:
        parts = zip(self.target.members, self.own, strict=True)
        return next((why for part, one in parts if (why := one.undefined_for(part.truth(truth)))), "")

    @property
    def quick(self) -> bool:
        return all(one.quick for one in self.own)

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        parts = zip(self.target.members, self.own, strict=True)
        scores = [one.score(part.truth(truth), answers[:, part.at], rows=rows) for part, one in parts]
        return float(np.average(scores, weights=self.shares))

    def statistic(self, truth: np.ndarray, answers: np.ndarray, outputs: int) -> Statistic | None:
        found = []
        for part, one in zip(self.target.members, self.own, strict=True):
            own = one._answers(answers[:, part.at], None)
            found.append(one.statistic(part.truth(truth), own, part.size))
        if any(one is None for one in found):
            return None
        sums = [one.sums if isinstance(one.sums, np.ndarray) else one.sums.toarray() for one in found]
        ends = np.cumsum([table.shape[1] for table in sums])[:-1]

        def finish(drawn: np.ndarray) -> np.ndarray:
            scores = [one.finish(part) for one, part in zip(found, np.split(drawn, ends, axis=1), strict=True)]
            return np.average(np.stack(scores, axis=1), axis=1, weights=self.shares)

        return Statistic(np.concatenate(sums, axis=1), finish)
