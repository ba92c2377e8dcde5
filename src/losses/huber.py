"""Squared near 0, absolute beyond `delta` standard deviations of the training rows (Huber, 1964)."""

from typing import ClassVar

import torch
import torch.nn.functional as F

from src.core.errors import UsageError
from src.losses import LOSSES
from src.losses.loss import NumberLoss, TrainingRows


@LOSSES.register("huber")
class Huber(NumberLoss):
    parameters: ClassVar = {"delta": 1.0}

    def begin(self, rows: TrainingRows) -> None:
        super().begin(rows)
        if not self.delta > 0:
            raise UsageError(f"loss.name={self.name}: delta must be above 0", code="bad-parameter")

    def of_errors(self, errors: torch.Tensor) -> torch.Tensor:
        return F.huber_loss(errors, torch.zeros_like(errors), reduction="none", delta=self.delta)
