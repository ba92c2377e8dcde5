"""The absolute error of numbers: what is far off counts less than in mse."""

import torch

from src.losses import LOSSES
from src.losses.loss import NumberLoss


@LOSSES.register("l1")
class MeanAbsoluteError(NumberLoss):
    def of_errors(self, errors: torch.Tensor) -> torch.Tensor:
        return errors.abs()
