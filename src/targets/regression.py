"""Numbers: truth and predictions are (n, outputs), in the unit that the table has them in."""

import math
from typing import ClassVar

import numpy as np

from src.core.errors import UsageError
from src.targets import TARGETS, boosting
from src.targets.evidence import Evidence, Recognised
from src.targets.label_cells import Cells, number_in
from src.targets.target_type import Strata, TargetType

MOST_BINS, ROWS_A_BIN = 20, 10  # of the quantiles that folds are stratified by
SHOWN_BINS = 6  # ranges that a reader is shown
NORMAL_MAD = 1.4826  # standard deviations in a median distance, of the normal distribution
MANY = 20  # whole numbers that are more than the grades or digits of most tasks
FRACTIONS = 0.1  # of the different values: so many make numbers of them
AMOUNT = {"count", "age", "score", "price", "weight", "height", "width", "length", "angle", "temperature", "percent"}
AMOUNT |= {"percentage", "points", "years", "months", "days", "number", "num", "value", "amount", "area", "distance"}
AMOUNT |= {"volume", "mass", "biomass", "dose", "popularity", "pawpularity", "yield", "density", "depth", "speed"}
CLASS = {"label", "class", "category", "species", "breed", "digit", "genre", "id", "type", "variety", "grade", "level"}


@TARGETS.register("regression")
class Regression(TargetType):
    """One number a row, or one for each of the label columns that the card lists.

    low, high: what no prediction lies below or above. decimals: what answers are rounded to, -1 for not at all;
    predictions stay as they are until they have been averaged.
    """

    rank = 4
    parameters: ClassVar = {"low": -math.inf, "high": math.inf, "decimals": -1}
    usual_loss = "mse"
    usual_probes = ("ridge",)
    own_unit = True
    doubts_labels = True
    parts = ("range", "ranges")
    page = ("answer", "data", "seen", "learning", "residuals", "trust", "again")

    def __init__(self, **given: float) -> None:
        super().__init__(**given)
        if not self.low < self.high:
            raise UsageError(f"target {self.name}: low must lie below high", code="bad-parameter")

    @classmethod
    def recognise(cls, evidence: Evidence) -> Recognised | None:
        """Numbers that no list of classes would hold. A few whole numbers are classes or grades, unless the sample
        answers with fractions."""
        if evidence.numbers is None or evidence.several:
            return None
        columns = [np.unique(column[np.isfinite(column)]) for column in evidence.numbers.T]
        most, foreign = max(map(len, columns)), _foreign(columns, evidence.asked)
        fractions = max(int((values % 1 != 0).sum()) for values in columns)
        signs = [f"{fractions} of them fractions"] if fractions else []
        signs += [f"the sample answers {foreign}"] if foreign else []
        told = ", ".join([f"{evidence.label}: {most} different numbers" + " in one" * (len(columns) > 1), *signs])
        sure = most > MANY and bool(signs)
        if len(columns) > 1:
            many = min(map(len, columns)) > MANY
            return Recognised(told, guess=not sure) if fractions or foreign or many else None
        if most < 3:
            return None
        whole = bool(np.isfinite(evidence.numbers).all())
        if fractions > most * FRACTIONS or (foreign and whole):
            return Recognised(told, not sure, "" if sure else "multiclass")
        if whole and most > MANY and _are_amounts(evidence, columns[0]):
            ends = f"whole ones from {columns[0][0]:g} to {columns[0][-1]:g}"
            return Recognised(f"{told}, {ends}, more than most lists of classes have", True, "multiclass")
        return None

    @classmethod
    def doubt(cls, evidence: Evidence) -> str:
        """Of whole numbers that are taken for classes."""
        if evidence.numbers is None or evidence.several or evidence.numbers.shape[1] > 1:
            return ""
        values, held = np.unique(evidence.numbers), {*evidence.words}
        spread = len(values) > MANY and not held & CLASS
        if len(values) < 3 or not np.isfinite(values).all() or not (held & AMOUNT or spread):
            return ""
        ends = f"from {values[0]:g} to {values[-1]:g}"
        return (
            f"{evidence.label} holds {len(values)} whole numbers {ends}: it may be an amount, which is no class; "
            "for numbers say target=regression"
        )

    def likely_metrics(self, submission: str, top: int) -> tuple[str, ...]:
        return "rmse", "mae", "r2"

    def read(self, cells: Cells) -> np.ndarray:
        """(n, outputs) float32. Raises Problem for a cell that is no finite number."""
        truth = np.empty((len(cells.text[0]), len(cells.columns)), np.float32)
        for k, (column, text) in enumerate(zip(cells.columns, cells.text, strict=True)):
            for row, cell in enumerate(text):
                truth[row, k] = number_in(cell, column, row, cells)
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

    def constant_outputs(self, truth: np.ndarray, outputs: tuple[str, ...]) -> list[str]:
        return [outputs[k] for k in np.flatnonzero(np.ptp(truth, axis=0) == 0)]

    def predictions(self, logits: np.ndarray) -> np.ndarray:
        return logits.astype(np.float64).clip(self.low, self.high)

    def decide(self, predictions: np.ndarray) -> np.ndarray:
        return predictions if self.decimals < 0 else predictions.round(int(self.decimals))

    def apply_stack(self, weights: np.ndarray, tables: list[np.ndarray]) -> np.ndarray:
        return super().apply_stack(weights, tables).clip(self.low, self.high)

    def fit_boosted(
        self, truth: np.ndarray, answers: np.ndarray, columns: boosting.Columns, weights: np.ndarray | None
    ) -> boosting.Fitted:
        fitted = super().fit_boosted(truth, answers, columns, weights)
        return lambda answers, columns: fitted(answers, columns).clip(self.low, self.high)

    def outliers(self, truth: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        """In standard deviations, as the median distance gives them: outliers themselves do not count."""
        off = truth - predictions
        off = off - np.median(off, axis=0)
        spread = NORMAL_MAD * np.median(np.abs(off), axis=0)
        spread = np.where(spread > 0, spread, off.std(axis=0))
        return off / np.where(spread > 0, spread, 1.0)

    def chance_loss(self, truth: np.ndarray, weights: np.ndarray | None, smoothing: float, outputs: int) -> float:
        """Of the mean of the rows: their variance, in units of it."""
        return 1.0


def _are_amounts(evidence: Evidence, values: np.ndarray) -> bool:
    """Whether many whole numbers are rather amounts: classes are counted from 0, or from 1 with as many rows each."""
    held = {*evidence.words}
    gapless = values[0] in (0, 1) and values[-1] - values[0] == len(values) - 1
    even = bool(evidence.rows) and 3 * min(evidence.rows) >= max(evidence.rows)
    codes = gapless and (even or values[0] == 0)
    return bool(held & AMOUNT) or (not held & CLASS and not codes)


def _foreign(columns: list[np.ndarray], asked: np.ndarray | None) -> str:
    """A fraction in the sample submission that is no value of its column, as it prints; empty where there is none."""
    if asked is None or asked.shape[1] != len(columns):
        return ""
    for values, answers in zip(columns, asked.T, strict=True):
        odd = answers[(answers % 1 != 0) & ~np.isin(answers, values)]
        if len(odd):
            return f"{odd[0]:g}"
    return ""


def _by_quantile(truth: np.ndarray, bins: int) -> Strata:
    """Row `rows[k]` is of bin `labels[k]`; the bins of the first output come first. Equal numbers share a bin."""
    labels = np.empty(truth.shape, np.int64)
    for k, numbers in enumerate(truth.T):
        ordered = np.sort(numbers)
        labels[:, k] = np.searchsorted(ordered, numbers) * bins // max(1, len(truth)) + k * bins
    outputs = truth.shape[1]
    return Strata(np.repeat(np.arange(len(truth)), outputs), labels.ravel(), outputs * bins, one_each=outputs == 1)
