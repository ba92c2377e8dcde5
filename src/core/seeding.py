"""Randomness as a pure function of (seed, fold, epoch, step).

Nothing random is carried from step to step, so a run that was killed and goes on draws exactly what it would have
drawn: there is no random state to save.
"""

import random

import numpy as np
import torch

EVERY_ROW = 10_000  # stands for the fold `all`
# What a stream is for. It stands in every key, because keys that differ in zeros at the end give one stream.
START, ORDER, STEP = 1, 2, 3


def key(seed: int, fold: int | str, purpose: int, *more: int) -> tuple[int, ...]:
    return (seed, EVERY_ROW if isinstance(fold, str) else fold, purpose, *more)


def seed_all(key: tuple[int, ...]) -> None:
    """Set torch's, numpy's and Python's generators to the stream of `key`."""
    low, high = np.random.SeedSequence(key).generate_state(2)
    _seed_torch(int(low) << 32 | int(high))
    np.random.seed(low)
    random.seed(int(low))


def _seed_torch(seed: int) -> None:
    """As torch.manual_seed; that one, where no GPU is in use, keeps each call with its traceback for a GPU to come."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)
