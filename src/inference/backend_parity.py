"""How fast an engine answers, and how far from what torch says in fp32, on images that a model has not seen."""

import math
import time
from dataclasses import dataclass

import numpy as np
from torch import nn

from src.config.request import ALL
from src.evaluation.averaging import mean_predictions
from src.inference.backend_networks import EngineNetworks
from src.inference.backends.backend import Engine
from src.inference.trained_networks import Member
from src.inference.tta import PLAIN

MOST = 640  # images that all members together are asked
EACH = 32  # and at least so many of each
TIMED = 128  # images of a round of a timing
ROUNDS, ENOUGH = 5, 3.0  # of a timing, and the seconds after which no further round begins


@dataclass(frozen=True)
class Agreement:
    """largest: difference of a probability, or of a number in its unit. changed: share of the answers that are other
    classes."""

    images: int
    largest: float
    changed: float
    tolerance: float

    @property
    def kept(self) -> bool:
        return self.largest <= self.tolerance

    def __str__(self) -> str:
        return (
            f"on {self.images} images it moves an answer by at most {self.largest:.2g} ({self.tolerance:g} is "
            f"allowed) and changes {100 * self.changed:.2g} % of the answers"
        )


class Trial:
    """Engines side by side, on the same images in the same views; an answer is the mean of a model's views."""

    def __init__(
        self, networks: EngineNetworks, members: list[Member], views: tuple[str, ...], most: int = MOST
    ) -> None:
        """most: images that all members together are asked."""
        self.networks, self.members, self.views, self.most = networks, members, views, most
        self.reference = Engine(networks.usual.device, "fp32")
        self._unit = networks.competition.target.unit(networks.competition.samples.targets)
        self._answers: dict[tuple[Member, Engine], np.ndarray] = {}

    def seconds(self, ready: dict[Engine, nn.Module], rounds: int = ROUNDS) -> dict[Engine, float]:
        """{engine: seconds of an image in the plain view}, of a network of the first member.

        The engines take turns, and the quickest round of each is told: other work on the machine slows every one.
        """
        rows, best = self._rows(self.members[0])[:TIMED], dict.fromkeys(ready, math.inf)
        start = time.monotonic()
        for turn in range(rounds):
            if turn and time.monotonic() - start > ENOUGH:
                break
            for engine, network in ready.items():
                seconds: dict[str, float] = {}
                self.networks.logits(network, engine, rows, PLAIN, seconds)
                best[engine] = min(best[engine], seconds[PLAIN[0]])
        return best

    def agreement(self, engine: Engine, tolerance: float) -> Agreement:
        """Of the members' answers, up to the first member that breaks the tolerance."""
        away, changed = 0.0, []
        for member in self.members:
            own, other = self._answer(member, self.reference), self._answer(member, engine)
            apart = np.abs(own - other) / self._unit
            away = max(away, float(np.nan_to_num(apart, nan=math.inf).max()))  # no number is no answer
            changed.append(self._changed(own, other))
            if away > tolerance:
                break
        text = np.concatenate(changed)
        return Agreement(len(text), away, float(text.mean()), tolerance)

    def _answer(self, member: Member, engine: Engine) -> np.ndarray:
        """(rows, classes) probabilities."""
        if (member, engine) not in self._answers:
            ready, rows = self.networks.ready(member, engine), self._rows(member)
            tables = list(self.networks.logits(ready, engine, rows, self.views).values())
            self._answers[member, engine] = mean_predictions(tables, self.networks.competition.target)
        return self._answers[member, engine]

    def _changed(self, own: np.ndarray, other: np.ndarray) -> np.ndarray:
        decide = self.networks.competition.target.decide
        return (decide(own) != decide(other)).reshape(len(own), -1).any(axis=1)

    def _rows(self, member: Member) -> np.ndarray:
        """Spread over the rows that the member held out; test images where it has seen every training row."""
        rows = self.networks.rows(member, "test" if member.fold == ALL else "oof")
        most = max(EACH, self.most // len(self.members))
        return rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)]
