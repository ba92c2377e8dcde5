"""F1 and its relatives: of the positive class, of each class, of all cells together, of each row."""

from typing import Any, ClassVar

import numpy as np

from src.core.errors import UsageError
from src.metrics import METRICS
from src.metrics.accuracy import agreement_sums
from src.metrics.metric import Metric, Rows, Statistic, mean_of, mean_where, positive, ratio, undefined
from src.metrics.rules import ClassThresholds, OneThreshold, Rule, Temperature, TiltedPrior
from src.metrics.thresholds import macro_thresholds, micro_thresholds, sample_thresholds
from src.targets.binary import Binary
from src.targets.multilabel import MultiLabel


class _LabelF(Metric):
    """What the F scores of labels share."""

    needs = "labels"

    def _f1(self, truth: np.ndarray, answers: np.ndarray, average: str, **options: Any) -> float:
        from sklearn.metrics import f1_score

        sklearn = self.target.for_sklearn
        return f1_score(sklearn(truth), sklearn(answers), average=average, **options)


@METRICS.register("f1")
class F1(_LabelF):
    """F1 of the second class; 0 where neither truth nor answers hold it."""

    targets = (Binary,)

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        return self._f1(truth, answers, "binary", zero_division=0)

    def statistic(self, truth: np.ndarray, answers: np.ndarray, outputs: int) -> Statistic:
        return Statistic(_of_positives(truth, answers, 1), _ratio)

    def rules(self, shift: np.ndarray | None) -> tuple[Rule, ...]:
        return (OneThreshold(),)


@METRICS.register("macro_f1")
class MacroF1(_LabelF):
    """Mean F1 of the classes that stand in the truth or in the answers; NaN where there is none."""

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        classes = 1 + int(max(truth.max(), answers.max()))
        marks = [self.target.indicators(labels, classes) for labels in (truth, answers)]
        present = np.flatnonzero(marks[0].any(axis=0) | marks[1].any(axis=0))
        if not len(present):
            return undefined("macro_f1: neither truth nor answers hold any class")
        return self._f1(truth, answers, "macro", labels=present, zero_division=0)

    def statistic(self, truth: np.ndarray, answers: np.ndarray, outputs: int) -> Statistic:
        return Statistic(_agreement(self, truth, answers, outputs), lambda sums: _macro(sums, 1))

    def rules(self, shift: np.ndarray | None) -> tuple[Rule, ...]:
        if self.target.one_class:
            return (TiltedPrior(),)
        return OneThreshold(), ClassThresholds(lambda truth, p, start: macro_thresholds(truth, p))


@METRICS.register("micro_f1")
class MicroF1(_LabelF):
    """F1 of all cells together; accuracy where each row has one class."""

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        return self._f1(truth, answers, "micro", zero_division=0)

    def statistic(self, truth: np.ndarray, answers: np.ndarray, outputs: int) -> Statistic:
        if self.target.one_class:
            return mean_of(self.target.right(truth, answers))
        return Statistic(_of_cells(truth > 0.5, answers, 1), _ratio)

    def independent_rows(self, truth: np.ndarray, units: np.ndarray) -> float:
        return units.max() + 1 if self.target.one_class else np.nan

    def rules(self, shift: np.ndarray | None) -> tuple[Rule, ...]:
        if self.target.one_class:
            return ()
        return OneThreshold(), ClassThresholds(lambda truth, p, start: micro_thresholds(truth, p))


@METRICS.register("sample_f1")
class SampleF1(_LabelF):
    """Mean F1 of the rows; a row without any class, answered by none, is right and counts 1."""

    targets = (MultiLabel,)

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        return self._f1(truth, answers, "samples", zero_division=1)

    def per_row(self, truth: np.ndarray, answers: np.ndarray) -> np.ndarray:
        truth = truth > 0.5
        size = 1.0 * truth.sum(1) + answers.sum(1)
        return np.where(size > 0, 2 * (truth & answers).sum(1) / np.maximum(size, 1), 1.0)

    def independent_rows(self, truth: np.ndarray, units: np.ndarray) -> float:
        return units.max() + 1

    def rules(self, shift: np.ndarray | None) -> tuple[Rule, ...]:
        return OneThreshold(), ClassThresholds(sample_thresholds)


@METRICS.register("fbeta")
class FBeta(Metric):
    """F-beta: recall counts beta times as much as precision.

    average: `positive` (of the second class), `macro` (mean over the classes in truth or answers), `micro` (all cells
    together) or `rows` (mean over rows; one without any class, answered by none, counts 1). The usual one of two
    classes is positive, of several a row rows, else macro.
    """

    needs = "labels"
    parameters: ClassVar = {"beta": float, "average": ""}
    AVERAGES = ("positive", "macro", "micro", "rows")

    def check(self) -> None:
        positive(self, beta=self.beta)
        usual = "positive" if self.target.positive_class else "macro" if self.target.one_class else "rows"
        self.average = self.average or usual
        if self.average not in self.AVERAGES:
            raise UsageError(f"{self.name}: average must be one of {', '.join(self.AVERAGES)}", code="bad-parameter")
        if self.average == "positive" and not self.target.positive_class:
            raise UsageError(
                f"{self.name}: {self.target.name} targets have no positive class: take another average",
                code="bad-parameter",
            )

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        return self.once(truth, answers)

    def statistic(self, truth: np.ndarray, answers: np.ndarray, outputs: int) -> Statistic:
        if self.average == "positive":
            return Statistic(_of_positives(truth, answers, self.beta), _ratio)
        if self.average == "macro":
            return Statistic(_agreement(self, truth, answers, outputs), lambda sums: _macro(sums, self.beta))
        cells = _of_cells(*(self.target.indicators(labels, outputs) for labels in (truth, answers)), self.beta)
        if self.average == "micro":
            return Statistic(cells, _ratio)
        gains = np.where(cells[:, 1] > 0, ratio(cells[:, 0], cells[:, 1]), 1.0)
        return Statistic(np.stack([gains, np.ones(len(gains))], axis=1), _ratio)

    def rules(self, shift: np.ndarray | None) -> tuple[Rule, ...]:
        return (TiltedPrior() if self.target.one_class and not self.target.positive_class else OneThreshold(),)


@METRICS.register("probabilistic_f1")
class ProbabilisticF1(Metric):
    """F-beta of the second class with its probabilities in place of counts; 0 where the truth holds none of it."""

    targets = (Binary,)
    parameters: ClassVar = {"beta": 1.0}

    def check(self) -> None:
        positive(self, beta=self.beta)

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        return self.once(truth, answers)

    def statistic(self, truth: np.ndarray, answers: np.ndarray, outputs: int) -> Statistic:
        there, p, square = (truth == 1).astype(float), answers[:, 1].clip(0, 1), self.beta**2
        return Statistic(np.stack([(1 + square) * there * p, square * there + p], axis=1), _ratio)

    def rules(self, shift: np.ndarray | None) -> tuple[Rule, ...]:
        return (Temperature(),)


def _of_positives(truth: np.ndarray, answers: np.ndarray, beta: float) -> np.ndarray:
    there, answered, square = (truth == 1).astype(float), (answers == 1).astype(float), beta**2
    return np.stack([(1 + square) * there * answered, square * there + answered], axis=1)


def _of_cells(truth: np.ndarray, answers: np.ndarray, beta: float) -> np.ndarray:
    """(n, 2) of (n, classes) bool each: what stands above and below the line of the F score of all cells."""
    square = beta**2
    return np.stack([(1.0 + square) * (truth & answers).sum(1), square * truth.sum(1) + answers.sum(1)], axis=1)


def _agreement(metric: Metric, truth: np.ndarray, answers: np.ndarray, classes: int) -> Any:
    """(n, 3 classes) 0/1: a class is true and answered, is true, is answered."""
    if metric.target.one_class:
        return agreement_sums(truth, answers, classes)
    truth = truth > 0.5
    return np.concatenate([truth & answers, truth, answers], axis=1).astype(float)


def _macro(sums: np.ndarray, beta: float) -> np.ndarray:
    both, truth, answer = np.split(sums, 3, axis=1)
    return mean_where((1 + beta**2) * both, beta**2 * truth + answer)


def _ratio(sums: np.ndarray) -> np.ndarray:
    return ratio(sums[:, 0], sums[:, 1])
