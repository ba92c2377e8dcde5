"""What makes the training steps of a network quick on a processor.

In fp32 the gradients are the same but for last digits. In bf16 those of a folded norm go through the rounding of its
convolution's, as all others do.
"""

from contextlib import ExitStack

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from src.models.clamp import ClampWithoutCopy, has_clamps
from src.models.depthwise import FastDepthwise, has_depthwise
from src.models.folded_norms import FoldedNorms, Pairs, foldable

RECOMPUTES = ("grad_checkpointing", "memory_efficient")  # as timm's networks name it


class QuickSteps:
    """Of one network. `around` is entered around each of its forward passes. shape: of one image as it takes it.

    A forward pass that is gone through once more on the way back, as checkpointing does, must not have it; so a network
    that says it does so gets nothing.
    """

    def __init__(self, network: nn.Module, shape: tuple[int, ...]) -> None:
        self.network, self.modes, self.folded = network, [], Pairs()
        self.example = torch.ones(1, *shape)  # not black: every place of a bag is filled
        self.recomputes = any(getattr(module, name, False) for module in network.modules() for name in RECOMPUTES)
        if self.recomputes:
            return
        if has_depthwise(network):
            self.modes.append(FastDepthwise)
        if has_clamps(network, self.example):
            self.modes.append(ClampWithoutCopy)

    def rest(self, norms: list[_BatchNorm]) -> None:
        """These norms stay in eval mode from here on."""
        self.folded = foldable(self.network, self.example) if norms and not self.recomputes else []

    def around(self) -> ExitStack:
        stack = ExitStack()
        for mode in self.modes:
            stack.enter_context(mode())
        if self.folded:
            stack.enter_context(FoldedNorms(self.folded))
        return stack
