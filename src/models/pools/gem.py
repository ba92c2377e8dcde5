"""Generalised mean over the picture."""

import torch
from timm.layers import SelectAdaptivePool2d
from torch import nn

from src.core.errors import UsageError
from src.models.classifier import name_within
from src.models.pools import POOLS


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
    """Raises UsageError for a network whose pool is no layer of its own, or takes something else than pictures."""
    own = getattr(backbone, "global_pool", None)
    pools = [pool for pool in backbone.modules() if pool is own or isinstance(pool, SelectAdaptivePool2d)]
    fitting = [(pool, made) for pool in pools if (made := _in_place_of(pool))]
    if len(fitting) != 1:
        raise UsageError(
            f"model.pool=gem: {name} has no pool over a picture that could be exchanged; a ResNet has",
            code="unfit-network",
        )
    ((pool, made),) = fitting
    backbone.set_submodule(name_within(backbone, pool), made)


def _in_place_of(pool: nn.Module) -> GeM | None:
    """A GeM that takes and gives what `pool` does, seen from an example; None where it gives no mean of a picture."""
    example = torch.zeros(1, 5, 3, 4)
    try:
        shape = tuple(pool(example).shape)
    except (RuntimeError, ValueError, TypeError):
        return None
    found = {
        (1, 5): GeM(),
        (1, 5, 1, 1): GeM(keepdim=True),
        (1, 4): GeM(picture=(1, 2)),
        (1, 1, 1, 4): GeM(picture=(1, 2), keepdim=True),
    }
    return found.get(shape)
