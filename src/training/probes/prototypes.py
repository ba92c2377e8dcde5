"""Class prototypes: the nearest class mean where the features are uncorrelated within the classes.

It is linear discriminant analysis with a shrunken covariance, in closed form: thousands of classes of a few images each
are fitted in a second.
"""

from collections.abc import Iterator

import torch

from src.training.probes import PROBES
from src.training.probes.probe import LinearHead, Probe

LEAST = 1e-9  # stands for the weight of a class whose rows count nothing


@PROBES.register("prototypes")
class Prototypes(Probe):
    """strengths: the share of the covariance that is replaced by a round one."""

    strengths = (0.9, 0.5, 0.1)

    def path(
        self,
        features: torch.Tensor,
        truth: torch.Tensor,
        outputs: int,
        strengths: tuple[float, ...],
        weights: torch.Tensor | None = None,
    ) -> Iterator[LinearHead]:
        count, width = features.shape
        counted = features if weights is None else features * weights[:, None]
        rows = torch.bincount(truth, weights, minlength=outputs).float()
        sums = torch.zeros(outputs, width).index_add_(0, truth, counted)
        means = sums / (rows.clamp(min=1) if weights is None else rows.clamp(min=LEAST))[:, None]
        within = (counted.T @ features - (means * rows[:, None]).T @ means) / count
        round_one = within.diagonal().mean() * torch.eye(width)
        shares = (rows.clamp(min=0.5) / count).log()  # a class without a row is unlikely, not impossible
        for strength in strengths:
            weight = torch.linalg.solve((1 - strength) * within + strength * round_one, means.T).T
            yield LinearHead(weight, shares - 0.5 * (weight * means).sum(1), strength)
