"""Which rows an epoch sees, and in which order: a pure function of (seed, fold, epoch)."""

import numpy as np


def epoch_steps(
    rows: np.ndarray, weights: np.ndarray | None, global_batch: int, key: tuple[int, ...]
) -> list[np.ndarray]:
    """The rows of each optimizer step of one epoch.

    weights: None takes every row once; else as many rows are drawn with replacement by weight. Steps have nearly
    equal sizes, at most `global_batch`: there is no last batch of one image.
    """
    generator = np.random.default_rng(key)
    if weights is None:
        order = generator.permutation(rows)
    else:
        order = generator.choice(rows, size=len(rows), replace=True, p=weights / weights.sum())
    return np.array_split(order, steps_per_epoch(len(rows), global_batch))


def steps_per_epoch(rows: int, global_batch: int) -> int:
    return max(1, -(-rows // global_batch))
