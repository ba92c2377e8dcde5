"""Rows drawn anew by their class, so that rare classes are seen more often."""

from typing import ClassVar

import numpy as np

from src.images.samplers import SAMPLERS
from src.images.samplers.sampler import Sampler
from src.targets import TargetType


@SAMPLERS.register("weighted")
class Weighted(Sampler):
    """exponent: 0 leaves the classes as they are and 1 makes them alike."""

    parameters: ClassVar = {"exponent": 1.0}

    def weights(self, labels: np.ndarray, target: TargetType) -> np.ndarray:
        return target.sampler_weights(labels, self.exponent)
