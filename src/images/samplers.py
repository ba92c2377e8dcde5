"""Which rows an epoch sees, and in which order: a pure function of (seed, fold, epoch)."""

import numpy as np


def epoch_steps(
    rows: np.ndarray, targets: np.ndarray, exponent: float | None, global_batch: int, key: tuple[int, ...]
) -> list[np.ndarray]:
    """The rows of each optimizer step of one epoch.

    rows: training rows. targets: their class indices. exponent: None takes every row once; else rows are drawn
    with replacement, a class of n rows with weight n ** (1 - exponent), so 0 leaves the classes as they are and
    1 makes them alike. Steps have nearly equal sizes, at most `global_batch`: no last batch of one image.
    """
    generator = np.random.default_rng(key)
    if exponent is None:
        order = generator.permutation(rows)
    else:
        weights = np.bincount(targets)[targets] ** -float(exponent)
        order = generator.choice(rows, size=len(rows), replace=True, p=weights / weights.sum())
    return np.array_split(order, steps_per_epoch(len(rows), global_batch))


def steps_per_epoch(rows: int, global_batch: int) -> int:
    return max(1, -(-rows // global_batch))
