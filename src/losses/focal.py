"""Focal loss (Lin et al., 2017): what is already right weighs less."""

from typing import ClassVar

import torch

from src.losses import LOSSES
from src.losses.binary_cross_entropy import cells_of
from src.losses.loss import Loss, TrainingRows, shares_of
from src.targets import ClassTarget, TargetType


@LOSSES.register("focal")
class Focal(Loss):
    parameters: ClassVar = {"gamma": 2.0, "smoothing": 0.1}

    @classmethod
    def fits(cls, target: TargetType) -> bool:
        return isinstance(target, ClassTarget)

    def begin(self, rows: TrainingRows) -> None:
        super().begin(rows)
        self.one_class = rows.target.one_class
        self.hard = not self.one_class

    def mean(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        if not self.one_class:
            return self._cells(logits, targets, weights).mean()
        return self.per_row(logits, targets, weights).mean()

    def per_row(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        if not self.one_class:
            return self._cells(logits, targets, weights).mean(dim=1)
        log_p = logits.log_softmax(1)
        losses = -((1 - log_p.exp()) ** self.gamma) * log_p * shares_of(logits, targets)
        return (losses if weights is None else losses * weights).sum(1)

    def _cells(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        right = torch.where(targets > 0.5, logits, -logits).sigmoid()
        return cells_of(logits, targets, weights, self.smoothing, (1 - right) ** self.gamma)
