"""Several targets of different kinds, one for each of the label columns: classes, grades, labels, or a number.

Truth is (n, columns) float32: of one class its number, of several labels 0 or 1 for each, of a number itself. One
network answers all: predictions are (n, outputs), those of the parts beside each other.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from src.core.errors import Problem, UsageError
from src.core.registry import parsed
from src.targets import TARGETS, Evidence, Recognised, boosting
from src.targets.label_cells import Cells, number_in, parts_of, sort_classes
from src.targets.target_type import CLIP, Strata, TargetType

NUMBER, CLASSES, LABELS = "regression", "multiclass", "multilabel"
KINDS = (NUMBER, CLASSES, "ordinal", LABELS)  # that may stand beside each other
FEWEST = 3  # rows that a class has on average, where a column's words are classes
ODD = 0.1  # of a column's cells, which may be no numbers where the others are: they are told by their line
SEPARATOR = " "  # of several labels in a cell, where the card says nothing else


@dataclass(frozen=True)
class Part:
    """One of the targets. classes: their names, None of a number. codes: {cell of the table: number of its class}. at:
    its outputs among those of the network. held: its columns in truth and decisions."""

    column: str
    classes: tuple[str, ...] | None
    codes: dict[str, int]
    at: slice
    held: slice
    target: TargetType

    @property
    def size(self) -> int:
        return self.at.stop - self.at.start

    @property
    def several(self) -> bool:
        """Whether a row may have several of its classes."""
        return self.classes is not None and not self.target.one_class

    def truth(self, truth: np.ndarray) -> np.ndarray:
        """Its truth, or decisions, as its own kind of target has them: (n,) int64, or (n, columns)."""
        own = truth[:, self.held]
        return own if self.classes is None or self.several else own[:, 0].astype(np.int64)


@TARGETS.register("mixed")
class Mixed(TargetType):
    """columns: {label column: what it is}, in the order of the card's `train.label`: the list of its classes,
    regression, or a kind with its parameters, {name: ordinal, classes: [0, 1, 2]}. Where the submission calls classes
    otherwise than the table: classes: {cell: name}."""

    rank = 6
    parameters: ClassVar = {"columns": dict}
    usual_loss = "mixed"
    own_unit = True
    mixes = False
    parts = ("answer", "answers")

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        made, at, held = [], 0, 0
        for column, kind in self.columns.items():
            names, target = self._kind(column, kind)
            classes = None if names is None else tuple(dict.fromkeys(names.values()))
            codes = {cell: classes.index(name) for cell, name in (names or {}).items()}
            size = 1 if classes is None else len(classes)
            width = size if classes is None or not target.one_class else 1
            made.append(Part(column, classes, codes, slice(at, at + size), slice(held, held + width), target))
            at, held = at + size, held + width
        if len(made) < 2:
            raise UsageError(f"target {self.name}: columns must name two label columns or more", code="bad-parameter")
        self.members = tuple(made)

    def _kind(self, column: str, kind: Any) -> tuple[dict[str, str] | None, TargetType]:
        """{cell: class} and the target of a column. Raises UsageError where they make no part."""
        name, own = parsed({"name": CLASSES, "classes": kind} if isinstance(kind, list) else kind, f"{column}")
        classes = own.pop("classes", None)
        names = classes if isinstance(classes, dict) else {one: one for one in classes or ()}
        names = {str(cell): str(name) for cell, name in names.items()}
        right = len({*names.values()}) > 1
        if name not in KINDS or (classes is not None if name == NUMBER else not right):
            text = (
                f"{column} must be a list of two classes or more, {NUMBER}, or "
                f"{{name: {' or '.join(KINDS[1:])}, classes: [...]}}"
            )
            raise UsageError(f"target {self.name}: {text}", code="bad-parameter")
        target = TARGETS.get(name)(**own)
        return (None if name == NUMBER else names), target

    @property
    def usual_probes(self) -> tuple[str, ...]:
        """Those of the parts, each of which has a head of its own."""
        return tuple(dict.fromkeys(name for part in self.members for name in part.target.usual_probes))

    @property
    def learned(self) -> dict[str, Any]:
        kinds = {part.column: [part.target.registered, *(part.classes or ())] for part in self.members}
        return super().learned | {"columns": kinds}

    @classmethod
    def recognise(cls, evidence: Evidence) -> Recognised | None:
        """Columns that the sample repeats, of which one at least holds words: no number is meant there, and no mark."""
        if len(evidence.columns) < 2 or evidence.several:
            return None
        kinds: dict[str, Any] = {}
        for column, cells in evidence.columns.items():
            names = sort_classes({*cells} - {""})
            words = np.mean([not _is_number(cell) for cell in cells]) > ODD
            if not 1 < len(names) <= len(cells) / FEWEST and words:
                return None
            kinds[column] = names if words else None
        if all(kind is None for kind in kinds.values()):
            return None
        for column, cells in evidence.columns.items():
            if kinds[column] is None:
                names = sort_classes({cell for cell in cells if _is_number(cell)})
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
        truth = np.zeros((len(cells.text[0]), self.members[-1].held.stop), np.float32)
        for part, text in zip(self.members, cells.text, strict=True):
            for row, cell in enumerate(text):
                if part.classes is None:
                    truth[row, part.held] = number_in(cell, part.column, row, cells)
                elif part.several:
                    for label in parts_of(cell, cells.separator or SEPARATOR):
                        truth[row, part.held.start + self._code(part, label, row, cells)] = 1
                else:
                    truth[row, part.held] = self._code(part, cell, row, cells)
        return truth

    def _code(self, part: Part, label: str, row: int, cells: Cells) -> int:
        if label not in part.codes:
            told = f"{part.column} is {label!r}, none of {', '.join([*part.codes][:6])}"
            text = f"{cells.place(row)}: {told}: mend it, or the card's target; or leave such rows out, train.missing"
            raise Problem(f"{text}=[{label!r}]", code="unknown-class")
        return part.codes[label]

    def outputs(self, given: Any, columns: tuple[str, ...], listed: bool, parts: Any) -> tuple[str, ...]:
        """Of a number its column, of a class column=class."""
        return tuple(
            name
            for part in self.members
            for name in ([part.column] if part.classes is None else [f"{part.column}={one}" for one in part.classes])
        )

    def strata(self, truth: np.ndarray) -> Strata:
        """Those of each part: a row belongs to as many as there are parts."""
        return _beside([part.target.strata(part.truth(truth)) for part in self.members])

    def parted(self, truth: np.ndarray, outputs: tuple[str, ...]) -> tuple[tuple[str, ...], Strata]:
        """Classes of each part, and ranges of numbers."""
        found = [part.target.parted(part.truth(truth), part.classes or (part.column,)) for part in self.members]
        names = [f"{part.column} {one}" for part, (own, _) in zip(self.members, found, strict=True) for one in own]
        return tuple(names), _beside([strata for _, strata in found])

    def counts(self, truth: np.ndarray, outputs: int) -> np.ndarray:
        return np.concatenate([part.target.counts(part.truth(truth), part.size) for part in self.members])

    def constant(self, truth: np.ndarray, outputs: int) -> bool:
        """Whether one of the parts is."""
        return any(part.target.constant(part.truth(truth), part.size) for part in self.members)

    def prior(self, truth: np.ndarray, outputs: int) -> np.ndarray:
        return self.soft(truth, outputs).mean(axis=0, dtype=np.float64)

    def unit(self, truth: np.ndarray) -> np.ndarray:
        """The standard deviation of numbers; 1 of classes, whose outputs are logits."""
        return np.concatenate([part.target.unit(part.truth(truth)) * np.ones(part.size) for part in self.members])

    def stand_in(self, outputs: int, never_empty: bool) -> np.ndarray:
        return np.zeros((1, self.members[-1].held.stop), np.float32)

    def soft(self, truth: np.ndarray, outputs: int) -> np.ndarray:
        found = [part.target.soft(part.truth(truth), part.size) for part in self.members]
        return np.concatenate(found, axis=1).astype(np.float32)

    def cells(self, truth: np.ndarray, outputs: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Of truth, or of predictions, each part with its class or number."""
        if truth.shape[1] == len(outputs) != self.members[-1].held.stop:
            truth = self.decide(truth)
        texts = [self.texts(truth, part) for part in self.members]
        names = [part.column for part in self.members]
        return [tuple(f"{a} {b}" for a, b in zip(names, row, strict=True)) for row in zip(*texts, strict=True)]

    def texts(self, answers: np.ndarray, part: Part) -> list[str]:
        """(n,) what is answered to a part, of decisions."""
        own = part.truth(answers)
        if part.classes is None:
            return [f"{x:.9g}" for x in own[:, 0].tolist()]
        if part.several:
            return [SEPARATOR.join(np.array(part.classes, dtype=object)[row > 0]) for row in own]
        return [part.classes[code] for code in own]

    def predictions(self, logits: np.ndarray) -> np.ndarray:
        found = [part.target.predictions(logits[:, part.at]) for part in self.members]
        return np.concatenate(found, axis=1)

    def decide(self, predictions: np.ndarray) -> np.ndarray:
        """(n, columns) as truth is: the likeliest class, the labels that apply, or the number."""
        found = [part.target.decide(predictions[:, part.at]) for part in self.members]
        return np.concatenate([one.reshape(len(one), -1) for one in found], axis=1).astype(np.float64)

    def apply_stack(self, weights: np.ndarray, tables: list[np.ndarray]) -> np.ndarray:
        found = super().apply_stack(weights, tables)
        for part in self.members:
            if part.classes is not None:
                shares = found[:, part.at].clip(CLIP, 1)
                found[:, part.at] = shares if part.several else shares / shares.sum(axis=1, keepdims=True)
        return found

    def fit_boosted(
        self, truth: np.ndarray, answers: np.ndarray, columns: boosting.Columns, weights: np.ndarray | None
    ) -> boosting.Fitted:
        """Each part by trees of its own kind."""
        fitted = [
            part.target.fit_boosted(part.truth(truth), answers[:, part.at], columns, weights) for part in self.members
        ]

        def apply(answers: np.ndarray, columns: boosting.Columns) -> np.ndarray:
            parts = zip(self.members, fitted, strict=True)
            return np.concatenate([one(answers[:, part.at], columns) for part, one in parts], axis=1)

        return apply

    def plain_loss(self, truth: np.ndarray, logits: np.ndarray) -> float:
        """The mean of the parts' own."""
        parts = self.members
        return float(np.mean([one.target.plain_loss(one.truth(truth), logits[:, one.at].copy()) for one in parts]))


def _beside(found: list[Strata]) -> Strata:
    """Strata of several targets as those of one, in the order of the rows."""
    before = np.cumsum([0, *(one.count for one in found)])
    rows = np.concatenate([one.rows for one in found])
    labels = np.concatenate([one.labels + start for one, start in zip(found, before[:-1], strict=True)])
    order = np.argsort(rows, kind="stable")
    return Strata(rows[order], labels[order], int(before[-1]), one_each=False)


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
