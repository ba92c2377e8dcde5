"""Shares of classes, such as votes of several experts: truth and predictions are (n, classes) and sum to 1 by row."""

from typing import ClassVar

import numpy as np

from src.core.errors import Problem
from src.targets import TARGETS, Evidence, Recognised, boosting
from src.targets.label_cells import Cells, number_in
from src.targets.target_type import CLIP, Coding, Strata, TargetType

SUM = 0.01  # of how much 1 a row of a sample may lack: 0.1667 six times is none
SOUND = 0.9  # of the rows hold votes, where the others are mistakes
CONSTANT = 1e-3  # by how much of it sums that are one may differ


@TARGETS.register("soft_labels")
class SoftLabels(TargetType):
    """A number for each of the label columns: votes, or probabilities.

    weigh_votes: whether a row weighs as many votes as it has, where the cells count them and the card names no weight.
    """

    rank = 5
    parameters: ClassVar = {"weigh_votes": True}
    usual_loss = "kl_divergence"
    usual_probes = ("logistic",)
    sums_to_one = True
    parts = ("class", "classes")

    @classmethod
    def recognise(cls, evidence: Evidence) -> Recognised | None:
        """Columns of numbers that hardly a row has below 0, and that sum to one constant, or that the sample answers
        with shares that sum to 1. A few odd rows are told by their line."""
        numbers, asked = evidence.numbers, evidence.asked
        if numbers is None or numbers.shape[1] < 2:
            return None
        sound = (numbers >= 0).all(axis=1) & (numbers.sum(axis=1) > 0)
        if sound.mean() < SOUND:
            return None
        numbers = numbers[sound]
        totals = numbers.sum(axis=1)
        constant = bool(np.ptp(totals) <= CONSTANT * totals.max()) and totals.min() > 0
        shares = asked is not None and asked.shape[1] == numbers.shape[1]
        shares = shares and bool((asked >= 0).all() and (np.abs(asked.sum(axis=1) - 1) <= SUM).all())
        whole = bool((numbers % 1 == 0).all()) and totals.min() > 0
        if not constant and not (shares and whole):
            return None
        told = [f"the columns sum to {totals[0]:g} in every row"] if constant else ["the columns count votes"]
        told += ["the sample answers with shares that sum to 1"] if shares else []
        return Recognised(", and ".join(told), guess=not (constant and shares), rival="regression")

    def likely_metrics(self, submission: str, top: int) -> tuple[str, ...]:
        return "kl_divergence", "brier"

    def read(self, cells: Cells) -> np.ndarray:
        """(n, classes) float64 as the table has them. Raises Problem for a cell that is no number of 0 or more."""
        numbers = np.empty((len(cells.text[0]), len(cells.columns)))
        for k, (column, text) in enumerate(zip(cells.columns, cells.text, strict=True)):
            for row, cell in enumerate(text):
                numbers[row, k] = number_in(cell, column, row, cells)
        for wrong, what in (
            (numbers < 0, "is below 0"),
            (numbers.sum(axis=1, keepdims=True) == 0, "and all others are 0"),
        ):
            if wrong.any():
                row, k = np.argwhere(wrong)[0].tolist()
                more = f"and shares of a row are 0 or more, and not all 0 ({wrong.any(axis=1).sum()} such rows)"
                raise Problem(f"{cells.place(row)}: {cells.columns[k]} {what}, {more}", code="bad-label")
        return numbers

    def encode(self, labels: np.ndarray, rows: int, coding: Coding) -> np.ndarray:
        return (labels / labels.sum(axis=1, keepdims=True)).astype(np.float32)

    def row_weights(self, labels: np.ndarray) -> np.ndarray | None:
        """The number of votes, where the cells are whole and some row has more than one."""
        totals = labels.sum(axis=1)
        counted = bool((labels % 1 == 0).all()) and np.ptp(totals) > 0
        return totals if self.weigh_votes and counted else None

    def strata(self, truth: np.ndarray) -> Strata:
        """The likeliest class, the first of equals."""
        return Strata(np.arange(len(truth)), truth.argmax(axis=1), truth.shape[1], one_each=True)

    def parted(self, truth: np.ndarray, outputs: tuple[str, ...]) -> tuple[tuple[str, ...], Strata]:
        return outputs, self.strata(truth)

    def counts(self, truth: np.ndarray, outputs: int) -> np.ndarray:
        """Rows in which a class is the likeliest."""
        return np.bincount(truth.argmax(axis=1), minlength=outputs)

    def stand_in(self, outputs: int, never_empty: bool) -> np.ndarray:
        return np.full((1, outputs), 1 / outputs, np.float32)

    def predictions(self, logits: np.ndarray) -> np.ndarray:
        """A softmax."""
        from scipy.special import softmax

        return softmax(logits.astype(np.float64), axis=1)

    def apply_stack(self, weights: np.ndarray, tables: list[np.ndarray]) -> np.ndarray:
        shares = super().apply_stack(weights, tables).clip(CLIP)
        return shares / shares.sum(axis=1, keepdims=True)

    def fit_boosted(
        self, truth: np.ndarray, answers: np.ndarray, columns: boosting.Columns, weights: np.ndarray | None
    ) -> boosting.Fitted:
        fitted = super().fit_boosted(truth, answers, columns, weights)

        def apply(answers: np.ndarray, columns: boosting.Columns) -> np.ndarray:
            shares = fitted(answers, columns).clip(CLIP)
            return shares / shares.sum(axis=1, keepdims=True)

        return apply

    def plain_loss(self, truth: np.ndarray, logits: np.ndarray) -> float:
        """The Kullback-Leibler divergence."""
        return float(divergence(truth, self.predictions(logits)).mean())

    def chance_loss(self, truth: np.ndarray, weights: np.ndarray | None, smoothing: float, outputs: int) -> float:
        """Of the mean shares of the rows."""
        usual = np.average(truth, axis=0, weights=weights)
        return float(np.average(divergence(truth, np.broadcast_to(usual, truth.shape)), weights=weights))


def divergence(truth: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """(n,) of each row the Kullback-Leibler divergence, both clipped as Kaggle does it, so that 0 log 0 is 0."""
    true, told = truth.astype(np.float64).clip(CLIP, 1 - CLIP), predictions.clip(CLIP, 1 - CLIP)
    return (true * np.log(true / told)).sum(axis=1)
