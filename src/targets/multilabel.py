"""Any number of classes a row: truth is (n, classes) float32 of 0 and 1, decisions are (n, classes) bool."""

import numpy as np

from src.targets import TARGETS, Evidence, Recognised, boosting
from src.targets.label_cells import Cells, parts_of
from src.targets.single_label import log_ratio
from src.targets.target_type import CLIP, TINY, ClassTarget, Coding, Labels, Mistakes, Strata


@TARGETS.register("multilabel")
class MultiLabel(ClassTarget):
    rank = 3
    usual_loss = "binary_cross_entropy"
    usual_probes = ("one_against_rest",)
    plain_rule = "one half"
    calibration_told = "To a class of an image the network says yes with {sure} on average; {right} apply"
    may_be_empty = True
    repeats = True

    @classmethod
    def recognise(cls, evidence: Evidence) -> Recognised | None:
        return Recognised("an image can have several classes, or none") if evidence.several else None

    def likely_metrics(self, submission: str, top: int) -> tuple[str, ...]:
        likely = {"ranked": (f"map@{top}",), "columns": ("mean_column_auc", "log_loss")}
        return likely.get(submission, ("sample_f1", "micro_f1", "macro_f1"))

    def read(self, cells: Cells) -> Labels:
        if cells.listed:
            rows, columns = np.nonzero(self._marks(cells))
            return Labels(rows, np.array(cells.columns, dtype=object)[columns])
        text = cells.text[0]
        if cells.separator is None:
            held = np.flatnonzero(text != "")
            return Labels(held, text[held])
        parts = [parts_of(cell, cells.separator) for cell in text]
        counts = np.fromiter(map(len, parts), np.int64, len(parts))
        names = np.array([part for row in parts for part in row], dtype=object)
        return Labels(np.repeat(np.arange(len(text)), counts), names)

    def encode(self, labels: Labels, rows: int, coding: Coding) -> np.ndarray:
        truth = np.zeros((rows, len(coding.outputs)), np.float32)
        truth[labels.rows, self._codes(labels, coding)] = 1
        return truth

    def combine(self, kept: np.ndarray, first: np.ndarray, more: np.ndarray) -> np.ndarray:
        np.maximum.at(kept, first, more)
        return np.zeros(len(more), dtype=bool)

    def strata(self, truth: np.ndarray) -> Strata:
        return Strata(*np.nonzero(truth), truth.shape[1], one_each=False)

    def counts(self, truth: np.ndarray, outputs: int) -> np.ndarray:
        return truth.sum(axis=0).astype(np.int64)

    def constant(self, truth: np.ndarray, outputs: int) -> bool:
        return False

    def sampler_weights(self, truth: np.ndarray, exponent: float) -> np.ndarray:
        """As the rarest class of the row has it; rows of no class are a class of their own."""
        present = truth > 0
        counts = present.sum(0)
        rarest = np.where(present, counts, len(truth)).min(1)
        empty = ~present.any(1)
        return np.where(empty, max(1, empty.sum()), rarest) ** -float(exponent)

    def soft(self, truth: np.ndarray, outputs: int) -> np.ndarray:
        return truth

    def cells(self, truth: np.ndarray, outputs: tuple[str, ...]) -> list[tuple[str, ...]]:
        return [tuple(outputs[k] for k in np.flatnonzero(row > 0.5)) for row in truth]

    def predictions(self, logits: np.ndarray) -> np.ndarray:
        """A sigmoid for each class."""
        return 1 / (1 + np.exp(-logits.astype(np.float64)))

    def decide(self, predictions: np.ndarray) -> np.ndarray:
        return predictions >= 0.5

    def decide_logits(self, logits: np.ndarray) -> np.ndarray:
        return logits >= 0

    def plain_thresholds(self, outputs: int) -> tuple[float, ...]:
        return (0.5,) * outputs

    def right(self, truth: np.ndarray, decisions: np.ndarray) -> np.ndarray:
        return ((truth > 0.5) == decisions).all(axis=1)

    def confidence(self, predictions: np.ndarray) -> np.ndarray:
        """Of the least certain yes or no."""
        return np.maximum(predictions, 1 - predictions).min(axis=1)

    def indicators(self, labels: np.ndarray, classes: int) -> np.ndarray:
        return labels > 0.5

    def for_sklearn(self, labels: np.ndarray) -> np.ndarray:
        return (labels > 0.5).astype(np.int8)

    def cross_entropy(self, truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """Of each cell."""
        clipped = probabilities.clip(CLIP, 1 - CLIP)
        return -np.where(truth > 0.5, np.log(clipped), np.log1p(-clipped))

    def log_strength(self, probabilities: np.ndarray) -> np.ndarray:
        return np.log(probabilities.clip(TINY)) - np.log1p(-probabilities.clip(max=1 - 1e-16))

    def from_strength(self, strength: np.ndarray) -> np.ndarray:
        from scipy.special import expit

        return expit(strength)

    def from_reached(self, reached: np.ndarray) -> np.ndarray:
        return reached

    def fit_boosted(
        self, truth: np.ndarray, answers: np.ndarray, columns: boosting.Columns, weights: np.ndarray | None
    ) -> boosting.Fitted:
        return boosting.fit_marks(truth > 0.5, answers, columns, weights)

    def prior_shift(self, truth: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
        """The logarithm of a class's true odds over its odds as drawn."""
        true, drawn = truth.mean(axis=0), (weights / weights.sum()) @ truth
        return log_ratio(true / np.maximum(1 - true, 1e-12), drawn / np.maximum(1 - drawn, 1e-12))

    def never_empty(self, truth: np.ndarray) -> bool:
        return bool((truth > 0.5).any(axis=1).all())

    def filled(self, decisions: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        none = np.flatnonzero(~decisions.any(axis=1))
        decisions[none, probabilities[none].argmax(axis=1)] = True
        return decisions

    def guess(self, predictions: np.ndarray) -> np.ndarray:
        """The likeliest class alone."""
        return np.eye(predictions.shape[1], dtype=bool)[predictions.argmax(axis=1)]

    def stand_in(self, outputs: int, never_empty: bool) -> np.ndarray:
        return np.full((1, outputs), float(never_empty), np.float32)

    def sure_and_right(self, truth: np.ndarray, predictions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return predictions, truth > 0.5

    def mistakes(
        self, truth: np.ndarray, predictions: np.ndarray, decisions: np.ndarray, outputs: tuple[str, ...]
    ) -> Mistakes:
        """One class of an image each: the answer begins with "not" where it was missed."""
        rows, labels = np.nonzero((truth > 0.5) != decisions)
        yes, p = decisions[rows, labels], predictions[rows, labels]
        words = [("" if there else "not ") + outputs[k] for k, there in zip(labels, yes, strict=True)]
        return Mistakes(rows, labels, np.where(yes, p, 1 - p), words)

    def questions(
        self, truth: np.ndarray, predictions: np.ndarray, outputs: tuple[str, ...]
    ) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Each class by itself."""
        marks = truth > 0.5
        return [
            (marks[:, c].astype(int), np.stack([1 - p, p], axis=1), np.array([f"not {name}", name]))
            for c, (name, p) in enumerate(zip(outputs, predictions.T, strict=True))
            if marks[:, c].any() and not marks[:, c].all()
        ]

    def plain_loss(self, truth: np.ndarray, logits: np.ndarray) -> float:
        import torch
        import torch.nn.functional as F

        return F.binary_cross_entropy_with_logits(torch.from_numpy(logits), torch.from_numpy(truth)).item()

    def chance_loss(self, truth: np.ndarray, weights: np.ndarray | None, smoothing: float, outputs: int) -> float:
        shares = np.average(truth, axis=0, weights=weights) * (1 - smoothing) + smoothing / 2
        shares = shares.clip(1e-12, 1 - 1e-12)
        return float(-(shares * np.log(shares) + (1 - shares) * np.log(1 - shares)).mean())
