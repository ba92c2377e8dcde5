"""ArcFace (Deng et al., 2019): the angle to the true class counts as larger than it is. With model.head=cosine."""

from typing import ClassVar

import torch

from src.losses import LOSSES
from src.losses.cross_entropy import CrossEntropy
from src.losses.loss import shares_of

COSINE_SCALE = 30.0  # of the logits of a cosine head


@LOSSES.register("arcface")
class ArcFace(CrossEntropy):
    """margin: in radians."""

    plain = False
    hard = True
    parameters: ClassVar = {"smoothing": 0.1, "margin": 0.3}

    def moved(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        cosine = (logits / COSINE_SCALE).clamp(-1 + 1e-6, 1 - 1e-6)
        return COSINE_SCALE * torch.cos(cosine.acos() + self.margin * shares_of(logits, targets))
