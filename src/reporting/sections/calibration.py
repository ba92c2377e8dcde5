"""Is the network as sure as it is right?"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from src.evaluation.bootstrap import Z95, units, wilson
from src.reporting.run_results import RunResults

BINS, FEWEST = 15, 20  # bins of equally many answers, each of that many at least


def calibration(results: RunResults) -> pd.DataFrame:
    """answers, confidence, right, low, high of each bin. An answer: an image's likeliest class; where several classes
    may apply, each class of an image."""
    sure, right = (values.ravel() for values in _sure_and_right(results))
    parts = _bins(sure)
    count = np.array([len(part) for part in parts])
    hits = np.array([right[part].sum() for part in parts])
    low, high = wilson(hits / count, count)
    confidence = [sure[part].mean() for part in parts]
    return pd.DataFrame({"answers": count, "confidence": confidence, "right": hits / count, "low": low, "high": high})


def _sure_and_right(results: RunResults) -> tuple[np.ndarray, np.ndarray]:
    """(images, answers of each) how sure each answer is, and whether it is right."""
    return results.held.target.sure_and_right(results.held.targets, results.plain)


def _bins(sure: np.ndarray) -> list[np.ndarray]:
    """The answers' places, by how sure they are."""
    return np.array_split(np.argsort(sure, kind="stable"), int(np.clip(len(sure) // FEWEST, 1, BINS)))


@dataclass(frozen=True)
class Sureness:
    """gap: by how much more sure than right the answers are on average. error: the calibration error. reach, usual: how
    far luck takes the gap and the error in 19 of 20 cases."""

    gap: float
    error: float
    reach: float
    usual: float


def sureness(results: RunResults, bins: pd.DataFrame) -> Sureness:
    """Of the answers to the held-out images; bins as `calibration` makes them."""
    sure, right = _sure_and_right(results)
    deviations = (bins["confidence"] - bins["right"]).abs()
    error = float(np.average(deviations, weights=bins["answers"]))
    return Sureness(float((sure - right).mean()), error, *_luck(results, sure, right))


def calibrated(results: RunResults, bins: pd.DataFrame) -> str:
    """Sureness against truth, judged by what luck does to answers that are as sure as they are right."""
    sure, right = _sure_and_right(results)
    found = sureness(results, bins)
    gap, error, reach, usual = found.gap, found.error, found.reach, found.usual
    text = results.held.target.calibration_told.format(sure=f"{sure.mean():.1%}", right=f"{right.mean():.1%}")
    text += f" (calibration error {error:.3f}; luck alone makes up to {usual:.3f}): "
    if abs(gap) > reach:
        how, ends = "sure" if gap > 0 else "modest", f"{abs(gap) - reach:.1%} to {abs(gap) + reach:.1%}"
        return text + f"it is too {how} by {abs(gap):.1%} (95 % interval {ends})."
    if error > usual:
        return text + "right on average, but not at every sureness: see where the curve leaves the dashed line."
    return text + f"no more than the luck of {len(sure)} images explains, which hides gaps of up to {reach:.1%}."


def _luck(results: RunResults, sure: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """How far luck, in 19 of 20 cases, takes the mean gap between sure and right, and the calibration error.

    Of answers that are right exactly as often as they are sure (Broecker and Smith, 2007). The gap's is widened where
    the answers of a group, or of an image, stray together.
    """
    spread, unit = sure * (1 - sure), units(results.held.groups)
    together = np.bincount(unit, weights=(sure - right).sum(axis=1) - (sure - right).mean() * sure.shape[1])
    reach = Z95 * np.sqrt(max(spread.sum(), np.square(together).sum())) / sure.size
    parts, flat = _bins(sure.ravel()), spread.ravel()
    deviations = np.array([np.sqrt(flat[part].sum()) for part in parts]) / sure.size
    errors = np.abs(np.random.default_rng(0).normal(0, deviations, (1000, len(parts)))).sum(axis=1)
    return float(reach), float(np.quantile(errors, 0.95))
