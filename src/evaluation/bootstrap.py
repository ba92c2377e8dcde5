"""How far a score, or the gap between two, could be off by the luck of which images were held out.

All intervals come from resampling the held-out rows (Efron, 1979), whole groups at a time. They tell the luck of the
images, not that of training: another seed moves a score too, and `fold_spread` shows some of that.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from src.metrics import Metric, Rows
from src.metrics.decision import Answer
from src.metrics.metric import Weighted

FEWEST, DRAWS = 200, 1000
Z95 = 1.96
FLAT = 1e-9  # a width that is none
WORK = 20_000_000  # rows drawn in all: large tables need fewer draws and have narrow intervals
CHUNK = 2_000_000  # cells of weights held at once


@dataclass(frozen=True)
class Gain:
    """How much better one answer is than another, above 0 where it is better, whichever way the metric runs.

    `low` and `high` bound it with 95 % confidence; of several, all of them at once. error: its standard error.
    """

    value: float
    low: float
    high: float
    error: float

    @property
    def real(self) -> bool:
        return self.low > 0

    def __str__(self) -> str:
        return f"{self.value:+.4f} ({self.low:+.4f} to {self.high:+.4f})"


def bootstrap_interval(
    metric: Metric,
    targets: np.ndarray,
    probabilities: np.ndarray,
    groups: np.ndarray,
    seed: int = 0,
    decisions: np.ndarray | None = None,
    rows: Rows | None = None,
) -> tuple[float, float]:
    """The 95 % percentile interval of a score; NaN where it cannot be told.

    groups: (n,) text, or int as `units_of` numbers them; rows of one group are drawn together, for they are not
    independent. Empty text is a row of its own. A draw in which the score is not defined is left out.

    Where every draw scores alike, as without a single mistake, resampling has nothing to tell by, and no width is no
    certainty: means over rows and AUCs then have Wilson's interval, others none.
    """
    scores = resampled(metric, [metric.weighted(targets, probabilities, decisions, rows)], groups, seed)[0]
    low, high = _quantiles(scores)
    if not high - low < FLAT:
        return low, high
    low, high = wilson(np.round(low, 9), metric.independent_rows(targets, units(groups)))
    return float(low), float(high)


def format_interval(low: float, high: float) -> str:
    """An interval in words."""
    return f"{low:.4f} to {high:.4f}" if np.isfinite([low, high]).all() else "cannot be told"


def wilson(share: np.ndarray | float, rows: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % interval of a share of so many rows (Wilson, 1927); NaN where there are none."""
    n = np.where(np.asarray(rows) > 0, rows, np.nan)
    z = Z95**2 / n
    middle, reach = share + z / 2, np.sqrt(z * (share * (1 - share) + z / 4))
    return ((middle - reach) / (1 + z)).clip(0, 1), ((middle + reach) / (1 + z)).clip(0, 1)


def gains(
    metric: Metric,
    targets: np.ndarray,
    base: Answer,
    others: list[Answer],
    groups: np.ndarray,
    seed: int = 0,
    rows: Rows | None = None,
) -> list[Gain]:
    """How much better than `base` each of the others is on the same rows, with intervals that hold all at once.

    Every draw scores all answers on the same rows, so that what they share cancels. Looking at several and taking the
    best flatters the best: the intervals are widened by the largest of the studentised deviations of each draw
    (Romano and Wolf, 2005), so that all of them, the best one's too, hold with 95 % confidence.
    """
    scorers = [metric.weighted(targets, *answer, rows) for answer in (base, *others)]
    return gains_of(metric, scorers, len(targets), groups, seed)


def gains_of(metric: Metric, scorers: list[Weighted], rows: int, groups: np.ndarray, seed: int = 0) -> list[Gain]:
    """As `gains`, of scorers that are made already: the first is the base."""
    sign = 1 if metric.higher_is_better else -1
    whole = np.array([scorer(np.ones((1, rows)))[0] for scorer in scorers])
    draws = resampled(metric, scorers, groups, seed)
    value, drawn = sign * (whole[1:] - whole[0]), sign * (draws[1:] - draws[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an answer whose score is never defined has NaN for an interval
        spread = np.nanstd(drawn, axis=1)
        far = np.abs(drawn - value[:, None]) / np.where(spread > 0, spread, np.inf)[:, None]
        reach = np.nanquantile(np.nanmax(far, axis=0), 0.95) * spread if len(value) else spread
    return [Gain(*map(float, (v, v - r, v + r, s))) for v, r, s in zip(value, reach, spread, strict=True)]


@dataclass(frozen=True)
class Pick:
    """What the best of several answers scores on rows that did not pick it: the mean, and 95 % of the draws."""

    value: float
    low: float
    high: float


def picked(
    metric: Metric,
    targets: np.ndarray,
    answers: list[Answer],
    groups: np.ndarray,
    seed: int = 0,
    rows: Rows | None = None,
) -> Pick:
    """The score of picking the best of several answers, without the luck of the rows that it was picked on.

    Each draw picks the answer that is best on the rows drawn, and scores it on the rows left out (Tsamardinos,
    Greasidou and Borboudakis, 2018). NaN where the score is never defined.
    """
    scorers = [metric.weighted(targets, *answer, rows) for answer in answers]
    sign = 1 if metric.higher_is_better else -1
    parts = []
    for weights in _draws(metric, groups, seed):
        inside = np.nan_to_num(np.stack([sign * scorer(weights) for scorer in scorers]), nan=-np.inf)
        outside = np.stack([scorer((weights == 0).astype(float)) for scorer in scorers])
        parts.append(outside[inside.argmax(axis=0), np.arange(len(weights))])
    scores = np.concatenate(parts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Pick(float(np.nanmean(scores)), *_quantiles(scores))


def paired_difference(
    metric: Metric,
    targets: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    groups: np.ndarray,
    seed: int = 0,
    rows: Rows | None = None,
) -> Gain:
    """How much better the second table of probabilities is than the first, row by row the same images."""
    return gains(metric, targets, (first, None), [(second, None)], groups, seed, rows)[0]


def format_difference(first: str, second: str, gain: Gain) -> str:
    """One plain sentence about a paired difference: which run is better, or that nobody can tell."""
    if gain.low <= 0 <= gain.high or not np.isfinite(gain.value):
        return (
            f"no difference between {first} and {second} can be told: "
            f"{gain.value:+.4f}, 95 % interval {gain.low:+.4f} to {gain.high:+.4f}"
        )
    better, worse = (second, first) if gain.value > 0 else (first, second)
    low, high = sorted((abs(gain.low), abs(gain.high)))
    return f"{better} is better than {worse} by {abs(gain.value):.4f}, 95 % interval {low:.4f} to {high:.4f}"


@dataclass(frozen=True)
class Spread:
    """A score by fold: (folds,) scores, their mean and their standard deviation (NaN for one fold)."""

    scores: tuple[float, ...]
    mean: float
    deviation: float


def fold_spread(
    metric: Metric, targets: np.ndarray, probabilities: np.ndarray, folds: np.ndarray, rows: Rows | None = None
) -> Spread:
    """The score of each fold's rows apart: each fold has a network of its own, so training's luck shows too."""
    parts = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
    scores = [
        metric.score(targets[part], probabilities[part], rows=None if rows is None else rows.at(part)) for part in parts
    ]
    deviation = float(np.std(scores, ddof=1)) if len(scores) > 1 else float("nan")
    return Spread(tuple(scores), float(np.mean(scores)), deviation)


def fold_luck(
    metric: Metric,
    targets: np.ndarray,
    probabilities: np.ndarray,
    folds: np.ndarray,
    groups: np.ndarray,
    seed: int = 0,
    rows: Rows | None = None,
) -> tuple[float, float]:
    """How far the scores of folds lie apart by luck, and how often luck parts them as far as they are (p).

    Luck: the rows dealt to folds of the same sizes at random, whole groups at a time, each answered as it was. Returns
    the usual standard deviation of the folds' scores under it, and the p-value of the one that was found.
    """
    unit_of_row, first = units(groups), np.unique(units(groups), return_index=True)[1]
    scorer, generator = metric.weighted(targets, probabilities, rows=rows), np.random.default_rng(seed)
    number_of = np.unique(folds, return_inverse=True)[1]
    draws = int(np.clip(WORK // (len(folds) * (number_of.max() + 1)), FEWEST, DRAWS)) if metric.quick else FEWEST
    dealt = [generator.permutation(number_of[first])[unit_of_row] for _ in range(draws)]
    deviations = [
        np.std(scorer((one == np.arange(number_of.max() + 1)[:, None]).astype(float)), ddof=1)
        for one in (number_of, *dealt)
    ]
    found, luck = deviations[0], np.array(deviations[1:])
    usual = float(np.sqrt(np.nanmean(np.square(luck))))
    return usual, float((1 + (luck >= found - FLAT).sum()) / (1 + draws))


def resampled(metric: Metric, scorers: list[Weighted], groups: np.ndarray, seed: int = 0) -> np.ndarray:
    """(scorers, draws) scores, every draw the same rows for all of them."""
    parts = [np.stack([scorer(weights) for scorer in scorers]) for weights in _draws(metric, groups, seed)]
    return np.concatenate(parts, axis=1)


def _draws(metric: Metric, groups: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """(draws, n) how often each row is drawn, some draws at a time."""
    unit_of_row = units(groups)
    count, rows = int(unit_of_row.max()) + 1, len(unit_of_row)
    draws = int(np.clip(WORK // rows, FEWEST, DRAWS)) if metric.quick else FEWEST
    generator = np.random.default_rng(seed)
    step = max(1, CHUNK // rows)
    for start in range(0, draws, step):
        several = min(step, draws - start)
        drawn = generator.integers(count, size=(several, count)) + count * np.arange(several)[:, None]
        yield (
            np.bincount(drawn.ravel(), minlength=several * count).reshape(several, count)[:, unit_of_row].astype(float)
        )


def units(groups: np.ndarray) -> np.ndarray:
    """(n,) the number, from 0, of what each row is drawn with: its group, or itself where the group is empty text."""
    groups = np.asarray(groups)
    if groups.dtype.kind not in "iu":
        groups = np.where(groups == "", [f"\0{row}" for row in range(len(groups))], groups).astype(str)
    return np.unique(groups, return_inverse=True)[1]


def _quantiles(scores: np.ndarray) -> tuple[float, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        low, high = np.nanquantile(scores, [0.025, 0.975])
    return float(low), float(high)
