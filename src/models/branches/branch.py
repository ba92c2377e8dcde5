"""The base class of the branches: cells become standardised numbers, flags of what is missing, and categories."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn


class Branch(nn.Module):
    """(n, columns) float32 cells in, NaN where one is missing, a category as its number -> (n, `width`) out.

    What standardises the numbers, and which categories are known, is learned from the rows of `learn` alone, and lies
    among the weights. A subclass says its `width` and what `forward` makes of `numbers` and `codes`.
    """

    width: int

    def __init__(self, categories: Sequence[int]) -> None:
        """categories: of each column, how many there are; 0 of a number."""
        super().__init__()
        self.categories = [int(count) for count in categories]
        self.at_numbers = [k for k, count in enumerate(self.categories) if not count]
        self.at_codes = [k for k, count in enumerate(self.categories) if count]
        self.register_buffer("mean", torch.zeros(len(self.at_numbers)))
        self.register_buffer("unit", torch.ones(len(self.at_numbers)))
        for k in self.at_codes:
            self.register_buffer(f"known{k}", torch.zeros(self.categories[k] + 1))

    def learn(self, cells: np.ndarray) -> None:
        """Take mean, standard deviation and known categories from (rows, columns) cells."""
        numbers = cells[:, self.at_numbers]
        held = ~np.isnan(numbers)
        count = held.sum(axis=0).clip(1)
        mean = np.where(held, numbers, 0).sum(axis=0) / count
        spread = np.sqrt(np.where(held, np.square(numbers - mean), 0).sum(axis=0) / count)
        self.mean.copy_(torch.from_numpy(mean))
        self.unit.copy_(torch.from_numpy(np.where(spread > 0, spread, 1)))
        for k in self.at_codes:
            known = np.unique(cells[:, k][cells[:, k] > 0]).astype(int)
            getattr(self, f"known{k}").zero_()[known] = 1

    @property
    def number_width(self) -> int:
        """Of `numbers`."""
        return 2 * len(self.at_numbers)

    def numbers(self, cells: torch.Tensor) -> torch.Tensor:
        """(n, 2 x number columns): standardised, 0 where missing, and whether it is missing."""
        own = cells[:, self.at_numbers]
        missing = torch.isnan(own)
        scaled = ((torch.where(missing, self.mean, own) - self.mean) / self.unit).clamp(-10, 10)
        return torch.cat([scaled, missing.to(scaled.dtype)], dim=1)

    def codes(self, cells: torch.Tensor) -> list[torch.Tensor]:
        """Of each category column (n,) int64: 0 unknown, then the categories, and one more for a missing cell."""
        found = []
        for k in self.at_codes:
            own, most = cells[:, k], self.categories[k]
            missing = torch.isnan(own)
            code = torch.where(missing, torch.zeros_like(own), own).clamp(0, most).long()
            code = code * getattr(self, f"known{k}")[code].long()
            found.append(torch.where(missing, torch.full_like(code, most + 1), code))
        return found
