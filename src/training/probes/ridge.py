"""Ridge regression in closed form: one decomposition serves every strength."""

from collections.abc import Iterator

import torch

from src.training.probes import PROBES
from src.training.probes.probe import LinearHead, Probe


@PROBES.register("ridge")
class Ridge(Probe):
    """Numbers, in the unit of the table. strengths: the penalty beside the variance of a feature, which is 1."""

    strengths = tuple(10 ** (k / 2) for k in range(6, -9, -1))
    calibrated = False

    def path(
        self,
        features: torch.Tensor,
        truth: torch.Tensor,
        outputs: int,
        strengths: tuple[float, ...],
        weights: torch.Tensor | None = None,
    ) -> Iterator[LinearHead]:
        shares = None if weights is None else (weights / weights.sum())[:, None]
        middle, mean = _mean(features, shares), _mean(truth.double(), shares)
        centred = (features - middle).double()
        counted, of = (centred, len(features)) if shares is None else (centred * shares, 1)
        variances, axes = torch.linalg.eigh(centred.T @ counted / of)
        along = axes.T @ (counted.T @ (truth.double() - mean)) / of
        for strength in strengths:
            weight = (axes @ (along / (variances.clamp(min=0) + strength)[:, None])).T.float()
            yield LinearHead(weight, mean.float() - weight @ middle, strength)


def _mean(table: torch.Tensor, shares: torch.Tensor | None) -> torch.Tensor:
    """Of the rows, each by its share."""
    return table.mean(0) if shares is None else (table * shares.to(table.dtype)).sum(0)
