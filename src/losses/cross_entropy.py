"""Cross entropy of one class a row, with label smoothing."""

from typing import ClassVar

import torch
import torch.nn.functional as F

from src.losses import LOSSES
from src.losses.loss import Loss


@LOSSES.register("cross_entropy")
class CrossEntropy(Loss):
    plain = True
    parameters: ClassVar = {"smoothing": 0.1}

    def mean(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        logits = self.moved(logits, targets)
        return F.cross_entropy(logits, targets, weights, label_smoothing=self.smoothing)

    def per_row(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        logits = self.moved(logits, targets)
        return F.cross_entropy(logits, targets, weights, label_smoothing=self.smoothing, reduction="none")

    def moved(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """What losses that differ from it in their logits alone do to them."""
        return logits

    def normalizer(self, targets: torch.Tensor) -> float:
        weights = self.rows.weights
        if weights is None or targets.ndim == 2:
            return len(targets)
        return weights.to(targets.device)[targets].sum().item()
