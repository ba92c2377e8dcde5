"""Scores of the order in which a row's classes stand. Ties stand in the order of the classes, as in submissions."""

from typing import ClassVar

import numpy as np

from src.core.errors import UsageError
from src.metrics import METRICS
from src.metrics.metric import Metric, Rows, Statistic, ratio
from src.targets.multilabel import MultiLabel
from src.targets.single_label import SingleLabel


class _TopK(Metric):
    """Of the k likeliest classes."""

    needs = "ranks"
    parameters: ClassVar = {"k": int}

    def check(self) -> None:
        if self.k < 1:
            raise UsageError(f"{self.name}: k must be 1 at least", code="bad-parameter")

    def hits(self, truth: np.ndarray, answers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, k) bool: which of the likeliest are true; and (n,) how many of the row's classes are."""
        best = np.argsort(-answers, axis=1, kind="stable")[:, : self.k]
        marks = self.target.indicators(truth, answers.shape[1])
        return np.take_along_axis(marks, best, axis=1), marks.sum(axis=1)

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        return self.per_row(truth, answers).mean()


@METRICS.register("map")
class MeanAveragePrecision(_TopK):
    """MAP@k of the k likeliest classes."""

    def per_row(self, truth: np.ndarray, answers: np.ndarray) -> np.ndarray:
        hits, true = self.hits(truth, answers)
        precision = hits.cumsum(axis=1) / np.arange(1, hits.shape[1] + 1)
        return (precision * hits).sum(axis=1) / true.clip(1, self.k)

    def independent_rows(self, truth: np.ndarray, units: np.ndarray) -> float:
        return units.max() + 1


@METRICS.register("top_error")
class TopError(_TopK):
    """Share of the rows whose class is not among the k likeliest."""

    higher_is_better = False
    targets = (SingleLabel,)

    def per_row(self, truth: np.ndarray, answers: np.ndarray) -> np.ndarray:
        return ~self.hits(truth, answers)[0].any(axis=1)

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        return self.per_row(truth, answers).mean()

    def independent_rows(self, truth: np.ndarray, units: np.ndarray) -> float:
        return units.max() + 1


@METRICS.register("recall")
class RecallAtK(_TopK):
    """Mean share of a row's classes that are among the k likeliest; rows without a class are left out."""

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        return self.once(truth, answers)

    def statistic(self, truth: np.ndarray, answers: np.ndarray, outputs: int) -> Statistic:
        hits, true = self.hits(truth, answers)
        found = ratio(hits.sum(axis=1).astype(float), true)

        def finish(sums: np.ndarray) -> np.ndarray:
            return np.where(sums[:, 1] > 0, ratio(sums[:, 0], sums[:, 1]), np.nan)

        return Statistic(np.stack([found, true > 0], axis=1).astype(float), finish)

    def independent_rows(self, truth: np.ndarray, units: np.ndarray) -> float:
        return len(np.unique(units[self.target.indicators(truth, 1 + int(truth.max(initial=0))).any(axis=1)]))


@METRICS.register("lrap")
class LabelRankingAveragePrecision(Metric):
    """Mean over a row's classes of the precision down to each; a row of no class, or of all, counts 1."""

    needs = "ranks"
    targets = (MultiLabel,)

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        return self.per_row(truth, answers).mean()

    def per_row(self, truth: np.ndarray, answers: np.ndarray) -> np.ndarray:
        from scipy.stats import rankdata

        there = truth > 0.5
        rank = rankdata(-answers, "max", axis=1)
        among_true = rankdata(np.where(there, -answers, np.inf), "max", axis=1)
        precision = np.where(there, among_true / rank, 0).sum(axis=1)
        count = there.sum(axis=1)
        return np.where((count > 0) & (count < there.shape[1]), precision / np.maximum(count, 1), 1.0)
