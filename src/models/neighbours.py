"""A last layer that answers by the images it has stored: the nearest ones vote, by the cosine of their features."""

import torch
import torch.nn.functional as F
from torch import nn

MARK = "labels_of_stored"  # the end of a tensor's name by which such a layer is known in a file of weights
LEAST = 1e-6  # of all votes, what a class without any is given


class Neighbours(nn.Module):
    """(n, width) -> (n, classes), or (n, width, 1, 1) -> (n, classes, 1, 1) in the place of a 1x1 convolution.

    Features become coordinates by `mean` (width,) and `turn` (width, axes). Each stored image (its direction there, a
    row of `stored`) votes for its class with exp(cosine / temperature + votes); logits are `scale` times the logarithm
    of a class's share of the votes.
    """

    def __init__(self, width: int, axes: int, images: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("turn", torch.zeros(width, axes))
        self.register_buffer("stored", torch.zeros(images, axes))
        self.register_buffer("votes", torch.zeros(images))
        self.register_buffer(MARK, torch.zeros(images, dtype=torch.int64))
        self.register_buffer("temperature", torch.ones(()))
        # The one parameter, so that a network still knows its last layer by having some. It does not learn.
        self.scale = nn.Parameter(torch.ones(()), requires_grad=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        flat = features.flatten(1).float()
        directions = F.normalize((flat - self.mean) @ self.turn)
        nearness = (directions @ self.stored.T / self.temperature + self.votes).softmax(1)
        shares = nearness.new_zeros(len(nearness), self.classes).index_add(1, self.labels_of_stored, nearness)
        logits = self.scale * (shares + LEAST).log()
        return logits[:, :, None, None] if features.ndim == 4 else logits


def load_trained(backbone: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """As backbone.load_state_dict(state), also where the last layer of the file is one of neighbours.

    Raises RuntimeError where the tensors are of another network.
    """
    marked = next((name for name in state if name.endswith(f".{MARK}")), None)
    if marked:
        name = marked.rpartition(".")[0]
        width, axes = state[f"{name}.turn"].shape
        classes = backbone.get_submodule(name).weight.shape[0]
        backbone.set_submodule(name, Neighbours(width, axes, len(state[marked]), classes))
    backbone.load_state_dict(state)
