"""Generalised mean over the picture."""

import torch
from torch import nn

from src.models.pools import POOLS
from src.models.pools.picture import picture_pool


class GeM(nn.Module):
    """Generalised mean over the picture (Radenovic et al., 2018): (n, c, h, w) -> (n, c); p = 1 is the mean.

    picture: the dimensions of height and width. keepdim: (n, c, 1, 1) is what the next layer takes.
    """

    def __init__(self, p: float = 3.0, picture: tuple[int, int] = (2, 3), keepdim: bool = False) -> None:
        super().__init__()
        self.p, self.picture, self.keepdim = nn.Parameter(torch.tensor(p)), picture, keepdim

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        powers = features.float().clamp(min=1e-6).pow(self.p)
        return powers.mean(self.picture, keepdim=self.keepdim).pow(1 / self.p)


@POOLS.register("gem")
def gem(backbone: nn.Module, name: str) -> None:
    """Raises UsageError for a network that has no pool over a picture."""
    own = picture_pool(backbone, name, "gem")
    backbone.set_submodule(own.name, GeM(picture=own.picture, keepdim=own.keepdim))
