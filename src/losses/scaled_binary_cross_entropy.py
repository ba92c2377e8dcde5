"""Cross entropy of the place that a number has in its range, 0 at `low` and 1 at `high`."""

import torch
import torch.nn.functional as F

from src.losses import LOSSES
from src.losses.loss import Loss
from src.targets import TargetType
from src.targets.bounded import Bounded


@LOSSES.register("scaled_binary_cross_entropy")
class ScaledBinaryCrossEntropy(Loss):
    """Targets are in their own unit, logits the log-odds of the place."""

    @classmethod
    def fits(cls, target: TargetType) -> bool:
        return isinstance(target, Bounded)

    def per_row(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        target = self.rows.target
        places = (targets.to(logits.dtype) - target.low) / (target.high - target.low)
        return F.binary_cross_entropy_with_logits(logits, places, reduction="none").mean(dim=1)

    def mean(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        return self.per_row(logits, targets).mean()
