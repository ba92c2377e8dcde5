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
        prior = torch.log(torch.tensor(counts / counts.sum(), dtype=torch.float32))
        self._priors = {torch.device("cpu"): prior}

    def moved(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if logits.device not in self._priors:
            self._priors[logits.device] = self._priors[torch.device("cpu")].to(logits.device)
        return logits + self._priors[logits.device]
