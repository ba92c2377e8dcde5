"""Which units of a network answer nothing any more: the channels behind a ReLU that are 0 for every image shown."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class ReluWatch:
    """Collects, over the batches that a network answers, which channels were ever above 0.

    Blocks may share one ReLU: each of its calls within a forward is a layer of its own.
    """

    def __init__(self) -> None:
        self.alive: dict[tuple[nn.Module, int], torch.Tensor] = {}
        self.calls: Counter[nn.Module] = Counter()

    def begin(self, *_: object) -> None:
        """A hook before each forward of the whole network."""
        self.calls.clear()

    def see(self, module: nn.Module, _: tuple, outputs: torch.Tensor) -> None:
        """A hook of a ReLU. outputs: (n, channels, height, width) or (n, ..., channels)."""
        fired = (outputs > 0).movedim(1 if outputs.ndim == 4 else -1, 0).flatten(1).any(1)
        layer = module, self.calls[module]
        self.calls[module] += 1
        before = self.alive.get(layer)
        self.alive[layer] = fired if before is None else before | fired

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
    hooks = [network.register_forward_pre_hook(watch.begin), *(x.register_forward_hook(watch.see) for x in layers)]
    try:
        yield watch
    finally:
        for hook in hooks:
            hook.remove()
