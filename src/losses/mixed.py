"""The sum over several targets of different kinds, each by its own usual loss without smoothing: cross entropy of
classes, and the squared error of numbers, in variances of the training rows."""

import numpy as np
import torch

from src.losses import LOSSES
from src.losses.loss import Loss, TrainingRows
from src.targets import TargetType
from src.targets.mixed import Mixed


@LOSSES.register("mixed")
class MixedLoss(Loss):
    hard = True

    @classmethod
    def fits(cls, target: TargetType) -> bool:
        return isinstance(target, Mixed)

    def begin(self, rows: TrainingRows) -> None:
        super().begin(rows)
        unit = np.full(len(rows.counts), rows.unit, np.float64)
        self.own = []
        for part in rows.target.members:
            kind = LOSSES.get(part.target.usual_loss)
            loss = kind(smoothing=0.0) if "smoothing" in kind.parameters else kind()
            loss.begin(TrainingRows(rows.counts[part.at], part.target, None, unit[part.at]))
            self.own.append(loss)

    def per_row(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(len(logits), dtype=logits.dtype, device=logits.device)
        for part, loss in zip(self.rows.target.members, self.own, strict=True):
            truth = targets[:, part.held]
            single = part.classes is not None and not part.several
            total = total + loss.per_row(logits[:, part.at], truth[:, 0].long() if single else truth)
        return total

    def mean(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        return self.per_row(logits, targets).mean()
