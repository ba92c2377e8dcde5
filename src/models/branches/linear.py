"""The columns as they are: numbers, flags, and a mark for each category."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from src.models.branches import BRANCHES
from src.models.branches.branch import Branch


@BRANCHES.register("linear")
class Linear(Branch):
    """Nothing of it is trained, so that a probe can be fitted on it."""

    def __init__(self, categories: Sequence[int]) -> None:
        super().__init__(categories)
        self.width = self.number_width + sum(self.categories[k] + 2 for k in self.at_codes)

    def forward(self, cells: torch.Tensor) -> torch.Tensor:
        codes = zip(self.at_codes, self.codes(cells), strict=True)
        marks = [F.one_hot(code, self.categories[k] + 2).to(cells.dtype) for k, code in codes]
        return torch.cat([self.numbers(cells), *marks], dim=1)
