"""What makes the training steps of a network quick on a processor: the same gradients, but for last digits."""

from contextlib import ExitStack

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from src.models.clamp import ClampWithoutCopy, has_clamps
from src.models.depthwise import FastDepthwise, has_depthwise
from src.models.folded_norms import FoldedNorms, Pairs, foldable


class QuickSteps:
    """Of one network. `around` is entered around each of its forward passes.

    A forward pass that is gone through once more on the way back, as checkpointing does, must not have it.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.modes = [
            mode for mode, has in ((FastDepthwise, has_depthwise), (ClampWithoutCopy, has_clamps)) if has(network)
        ]
        self.folded: Pairs = []

    def rest(self, norms: list[_BatchNorm], shape: tuple[int, ...]) -> None:
        """These norms stay in eval mode from here on. shape: of one image as the network takes it."""
        random = torch.Generator().manual_seed(0)
        self.folded = foldable(self.network, torch.randint(0, 256, (1, *shape), generator=random)) if norms else []

    def around(self) -> ExitStack:
        stack = ExitStack()
        for mode in self.modes:
            stack.enter_context(mode())
        if self.folded:
            stack.enter_context(FoldedNorms(self.folded))
        return stack
