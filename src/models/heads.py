"""Parts that can take the place of a network's own: the pool and the last layer."""

import torch
import torch.nn.functional as F
from torch import nn

from src.core.errors import UsageError
from src.losses.arcface import COSINE_SCALE


class GeM(nn.Module):
    """Generalised mean over the picture (Radenovic et al., 2018): (n, c, h, w) -> (n, c); p = 1 is the mean."""

    def __init__(self, p: float = 3.0) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(p))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features.float().clamp(min=1e-6).pow(self.p).mean((2, 3)).pow(1 / self.p)


class Cosine(nn.Module):
    """A last layer of directions: logits are the scaled cosine between features and each class."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, width))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return COSINE_SCALE * F.linear(F.normalize(features.float()), F.normalize(self.weight))


def use_gem(backbone: nn.Module, name: str) -> None:
    """Raises UsageError for a network whose pool is no layer of its own."""
    if not isinstance(getattr(backbone, "global_pool", None), nn.Module):
        raise UsageError(
            f"model.pool=gem: {name} has no pool that could be exchanged; a ResNet has", code="unfit-network"
        )
    backbone.global_pool = GeM()


def use_cosine(backbone: nn.Module, name: str) -> None:
    """Raises UsageError for a network whose last layer is not one linear layer called fc."""
    last = getattr(backbone, "fc", None)
    if not isinstance(last, nn.Linear):
        raise UsageError(
            f"model.head=cosine: {name} does not end in one linear layer; a ResNet does", code="unfit-network"
        )
    backbone.fc = Cosine(last.in_features, last.out_features)
