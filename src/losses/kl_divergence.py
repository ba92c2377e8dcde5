"""How far predicted shares of classes are from the true ones (Kullback and Leibler, 1951): 0 where they agree."""

import torch
import torch.nn.functional as F

from src.losses import LOSSES
from src.losses.loss import Loss
from src.targets import TargetType
from src.targets.soft_labels import SoftLabels


@LOSSES.register("kl_divergence")
class KLDivergence(Loss):
    @classmethod
    def fits(cls, target: TargetType) -> bool:
        return isinstance(target, SoftLabels)

    def per_row(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.kl_div(logits.log_softmax(1), targets, reduction="none").sum(dim=1)

    def mean(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        return self.per_row(logits, targets).mean()
