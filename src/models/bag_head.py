"""A last layer that sees bags: images go through the network one by one, and their features become the bag's."""

import numpy as np
import torch
from torch import nn

from src.core.errors import UsageError
from src.models.bags import BAGS
from src.models.classifier import classifiers, linear_of, name_within


class Bags:
    """Which images of the batch under way are there, (n, slots) bool; None where each is alone."""

    def __init__(self) -> None:
        self.there: torch.Tensor | None = None


class BagHead(nn.Module):
    """(images, width) features in, (bags, outputs) out. `bags` is told by the network before."""

    def __init__(self, pool: str, layer: nn.Linear) -> None:
        super().__init__()
        width = layer.weight.shape[0 if BAGS.get(pool).joins_answers else 1]
        self.pool, self.layer, self._bags = BAGS.get(pool)(width), layer, Bags()

    @property
    def bags(self) -> Bags:
        return self._bags

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        there = self._bags.there
        if there is None:
            there = torch.ones(features.shape[0], 1, dtype=torch.bool, device=features.device)
        if (
            not torch.compiler.is_exporting() and len(features) != there.numel()
        ):  # places without an image did not go through the network
            spread = features.new_zeros(there.numel(), features.shape[1])
            features = spread.index_copy(0, there.flatten().nonzero()[:, 0], features)
        features = features.reshape(*there.shape, -1)
        if self.pool.joins_answers:
            return self.pool(self.layer(features), there)
        return self.layer(self.pool(features, there))


def pool_bags(backbone: nn.Module, name: str, pool: str) -> None:
    """Put the pool of bags before the last layer. Raises UsageError for a network without one linear last layer."""
    found = [linear_of(one) for one in classifiers(backbone)]
    if len(found) != 1 or not isinstance(found[0], nn.Linear):
        raise UsageError(
            f"model.bag={pool}: {name} does not end in one linear layer, before which the images of a bag could be "
            "joined; a ResNet does",
            code="unfit-network",
        )
    backbone.set_submodule(name_within(backbone, found[0]), BagHead(pool, found[0]))


def bag_head(backbone: nn.Module) -> BagHead | None:
    """The pool of bags in a backbone, None where it sees images alone."""
    return next((module for module in backbone.modules() if isinstance(module, BagHead)), None)


def bag_weights(network: nn.Module, images: torch.Tensor) -> np.ndarray | None:
    """(n, slots) float32, how much each image of these bags counts, 0 where none is; None of a pool without weights."""
    found: list[torch.Tensor | None] = []
    pool = bag_head(network).pool
    hook = pool.register_forward_pre_hook(lambda pool, seen: found.append(pool.weights(*seen)))
    try:
        with torch.no_grad():
            network.eval()(images)
    finally:
        hook.remove()
    return None if found[0] is None else found[0].float().cpu().numpy()


def split(images: torch.Tensor, planes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, slots * planes, h, w) as (images, planes, h, w), and which places hold one, (n, slots) bool.

    A black place holds none; of a bag that is black the first counts. Only what holds an image is computed, but in a
    graph that is exported, whose shapes are fixed.
    """
    bags, held, height, width = images.shape
    parts = images.reshape(bags * (held // planes), planes, height, width)
    there = (parts.flatten(1).amax(1) > 0).reshape(bags, -1)
    first = torch.zeros_like(there)
    first[:, 0] = True
    there = there | (first & ~there.any(1, keepdim=True))
    if not torch.compiler.is_exporting():
        parts = parts[there.flatten()]
    return parts.contiguous(memory_format=torch.channels_last), there
