"""Minus the log likelihood of a Laplace distribution, whose centre and spread the network tells."""

import math

import torch

from src.losses import LOSSES
from src.losses.loss import Loss
from src.targets import TargetType
from src.targets.laplace import ROOT2, Laplace


@LOSSES.register("laplace")
class LaplaceLoss(Loss):
    """Of numbers that are measured in standard deviations of the training rows."""

    hard = True

    @classmethod
    def fits(cls, target: TargetType) -> bool:
        return isinstance(target, Laplace)

    def per_row(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        unit = self.on(logits.device, "unit", self.rows.unit).to(logits.dtype)[0]
        off = (logits[:, 0] - targets[:, 0].to(logits.dtype)).abs()
        log_spread = logits[:, 1]
        return ROOT2 * off * (-log_spread).exp() + math.log(ROOT2) + log_spread - unit.log()

    def mean(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        return self.per_row(logits, targets).mean()
