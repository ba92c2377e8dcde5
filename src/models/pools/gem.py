"""Generalised mean over the picture."""

import torch
from torch import nn

from src.core.errors import UsageError
from src.models.pools import POOLS


class GeM(nn.Module):
    """Generalised mean over the picture (Radenovic et al., 2018): (n, c, h, w) -> (n, c); p = 1 is the mean."""

    def __init__(self, p: float = 3.0) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(p))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features.float().clamp(min=1e-6).pow(self.p).mean((2, 3)).pow(1 / self.p)


@POOLS.register("gem")
def gem(backbone: nn.Module, name: str) -> None:
    """Raises UsageError for a network whose pool is no layer of its own."""
    if not isinstance(getattr(backbone, "global_pool", None), nn.Module):
        raise UsageError(
            f"model.pool=gem: {name} has no pool that could be exchanged; a ResNet has", code="unfit-network"
        )
    backbone.global_pool = GeM()
