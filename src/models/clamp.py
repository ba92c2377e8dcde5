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


def has_clamps(network: nn.Module) -> bool:
    return any(isinstance(module, nn.Hardtanh) and module.inplace for module in network.modules())


class ClampWithoutCopy(TorchFunctionMode):
    """Within it ReLU6 and Hardtanh in place keep no copy."""

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if function is F.hardtanh and kwargs.get("inplace") and args[0].requires_grad:
            return _Clamp.apply(args[0], kwargs["min_val"], kwargs["max_val"])
        return function(*args, **kwargs)


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
