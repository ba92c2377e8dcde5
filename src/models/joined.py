"""A last layer that sees the picture's features and, beside them, what a branch makes of the columns."""

from collections.abc import Sequence

import torch
from torch import nn

from src.core.errors import Problem
from src.models.branches import BRANCHES
from src.models.classifier import JOINED, classifiers, linear_of, name_within


class Joined(nn.Module):
    """(n, width) features and (n, columns) cells in, (n, outputs) out."""

    def __init__(self, width: int, outputs: int, branch: str, categories: Sequence[int]) -> None:
        super().__init__()
        self.branch = BRANCHES.get(branch)(categories)
        self.layer = nn.Linear(width + self.branch.width, outputs)  # the last one: see `classifiers`

    def forward(self, features: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
        return self.layer(torch.cat([features.flatten(1), self.branch(cells).to(features.dtype)], dim=1))

    @property
    def nothing_known(self) -> torch.Tensor:
        """(1, columns) cells that are all missing."""
        return torch.full((1, len(self.branch.categories)), torch.nan, device=self.layer.weight.device)


def join_columns(backbone: nn.Module, name: str, branch: str, categories: Sequence[int]) -> None:
    """Put a `Joined` behind a backbone, `backbone.joined`, in place of its last layer.

    Raises Problem for a network that does not end in one linear layer.
    """
    several = classifiers(backbone)
    last = linear_of(several[0]) if len(several) == 1 else None
    if last is None:
        raise Problem(
            f"model.metadata={branch}: {name} does not end in one linear layer that columns could stand before: "
            "choose another model.name, or model.head=linear",
            code="no-linear-head",
        )
    outputs, width = last.weight.shape[:2]
    backbone.set_submodule(name_within(backbone, last), nn.Identity())
    backbone.add_module(JOINED, Joined(width, outputs, branch, categories))
