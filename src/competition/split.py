"""How rows are dealt to folds, so that every fold holds its share of every class."""

import numpy as np


def deal(targets: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The fold of each row, (rows,), for rows that are independent and have one class each.

    Rows are shuffled, put in the order of their classes and dealt like cards, going on from class to class: the
    share of a class differs by one row at most between folds, and so do the folds' sizes, however small the classes.
    """
    order = np.random.default_rng(seed).permutation(len(targets))
    order = order[np.argsort(targets[order], kind="stable")]
    of_row = np.empty(len(targets), np.int64)
    of_row[order] = np.arange(len(targets)) % count
    return of_row


def deal_units(targets: np.ndarray, units: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The fold of each row where the rows of one unit must share it, or where rows have several classes.

    Greedy, the largest units first and among equals those with the rarest class: each goes to the fold that holds
    the least of what the unit brings, every class weighed by its rarity, then to the smallest fold. It is the idea
    of iterative stratification (Sechidis et al., 2011) and of StratifiedGroupKFold, in one pass.
    """
    _, units = np.unique(units, return_inverse=True)
    unit, label, rows = _contents(targets, units)
    totals = np.bincount(label, rows)
    sizes = np.bincount(units)
    rarity = np.full(len(sizes), np.inf)
    np.minimum.at(rarity, unit, totals[label])
    shuffled = np.random.default_rng(seed).permutation(len(sizes))
    order = shuffled[np.lexsort((rarity[shuffled], -sizes[shuffled]))]
    starts = np.searchsorted(unit, np.arange(len(sizes) + 1)).tolist()
    shares, label, rows = (rows / totals[label]).tolist(), label.tolist(), rows.tolist()
    held = [[0.0] * count for _ in totals]  # shares of each class, by fold
    filled, limit = [0.0] * count, len(units) / count
    fold_of = [0] * len(sizes)
    for one, size in zip(order.tolist(), sizes[order].tolist(), strict=True):
        inside = range(starts[one], starts[one + 1])
        costs = [0.0] * count
        for k in inside:
            share, class_held = shares[k], held[label[k]]
            costs = [cost + share * there for cost, there in zip(costs, class_held, strict=True)]
        # A fold that is full takes more only where all are: rare classes must not pile up rows in one fold.
        best = min(range(count), key=lambda fold: (filled[fold] + size > limit + size / 2, costs[fold], filled[fold]))
        fold_of[one] = best
        filled[best] += size
        for k in inside:
            held[label[k]][best] += shares[k]
    return np.array(fold_of)[units]


def _contents(targets: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What each unit brings, sorted by unit: its number, a class, and the rows of that class in it."""
    if targets.ndim == 1:
        rows, labels = np.arange(len(targets)), targets
        classes = int(targets.max()) + 1
    else:
        rows, labels = np.nonzero(targets)
        classes = targets.shape[1]
    cells, counts = np.unique(units[rows] * classes + labels, return_counts=True)
    return cells // classes, cells % classes, counts
