"""A last layer of directions."""

import torch
import torch.nn.functional as F
from torch import nn

from src.core.errors import UsageError
from src.losses.arcface import COSINE_SCALE
from src.models.heads import HEADS


class Cosine(nn.Module):
    """A last layer of directions: logits are the scaled cosine between features and each class."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, width))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return COSINE_SCALE * F.linear(F.normalize(features.float()), F.normalize(self.weight))


@HEADS.register("cosine")
def cosine(backbone: nn.Module, name: str) -> None:
    """Raises UsageError for a network whose last layer is not one linear layer called fc."""
    last = getattr(backbone, "fc", None)
    if not isinstance(last, nn.Linear):
        raise UsageError(
            f"model.head=cosine: {name} does not end in one linear layer; a ResNet does", code="unfit-network"
        )
    backbone.fc = Cosine(last.in_features, last.out_features)
