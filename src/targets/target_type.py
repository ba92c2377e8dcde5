"""The base class of every kind of target: from label cells to truth, from logits to answers."""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from src.core.errors import Problem, UsageError
from src.core.registry import Configurable
from src.targets import boosting, stacking
from src.targets.evidence import Evidence, Recognised
from src.targets.label_cells import NO, YES, Cells, sort_classes

CLIP = 1e-15  # Kaggle's: p becomes max(min(p, 1 - 1e-15), 1e-15)
TINY = 1e-300  # stands for a probability of 0 where its logarithm is taken


@dataclass(frozen=True)
class Labels:
    """`names[k]` is a label of row `rows[k]`; rows ascend."""

    rows: np.ndarray  # (labels,) int64
    names: np.ndarray  # (labels,) text


@dataclass(frozen=True)
class Coding:
    """How labels become truth. outputs: the network's, in their order. names: {label of the tables: output}, where they
    differ; with `both` the outputs' own names will do too. refuse(row, label, number of such rows): the message for an
    unknown label."""

    outputs: tuple[str, ...]
    names: dict[str, str] | None
    refuse: Callable[[int, str, int], str]
    both: bool = False


@dataclass(frozen=True)
class Strata:
    """What folds share out evenly: row `rows[k]` belongs to stratum `labels[k]`, a number below `count`.

    one_each: whether every row belongs to one stratum, row 0 first.
    """

    rows: np.ndarray
    labels: np.ndarray
    count: int
    one_each: bool


@dataclass(frozen=True)
class Mistakes:
    """(mistakes,) each. row: of the truth. output: the number of what was answered, or missed. sure: how surely, 0 to
    1. answer: what was answered, in words."""

    row: np.ndarray
    output: np.ndarray
    sure: np.ndarray
    answer: list[str]


class TargetType(Configurable):
    """One kind of target. Truth is an array of one row a sample, answers are (n, outputs) predictions.

    What stands here is right for truth that is an (n, outputs) array of numbers: a new kind writes `read` and what is
    different about it. The class attributes are what a card and a configuration get where they say nothing else.
    """

    rank: ClassVar[int] = 0  # kinds of a higher rank are asked first whether they recognise a label
    members: tuple[Any, ...] = ()  # its targets, where it is several beside each other: see mixed.Part
    usual_loss: ClassVar[str]
    usual_probes: ClassVar[tuple[str, ...]] = ()  # heads that may be fitted on frozen features, see PROBES
    plain_rule: ClassVar[str] = "predictions as they are"  # what the decision is called that nothing is fitted for
    undecided_rule: ClassVar[str] = "predictions as they are"  # the same where a metric asks for no decision
    own_unit: ClassVar[bool] = False  # whether outputs are numbers in a unit of their own: see `prior` and `unit`
    mixes: ClassVar[bool] = True  # whether the truth of two rows may be mixed, as mixup does
    may_be_empty: ClassVar[bool] = False  # whether a row may have an empty label cell
    repeats: ClassVar[bool] = False  # whether several rows of one id add up to its label
    one_class: ClassVar[bool] = False  # whether a row has exactly one class, so that wrong ones can be counted by pairs
    sums_to_one: ClassVar[bool] = False  # whether the predictions of a row do
    ordered: ClassVar[bool] = False  # whether neighbours are nearly right
    positive_class: ClassVar[bool] = False  # whether the second of two classes is what is looked for
    last_is_none: ClassVar[bool] = False  # whether the last class stands for none of the others

    @classmethod
    def recognise(cls, evidence: Evidence) -> Recognised | None:
        """Why `prepare` may take a label for this kind of target; None where it is none, or only a card may say so."""
        return None

    @classmethod
    def doubt(cls, evidence: Evidence) -> str:
        """What speaks for this kind where another one is taken; empty where nothing does."""
        return ""

    def likely_metrics(self, submission: str, top: int) -> tuple[str, ...]:
        """The metrics that competitions have with such a submission, the usual one first; top: of how many ranks."""
        raise UsageError(f"no metric is usual for {self.name} targets: set metric=NAME", code="no-usual-metric")

    @property
    def learned(self) -> dict[str, Any]:
        """What of it decides the weights that are learned, for the record of a run: here its usual loss alone."""
        return {"loss": self.usual_loss}

    # From the table

    @abstractmethod
    def read(self, cells: Cells) -> Any:
        """The labels of a table as its cells have them. Raises Problem for a cell that holds none or too many."""

    def outputs(
        self,
        given: list[str] | dict[str, str] | None,
        columns: tuple[str, ...],
        listed: bool,
        parts: Iterable[Any],
    ) -> tuple[str, ...]:
        """The names of the network's outputs: here those of the label columns.

        given: the card's `classes`. columns: the names of the label columns. listed: whether the card lists them, one
        an output. parts: what `read` found in each table that may tell of names.
        """
        if isinstance(given, dict):
            return tuple(given.get(column, column) for column in columns)
        return tuple(given or columns)

    def encode(self, labels: Any, rows: int, coding: Coding) -> np.ndarray:
        """The truth of so many rows: here what `read` gave. Raises Problem for an unknown label."""
        return labels

    def row_weights(self, labels: Any) -> np.ndarray | None:
        """(n,) what each row counts by its labels, as `read` gave them, where the card names no weight; None: alike."""
        return None

    def combine(self, kept: np.ndarray, first: np.ndarray, more: np.ndarray) -> np.ndarray:
        """Add the truth `more` of rows that repeat the rows `first` of `kept`, in place. (more,) bool: where they
        contradict each other."""
        return (more != kept[first]).any(axis=1)

    def majority(self, truth: np.ndarray) -> np.ndarray:
        """The one truth that most of these rows have, the smallest of equals."""
        values, counts = np.unique(truth, axis=0, return_counts=True)
        return values[counts.argmax()]

    # What the truth is like

    def strata(self, truth: np.ndarray) -> Strata:
        """What folds are stratified by."""
        return Strata(np.arange(len(truth)), np.zeros(len(truth), np.int64), 1, one_each=True)

    parts: ClassVar[tuple[str, str]] = ("part", "parts")  # what one of those of `parted` is called, and several

    def parted(self, truth: np.ndarray, outputs: tuple[str, ...]) -> tuple[tuple[str, ...], Strata]:
        """What a reader is shown the rows by, the names of the parts and the rows of each."""
        return ("all rows",), Strata(np.arange(len(truth)), np.zeros(len(truth), np.int64), 1, one_each=True)

    def counts(self, truth: np.ndarray, outputs: int) -> np.ndarray:
        """(outputs,) int: how many rows tell something of each output."""
        return np.full(outputs, len(truth))

    def constant(self, truth: np.ndarray, outputs: int) -> bool:
        """Whether these rows are all alike, so that nothing can be learned."""
        return bool((truth == truth[:1]).all())

    def constant_outputs(self, truth: np.ndarray, outputs: tuple[str, ...]) -> list[str]:
        """The names of outputs that are the same in every row, where others are not: nothing is learned of them."""
        return []

    def prior(self, truth: np.ndarray, outputs: int) -> np.ndarray:
        """(outputs,) the prediction where there is no image: what is usual in these rows."""
        return truth.mean(axis=0, dtype=np.float64)

    def start(self, truth: np.ndarray, outputs: int) -> np.ndarray:
        """(outputs,) the logits that a network begins with where outputs have a unit of their own: those of `prior`."""
        return self.prior(truth, outputs)

    def unit(self, truth: np.ndarray) -> np.ndarray | float:
        """(outputs,) what differences of predictions are measured in: the standard deviation of these rows where
        outputs have a unit of their own. A network then learns what lies so many of them above `start`."""
        if not self.own_unit:
            return 1.0
        spread = truth.std(axis=0, dtype=np.float64)
        return np.where(spread > 0, spread, 1.0)

    def having(self, truth: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """(n,) bool: the rows that have one of the chosen outputs, (outputs,) bool."""
        raise UsageError(f"{self.name} targets have no classes that rows could be chosen by", code="unfit-for-target")

    def never_empty(self, truth: np.ndarray) -> bool:
        """Whether every row holds something; then an answer that holds nothing is wrong."""
        return True

    def stand_in(self, outputs: int, never_empty: bool) -> np.ndarray:
        """The truth of one row, in place of a training table that is not at hand, which was `never_empty` or not."""
        return np.zeros((1, outputs), np.float32)

    def sampler_weights(self, truth: np.ndarray, exponent: float) -> np.ndarray:
        """(n,) the weighted sampler's weight of each row; an exponent of 0 leaves the rows as they are."""
        raise UsageError(
            f"data.sampler=weighted is for classes, and {self.name} targets have none: take data.sampler=plain",
            code="unfit-for-target",
        )

    def soft(self, truth: np.ndarray, outputs: int) -> np.ndarray:
        """(n, outputs) float32: the truth in the form of predictions, which a teacher's are mixed with."""
        return truth.astype(np.float32)

    def cells(self, truth: np.ndarray, outputs: tuple[str, ...]) -> list[tuple[str, ...]]:
        """How each truth row, or decision, prints: the names or numbers that it holds."""
        if len(outputs) == 1:
            return [(f"{number:.6g}",) for number in truth[:, 0].tolist()]
        return [tuple(f"{name} {x:.6g}" for name, x in zip(outputs, row, strict=True)) for row in truth.tolist()]

    def in_words(self, row: tuple[str, ...]) -> str:
        """What `cells` gives of one row, in a sentence."""
        return ", ".join(row) or "no class at all"

    # Answers

    def predictions(self, logits: np.ndarray) -> np.ndarray:
        """(n, outputs) logits -> (n, outputs) float64 predictions; these are averaged over views, folds and seeds."""
        return logits.astype(np.float64)

    def decide(self, predictions: np.ndarray) -> np.ndarray:
        """The plain decisions, one a row."""
        return predictions

    def decide_logits(self, logits: np.ndarray) -> np.ndarray:
        """The plain decisions of logits; quicker where they need no predictions."""
        return self.decide(self.predictions(logits))

    def plain_thresholds(self, outputs: int) -> tuple[float, ...] | None:
        """The thresholds of the plain decision, where it is made by some."""
        return None

    def guess(self, predictions: np.ndarray) -> np.ndarray:
        """The decisions of rows without an image, from `prior`."""
        return self.decide(predictions)

    def filled(self, decisions: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        """The decisions, in place; those that hold nothing hold the likeliest."""
        return decisions

    def recognised(self, truth: np.ndarray, decisions: np.ndarray, outputs: int) -> tuple[np.ndarray, np.ndarray]:
        """(outputs,) each: the rows of a class, and those of them that are answered with it; 0 where there are none."""
        return np.zeros(outputs, np.int64), np.zeros(outputs, np.int64)

    def prior_shift(self, truth: np.ndarray, weights: np.ndarray, outputs: int) -> np.ndarray | None:
        """(outputs,) what turns probabilities learned under row weights back (Saerens and others, 2002)."""
        return None

    # The page

    page: ClassVar[tuple[str, ...]] = ("answer", "data", "seen", "learning", "trust", "again")  # its sections
    comparison: ClassVar[tuple[str, ...]] = ("answer", "learning", "differences")  # the same of several runs' page
    may_be_sure: ClassVar[bool] = False  # whether an answer tells how sure it is: see `confidence`, `sure_and_right`
    doubts_labels: ClassVar[bool] = False  # whether a label can look wrong, as confident learning finds them
    no_doubts: ClassVar[str] = "only classes can be mistaken for each other"  # why not

    def outliers(self, truth: np.ndarray, predictions: np.ndarray) -> np.ndarray | None:
        """(n, outputs) how far the truth lies off the answer, in what most rows are off by; None of targets whose
        labels are doubted otherwise."""
        return None

    def confidence(self, predictions: np.ndarray) -> np.ndarray:
        """(n,) how sure an answer is, 0 to 1: what a pseudo-label is chosen by."""
        raise UsageError(f"predictions of {self.name} targets do not tell how sure they are", code="unfit-for-target")

    def sure_and_right(self, truth: np.ndarray, predictions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, answers of a row) each: how sure every answer is, 0 to 1, and whether it is right."""
        raise UsageError(f"predictions of {self.name} targets do not tell how sure they are", code="unfit-for-target")

    # Losses that are told, of any training loss

    def plain_loss(self, truth: np.ndarray, logits: np.ndarray) -> float:
        """The usual loss without smoothing, weights or margins, to compare one epoch and run with another.

        Here the mean squared error, of each output in variances of these rows.
        """
        spread = truth.var(axis=0, dtype=np.float64)
        errors = np.square(self.predictions(logits) - truth).mean(axis=0)
        return float((errors / np.where(spread > 0, spread, 1.0)).mean())

    def chance_loss(self, truth: np.ndarray, weights: np.ndarray | None, smoothing: float, outputs: int) -> float:
        """The same of an answer that ignores the image; `weights` are the sampler's, one a row."""
        return math.inf

    # Blends of runs

    def fit_stack(self, truth: np.ndarray, tables: list[np.ndarray]) -> np.ndarray:
        """Weights of a linear stack of the runs' predictions, (n, outputs) each: (outputs, runs + 1)."""
        return stacking.fit_ridge(self.soft(truth, tables[0].shape[1]), tables)

    def apply_stack(self, weights: np.ndarray, tables: list[np.ndarray]) -> np.ndarray:
        """(n, outputs) predictions of the stack."""
        return stacking.apply_ridge(weights, tables)

    # Columns beside the pictures

    def fit_boosted(
        self, truth: np.ndarray, answers: np.ndarray, columns: boosting.Columns, weights: np.ndarray | None
    ) -> boosting.Fitted:
        """Trees that answer from the predictions of networks, (n, outputs), and from columns; weights: (n,) of rows."""
        return boosting.fit_numbers(self.soft(truth, answers.shape[1]), answers, columns, weights)


class ClassTarget(TargetType):
    """A target whose outputs are classes, and whose predictions are probabilities."""

    usual_loss = "cross_entropy"
    undecided_rule = "probabilities as they are"
    page = ("answer", "data", "seen", "learning", "mistakes", "map", "trust", "again")
    comparison = ("answer", "learning", "flipped", "classes", "differences")
    parts = ("class", "classes")
    may_be_sure = True
    calibration_told: ClassVar[str] = "The network is {sure} sure on average and right in {right}"
    doubts_labels = True

    def likely_metrics(self, submission: str, top: int) -> tuple[str, ...]:
        likely = {
            "ranked": (f"map@{top}",),
            "probability": ("auc", "log_loss"),
            "columns": ("log_loss", "mean_column_auc"),
        }
        return likely.get(submission, ("accuracy", "macro_f1"))

    def outputs(
        self,
        given: list[str] | dict[str, str] | None,
        columns: tuple[str, ...],
        listed: bool,
        parts: Iterable[Labels],
    ) -> tuple[str, ...]:
        """The classes: the card's, else the listed columns', else what stands in the tables, sorted."""
        if given:
            return tuple(dict.fromkeys(given.values() if isinstance(given, dict) else given))
        if listed:
            return columns
        return tuple(sort_classes({name for part in parts for name in part.names.tolist()}))

    def parted(self, truth: np.ndarray, outputs: tuple[str, ...]) -> tuple[tuple[str, ...], Strata]:
        return outputs, self.strata(truth)

    def prior(self, truth: np.ndarray, outputs: int) -> np.ndarray:
        return self.counts(truth, outputs) / max(1, len(truth))

    @abstractmethod
    def right(self, truth: np.ndarray, decisions: np.ndarray) -> np.ndarray:
        """(n,) bool: which rows are decided as the truth has them."""

    @abstractmethod
    def mistakes(
        self, truth: np.ndarray, predictions: np.ndarray, decisions: np.ndarray, outputs: tuple[str, ...]
    ) -> Mistakes:
        """What is answered wrongly, a row of truth each, or an output of one."""

    def questions(
        self, truth: np.ndarray, predictions: np.ndarray, outputs: tuple[str, ...]
    ) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """What confident learning can be asked: (n,) int labels, (n, names) their probabilities, and the names."""
        return []

    @abstractmethod
    def indicators(self, labels: np.ndarray, classes: int) -> np.ndarray:
        """(n, classes) bool: which classes apply, of truth or of decisions."""

    @abstractmethod
    def for_sklearn(self, labels: np.ndarray) -> np.ndarray:
        """Truth or decisions as scikit-learn's functions take them."""

    @abstractmethod
    def cross_entropy(self, truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """(n,) or (n, classes): minus the logarithm of what was given to the truth, of a row or of a cell."""

    @abstractmethod
    def log_strength(self, probabilities: np.ndarray) -> np.ndarray:
        """What temperature divides and a prior moves: log p, or log-odds."""

    @abstractmethod
    def from_strength(self, strength: np.ndarray) -> np.ndarray:
        """The probabilities of such numbers."""

    @abstractmethod
    def from_reached(self, reached: np.ndarray) -> np.ndarray:
        """The decisions, where `reached`, (n, classes) bool, tells which classes reach their threshold."""

    def having(self, truth: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        return self.indicators(truth, len(outputs))[:, outputs].any(axis=1)

    def recognised(self, truth: np.ndarray, decisions: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
        there, answered = self.indicators(truth, classes), self.indicators(decisions, classes)
        return there.sum(axis=0), (there & answered).sum(axis=0)

    def fit_stack(self, truth: np.ndarray, tables: list[np.ndarray]) -> np.ndarray:
        return stacking.fit(self.indicators(truth, tables[0].shape[1]), tables)

    def apply_stack(self, weights: np.ndarray, tables: list[np.ndarray]) -> np.ndarray:
        p = stacking.apply(weights, tables)
        return p / p.sum(axis=1, keepdims=True) if self.sums_to_one else p

    def _marks(self, cells: Cells) -> np.ndarray:
        """(n, columns) bool of listed columns. Raises Problem for a cell that is neither yes nor no."""
        marks = np.zeros((len(cells.text[0]), len(cells.columns)), dtype=bool)
        for k, (column, text) in enumerate(zip(cells.columns, cells.text, strict=True)):
            marks[:, k] = [cell in YES for cell in text]
            strange = next((row for row, cell in enumerate(text) if cell not in YES and cell not in NO), None)
            if strange is not None:
                raise Problem(
                    f"{cells.place(strange)}: {column} is {text[strange]!r}, and must be 0 or 1; or say in the card "
                    f"what it stands for, train.marks: {{{text[strange]!r}: 0}}",
                    code="bad-label",
                )
        return marks

    def _codes(self, labels: Labels, coding: Coding) -> np.ndarray:
        """(labels,) int64 indices into the outputs. Raises Problem for a name that is none of them."""
        own = {name: k for k, name in enumerate(coding.outputs)}
        known = own if coding.names is None else {name: own.get(other, -1) for name, other in coding.names.items()}
        if coding.both:
            known = own | {name: k for name, k in known.items() if k >= 0}
        codes = np.fromiter((known.get(name, -1) for name in labels.names.tolist()), np.int64, len(labels.names))
        unknown = np.flatnonzero(codes < 0)
        if len(unknown):
            row = unknown[0]
            text = coding.refuse(int(labels.rows[row]), labels.names[row], len(unknown))
            raise Problem(text, code="unknown-class")
        return codes
