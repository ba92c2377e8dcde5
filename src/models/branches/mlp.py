"""A small network over the columns: categories become vectors, and two layers mix all."""

from collections.abc import Sequence

import torch
from torch import nn

from src.models.branches import BRANCHES
from src.models.branches.branch import Branch

WIDTH, HIDDEN, MOST = 32, 64, 16  # of what comes out, of what lies between, and of the vector of a category


@BRANCHES.register("mlp")
class Mlp(Branch):
    width = WIDTH

    def __init__(self, categories: Sequence[int]) -> None:
        super().__init__(categories)
        sizes = [self.categories[k] + 2 for k in self.at_codes]
        self.vectors = nn.ModuleList(nn.Embedding(size, min(MOST, (size + 1) // 2)) for size in sizes)
        width = self.number_width + sum(vector.embedding_dim for vector in self.vectors)
        self.layers = nn.Sequential(nn.Linear(width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, WIDTH), nn.ReLU())

    def forward(self, cells: torch.Tensor) -> torch.Tensor:
        vectors = [vector(code) for vector, code in zip(self.vectors, self.codes(cells), strict=True)]
        return self.layers(torch.cat([self.numbers(cells), *vectors], dim=1))
