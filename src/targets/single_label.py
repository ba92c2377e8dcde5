"""Targets where each row has one class: truth and decisions are (n,) int64, the numbers of the classes."""

import numpy as np

from src.core.errors import Problem
from src.targets import boosting
from src.targets.label_cells import Cells
from src.targets.target_type import CLIP, TINY, ClassTarget, Coding, Labels, Mistakes, Strata


class SingleLabel(ClassTarget):
    plain_rule = "argmax"
    usual_probes = ("logistic", "prototypes")
    one_class = True
    sums_to_one = True

    def read(self, cells: Cells) -> Labels:
        if not cells.listed:
            return Labels(np.arange(len(cells.text[0])), cells.text[0])
        marks = self._marks(cells)
        wrong = np.flatnonzero(marks.sum(axis=1) != 1)
        if len(wrong):
            held = [cells.columns[k] for k in np.flatnonzero(marks[wrong[0]])]
            raise Problem(
                f"{cells.place(wrong[0])}: {', '.join(held) or 'none'} of the label columns is 1, and must be exactly "
                "one. Where several classes may apply, the card says target: multilabel",
                code="bad-label",
            )
        rows, columns = np.nonzero(marks)
        return Labels(rows, np.array(cells.columns, dtype=object)[columns])

    def encode(self, labels: Labels, rows: int, coding: Coding) -> np.ndarray:
        return self._codes(labels, coding)

    def combine(self, kept: np.ndarray, first: np.ndarray, more: np.ndarray) -> np.ndarray:
        return more != kept[first]

    def strata(self, truth: np.ndarray) -> Strata:
        return Strata(np.arange(len(truth)), truth, int(truth.max(initial=-1)) + 1, one_each=True)

    def counts(self, truth: np.ndarray, outputs: int) -> np.ndarray:
        return np.bincount(truth, minlength=outputs)

    def constant(self, truth: np.ndarray, outputs: int) -> bool:
        return bool((self.counts(truth, outputs) > 0).sum() < 2)

    def sampler_weights(self, truth: np.ndarray, exponent: float) -> np.ndarray:
        """The number of rows of a row's class to the power of -exponent: 1 makes the classes alike."""
        return np.bincount(truth)[truth] ** -float(exponent)

    def soft(self, truth: np.ndarray, outputs: int) -> np.ndarray:
        return np.eye(outputs, dtype=np.float32)[truth]

    def cells(self, truth: np.ndarray, outputs: tuple[str, ...]) -> list[tuple[str, ...]]:
        return [(outputs[k],) for k in truth.tolist()]

    def predictions(self, logits: np.ndarray) -> np.ndarray:
        """A softmax."""
        logits = logits.astype(np.float64)  # a copy
        logits -= logits.max(1, keepdims=True)
        exps = np.exp(logits, out=logits)
        return np.divide(exps, exps.sum(1, keepdims=True), out=exps)

    def decide(self, predictions: np.ndarray) -> np.ndarray:
        return predictions.argmax(axis=1)

    def decide_logits(self, logits: np.ndarray) -> np.ndarray:
        return logits.argmax(axis=1)

    def right(self, truth: np.ndarray, decisions: np.ndarray) -> np.ndarray:
        return truth == decisions

    def confidence(self, predictions: np.ndarray) -> np.ndarray:
        return predictions.max(axis=1)

    def indicators(self, labels: np.ndarray, classes: int) -> np.ndarray:
        return labels[:, None] == np.arange(classes)

    def for_sklearn(self, labels: np.ndarray) -> np.ndarray:
        return labels

    def cross_entropy(self, truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """Of each row, divided by its sum and then clipped, as Kaggle does it."""
        # Not scikit-learn's: that one clips at the float's own epsilon.
        rows = probabilities / probabilities.sum(axis=1, keepdims=True)
        return -np.log(rows[np.arange(len(truth)), truth].clip(CLIP, 1 - CLIP))

    def log_strength(self, probabilities: np.ndarray) -> np.ndarray:
        return np.log(probabilities.clip(TINY))

    def from_strength(self, strength: np.ndarray) -> np.ndarray:
        exps = np.exp(strength - strength.max(axis=1, keepdims=True))
        return exps / exps.sum(axis=1, keepdims=True)

    def from_reached(self, reached: np.ndarray) -> np.ndarray:
        """Of two classes, the second where it reaches its threshold."""
        return reached[:, 1].astype(np.int64)

    def fit_boosted(
        self, truth: np.ndarray, answers: np.ndarray, columns: boosting.Columns, weights: np.ndarray | None
    ) -> boosting.Fitted:
        return boosting.fit_classes(truth, answers, columns, weights)

    def prior_shift(self, truth: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
        """The logarithm of a class's true share over its share as drawn. A class without a row is not moved."""
        marks = self.indicators(truth, classes)
        return log_ratio(marks.mean(axis=0), (weights / weights.sum()) @ marks)

    def stand_in(self, outputs: int, never_empty: bool) -> np.ndarray:
        return np.zeros(1, np.int64)

    def having(self, truth: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        return outputs[truth]

    def in_words(self, row: tuple[str, ...]) -> str:
        return repr(str(row[0]))

    def recognised(self, truth: np.ndarray, decisions: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
        right = np.bincount(truth[truth == decisions], minlength=classes)
        return np.bincount(truth, minlength=classes), right

    def sure_and_right(self, truth: np.ndarray, predictions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return predictions.max(axis=1)[:, None], (self.decide(predictions) == truth)[:, None]

    def mistakes(
        self, truth: np.ndarray, predictions: np.ndarray, decisions: np.ndarray, outputs: tuple[str, ...]
    ) -> Mistakes:
        rows = np.flatnonzero(decisions != truth)
        answers = decisions[rows]
        return Mistakes(rows, answers, predictions[rows, answers], [outputs[k] for k in answers])

    def questions(
        self, truth: np.ndarray, predictions: np.ndarray, outputs: tuple[str, ...]
    ) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        if self.constant(truth, len(outputs)):
            return []
        return [(truth, predictions, np.array(outputs, dtype=object))]

    def plain_loss(self, truth: np.ndarray, logits: np.ndarray) -> float:
        import torch
        import torch.nn.functional as F

        return F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(truth)).item()

    def chance_loss(self, truth: np.ndarray, weights: np.ndarray | None, smoothing: float, outputs: int) -> float:
        shares = np.bincount(truth, weights=weights, minlength=outputs)
        shares = shares / shares.sum() * (1 - smoothing) + smoothing / outputs
        shares = shares[shares > 0]
        return float(-(shares * np.log(shares)).sum())


def log_ratio(true: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """log(true / drawn), 0 where either is 0."""
    there = (true > 0) & (drawn > 0)
    return np.where(there, np.log(np.where(there, true, 1) / np.where(there, drawn, 1)), 0.0)
