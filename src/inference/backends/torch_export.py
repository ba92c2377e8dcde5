"""A network as a graph of operations, which other libraries read."""

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

COLOUR = 3  # channels of a network that does not say how many it sees
MOST = 4096  # images of one batch


def input_shape(network: nn.Module, size: int) -> tuple[int, int, int]:
    """(channels, size, size) of what a network is given for a row: those of all images of a bag."""
    return getattr(network, "planes", COLOUR) * getattr(network, "slots", 1), size, size


def traced(network: nn.Module, size: int) -> ExportedProgram:
    """The graph of a network that sees (n, channels, size, size) of its `input_dtype`, for any n.

    Raises whatever torch's tracer raises.
    """
    example = torch.zeros(2, *input_shape(network, size), dtype=getattr(network, "input_dtype", torch.uint8))
    with torch.no_grad():
        return torch.export.export(network, (example,), dynamic_shapes=({0: Dim("n", max=MOST)},))
