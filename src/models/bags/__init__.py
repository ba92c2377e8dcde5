"""How the features of several images become those of their bag: `model.bag=attention`.

Each is one class. A new one: a file with a class under `@BAGS.register("name")`, here or in PODIUM_HOME/extensions.
"""

from typing import ClassVar

import torch
from torch import nn

from src.core.registry import Registry

AUTO = "auto"  # of model.bag: images are seen one by one, and bags by their mean


class BagPool(nn.Module):
    """(n, slots, width) features, and (n, slots) bool, which of them are images -> (n, width).

    At least one image of each bag is there. Weights are parameters of its own: its network's last layer is found as
    the only linear one. joins_answers: whether what is pooled are the logits of each image, (n, slots, outputs), and
    not what the last layer is given.
    """

    joins_answers: ClassVar[bool] = False

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, features: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def weights(self, features: torch.Tensor, there: torch.Tensor) -> torch.Tensor | None:
        """(n, slots), which sum to 1: how much each image counts; None of a pool that weighs none."""
        return None


BAGS: Registry[type[BagPool]] = Registry("bag", "src.models.bags", shapes_weights=True)
