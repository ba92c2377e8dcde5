"""Balanced softmax (Ren et al., 2020): cross entropy of what is left beside the classes' frequencies."""

import torch

from src.losses import LOSSES
from src.losses.cross_entropy import CrossEntropy
from src.losses.loss import TrainingRows, shown


@LOSSES.register("balanced_softmax")
class BalancedSoftmax(CrossEntropy):
    plain = False
    evens_classes = True

    def begin(self, rows: TrainingRows) -> None:
        super().begin(rows)
        counts = shown(rows.counts)
        self.prior = torch.log(torch.tensor(counts / counts.sum(), dtype=torch.float32))

    def moved(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return logits + self.on(logits.device, "prior", self.prior)
