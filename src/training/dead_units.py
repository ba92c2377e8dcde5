"""Which units of a network answer nothing any more: the channels behind a ReLU that are 0 for every image shown."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class ReluWatch:
    """Collects, over the batches that a network answers, which channels were ever above 0."""

    def __init__(self) -> None:
        self.alive: dict[nn.Module, torch.Tensor] = {}

    def see(self, module: nn.Module, _: tuple, outputs: torch.Tensor) -> None:
        """A hook of a ReLU. outputs: (n, channels, ...)."""
        fired = (outputs > 0).transpose(0, 1).flatten(1).any(1)
        before = self.alive.get(module)
        self.alive[module] = fired if before is None else before | fired

    @property
    def dead(self) -> float:
        """The share of all channels that never were; no number for a network without a ReLU among its layers."""
        count = sum(len(channels) for channels in self.alive.values())
        alive = sum(int(channels.sum()) for channels in self.alive.values())
        return 1 - alive / count if count else float("nan")


@contextmanager
def watched(network: nn.Module) -> Iterator[ReluWatch]:
    """Within it every ReLU that is a layer of its own is watched. What the network answers is the same."""
    watch = ReluWatch()
    layers = [module for module in network.modules() if isinstance(module, nn.ReLU | nn.ReLU6)]
    hooks = [layer.register_forward_hook(watch.see) for layer in layers]
    try:
        yield watch
    finally:
        for hook in hooks:
            hook.remove()
