"""Batch norms at rest, folded into the convolutions before them while a network trains.

With its statistics at rest a norm is a scale and a shift of each channel. Both are given to the convolution's weight
and bias, through which they learn as before: the pictures go once less through memory, there and back.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from src.models.calls import Convolution, Norm, as_it_trains, call_of, tensors_in

Pairs = list[tuple[nn.Parameter, _BatchNorm]]


def foldable(network: nn.Module, *example: torch.Tensor) -> Pairs:
    """(weight of a convolution, the norm that alone sees its outputs), as one forward pass of `example` shows them.

    What the network's layers do decides, never its numbers.
    """
    with as_it_trains(network), _Seen(network) as seen:
        network(*example)
    return seen.pairs()


class FoldedNorms(TorchFunctionMode):
    """Within it these norms are folded wherever they are in eval mode."""

    def __init__(self, pairs: Pairs) -> None:
        super().__init__()
        self.norms = {id(weight): norm for weight, norm in pairs}
        self.done: set[int] = set()

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        call = call_of(function, args, kwargs or {})
        if isinstance(call, Norm) and id(call.running_mean) in self.done:
            self.done.remove(id(call.running_mean))
            return call.input
        if isinstance(call, Convolution):
            norm = self.norms.get(id(call.weight))
            if norm is not None and not norm.training:
                self.done.add(id(norm.running_mean))
                weight, bias = _folded(norm, call.weight, call.bias)
                return function(*call._replace(weight=weight, bias=bias))
        return function(*args, **(kwargs or {}))


def _folded(norm: _BatchNorm, weight: torch.Tensor, bias: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    shift = -norm.running_mean if bias is None else bias - norm.running_mean
    return weight * scale.view(-1, 1, 1, 1), norm.bias + shift * scale


class _Seen(TorchFunctionMode):
    """Notes what convolutions made, and everybody who made something of that."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.weights = {id(parameter) for parameter in network.parameters()}
        norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
        self.norms = {id(one.running_mean): one for one in norms if one.affine and one.running_mean is not None}
        self.made: dict[int, tuple[torch.Tensor, nn.Parameter]] = {}  # held, so that no id is given twice
        self.uses: Counter[int] = Counter()
        self.calls: Counter[int] = Counter()
        self.found: list[tuple[int, nn.Parameter, _BatchNorm]] = []

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if not any(True for _ in tensors_in(result)):
            return result  # a shape or a type: nothing is made of the numbers
        self.uses.update(id(tensor) for tensor in tensors_in((args, kwargs)) if id(tensor) in self.made)
        call = call_of(function, args, kwargs or {})
        if isinstance(call, Convolution):
            self.calls[id(call.weight)] += 1
            if id(call.weight) in self.weights:
                self.made[id(result)] = result, call.weight
        elif isinstance(call, Norm):
            self.calls[id(call.running_mean)] += 1
            norm, before = self.norms.get(id(call.running_mean)), self.made.get(id(call.input))
            if norm is not None and before is not None:
                self.found.append((id(call.input), before[1], norm))
        return result

    def pairs(self) -> Pairs:
        return [
            (weight, norm)
            for outputs, weight, norm in self.found
            if self.uses[outputs] == self.calls[id(weight)] == self.calls[id(norm.running_mean)] == 1
        ]
