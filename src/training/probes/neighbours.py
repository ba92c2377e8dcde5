"""Nearest neighbours: every training image is stored, and those whose features point the same way vote.

For many rare classes whose images differ too much for one mean a class. The probe is then as large as its images.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from src.core.errors import UsageError
from src.models.features import Head
from src.models.neighbours import MARK, Neighbours
from src.training.probes import PROBES
from src.training.probes.probe import PrincipalAxes, Probe

AT_ONCE = 1024  # rows whose nearness to every stored image is held


@dataclass(frozen=True)
class StoredImages:
    """The images that vote, as a head: see models/neighbours.py. strength: the temperature of their votes."""

    stored: torch.Tensor
    labels: torch.Tensor
    votes: torch.Tensor
    outputs: int
    strength: float
    scale: float = 1.0
    axes: PrincipalAxes | None = None

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        layer = self._layer()
        with torch.inference_mode():
            return torch.cat([layer(rows) for rows in features.split(AT_ONCE)])

    def times(self, factor: float) -> "StoredImages":
        return replace(self, scale=self.scale * factor)

    def off(self, axes: PrincipalAxes) -> "StoredImages":
        return replace(self, axes=axes)

    def put(self, head: Head) -> Head:
        if head.joined is not None:
            raise UsageError(
                "probe.head=neighbours: neighbours are found by what the network sees, without columns beside it: "
                "choose another head, or leave model.metadata out",
                code="unfit-probe",
            )
        return replace(head, layer=self._layer())

    def _layer(self) -> Neighbours:
        turn, mean = torch.eye(self.stored.shape[1]), torch.zeros(self.stored.shape[1])
        if self.axes:
            turn, mean = self.axes.axes / self.axes.deviation[:, None], self.axes.mean
        layer = Neighbours(*turn.shape, len(self.labels), self.outputs)
        tensors = {"mean": mean, "turn": turn, "stored": self.stored, "votes": self.votes, MARK: self.labels}
        numbers = {"temperature": torch.tensor(self.strength), "scale": torch.tensor(self.scale)}
        layer.load_state_dict(tensors | numbers)
        return layer


@PROBES.register("neighbours")
class NearestNeighbours(Probe):
    """strengths: temperatures, of cosines. The lower one is, the fewer neighbours count."""

    strengths = (0.3, 0.1, 0.05, 0.025)
    linear = False

    def path(
        self,
        features: torch.Tensor,
        truth: torch.Tensor,
        outputs: int,
        strengths: tuple[float, ...],
        weights: torch.Tensor | None = None,
    ) -> Iterator[StoredImages]:
        if truth.ndim != 1 or truth.dtype.is_floating_point:
            raise UsageError(
                "probe.head=neighbours: neighbours vote for one class of several; choose another head for this target",
                code="unfit-probe",
            )
        votes = torch.zeros(len(truth)) if weights is None else weights.clamp(min=1e-9).log()
        for strength in strengths:
            yield StoredImages(F.normalize(features), truth, votes, outputs, strength)
