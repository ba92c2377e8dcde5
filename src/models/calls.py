"""Calls of torch's functions, as a TorchFunctionMode sees them, by the names of their arguments."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

Pair = int | tuple[int, int]


class Convolution(NamedTuple):
    """A call of conv2d."""

    input: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor | None = None
    stride: Pair = 1
    padding: Pair | str = 0
    dilation: Pair = 1
    groups: int = 1


class Norm(NamedTuple):
    """A call of batch_norm."""

    input: torch.Tensor
    running_mean: torch.Tensor | None
    running_var: torch.Tensor | None
    weight: torch.Tensor | None = None
    bias: torch.Tensor | None = None
    training: bool = False
    momentum: float = 0.1
    eps: float = 1e-5


KINDS: dict[Callable, type] = {torch.conv2d: Convolution, F.conv2d: Convolution, F.batch_norm: Norm}


def call_of(function: Callable, args: tuple, kwargs: dict[str, Any]) -> Convolution | Norm | None:
    """None for a function of another kind."""
    kind = KINDS.get(function)
    return None if kind is None else kind(*args, **kwargs)


@contextmanager
def as_it_trains(network: nn.Module) -> Iterator[None]:
    """For a look at the calls of a forward pass: as in training, but that norms keep their statistics, nothing learns,
    and random numbers go on afterwards as if it had not been."""
    was = [(module, module.training) for module in network.modules()]
    for module in network.modules():
        module.training = not isinstance(module, _BatchNorm)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            yield
    finally:
        for module, training in was:
            module.training = training


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        yield from tensors_in(tuple(value.values()))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from tensors_in(one)
