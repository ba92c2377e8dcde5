"""How far a score could be off by the luck of which images were held out."""

import warnings

import numpy as np

from src.metrics import Metric

DRAWS = 1000
WORK = 20_000_000  # rows drawn in all: large tables need fewer draws and have narrow intervals


def bootstrap_interval(
    metric: Metric, targets: np.ndarray, probabilities: np.ndarray, groups: np.ndarray, seed: int = 0
) -> tuple[float, float]:
    """The 95 % percentile interval of the score over resampled rows (Efron, 1979).

    groups: (n,) text; rows of one non-empty group are drawn together, for they are not independent.
    """
    members = _units(groups)
    draws = int(np.clip(WORK // max(1, len(targets)), 100, DRAWS))
    generator = np.random.default_rng(seed)
    scores = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a draw that lacks a class is left out of the quantiles instead
        for _ in range(draws):
            drawn = generator.integers(len(members), size=len(members))
            rows = np.concatenate([members[unit] for unit in drawn]) if len(members) < len(targets) else drawn
            scores.append(metric.score(targets[rows], probabilities[rows]))
    low, high = np.nanquantile(scores, [0.025, 0.975])
    return float(low), float(high)


def _units(groups: np.ndarray) -> list[np.ndarray]:
    """Rows of each unit that is drawn whole: a group, or a row without one."""
    _, of_row = np.unique(np.where(groups == "", [f"\0{i}" for i in range(len(groups))], groups), return_inverse=True)
    order = np.argsort(of_row, kind="stable")
    return np.split(order, np.cumsum(np.bincount(of_row))[:-1])
