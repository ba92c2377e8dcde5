"""A network as a graph of operations, which other libraries read."""

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

MOST = 4096  # images of one batch


def traced(network: nn.Module, size: int) -> ExportedProgram:
    """The graph of a network that sees (n, channels, size, size) of its `input_dtype`, for any n.

    Raises whatever torch's tracer raises.
    """
    example = torch.zeros(2, network.planes, size, size, dtype=network.input_dtype)
    with torch.no_grad():
        return torch.export.export(network, (example,), dynamic_shapes=({0: Dim("n", max=MOST)},))
