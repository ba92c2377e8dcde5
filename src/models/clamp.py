"""ReLU6 in place, which learns from its outputs.

torch's own, in place, keeps a copy of its inputs for the way back. The outputs tell as much: an input lies between the
bounds where its output does.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from src.models.calls import as_it_trains


def has_clamps(network: nn.Module, example: torch.Tensor) -> bool:
    """Whether a network has some, and changes none of their outputs in place: that would take the way back from them.

    example: of one image.
    """
    if not any(isinstance(module, nn.Hardtanh) and module.inplace for module in network.modules()):
        return False
    with as_it_trains(network), _ChangedLater() as seen:
        network(example)
    return not seen.found


class ClampWithoutCopy(TorchFunctionMode):
    """Within it ReLU6 and Hardtanh in place keep no copy."""

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if function is F.hardtanh and kwargs.get("inplace") and args[0].requires_grad:
            return _Clamp.apply(args[0], kwargs["min_val"], kwargs["max_val"])
        return function(*args, **kwargs)


class _ChangedLater(TorchFunctionMode):
    """Notes whether anything but their own may change outputs of clamps in place."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[int, torch.Tensor] = {}  # held, so that no id is given twice
        self.found = False

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        name = function.__name__
        # mul_, __imul__, __setitem__, or an argument that may say so; one word too many only costs speed
        changes = (name.endswith("_") and not name.endswith("__")) or name.startswith(("__i", "__set"))
        changes |= any(value is True for value in (*args[1:], *kwargs.values()))
        if changes and args and id(args[0]) in self.made:
            self.found = True
        result = function(*args, **kwargs)
        if function is F.hardtanh:
            self.made[id(result)] = result
        return result


class _Clamp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, low: float, high: float) -> torch.Tensor:
        outputs = inputs.clamp_(low, high)
        ctx.mark_dirty(outputs)
        ctx.save_for_backward(outputs)
        ctx.bounds = low, high
        return outputs

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple:
        (outputs,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(gradient, outputs, *ctx.bounds), None, None
