"""The base class of the samplers: which rows an epoch sees, and in which order, a function of (seed, fold, epoch)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from src.core.errors import Problem
from src.core.registry import Configurable
from src.targets import TargetType


@dataclass(frozen=True)
class Drawn:
    """rows: (n,) those to draw from, places in the table of images. labels: their truth, as `target` has it."""

    rows: np.ndarray
    labels: np.ndarray
    target: TargetType


class Sampler(Configurable):
    """Draws the rows of each epoch. One that draws by class, or by any weight of a row, defines `weights` alone.

    parameters: its settings with their usual values; `exponent` comes from data.sampler_exponent where it is not given.
    """

    parameters: ClassVar[dict[str, object]] = {}

    def weights(self, labels: np.ndarray, target: TargetType) -> np.ndarray | None:
        """(n,) how often each row is drawn beside the others, None for alike. Predictions are corrected by it."""
        return None

    def draw(self, drawn: Drawn, random: np.random.Generator, epoch: int) -> np.ndarray:
        """As many rows as there are, in the order of the epoch: each once, or drawn anew by `weights`."""
        weights = self.weights(drawn.labels, drawn.target)
        if weights is None:
            return random.permutation(drawn.rows)
        if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
            raise Problem(
                f"data.sampler={self.name} weighs no row of these above 0, or some below it: give each at least 0",
                code="sampler-weights",
            )
        return random.choice(drawn.rows, size=len(drawn.rows), replace=True, p=weights / weights.sum())


def epoch_steps(sampler: Sampler, drawn: Drawn, global_batch: int, key: tuple[int, ...]) -> list[np.ndarray]:
    """The rows of each optimizer step of one epoch, whose number ends the `key` of its randomness.

    Steps have nearly equal sizes, at most `global_batch`: there is no last batch of one image.
    """
    rows = drawn.rows
    order = sampler.draw(drawn, np.random.default_rng(key), key[-1])
    if order.shape != rows.shape or not np.isin(order, rows).all():
        raise Problem(
            f"data.sampler={sampler.name} drew {order.shape} of {rows.shape} rows, or rows that are not to be learned "
            f"from: an epoch takes as many as there are, of these alone",
            code="sampler-output",
        )
    return np.array_split(order, steps_per_epoch(len(rows), global_batch))


def steps_per_epoch(rows: int, global_batch: int) -> int:
    return max(1, -(-rows // global_batch))
