"""A network as a graph of operations, which other libraries read."""

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from src.config.image_size import Size, SizeWord

COLOUR = 3  # channels of a network that does not say how many it sees
MOST = 4096  # images of one batch


def input_shape(network: nn.Module, size: SizeWord) -> tuple[int, int, int]:
    """(channels, height, width) of what a network is given for a row: those of all images of a bag."""
    return getattr(network, "planes", COLOUR) * getattr(network, "slots", 1), *Size.of(size).shape


def traced(network: nn.Module, size: SizeWord) -> ExportedProgram:
    """The graph of a network that sees (n, channels, height, width) of its `input_dtype`, for any n.

    Raises whatever torch's tracer raises.
    """
    example = torch.zeros(2, *input_shape(network, size), dtype=getattr(network, "input_dtype", torch.uint8))
    with torch.no_grad():
        return torch.export.export(network, (example,), dynamic_shapes=({0: Dim("n", max=MOST)},))
