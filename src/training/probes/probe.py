"""The base class of the heads that are fitted on frozen features."""

import inspect
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from src.core.registry import Configurable
from src.models.features import Head


@dataclass(frozen=True)
class LinearHead:
    """weight: (outputs, width). bias: (outputs,). strength: of its regularisation."""

    weight: torch.Tensor
    bias: torch.Tensor
    strength: float

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """(n, width) -> (n, outputs)."""
        return F.linear(features, self.weight, self.bias)

    def times(self, factor: float) -> "LinearHead":
        """The head whose logits are so many times as large."""
        return LinearHead(self.weight * factor, self.bias * factor, self.strength)

    def off(self, axes: "PrincipalAxes") -> "LinearHead":
        """A head of turned features, as one of the features themselves."""
        return axes.back(self)

    def put(self, head: Head) -> Head:
        """The last layer of a network with these numbers."""
        head.set(self.weight, self.bias)
        return head


class Probe(Configurable):
    """A way to fit a linear head. strengths: of its regularisation, the strongest first; one is chosen nested."""

    strengths: ClassVar[tuple[float, ...]]
    linear: ClassVar[bool] = True  # whether it makes a LinearHead, and not a layer of its own with the same methods
    calibrated: ClassVar[bool] = True  # whether logits may be multiplied, to be as sure as they are right

    @abstractmethod
    def path(
        self, features: torch.Tensor, truth: torch.Tensor, outputs: int, strengths: tuple[float, ...]
    ) -> Iterator[LinearHead]:
        """A head for each of these strengths, in their order.

        features: (n, width) float32 on their principal axes, which turn features of deviation 1 without stretching
        them: the columns are nearly uncorrelated. truth: as the kind of target has it. A fifth parameter, `weights`,
        takes what rows count, (n,) of mean 1: without it rows must count alike.
        """

    @property
    def weighs_rows(self) -> bool:
        """Whether rows may count differently in it."""
        return "weights" in inspect.signature(self.path).parameters

    def refit(
        self,
        features: torch.Tensor,
        truth: torch.Tensor,
        outputs: int,
        near: LinearHead,
        weights: torch.Tensor | None = None,
    ) -> LinearHead:
        """The head of the strength of `near`, which was fitted on some of these rows: where a fit may begin."""
        (fitted,) = self.path(features, truth, outputs, (near.strength,), *given(weights))
        return fitted


def given(weights: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
    """The last argument of a `path`, where there is one."""
    return () if weights is None else (weights,)


class PrincipalAxes:
    """A turn of features, fitted on some rows: to mean 0, deviation 1, and uncorrelated columns."""

    def __init__(self, features: torch.Tensor) -> None:
        """features: (n, width) float32, which is overwritten."""
        self.mean, deviation = features.mean(0), features.std(0, correction=0)
        least = 1e-6 * deviation.max().clamp(min=1e-12)
        self.deviation = torch.where(
            deviation > least, deviation, torch.inf
        )  # a column that never changes says nothing
        features.sub_(self.mean).div_(self.deviation)
        count, width = features.shape
        if count < width:  # no more axes than rows: from the small matrix of the two
            variances, rows = torch.linalg.eigh(features @ features.T / count)
            kept = variances > 1e-5 * variances[-1]
            axes = features.T @ rows[:, kept] / (variances[kept] * count).sqrt()
        else:
            variances, axes = torch.linalg.eigh(features.T @ features / count)
            axes = axes[:, variances > 1e-5 * variances[-1]]
        self.axes = axes

    def turned(self, features: torch.Tensor) -> torch.Tensor:
        """(n, width) -> (n, axes)."""
        return ((features - self.mean) / self.deviation) @ self.axes

    def back(self, head: LinearHead) -> LinearHead:
        """A head of turned features, as one of the features themselves."""
        weight = head.weight @ self.axes.T / self.deviation
        return LinearHead(weight, head.bias - weight @ self.mean, head.strength)
