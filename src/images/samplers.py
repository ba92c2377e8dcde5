"""Which rows an epoch sees, and in which order: a pure function of (seed, fold, epoch)."""

import numpy as np


def row_weights(targets: np.ndarray, exponent: float) -> np.ndarray:
    """The weighted sampler's weight of each row: its class's row count to the power of -exponent.

    So 0 leaves the classes as they are and 1 makes them alike. Of (n, classes) 0/1 targets the rarest class of a
    row counts, and rows of no class are a class of their own.
    """
    if targets.ndim == 1:
        return np.bincount(targets)[targets] ** -float(exponent)
    present = targets > 0
    counts = present.sum(0)
    rarest = np.where(present, counts, len(targets)).min(1)
    empty = ~present.any(1)
    return np.where(empty, max(1, empty.sum()), rarest) ** -float(exponent)


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
