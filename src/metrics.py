"""The scores that competitions use, by name. A new one is one function under `@scores`."""

import importlib.util
import math
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from src.core.errors import Problem, UsageError

Needs = Literal["labels", "probabilities", "ranks"]
SINGLE = ("binary", "multiclass", "ordinal")
ALL = (*SINGLE, "multilabel")
CLIP = 1e-15  # Kaggle's: p becomes max(min(p, 1 - 1e-15), 1e-15)


@dataclass(frozen=True)
class Metric:
    """One score. `kinds` are the target kinds that it can judge. A score that is not defined is NaN, with a warning."""

    name: str
    higher_is_better: bool
    needs: Needs
    function: Callable[[np.ndarray, np.ndarray], float]
    kinds: tuple[str, ...] = ALL

    def score(self, targets: np.ndarray, probabilities: np.ndarray, decisions: np.ndarray | None = None) -> float:
        """targets: (n,) int, or (n, classes) 0/1. probabilities: (n, classes). NaN among them scores NaN.

        decisions: (n,) int, or (n, classes) bool; they take the place of `decide` where the metric needs labels.
        """
        if not np.isfinite(probabilities).all():
            return math.nan
        if self.needs != "labels":
            return float(self.function(targets, probabilities.astype(np.float64)))
        return float(
            self.function(targets, decide(targets.ndim == 2, probabilities) if decisions is None else decisions)
        )


def decide(multilabel: bool, probabilities: np.ndarray) -> np.ndarray:
    """The plain decision: every class of at least one half, (n, classes) bool, or else the likeliest, (n,) int."""
    return probabilities >= 0.5 if multilabel else probabilities.argmax(axis=1)


def metric(name: str, folder: Path | None = None, target: str | None = None) -> Metric:
    """The metric of this name; `own` is metric.py in `folder`, the competition's.

    Raises UsageError for an unknown name, and for a metric that cannot judge targets of the kind `target`.
    """
    ranked = re.fullmatch(r"map@([1-9]\d*)", name)
    if name == "own":
        found = _own(folder)
    elif ranked:
        found = Metric(name, True, "ranks", partial(mean_average_precision, k=int(ranked[1])))
    elif name in METRICS:
        found = METRICS[name]
    else:
        known = ", ".join([*METRICS, "map@K (such as map@5)"])
        raise UsageError(f"metric {name!r} is unknown. Known: {known}, and `own`, which is metric.py beside card.yaml")
    if target is not None and target not in found.kinds:
        fitting = ", ".join(m.name for m in METRICS.values() if target in m.kinds)
        raise UsageError(f"metric {name!r} cannot judge {target} targets: take one of {fitting}")
    return found


METRICS: dict[str, Metric] = {}


def scores(needs: Needs, kinds: tuple[str, ...] = ALL, higher_is_better: bool = True) -> Callable:
    """Enter a function (targets, labels or probabilities) -> float under its own name."""

    def enter(function: Callable) -> Callable:
        METRICS[function.__name__] = Metric(function.__name__, higher_is_better, needs, function, kinds)
        return function

    return enter


@scores("labels")
def accuracy(targets: np.ndarray, labels: np.ndarray) -> float:
    """Share of right rows. A multi-label row is right where every class of it is."""
    right = targets == labels
    return right.mean() if right.ndim == 1 else right.all(axis=1).mean()


@scores("labels", SINGLE)
def balanced_accuracy(targets: np.ndarray, labels: np.ndarray) -> float:
    """Mean recall of the classes that the truth holds; a class without a row has no recall."""
    from sklearn.metrics import recall_score

    return recall_score(targets, labels, labels=np.unique(targets), average="macro", zero_division=0)


@scores("probabilities", higher_is_better=False)
def log_loss(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """As Kaggle computes it: rows divided by their sums, then clipped. Multi-label: mean over all cells."""
    if targets.ndim == 2:
        clipped = probabilities.clip(CLIP, 1 - CLIP)
        return -np.where(targets > 0.5, np.log(clipped), np.log1p(-clipped)).mean()
    # Not scikit-learn's: that one clips at the float's own epsilon.
    rows = probabilities / probabilities.sum(axis=1, keepdims=True)
    return -np.log(rows[np.arange(len(targets)), targets].clip(CLIP, 1 - CLIP)).mean()


@scores("probabilities", ("binary",))
def auc(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Area under the ROC curve of the second class. NaN where the truth holds one class only."""
    from sklearn.metrics import roc_auc_score

    if len(np.unique(targets)) < 2:
        return _undefined("auc: every row is of one class")
    return roc_auc_score(targets, probabilities[:, 1])


@scores("probabilities")
def mean_column_auc(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean over the classes of each class's AUC against the rest.

    A class that no row or every row has, has no AUC: the mean leaves it out, with a warning. NaN where none is left.
    """
    from sklearn.metrics import roc_auc_score

    truth = targets > 0.5 if targets.ndim == 2 else targets[:, None] == np.arange(probabilities.shape[1])
    both = np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0))
    if not len(both):
        return _undefined("mean_column_auc: no class has rows with it and rows without")
    if len(both) < truth.shape[1]:
        left = ", ".join(map(str, sorted(set(range(truth.shape[1])) - set(both.tolist()))[:10]))
        warnings.warn(f"mean_column_auc leaves out classes that no row or every row has: numbers {left}", stacklevel=2)
    return np.mean([roc_auc_score(truth[:, c], probabilities[:, c]) for c in both])


@scores("labels", SINGLE)
def qwk(targets: np.ndarray, labels: np.ndarray) -> float:
    """Cohen's kappa with quadratic weights. NaN where truth and answers are all one same class."""
    from sklearn.metrics import cohen_kappa_score

    if len(np.union1d(targets, labels)) == 1:
        return _undefined("qwk: truth and answers are all one same class")
    # Every rating up to the highest, so that one that nobody gave still counts as a step of distance.
    ratings = np.arange(max(targets.max(), labels.max()) + 1)
    return cohen_kappa_score(targets, labels, labels=ratings, weights="quadratic")


@scores("labels", ("binary",))
def f1(targets: np.ndarray, labels: np.ndarray) -> float:
    """F1 of the second class; 0 where neither truth nor answers hold it."""
    return _f1(targets, labels, "binary", zero_division=0)


@scores("labels")
def macro_f1(targets: np.ndarray, labels: np.ndarray) -> float:
    """Mean F1 of the classes that stand in the truth or in the answers; NaN where there is none."""
    if targets.ndim == 1:
        present = np.union1d(targets, labels)
    else:
        present = np.flatnonzero((targets > 0.5).any(axis=0) | labels.any(axis=0))
    if not len(present):
        return _undefined("macro_f1: neither truth nor answers hold any class")
    return _f1(targets, labels, "macro", labels=present, zero_division=0)


@scores("labels")
def micro_f1(targets: np.ndarray, labels: np.ndarray) -> float:
    """F1 of all cells together; accuracy where each row has one class."""
    return _f1(targets, labels, "micro", zero_division=0)


@scores("labels", ("multilabel",))
def sample_f1(targets: np.ndarray, labels: np.ndarray) -> float:
    """Mean F1 of the rows; a row without any class, answered by none, is right and counts 1."""
    return _f1(targets, labels, "samples", zero_division=1)


def _undefined(why: str) -> float:
    warnings.warn(f"{why}, so the score is not defined", stacklevel=3)
    return math.nan


def _f1(targets: np.ndarray, answers: np.ndarray, average: str, **options: Any) -> float:
    from sklearn.metrics import f1_score

    if targets.ndim == 2:
        targets, answers = (targets > 0.5).astype(np.int8), answers.astype(np.int8)
    return f1_score(targets, answers, average=average, **options)


def mean_average_precision(targets: np.ndarray, probabilities: np.ndarray, k: int) -> float:
    """MAP@k of the k likeliest classes, ties in the order of the classes, as `ranked` submissions write them."""
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    if targets.ndim == 1:
        hits, true = best == targets[:, None], np.ones(len(targets))
    else:
        hits, true = np.take_along_axis(targets > 0.5, best, axis=1), (targets > 0.5).sum(axis=1)
    precision = hits.cumsum(axis=1) / np.arange(1, best.shape[1] + 1)
    return ((precision * hits).sum(axis=1) / true.clip(1, k)).mean()


def _own(folder: Path | None) -> Metric:
    """metric.py: `higher_is_better`, perhaps `needs`, and `score(targets, probabilities)`.

    Where it says needs = "labels", score gets the decided labels in place of the probabilities.
    """
    path = folder / "metric.py" if folder else None
    if path is None or not path.is_file():
        raise UsageError(f"metric: own needs {path or 'metric.py in the competition folder'}, which is not there")
    spec = importlib.util.spec_from_file_location("own_metric", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
    score, higher, needs = (getattr(module, key, None) for key in ("score", "higher_is_better", "needs"))
    needs = needs or "probabilities"
    if not callable(score) or not isinstance(higher, bool) or needs not in get_args(Needs):
        raise UsageError(
            f"{path} must hold `higher_is_better = True` or False, `def score(targets, probabilities)`, "
            f"and, if it likes, `needs` as one of {', '.join(get_args(Needs))}"
        )
    return Metric("own", higher, needs, partial(_score_own, path, score))


def _score_own(path: Path, score: Callable, targets: np.ndarray, answers: np.ndarray) -> float:
    try:
        return float(score(targets, answers))
    except Exception as error:
        raise Problem(f"{path}: score failed: {type(error).__name__}: {error}") from error
