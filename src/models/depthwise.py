"""Depthwise convolutions that learn quickly on a processor.

oneDNN, which torch asks there, has fast kernels for the gradient of a depthwise weight of up to three columns, and for
that of its input at stride 1. Beyond these it falls back to plain loops: in bf16 a weight of 5x5 takes a hundred times
as long as one of 3x3. Here a wide weight is cut into pieces of three columns or less, and a gradient with a stride is
spread out to stride 1: the same sums, in another order.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

WIDEST = 3  # columns of a weight whose gradient is fast
CONVOLUTIONS = (torch.conv2d, F.conv2d)

_backward = torch.ops.aten.convolution_backward


def has_depthwise(network: nn.Module) -> bool:
    convolutions = (module for module in network.modules() if isinstance(module, nn.Conv2d))
    return any(1 < one.groups == one.in_channels == one.out_channels for one in convolutions)


class FastDepthwise(TorchFunctionMode):
    """Forward passes within it, on a processor, lead to fast backward passes, whoever calls the convolutions."""

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if function in CONVOLUTIONS and torch.is_grad_enabled():
            found = _asked(*args, **kwargs)
            if found is not None:
                return _Depthwise.apply(*found)
        return function(*args, **kwargs)


def _asked(
    images: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] | str = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
) -> tuple | None:
    """What `_Depthwise` is given for a call of conv2d; None for one that torch does as well."""
    if not 1 < groups == weight.shape[0] or weight.shape[1] != 1 or images.ndim != 4:
        return None
    if isinstance(padding, str) or _pair(dilation) != (1, 1) or not (weight.requires_grad or images.requires_grad):
        return None
    half = torch.is_autocast_enabled("cpu")
    kind = torch.get_autocast_dtype("cpu") if half else images.dtype
    strided = _pair(stride) != (1, 1) and kind != torch.float32
    if weight.shape[-1] <= WIDEST and not strided:
        return None
    bias = None if bias is None else bias.to(kind)
    return images.to(kind), weight.to(kind), bias, _pair(stride), _pair(padding)


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


class _Depthwise(torch.autograd.Function):
    """(n, c, h, w) images and (c, 1, kh, kw) weights, as conv2d with c groups takes them."""

    @staticmethod
    def forward(
        ctx: Any,
        images: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
    ) -> torch.Tensor:
        ctx.save_for_backward(images, weight)
        ctx.stride, ctx.padding = stride, padding
        return torch.conv2d(images, weight, bias, stride, padding, 1, len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple:
        images, weight = ctx.saved_tensors
        of_images, of_weight, of_bias = ctx.needs_input_grad[:3]
        return (
            _of_images(gradient, images, weight, ctx.stride, ctx.padding) if of_images else None,
            _of_weight(gradient, images, weight, ctx.stride, ctx.padding) if of_weight else None,
            gradient.sum((0, 2, 3)) if of_bias else None,
            None,
            None,
        )


def _of_images(
    gradient: torch.Tensor,
    images: torch.Tensor,
    weight: torch.Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> torch.Tensor:
    if stride != (1, 1) and gradient.dtype != torch.float32:
        height, width = (
            images.shape[axis] + 2 * padding[axis - 2] - weight.shape[axis] + 1 for axis in (2, 3)
        )  # of what a convolution at stride 1 would have made
        spread = gradient.new_zeros(*gradient.shape[:2], height, width)
        spread = spread.contiguous(memory_format=torch.channels_last)
        spread[:, :, :: stride[0], :: stride[1]] = gradient
        gradient, stride = spread, (1, 1)
    return _gradients(gradient, images, weight, stride, padding, (True, False, False))[0]


def _of_weight(
    gradient: torch.Tensor,
    images: torch.Tensor,
    weight: torch.Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> torch.Tensor:
    wanted = (False, True, False)
    if weight.shape[-1] <= WIDEST:
        return _gradients(gradient, images, weight, stride, padding, wanted)[1]
    between = (gradient.shape[-1] - 1) * stride[1]  # columns from the first to the last place of the weight
    gradients, left = [], 0
    for piece in weight.tensor_split(-(-weight.shape[-1] // WIDEST), dim=-1):
        right = left + piece.shape[-1]
        more = between + right - padding[1] - images.shape[-1]
        part = F.pad(images, (padding[1] - left, more, padding[0], padding[0]))  # cut where this is negative
        part = part.contiguous(memory_format=torch.channels_last)
        gradients.append(_gradients(gradient, part, piece.contiguous(), stride, (0, 0), wanted)[1])
        left = right
    return torch.cat(gradients, dim=-1)


def _gradients(
    gradient: torch.Tensor,
    images: torch.Tensor,
    weight: torch.Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
    wanted: tuple[bool, bool, bool],
) -> tuple:
    return _backward(gradient, images, weight, None, stride, padding, (1, 1), False, (0, 0), len(weight), list(wanted))
