"""Cross entropy against shares of classes, such as those of votes."""

import torch

from src.losses import LOSSES
from src.losses.loss import Loss
from src.targets import TargetType
from src.targets.soft_labels import SoftLabels


@LOSSES.register("soft_cross_entropy")
class SoftCrossEntropy(Loss):
    @classmethod
    def fits(cls, target: TargetType) -> bool:
        return isinstance(target, SoftLabels)

    def per_row(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return -(targets * logits.log_softmax(1)).sum(dim=1)

    def mean(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        return self.per_row(logits, targets).mean()
