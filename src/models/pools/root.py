"""The root of the mean over the picture."""

import torch
from torch import nn

from src.core.errors import UsageError
from src.models.pools import POOLS

EVEN = 1e-4  # below which it is nearly linear, so that the gradient stays finite


class RootMean(nn.Module):
    """The root of the mean, with its sign: (n, c, h, w) -> (n, c). Large and small values then count more alike."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        mean = features.float().mean((2, 3))
        return mean / (mean.abs() + EVEN).sqrt()


@POOLS.register("root")
def root(backbone: nn.Module, name: str) -> None:
    """Raises UsageError for a network whose pool is no layer of its own."""
    if not isinstance(getattr(backbone, "global_pool", None), nn.Module):
        raise UsageError(
            f"model.pool=root: {name} has no pool that could be exchanged; a ResNet and an EfficientNet have",
            code="unfit-network",
        )
    backbone.global_pool = RootMean()
