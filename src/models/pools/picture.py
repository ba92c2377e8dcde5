"""The pool of a network that takes the mean over a picture, and what may stand in its place."""

from dataclasses import dataclass

import torch
from timm.layers import SelectAdaptivePool2d
from torch import nn

from src.core.errors import UsageError
from src.models.classifier import name_within


@dataclass(frozen=True)
class PicturePool:
    """name: of the layer within the backbone. picture: its dimensions of height and width. keepdim: whether
    (n, c, 1, 1) is what the next layer takes."""

    name: str
    picture: tuple[int, int]
    keepdim: bool


def picture_pool(backbone: nn.Module, name: str, asked: str) -> PicturePool:
    """The one pool over a picture that the network `name` has.

    asked: the pool that was asked for. Raises UsageError for a network whose pool is no layer of its own, or takes
    something else than pictures.
    """
    own = getattr(backbone, "global_pool", None)
    pools = [pool for pool in backbone.modules() if pool is own or isinstance(pool, SelectAdaptivePool2d)]
    fitting = [(pool, *kind) for pool in pools if (kind := _kind_of(pool))]
    if len(fitting) != 1:
        raise UsageError(
            f"model.pool={asked}: {name} has no pool over a picture that could be exchanged; a ResNet has",
            code="unfit-network",
        )
    ((pool, picture, keepdim),) = fitting
    return PicturePool(name_within(backbone, pool), picture, keepdim)


def _kind_of(pool: nn.Module) -> tuple[tuple[int, int], bool] | None:
    """The dimensions of the picture and whether they are kept, seen from an example; None where it gives no mean."""
    example = torch.zeros(1, 5, 3, 4)
    try:
        shape = tuple(pool(example).shape)
    except (RuntimeError, ValueError, TypeError):
        return None
    found = {
        (1, 5): ((2, 3), False),
        (1, 5, 1, 1): ((2, 3), True),
        (1, 4): ((1, 2), False),
        (1, 1, 1, 4): ((1, 2), True),
    }
    return found.get(shape)
