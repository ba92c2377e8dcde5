"""A last layer of directions."""

import torch
import torch.nn.functional as F
from torch import nn

from src.core.errors import UsageError
from src.losses.arcface import COSINE_SCALE
from src.models.classifier import classifiers, linear_of, name_within
from src.models.heads import HEADS


class Cosine(nn.Module):
    """A last layer of directions: logits are the scaled cosine between features and each class.

    (n, width) -> (n, classes), or (n, width, 1, 1) -> (n, classes, 1, 1) in the place of a 1x1 convolution.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, width))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        directions, classes = F.normalize(features.float()), F.normalize(self.weight)
        if features.ndim == 4:
            return COSINE_SCALE * F.conv2d(directions, classes[:, :, None, None])
        return COSINE_SCALE * F.linear(directions, classes)


@HEADS.register("cosine")
def cosine(backbone: nn.Module, name: str) -> None:
    """Raises UsageError for a network whose classifier is not one linear layer."""
    for classifier in classifiers(backbone):
        last = linear_of(classifier)
        if last is None:
            raise UsageError(
                f"model.head=cosine: {name} does not end in one linear layer; a ResNet does", code="unfit-network"
            )
        classes, width = last.weight.shape[:2]
        backbone.set_submodule(name_within(backbone, last), Cosine(width, classes))
