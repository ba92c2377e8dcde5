"""How probabilities become the answer that a metric wants: a rule fitted out of fold and applied to the test rows."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from src.core.errors import Problem
from src.evaluation.bootstrap import Answer

TINY = 1e-300  # stands for a probability of 0 where its logarithm is taken


@dataclass(frozen=True)
class Decision:
    """temperature and shift (classes,) change the probabilities: their logarithms, or log-odds where several classes
    may apply, are divided by the one and moved by the other. Then at most one of these decides:

    thresholds: (classes,) a class is answered where its probability reaches its own, several classes a row;
    of two classes where one applies, the second is answered. cuts: (classes - 1,) rising points on the expected grade.
    With neither, the plain rule of the metric stands: the likeliest class, one half, or the probabilities as they are.
    never_empty: a row that reaches no threshold is answered with its likeliest class.
    """

    name: str
    several: bool
    temperature: float = 1.0
    shift: tuple[float, ...] | None = None
    thresholds: tuple[float, ...] | None = None
    cuts: tuple[float, ...] | None = None
    never_empty: bool = False

    def apply(self, probabilities: np.ndarray) -> Answer:
        """(n, classes) probabilities -> the same changed, and decisions, (n,) int or (n, classes) bool, or None.

        Raises Problem where the number of classes is another than that of the fit.
        """
        for values, classes in ((self.shift, 0), (self.thresholds, 0), (self.cuts, 1)):
            if values is not None and len(values) + classes != probabilities.shape[1]:
                raise Problem(
                    f"the decision {self.name!r} was fitted for {len(values) + classes} classes, "
                    f"not for {probabilities.shape[1]}"
                )
        return self.decided(self.changed(probabilities))

    def decided(self, changed: np.ndarray) -> Answer:
        """What the thresholds or cuts make of changed probabilities: of a mean over networks, say."""
        if self.cuts is not None:
            return changed, np.searchsorted(self.cuts, expected_grade(changed), side="right")
        if self.thresholds is None:
            return changed, None
        reached = changed >= np.array(self.thresholds)
        if self.never_empty:
            reached[np.flatnonzero(~reached.any(axis=1)), changed[~reached.any(axis=1)].argmax(axis=1)] = True
        return changed, reached if self.several else reached[:, 1].astype(np.int64)

    def changed(self, probabilities: np.ndarray) -> np.ndarray:
        """The probabilities after temperature and shift, which belong to one network each."""
        if self.temperature == 1 and self.shift is None:
            return probabilities
        p = np.asarray(probabilities, np.float64)
        moved = log_strength(p, self.several) / self.temperature + (0 if self.shift is None else np.array(self.shift))
        if self.several:
            return expit(moved)
        exps = np.exp(moved - moved.max(axis=1, keepdims=True))
        return exps / exps.sum(axis=1, keepdims=True)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> "Decision":
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in tree.items()})


def log_strength(p: np.ndarray, several: bool) -> np.ndarray:
    """log p, or the log-odds where several classes may apply."""
    return np.log(p.clip(TINY)) - (np.log1p(-p.clip(max=1 - 1e-16)) if several else 0)


def expected_grade(probabilities: np.ndarray) -> np.ndarray:
    """(n,) the mean of the grades 0, 1, 2 ... that a row of probabilities expects."""
    return probabilities @ np.arange(probabilities.shape[1]) / probabilities.sum(axis=1)
