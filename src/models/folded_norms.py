"""Batch norms at rest, folded into the convolutions before them while a network trains.

With its statistics at rest a norm is a scale and a shift of each channel. Both are given to the convolution's weight
and bias, through which they learn as before: the pictures go once less through memory, there and back.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

CONVOLUTIONS = (torch.conv2d, F.conv2d)
NEAR = 1e-3  # of the largest output, that folding may change it by in fp32

Pairs = list[tuple[nn.Parameter, _BatchNorm]]


def foldable(network: nn.Module, *example: torch.Tensor) -> Pairs:
    """(weight of a convolution, the norm that alone sees its outputs) of a network that is given `example`; none where
    the network answers otherwise with them folded."""
    norms = {id(norm.running_mean): norm for norm in network.modules() if isinstance(norm, _BatchNorm) and norm.affine}
    was = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.no_grad():
            with _Seen(norms) as seen:
                plain = network(*example)
            with FoldedNorms(seen.pairs):
                folded = network(*example)
    finally:
        for module, training in was:
            module.training = training
    same = (plain - folded).abs().max() <= NEAR * plain.abs().max()
    return seen.pairs if bool(same) else []


class FoldedNorms(TorchFunctionMode):
    """Within it these norms are folded wherever they are in eval mode."""

    def __init__(self, pairs: Pairs) -> None:
        super().__init__()
        self.norms = {id(weight): norm for weight, norm in pairs}
        self.done: set[int] = set()

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if function is F.batch_norm and id(args[1]) in self.done:
            self.done.remove(id(args[1]))
            return args[0]
        if function in CONVOLUTIONS:
            norm = self.norms.get(id(args[1]))
            if norm is not None and not norm.training:
                self.done.add(id(norm.running_mean))
                return function(args[0], *_folded(norm, *args[1:3]), *args[3:], **kwargs)
        return function(*args, **kwargs)


def _folded(
    norm: _BatchNorm, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    shift = -norm.running_mean if bias is None else bias - norm.running_mean
    return weight * scale.view(-1, 1, 1, 1), norm.bias + shift * scale


class _Seen(TorchFunctionMode):
    """Notes which norm is given what a convolution has just made."""

    def __init__(self, norms: dict[int, _BatchNorm]) -> None:
        super().__init__()
        self.norms, self.pairs = norms, []
        self.made: dict[int, tuple[torch.Tensor, nn.Parameter]] = {}

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if function in CONVOLUTIONS:
            self.made[id(result)] = result, args[1]
        elif function is F.batch_norm and id(args[1]) in self.norms and id(args[0]) in self.made:
            self.pairs.append((self.made[id(args[0])][1], self.norms[id(args[1])]))
        return result
