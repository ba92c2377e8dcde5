"""Losses of grades: a miss by two costs more than a miss by one."""

import torch
import torch.nn.functional as F

from src.losses import LOSSES
from src.losses.loss import Loss, by_class, shares_of
from src.targets import ClassTarget, TargetType


@LOSSES.register("ordinal")
class Ordinal(Loss):
    """Cross entropy of each "above grade k"."""

    hard = True

    @classmethod
    def fits(cls, target: TargetType) -> bool:
        return isinstance(target, ClassTarget) and target.ordered

    def per_row(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        above, truth = (_above(shares) for shares in (logits.softmax(1), shares_of(logits, targets)))
        losses = F.binary_cross_entropy(above.clamp(1e-6, 1 - 1e-6), truth.clamp(0, 1), reduction="none").sum(1)
        return by_class(losses, targets, weights)

    def mean(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        return self.per_row(logits, targets, weights).mean()


@LOSSES.register("smooth_l1")
class SmoothL1(Loss):
    """Of the expected grade."""

    hard = True

    @classmethod
    def fits(cls, target: TargetType) -> bool:
        return isinstance(target, ClassTarget) and target.ordered

    def per_row(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        grades = torch.arange(logits.shape[1], device=logits.device, dtype=logits.dtype)
        truth = (shares_of(logits, targets) * grades).sum(1)
        losses = F.smooth_l1_loss((logits.softmax(1) * grades).sum(1), truth, reduction="none")
        return by_class(losses, targets, weights)

    def mean(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        return self.per_row(logits, targets, weights).mean()


def _above(shares: torch.Tensor) -> torch.Tensor:
    """(n, classes) -> (n, classes - 1): the share of all grades above each."""
    return shares.flip(1).cumsum(1).flip(1)[:, 1:]
