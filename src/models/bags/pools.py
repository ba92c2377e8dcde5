"""The bags that come with the package."""

import torch
from torch import nn

from src.models.bags import BAGS, BagPool

HIDDEN = 128  # of attention


@BAGS.register("mean")
class Mean(BagPool):
    def forward(self, features: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        weight = there.to(features.dtype)
        return (features * weight[..., None]).sum(1) / weight.sum(1, keepdim=True)


@BAGS.register("max")
class Max(BagPool):
    def forward(self, features: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        return features.masked_fill(~there[..., None], torch.finfo(features.dtype).min).amax(1)


@BAGS.register("union")
class Union(Max):
    """Each class by the image that shows it best: a bag has the classes that any of its images has."""

    joins_answers = True


@BAGS.register("first")
class First(BagPool):
    def forward(self, features: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """The first image that is there: the first place may be black."""
        first = there & (there.cumsum(1) == 1)
        return (features * first.to(features.dtype)[..., None]).sum(1)


@BAGS.register("attention")
class Attention(BagPool):
    """Gated attention (Ilse et al., 2018, equation 9): each image by a weight that is learned from its features."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.content, self.gate = (nn.Parameter(torch.empty(HIDDEN, width)) for _ in range(2))
        self.score = nn.Parameter(torch.zeros(HIDDEN))  # all alike at first
        for weight in (self.content, self.gate):
            nn.init.xavier_uniform_(weight)

    def forward(self, features: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        return (features * self.weights(features, there)[..., None]).sum(1)

    def weights(self, features: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """(n, slots), which sum to 1."""
        hidden = torch.tanh(features @ self.content.T) * torch.sigmoid(features @ self.gate.T)
        scores = hidden @ self.score  # of fewer bits than the features under autocast
        return scores.masked_fill(~there, torch.finfo(scores.dtype).min).softmax(1)
