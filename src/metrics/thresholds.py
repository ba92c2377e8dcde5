"""Thresholds and cut-points that are best on the rows given, each of them found exactly with the others held.

Rows are sorted once; what a threshold at every place would score is then a matter of running sums.
"""

from collections.abc import Callable

import numpy as np

SWEEPS = 20  # over all thresholds; it ends when one changes nothing
ABSENT = 0.5  # the threshold of a class that no row has


def cut_points(targets: np.ndarray, expected: np.ndarray, classes: int) -> np.ndarray:
    """(classes - 1,) rising cuts of the expected grade, (n,), with the best quadratic weighted kappa.

    The grade of a row is the number of cuts at or below it, so that the sums in kappa are sums over the cuts, and each
    moves to its best place between its neighbours until none does. It starts from the halves and from the shares of the
    grades in `targets`, (n,) int, and keeps the better end.
    """
    order = np.argsort(expected, kind="stable")
    e, t = expected[order], targets[order].astype(float)
    halves = np.searchsorted(e, np.arange(classes - 1) + 0.5)
    shares = np.bincount(targets, minlength=classes).cumsum()[:-1]
    places = np.flatnonzero(np.diff(e, prepend=-np.inf, append=np.inf))  # between rows that differ
    ends = [_climb_kappa(start, places, t) for start in (halves, places[np.searchsorted(places, shares)])]
    best = max(ends, key=lambda end: end[0])[1]
    return _between(e, best)


def _climb_kappa(cuts: np.ndarray, places: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray]:
    above = np.concatenate([np.cumsum(t[::-1])[::-1], [0.0]])  # the sum of the grades from a place on
    n, cuts, best = len(t), cuts.copy(), -np.inf

    def kappa(d: np.ndarray, dd: np.ndarray, td: np.ndarray) -> np.ndarray:
        expected = n * ((t * t).sum() + dd) - 2 * t.sum() * d
        apart = (t * t).sum() + dd - 2 * td
        return np.where(expected > 0, 1 - n * apart / np.where(expected > 0, expected, 1), -np.inf)

    for _ in range(SWEEPS):
        before = best
        for k in range(len(cuts)):
            low, high = cuts[k - 1] if k else 0, cuts[k + 1] if k + 1 < len(cuts) else n
            open_to = places[(places >= low) & (places <= high)]
            others = np.delete(np.arange(len(cuts)), k)
            fixed = n - cuts[others]
            found = kappa(
                fixed.sum() + n - open_to,
                ((2 * others + 1) * fixed).sum() + (2 * k + 1) * (n - open_to),
                above[cuts[others]].sum() + above[open_to],
            )
            at = int(np.argmax(found))
            if found[at] > best + 1e-12:
                best, cuts[k] = found[at], open_to[at]
        if best == before:
            break
    return best, cuts


def shared_threshold(score: Callable[[float], float]) -> float:
    """The one threshold, in steps of 0.01, that scores best; of equals the one nearest one half."""
    grid = np.arange(1, 100) / 100
    scores = np.nan_to_num([score(one) for one in grid], nan=-np.inf)
    best = np.flatnonzero(scores == scores.max())
    return float(grid[best[np.argmin(np.abs(grid[best] - 0.5))]])


def macro_thresholds(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(classes,) each with the best F1 of its class. truth: (n, classes) bool."""
    return np.array([_class_threshold(truth[:, c], probabilities[:, c], None) for c in range(truth.shape[1])])


def micro_thresholds(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(classes,) with the best F1 of all cells together (Dinkelbach, 1967).

    At the best score F each class by itself makes 2 hits - F answers as large as can be, and F follows from that.
    """
    score, found = 0.0, np.full(truth.shape[1], 0.5)
    for _ in range(SWEEPS):
        found = np.array([_class_threshold(truth[:, c], probabilities[:, c], score) for c in range(truth.shape[1])])
        answers = probabilities >= found
        now = 2 * (truth & answers).sum() / max(1, truth.sum() + answers.sum())
        if now <= score:
            break
        score = now
    return found


def sample_thresholds(truth: np.ndarray, probabilities: np.ndarray, start: float) -> np.ndarray:
    """(classes,) with the best mean F1 of the rows, climbed class by class from one shared threshold."""
    found = np.full(truth.shape[1], start)
    answers = probabilities >= found
    orders = [np.argsort(-probabilities[:, c], kind="stable") for c in range(truth.shape[1])]
    for _ in range(SWEEPS):
        before = found.copy()
        for c, order in enumerate(orders):
            answers[:, c] = False
            hits, size = (truth & answers).sum(axis=1), truth.sum(axis=1) + answers.sum(axis=1)
            without = np.where(size > 0, 2 * hits / np.maximum(size, 1), 1.0)
            gain = (2 * (hits + truth[:, c]) / (size + 1) - without)[order]
            found[c] = _best_place(probabilities[order, c], np.concatenate([[0.0], gain.cumsum()]), found[c])
            answers[:, c] = probabilities[:, c] >= found[c]
        if (found == before).all():
            break
    return found


def _class_threshold(truth: np.ndarray, p: np.ndarray, price: float | None) -> float:
    """The threshold with the best F1, or with a price the largest 2 hits - price * answers."""
    if not truth.any():
        return ABSENT
    order = np.argsort(-p, kind="stable")
    hits = np.concatenate([[0], truth[order].cumsum()])
    count = np.arange(len(hits))
    objective = 2 * hits / (count + truth.sum()) if price is None else 2 * hits - price * count
    return _best_place(p[order], objective, ABSENT)


def _best_place(falling: np.ndarray, objective: np.ndarray, now: float) -> float:
    """The threshold at the best of the places 0 to n among falling probabilities; `now` where it is as good."""
    places = np.flatnonzero(np.diff(falling, prepend=np.inf, append=-np.inf))
    at = places[np.argmax(objective[places])]
    if objective[np.searchsorted(-falling, -now, side="right")] >= objective[at] - 1e-12:
        return now
    return float(_between(falling[::-1], np.array([len(falling) - at]))[0])


def _between(rising: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Thresholds half-way between the values before and after each place; beyond the ends by one."""
    padded = np.concatenate([[rising[0] - 2], rising, [rising[-1] + 2]])
    return (padded[places] + padded[places + 1]) / 2
