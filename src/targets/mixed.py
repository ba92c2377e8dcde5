"""Several targets of different kinds, one for each of the label columns: classes of its own, or a number.

Truth is (n, parts) float32, the number of the class or the number itself. One network answers all: predictions are
(n, outputs), the probabilities of each part's classes and its numbers beside each other.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from src.core.errors import Problem, UsageError
from src.targets import TARGETS, Evidence, Recognised, boosting
from src.targets.label_cells import Cells, number_in, sort_classes
from src.targets.target_type import CLIP, Strata, TargetType

NUMBER = "regression"
FEWEST = 3  # rows that a class has on average, where a column's words are classes


@dataclass(frozen=True)
class Part:
    """One of the targets. classes: their names, None of a number. at: its outputs among those of the network."""

    column: str
    classes: tuple[str, ...] | None
    at: slice
    target: TargetType

    @property
    def size(self) -> int:
        return self.at.stop - self.at.start

    def truth(self, truth: np.ndarray, k: int) -> np.ndarray:
        """Its truth as its own kind of target has it: (n,) int64, or (n, 1)."""
        return truth[:, k : k + 1] if self.classes is None else truth[:, k].astype(np.int64)


@TARGETS.register("mixed")
class Mixed(TargetType):
    """columns: {label column: the list of its classes, or regression}, in the order of the card's `train.label`."""

    rank = 6
    parameters: ClassVar = {"columns": dict}
    usual_loss = "mixed"
    own_unit = True
    mixes = False
    parts = ("answer", "answers")

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        made, at = [], 0
        for column, kind in self.columns.items():
            if kind != NUMBER and not (isinstance(kind, list) and len({*map(str, kind)}) > 1):
                text = f"{column} must be a list of two classes or more, or {NUMBER}"
                raise UsageError(f"target {self.name}: {text}", code="bad-parameter")
            classes = None if kind == NUMBER else tuple(dict.fromkeys(map(str, kind)))
            target = TARGETS.get(NUMBER if classes is None else "multiclass")()
            size = 1 if classes is None else len(classes)
            made.append(Part(column, classes, slice(at, at + size), target))
            at += size
        if len(made) < 2:
            raise UsageError(f"target {self.name}: columns must name two label columns or more", code="bad-parameter")
        self.members = tuple(made)

    @classmethod
    def recognise(cls, evidence: Evidence) -> Recognised | None:
        """Columns that the sample repeats, of which one at least holds words: no number is meant there, and no mark."""
        if len(evidence.columns) < 2 or evidence.several:
            return None
        kinds: dict[str, Any] = {}
        for column, cells in evidence.columns.items():
            names = sort_classes({*cells} - {""})
            words = any(not _is_number(name) for name in names)
            if not 1 < len(names) <= len(cells) / FEWEST and words:
                return None
            kinds[column] = names if words else None
        if all(kind is None for kind in kinds.values()):
            return None
        for column, cells in evidence.columns.items():
            if kinds[column] is None:
                names = sort_classes({*cells})
                fractions = any(float(name) % 1 for name in names)
                kinds[column] = NUMBER if fractions or len(names) > len(cells) / FEWEST else names
        held = {column: NUMBER if kind == NUMBER else f"{len(kind)} classes" for column, kind in kinds.items()}
        told = ", ".join(f"{column}: {kind}" for column, kind in held.items())
        guess = any(kind != NUMBER and all(map(_is_number, kind)) for kind in kinds.values())
        return Recognised(f"the sample asks for several answers, {told}", guess, parameters={"columns": kinds})

    def likely_metrics(self, submission: str, top: int) -> tuple[str, ...]:
        return ("mixed",)

    def read(self, cells: Cells) -> np.ndarray:
        """(n, parts) float32. Raises Problem for a class that is not listed, or a cell that is no number."""
        if tuple(cells.columns) != tuple(self.columns):
            text = f"the card's label is {list(cells.columns)}, and its target names {list(self.columns)}"
            raise Problem(f"{text}: name the same columns in the same order", code="columns-differ")
        truth = np.empty((len(cells.text[0]), len(cells.columns)), np.float32)
        for k, (part, text) in enumerate(zip(self.members, cells.text, strict=True)):
            known = {name: code for code, name in enumerate(part.classes or ())}
            for row, cell in enumerate(text):
                if part.classes is None:
                    truth[row, k] = number_in(cell, part.column, row, cells)
                elif cell in known:
                    truth[row, k] = known[cell]
                else:
                    told = f"{part.column} is {cell!r}, none of {', '.join(part.classes[:6])}"
                    raise Problem(f"{cells.place(row)}: {told}: mend it, or the card's target", code="unknown-class")
        return truth

    def outputs(self, given: Any, columns: tuple[str, ...], listed: bool, parts: Any) -> tuple[str, ...]:
        """Of a number its column, of a class column=class."""
        return tuple(
            name
            for part in self.members
            for name in ([part.column] if part.classes is None else [f"{part.column}={one}" for one in part.classes])
        )

    def strata(self, truth: np.ndarray) -> Strata:
        """Those of each part: a row belongs to as many as there are parts."""
        found = [part.target.strata(part.truth(truth, k)) for k, part in enumerate(self.members)]
        before = np.cumsum([0, *(one.count for one in found)])
        rows = np.stack([one.rows for one in found], axis=1).ravel()
        labels = np.stack([one.labels + start for one, start in zip(found, before[:-1], strict=True)], axis=1).ravel()
        return Strata(rows, labels, int(before[-1]), one_each=False)

    def parted(self, truth: np.ndarray, outputs: tuple[str, ...]) -> tuple[tuple[str, ...], Strata]:
        """Classes of each part, and ranges of numbers."""
        names, rows, labels = [], [], []
        for k, part in enumerate(self.members):
            own, strata = part.target.parted(part.truth(truth, k), part.classes or (part.column,))
            rows.append(strata.rows)
            labels.append(strata.labels + len(names))
            names += [f"{part.column} {name}" for name in own]
        rows, labels = np.concatenate(rows), np.concatenate(labels)
        order = np.argsort(rows, kind="stable")
        return tuple(names), Strata(rows[order], labels[order], len(names), one_each=False)

    def counts(self, truth: np.ndarray, outputs: int) -> np.ndarray:
        parts = enumerate(self.members)
        return np.concatenate([part.target.counts(part.truth(truth, k), part.size) for k, part in parts])

    def constant(self, truth: np.ndarray, outputs: int) -> bool:
        """Whether one of the parts is."""
        return any(np.ptp(column) == 0 for column in truth.T)

    def prior(self, truth: np.ndarray, outputs: int) -> np.ndarray:
        return self.soft(truth, outputs).mean(axis=0, dtype=np.float64)

    def unit(self, truth: np.ndarray) -> np.ndarray:
        """The standard deviation of numbers; 1 of classes, whose outputs are logits."""
        parts = enumerate(self.members)
        return np.concatenate([part.target.unit(part.truth(truth, k)) * np.ones(part.size) for k, part in parts])

    def stand_in(self, outputs: int, never_empty: bool) -> np.ndarray:
        return np.zeros((1, len(self.members)), np.float32)

    def soft(self, truth: np.ndarray, outputs: int) -> np.ndarray:
        parts = enumerate(self.members)
        found = [part.target.soft(part.truth(truth, k), part.size) for k, part in parts]
        return np.concatenate(found, axis=1).astype(np.float32)

    def cells(self, truth: np.ndarray, outputs: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Of truth, or of predictions, each part with its class or number."""
        if truth.shape[1] == len(outputs) != len(self.members):
            truth = self.decide(truth)
        texts = [self.texts(truth, k) for k in range(len(self.members))]
        names = [part.column for part in self.members]
        return [tuple(f"{a} {b}" for a, b in zip(names, row, strict=True)) for row in zip(*texts, strict=True)]

    def texts(self, answers: np.ndarray, k: int) -> list[str]:
        """(n,) what the part says, of (n, parts) truth or decisions."""
        classes = self.members[k].classes
        if classes is None:
            return [f"{x:.9g}" for x in answers[:, k].tolist()]
        return [classes[int(code)] for code in answers[:, k]]

    def predictions(self, logits: np.ndarray) -> np.ndarray:
        found = [part.target.predictions(logits[:, part.at]) for part in self.members]
        return np.concatenate(found, axis=1)

    def decide(self, predictions: np.ndarray) -> np.ndarray:
        """(n, parts): the likeliest class, or the number."""
        found = [part.target.decide(predictions[:, part.at]).reshape(-1) for part in self.members]
        return np.stack(found, axis=1).astype(np.float64)

    def apply_stack(self, weights: np.ndarray, tables: list[np.ndarray]) -> np.ndarray:
        found = super().apply_stack(weights, tables)
        for part in self.members:
            if part.classes is not None:
                shares = found[:, part.at].clip(CLIP)
                found[:, part.at] = shares / shares.sum(axis=1, keepdims=True)
        return found

    def fit_boosted(
        self, truth: np.ndarray, answers: np.ndarray, columns: boosting.Columns, weights: np.ndarray | None
    ) -> boosting.Fitted:
        """Each part by trees of its own kind."""
        fitted = [
            part.target.fit_boosted(part.truth(truth, k), answers[:, part.at], columns, weights)
            for k, part in enumerate(self.members)
        ]

        def apply(answers: np.ndarray, columns: boosting.Columns) -> np.ndarray:
            parts = zip(self.members, fitted, strict=True)
            return np.concatenate([one(answers[:, part.at], columns) for part, one in parts], axis=1)

        return apply

    def plain_loss(self, truth: np.ndarray, logits: np.ndarray) -> float:
        """The mean of the parts' own."""
        parts = [(part.target, part.truth(truth, k), logits[:, part.at].copy()) for k, part in enumerate(self.members)]
        return float(np.mean([target.plain_loss(own, told) for target, own, told in parts]))


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
