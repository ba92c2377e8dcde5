"""The base class of every metric: the score, and what else is known of it.

Only `value` must be written. From a statistic (sums over rows that decide the score) a thousand resamplings are
computed in one matrix product; a metric without one has its intervals from fewer resamplings, each scored by itself.
"""

import inspect
import math
import warnings
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from src.core.errors import Problem, UsageError
from src.core.registry import Configurable
from src.core.suggestions import nearest
from src.metrics.decision import Decision
from src.metrics.thresholds import shared_threshold
from src.targets import ClassTarget, TargetType

Needs = Literal["labels", "probabilities", "ranks"]
Weighted = Callable[[np.ndarray], np.ndarray]  # (draws, n) how often each row counts -> (draws,) scores


@dataclass(frozen=True)
class Rows:
    """What is known of the rows that are scored, beside their truth: (n,) each.

    groups: text or int; rows of one group are not independent. weights: None where all count alike.
    """

    id: np.ndarray
    groups: np.ndarray
    weights: np.ndarray | None = None

    def at(self, rows: np.ndarray) -> "Rows":
        return Rows(self.id[rows], self.groups[rows], None if self.weights is None else self.weights[rows])


@dataclass(frozen=True)
class Statistic:
    """sums: (n, s) columns, dense or sparse, whose weighted sums over rows decide the score.

    finish: (draws, s) such sums -> (draws,) scores, NaN where a score is not defined.
    """

    sums: Any
    finish: Callable[[np.ndarray], np.ndarray]

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        if isinstance(self.sums, np.ndarray):
            return self.finish(weights @ self.sums)
        return self.finish((self.sums.T @ weights.T).T)


def mean_of(rows: np.ndarray) -> Statistic:
    """Of a score that is the mean of what each row adds, (n,)."""
    gains = rows.astype(float)
    return Statistic(np.stack([gains, np.ones(len(gains))], axis=1), lambda sums: sums[:, 0] / sums[:, 1])


class Metric(Configurable):
    """One score of one kind of target. A score that is not defined is NaN, with a warning.

    needs: labels (decisions), probabilities (any predictions), or ranks. targets: the types that it can judge.
    """

    needs: ClassVar[Needs] = "probabilities"
    higher_is_better: ClassVar[bool] = True
    targets: ClassVar[tuple[type[TargetType], ...]] = (ClassTarget,)
    path: Path | None = None  # of a competition's own metric.py
    ignores_prior: ClassVar[bool] = False  # whether to move a class's probabilities as a whole changes nothing

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        if cls.needs not in get_args(Needs):
            known = list(get_args(Needs))
            text = f"{cls.__name__}: needs={cls.needs!r} is unknown.{nearest(str(cls.needs), known)}"
            raise UsageError(text, code="unknown-needs")

    def __init__(self, target: TargetType, **given: Any) -> None:
        super().__init__(**given)
        self.target = target
        self.check()

    def check(self) -> None:
        """Raises UsageError where the parameters do not make sense."""

    def check_outputs(self, outputs: tuple[str, ...]) -> None:
        """Raises UsageError where the parameters do not fit the classes."""

    def undefined_for(self, truth: np.ndarray) -> str:
        """Why no answer whatever has a score where this is the truth; empty where some has."""
        return ""

    @property
    def perfect(self) -> float | None:
        """The best score there is, 1 or an error of 0; None where a metric ends elsewhere or nowhere."""
        return 1.0 if self.higher_is_better else 0.0

    # To be written

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        """The score. answers: decisions where `needs` is labels, else (n, outputs) float64."""
        raise NotImplementedError

    def per_row(self, truth: np.ndarray, answers: np.ndarray) -> np.ndarray | None:
        """(n,) what each row adds, of a score that is a mean over rows; else None."""
        return None

    def statistic(self, truth: np.ndarray, answers: np.ndarray, outputs: int) -> Statistic | None:
        """What makes resampling quick; None where the score is no function of sums over rows."""
        gains = self.per_row(truth, answers)
        return None if gains is None else mean_of(gains)

    def rules(self, shift: np.ndarray | None) -> "tuple[Rule, ...]":
        """The decision rules that can be fitted for it. shift: what divides a resampling of the classes out, or None.

        Where several classes may apply to a row, every score of decisions has one threshold for all of them.
        """
        sets = isinstance(self.target, ClassTarget) and not self.target.one_class
        return (OneThreshold(),) if self.needs == "labels" and sets else ()

    def independent_rows(self, truth: np.ndarray, units: np.ndarray) -> float:
        """Of how many independent rows the score is a share, or is at least as sure; NaN for scores that are none.

        units: (n,) int, rows of one number are drawn together.
        """
        return math.nan

    @property
    def blends_ranks(self) -> bool:
        """Whether the mean of ranks is a sensible blend: only the order within a column counts."""
        return False

    # What is made of it

    @property
    def quick(self) -> bool:
        """Whether it has a statistic, so that a thousand resamplings cost little."""
        return type(self).per_row is not Metric.per_row or type(self).statistic is not Metric.statistic

    @property
    def weighs_rows(self) -> bool:
        """Whether rows may count differently in it."""
        return self.quick

    def score(
        self,
        truth: np.ndarray,
        predictions: np.ndarray,
        decisions: np.ndarray | None = None,
        rows: Rows | None = None,
    ) -> float:
        """predictions: (n, outputs); NaN among them scores NaN. decisions: they take the place of the plain ones."""
        if not np.isfinite(predictions).all():
            return math.nan
        if rows is not None and rows.weights is not None and self.quick:
            return float(self.weighted(truth, predictions, decisions)(rows.weights[None].astype(float))[0])
        found = self.value(truth, self._answers(predictions, decisions), rows)
        try:
            return float(found)
        except (TypeError, ValueError):
            text = f"metric {self.name} gave {found!r:.60}, and must give one number"
            raise Problem(text, code="metric-not-a-number") from None

    def quick_score(
        self,
        truth: np.ndarray,
        predictions: np.ndarray,
        decisions: np.ndarray | None = None,
        rows: Rows | None = None,
    ) -> float:
        """`score`, quicker where there is a statistic, for a search that asks hundreds of times. No warnings."""
        plain = np.isfinite(predictions).all() and (rows is None or rows.weights is None)
        if not self.quick or not plain:
            return self.score(truth, predictions, decisions, rows)
        return self.plain_score(truth, predictions, decisions)

    def plain_score(self, truth: np.ndarray, predictions: np.ndarray, decisions: np.ndarray | None) -> float:
        """`quick_score` of finite predictions, each row counted once."""
        return float(self.weighted(truth, predictions, decisions)(np.ones((1, len(truth))))[0])

    def objective(
        self,
        truth: np.ndarray,
        predictions: np.ndarray,
        decisions: np.ndarray | None = None,
        rows: Rows | None = None,
    ) -> float:
        """The score turned so that larger is better; not defined is worst."""
        score = self.quick_score(truth, predictions, decisions, rows)
        return -math.inf if math.isnan(score) else score if self.higher_is_better else -score

    def weighted(
        self,
        truth: np.ndarray,
        predictions: np.ndarray,
        decisions: np.ndarray | None = None,
        rows: Rows | None = None,
    ) -> Weighted:
        """A function from row weights to scores: the score of the rows so often repeated.

        A score that is not defined under some weights is NaN there.
        """
        if not np.isfinite(predictions).all():
            return lambda weights: np.full(len(weights), np.nan)
        answers = self._answers(predictions, decisions, exact=False)
        found = self.statistic(truth, answers, predictions.shape[1]) if self.quick else None
        if found is None:
            return self._repeated(truth, predictions, decisions, rows)
        own = None if rows is None else rows.weights
        return found if own is None else lambda weights: found(weights * own)

    def once(self, truth: np.ndarray, answers: np.ndarray) -> float:
        """The score by the statistic, every row once."""
        outputs = answers.shape[1] if answers.ndim > 1 else 1 + int(max(truth.max(initial=0), answers.max(initial=0)))
        return self.statistic(truth, answers, outputs)(np.ones((1, len(truth))))[0]

    def _answers(self, predictions: np.ndarray, decisions: np.ndarray | None, exact: bool = True) -> np.ndarray:
        if self.needs != "labels":
            return predictions.astype(np.float64) if exact else predictions
        return self.target.decide(predictions) if decisions is None else decisions

    def _repeated(
        self, truth: np.ndarray, predictions: np.ndarray, decisions: np.ndarray | None, rows: Rows | None
    ) -> Weighted:
        """Each draw scored by itself, on rows that are repeated as often as they count."""

        def one(weights: np.ndarray) -> float:
            at = np.repeat(np.arange(len(truth)), weights.astype(int))
            if not len(at):
                return math.nan
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return self.score(
                    truth[at],
                    predictions[at],
                    None if decisions is None else decisions[at],
                    None if rows is None else rows.at(at),
                )

        return lambda weights: np.array([one(row) for row in weights])


def of_function(
    function: Callable, needs: Needs, higher_is_better: bool, targets: tuple[type[TargetType], ...]
) -> type[Metric]:
    """A metric whose score is a function of truth and answers, and perhaps, as a third, of Rows."""
    with_rows = takes_rows(function)

    def value(self: Metric, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        return function(truth, answers, rows) if with_rows else function(truth, answers)

    held = {"needs": needs, "higher_is_better": higher_is_better, "targets": targets, "value": value}
    held |= {"weighs_rows": property(lambda self: with_rows)}
    return type(function.__name__, (Metric,), held | {"__doc__": function.__doc__})


def takes_rows(function: Callable) -> bool:
    """Whether a score's function asks for Rows, as its third parameter: one with a default is a setting of its own."""
    third = list(inspect.signature(function).parameters.values())[2:3]
    return bool(third) and (third[0].name == "rows" or third[0].default is inspect.Parameter.empty)


def undefined(why: str) -> float:
    """NaN, with a warning that says why."""
    warnings.warn(f"{why}, so the score is not defined", stacklevel=3)
    return math.nan


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below, 0 where there is nothing below."""
    return above / np.where(below > 0, below, 1)


def mean_where(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """The mean of above / below over the columns where below is not 0; NaN where there is none."""
    there = below > 0
    number = there.sum(axis=1)
    total = np.where(there, above / np.where(there, below, 1), 0).sum(axis=1)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def positive(metric: Metric, **parameters: float) -> None:
    """Raises UsageError for a parameter that is not above 0."""
    for key, value in parameters.items():
        if not value > 0:
            raise UsageError(f"{metric.name}: {key} must be above 0", code="bad-parameter")


class Rule:
    """A decision rule that can be fitted for a metric. name: as it is printed."""

    name: ClassVar[str]

    @abstractmethod
    def fit(self, metric: Metric, truth: np.ndarray, p: np.ndarray, rows: Rows | None = None) -> Decision:
        """The decision that scores best on these rows, p: (n, classes). rows: what else is known of them."""


class OneThreshold(Rule):
    """One threshold for all classes, in steps of 0.01."""

    name = "one threshold"

    def fit(self, metric: Metric, truth: np.ndarray, p: np.ndarray, rows: Rows | None = None) -> Decision:
        def at(threshold: float) -> Decision:
            return Decision(self.name, metric.target, thresholds=(float(threshold),) * p.shape[1])

        return at(shared_threshold(lambda threshold: metric.objective(truth, *at(threshold).apply(p), rows)))
