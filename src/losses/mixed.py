"""The sum over several targets of different kinds: cross entropy of classes, and the squared error of numbers, in
variances of the training rows."""

import torch
import torch.nn.functional as F

from src.losses import LOSSES
from src.losses.loss import Loss
from src.targets import TargetType
from src.targets.mixed import Mixed


@LOSSES.register("mixed")
class MixedLoss(Loss):
    hard = True

    @classmethod
    def fits(cls, target: TargetType) -> bool:
        return isinstance(target, Mixed)

    def per_row(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        unit = torch.as_tensor(self.rows.unit, dtype=logits.dtype, device=logits.device)
        total = torch.zeros(len(logits), dtype=logits.dtype, device=logits.device)
        for k, part in enumerate(self.rows.target.members):
            own = logits[:, part.at]
            if part.classes is None:
                total = total + ((own[:, 0] - targets[:, k].to(logits.dtype)) / unit[part.at]).square()
            else:
                total = total + F.cross_entropy(own, targets[:, k].long(), reduction="none")
        return total

    def mean(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        return self.per_row(logits, targets).mean()
