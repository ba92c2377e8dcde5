"""Cross entropy of each class by itself, where several may apply to one row."""

from typing import ClassVar

import torch
import torch.nn.functional as F

from src.losses import LOSSES
from src.losses.loss import Loss
from src.targets import ClassTarget, TargetType


@LOSSES.register("binary_cross_entropy")
class BinaryCrossEntropy(Loss):
    plain = True
    parameters: ClassVar = {"smoothing": 0.1}

    @classmethod
    def fits(cls, target: TargetType) -> bool:
        return isinstance(target, ClassTarget) and not target.one_class

    def mean(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        return cells_of(logits, targets, weights, self.smoothing).mean()

    def per_row(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        return cells_of(logits, targets, weights, self.smoothing).mean(dim=1)


def cells_of(
    logits: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor | None,
    smoothing: float,
    factors: torch.Tensor | float | None = None,
) -> torch.Tensor:
    """(n, classes) losses, each times its factor and, where the class applies, its weight."""
    smooth = targets * (1 - smoothing) + smoothing / 2
    losses = F.binary_cross_entropy_with_logits(logits, smooth, reduction="none")
    if factors is not None:
        losses = losses * factors
    return losses if weights is None else losses * torch.where(targets > 0.5, weights, 1.0)
