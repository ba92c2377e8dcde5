"""The root of the mean over the picture."""

import torch
from torch import nn

from src.models.pools import POOLS
from src.models.pools.picture import picture_pool

EVEN = 1e-4  # below which it is nearly linear, so that the gradient stays finite


class RootMean(nn.Module):
    """The root of the mean, with its sign: (n, c, h, w) -> (n, c). Large and small values then count more alike.

    picture: the dimensions of height and width. keepdim: (n, c, 1, 1) is what the next layer takes.
    """

    def __init__(self, picture: tuple[int, int] = (2, 3), keepdim: bool = False) -> None:
        super().__init__()
        self.picture, self.keepdim = picture, keepdim

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        mean = features.float().mean(self.picture, keepdim=self.keepdim)
        return mean / (mean.abs() + EVEN).sqrt()


@POOLS.register("root")
def root(backbone: nn.Module, name: str) -> None:
    """Raises UsageError for a network that has no pool over a picture."""
    own = picture_pool(backbone, name, "root")
    backbone.set_submodule(own.name, RootMean(own.picture, own.keepdim))
