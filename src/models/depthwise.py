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

from src.models.calls import Convolution, Pair, call_of

WIDEST = 3  # columns of a weight whose gradient is fast

Two = tuple[int, int]


def has_depthwise(network: nn.Module) -> bool:
    convolutions = (module for module in network.modules() if isinstance(module, nn.Conv2d))
    return any(1 < one.groups == one.in_channels == one.out_channels for one in convolutions)


class FastDepthwise(TorchFunctionMode):
    """Forward passes within it, on a processor, lead to fast backward passes, whoever calls the convolutions."""

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        call = call_of(function, args, kwargs or {})
        if isinstance(call, Convolution) and torch.is_grad_enabled() and _is_slow(call):
            kind = _kind(call)
            bias = None if call.bias is None else call.bias.to(kind)
            return _Depthwise.apply(
                call.input.to(kind), call.weight.to(kind), bias, _pair(call.stride), _pair(call.padding)
            )
        return function(*args, **(kwargs or {}))


def _is_slow(call: Convolution) -> bool:
    """Whether torch's own way back would be slow, and `_Depthwise` takes the call."""
    images, weight = call.input, call.weight
    if not 1 < call.groups == weight.shape[0] or weight.shape[1] != 1 or images.ndim != 4:
        return False
    if isinstance(call.padding, str) or _pair(call.dilation) != (1, 1):
        return False
    strided = _pair(call.stride) != (1, 1) and _kind(call) != torch.float32
    return (weight.requires_grad or images.requires_grad) and (weight.shape[-1] > WIDEST or strided)


def _kind(call: Convolution) -> torch.dtype:
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else call.input.dtype


def _pair(value: Pair) -> Two:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


class _Depthwise(torch.autograd.Function):
    """(n, c, h, w) images, (c, 1, kh, kw) weights and a bias or None, as conv2d with c groups takes them."""

    @staticmethod
    def forward(
        ctx: Any, images: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, stride: Two, padding: Two
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
    gradient: torch.Tensor, images: torch.Tensor, weight: torch.Tensor, stride: Two, padding: Two
) -> torch.Tensor:
    if stride != (1, 1) and gradient.dtype != torch.float32:
        # What a convolution at stride 1 would have made, with 0 where the stride leaves out.
        sides = [images.shape[axis] + 2 * padding[axis - 2] - weight.shape[axis] + 1 for axis in (2, 3)]
        spread = gradient.new_zeros(*gradient.shape[:2], *sides).contiguous(memory_format=torch.channels_last)
        spread[:, :, :: stride[0], :: stride[1]] = gradient
        gradient, stride = spread, (1, 1)
    return _gradient(0, gradient, images, weight, stride, padding)


def _of_weight(
    gradient: torch.Tensor, images: torch.Tensor, weight: torch.Tensor, stride: Two, padding: Two
) -> torch.Tensor:
    if weight.shape[-1] <= WIDEST:
        return _gradient(1, gradient, images, weight, stride, padding)
    rows, columns = padding
    between = (gradient.shape[-1] - 1) * stride[1]  # columns from the first to the last place of the weight
    gradients, left = [], -columns
    for piece in weight.tensor_split(-(-weight.shape[-1] // WIDEST), dim=-1):
        right = left + between + piece.shape[-1]  # this piece sees the columns from left to right, some of them padding
        first, last = max(0, left), min(images.shape[-1], right)
        if first < last:
            seen = F.pad(images[..., first:last], (first - left, right - last, rows, rows))
            seen = seen.contiguous(memory_format=torch.channels_last)
            gradients.append(_gradient(1, gradient, seen, piece.contiguous(), stride, (0, 0)))
        else:
            gradients.append(torch.zeros_like(piece))
        left += piece.shape[-1]
    return torch.cat(gradients, dim=-1)


def _gradient(
    which: int, gradient: torch.Tensor, images: torch.Tensor, weight: torch.Tensor, stride: Two, padding: Two
) -> torch.Tensor:
    """Of the images (0) or of the weight (1)."""
    wanted = [which == 0, which == 1, False]
    backward = torch.ops.aten.convolution_backward
    return backward(gradient, images, weight, None, stride, padding, (1, 1), False, (0, 0), len(weight), wanted)[which]
