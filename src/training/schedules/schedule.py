"""The base class of the schedules: the rate of every step, known before the first."""

from typing import NamedTuple

import numpy as np
import torch
from torch.optim import SGD

from src.core.registry import Configurable


class Curve(NamedTuple):
    """lr: (updates,) the rate of each step. momentum: (updates,), or None to leave it."""

    lr: np.ndarray
    momentum: np.ndarray | None = None


class Schedule(Configurable):
    """parameters: its settings with their usual values; those that are keys of the section `schedule`, such as
    warmup_epochs, come from there."""

    def curve(self, peak: float, epochs: int, steps: int) -> Curve:
        """The rates of so many epochs of so many steps each, none above `peak`."""
        raise NotImplementedError(f"{type(self).__name__} defines no curve")

    def factor(self, losses: list[float]) -> float:
        """By how much the held-out losses of the epochs so far change the rate of the next."""
        return 1.0


def stand_in(lr: float) -> SGD:
    """An optimizer that a library's schedule is run on ahead."""
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9)
