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
        self, features: torch.Tensor, truth: torch.Tensor, outputs: int, strengths: tuple[float, ...]
    ) -> Iterator[LinearHead]:
        middle, mean = features.mean(0), truth.double().mean(0)
        centred, count = (features - middle).double(), len(features)
        variances, axes = torch.linalg.eigh(centred.T @ centred / count)
        along = axes.T @ (centred.T @ (truth.double() - mean)) / count
        for strength in strengths:
            weight = (axes @ (along / (variances.clamp(min=0) + strength)[:, None])).T.float()
            yield LinearHead(weight, mean.float() - weight @ middle, strength)
