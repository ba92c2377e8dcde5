"""The base class of the training losses, and what several of them need."""

import inspect
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F

from src.core.registry import Configurable
from src.targets import ClassTarget, TargetType


@dataclass(frozen=True)
class TrainingRows:
    """What a loss may know of the rows that are learned from.

    counts: (classes,) rows of each. weights: (classes,) float32 of mean one over the rows, as
    `loss.class_weights` asks for; None for none. unit: (outputs,) by what numbers vary, see TargetType.unit.
    """

    counts: np.ndarray
    target: TargetType
    weights: torch.Tensor | None
    unit: np.ndarray | float = 1.0


class Loss(Configurable):
    """(n, classes) logits and targets -> one number, the mean over the rows.

    Targets are (n,) class indices; (n, classes) shares where images were mixed or a teacher answers; or (n, classes)
    0/1 where several classes may apply to one image. Numbers are (n, outputs), logits too, both in their own unit.

    hard: whether it needs true classes, and takes no teacher's shares.
    plain: whether, without weights, it is the cross entropy of the targets, with `smoothing`, of which it is known
    what chance makes.
    evens_classes: whether it moves the probabilities towards rare classes. parameters: its settings with their usual
    values; those that are keys of the section `loss`, such as smoothing, come from there.
    """

    hard: ClassVar[bool] = False
    plain: ClassVar[bool] = False
    smoothing: float = 0.0
    evens_classes: ClassVar[bool] = False

    @classmethod
    def fits(cls, target: TargetType) -> bool:
        """Whether it is made for this kind of target: here, for one class a row."""
        return isinstance(target, ClassTarget) and target.one_class

    def begin(self, rows: TrainingRows) -> None:
        """Before the first call."""
        self.rows = rows
        self._copies: dict[tuple[str, torch.device], torch.Tensor] = {}

    def __call__(self, logits: torch.Tensor, targets: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        """The mean loss of these rows; rows: (n,) what each weighs in it, about 1, None for alike."""
        weights = self._weights_on(logits.device)
        if rows is None:
            return self.mean(logits.float(), targets, weights)
        given = () if weights is None else (weights,)
        return (self.per_row(logits.float(), targets, *given) * rows).mean()

    def mean(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        """The same of float32 logits. weights: of the classes, where the configuration asks for some."""
        raise NotImplementedError(f"{type(self).__name__} defines no mean")

    def per_row(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(n,) the losses whose mean is meant, where the card has weights of rows. A third parameter, `weights`, takes
        those of the classes: without it the two do not go together."""
        raise NotImplementedError(f"{type(self).__name__} defines no per_row")

    @property
    def weighs_rows(self) -> bool:
        """Whether rows may weigh differently in it, by weights of classes as well where some are asked for."""
        own = type(self).per_row
        both = len(inspect.signature(own).parameters) > 3
        return own is not Loss.per_row and (both or self.rows.weights is None)

    def normalizer(self, targets: torch.Tensor) -> float:
        """By what the mean over these rows is divided: their number, or the sum of their classes' weights.

        So the mean over a batch is that of its pieces' means, each by its mass.
        """
        return len(targets)

    def _weights_on(self, device: torch.device) -> torch.Tensor | None:
        return None if self.rows.weights is None else self.on(device, "weights", self.rows.weights)

    def on(self, device: torch.device, name: str, values: torch.Tensor | np.ndarray | float) -> torch.Tensor:
        """What stays the same in every step, copied to each device once: a GPU would wait for every copy."""
        if (name, device) not in self._copies:
            self._copies[name, device] = torch.as_tensor(values).to(device)
        return self._copies[name, device]


def class_weights(kind: str, counts: np.ndarray, beta: float) -> torch.Tensor | None:
    """(classes,) weights of mean one over the rows: by the inverse count, or the inverse effective number of rows.

    A class's effective number grows with its rows to at most 1 / (1 - beta) (Cui et al., 2019).
    """
    if kind == "none":
        return None
    counts = shown(counts)
    weights = 1 / counts if kind == "balanced" else (1 - beta) / (1 - beta**counts)
    return torch.tensor(weights * counts.sum() / (weights * counts).sum(), dtype=torch.float32)


def shown(counts: np.ndarray) -> np.ndarray:
    """(classes,) float64: a class without a row counts as one row."""
    return np.maximum(counts, 1).astype(np.float64)


def shares_of(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """(n, classes) shares of either form of single-label targets."""
    return targets.to(logits.dtype) if targets.ndim == 2 else F.one_hot(targets, logits.shape[1]).to(logits.dtype)


def by_class(losses: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """(n,) losses, each times the weight of its row's class."""
    if weights is None:
        return losses
    return losses * (targets @ weights if targets.ndim == 2 else weights[targets])


class NumberLoss(Loss):
    """A loss of numbers: the mean of what `of_errors` makes of the errors, measured in units of the training rows."""

    plain = False

    @classmethod
    def fits(cls, target: TargetType) -> bool:
        return target.own_unit and target.mixes  # not where classes stand beside the numbers

    def mean(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        return self._of_cells(logits, targets).mean()

    def per_row(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self._of_cells(logits, targets).mean(dim=1)

    def _of_cells(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        unit = self.on(logits.device, "unit", self.rows.unit).to(logits.dtype)
        return self.of_errors((logits - targets.to(logits.dtype)) / unit)

    def of_errors(self, errors: torch.Tensor) -> torch.Tensor:
        """(n, outputs) errors -> (n, outputs) losses."""
        raise NotImplementedError(f"{type(self).__name__} defines no of_errors")
