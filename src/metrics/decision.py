"""How probabilities become the answer that a metric wants: a rule fitted out of fold and applied to the test rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from src.core.errors import Problem
from src.targets import TargetType, stored_target

Answer = tuple[np.ndarray, np.ndarray | None]  # predictions (n, outputs), and decisions where there are some


@dataclass(frozen=True)
class Decision:
    """temperature and shift (classes,) change the probabilities: their logarithms, or log-odds where several classes
    may apply, are divided by the one and moved by the other. Then at most one of these decides:

    thresholds: (classes,) a class is answered where its probability reaches its own, several classes a row;
    of two classes where one applies, the second is answered. cuts: (classes - 1,) rising points on the expected grade.
    With neither, the plain rule of the metric stands: the likeliest class, one half, or the probabilities as they are.
    never_empty: a row that reaches no threshold is answered with its likeliest class.
    of_mean: temperature and shift change the mean over networks in place of each network, which keeps the order of
    the rows within a column (of two classes, or of several that may apply), and so every area under a curve.
    """

    name: str
    target: TargetType
    temperature: float = 1.0
    shift: tuple[float, ...] | None = None
    thresholds: tuple[float, ...] | None = None
    cuts: tuple[float, ...] | None = None
    never_empty: bool = False
    of_mean: bool = False

    def apply(self, probabilities: np.ndarray) -> Answer:
        """(n, classes) probabilities -> the same changed, and decisions, (n,) int or (n, classes) bool, or None.

        Raises Problem where the number of classes is another than that of the fit.
        """
        for values, classes in ((self.shift, 0), (self.thresholds, 0), (self.cuts, 1)):
            if values is not None and len(values) + classes != probabilities.shape[1]:
                raise Problem(
                    f"the decision {self.name!r} was fitted for {len(values) + classes} classes, "
                    f"not for {probabilities.shape[1]}",
                    code="classes-differ",
                )
        return self.decided(self.changed(probabilities))

    def decided(self, changed: np.ndarray) -> Answer:
        """What the thresholds or cuts make of changed probabilities: of a mean over networks, say."""
        changed = self._moved(changed) if self.of_mean else changed
        if self.cuts is not None:
            return changed, np.searchsorted(self.cuts, expected_grade(changed), side="right")
        if self.thresholds is None:
            return changed, None
        reached = changed >= np.array(self.thresholds)
        if self.never_empty:
            reached[np.flatnonzero(~reached.any(axis=1)), changed[~reached.any(axis=1)].argmax(axis=1)] = True
        return changed, self.target.from_reached(reached)

    def changed(self, probabilities: np.ndarray) -> np.ndarray:
        """The probabilities after temperature and shift, which belong to one network each, or else to the mean."""
        return probabilities if self.of_mean else self._moved(probabilities)

    def _moved(self, probabilities: np.ndarray) -> np.ndarray:
        if self.temperature == 1 and self.shift is None:
            return probabilities
        p = np.asarray(probabilities, np.float64)
        moved = 0 if self.shift is None else np.array(self.shift)
        return self.target.from_strength(self.target.log_strength(p) / self.temperature + moved)

    def to_json(self) -> dict[str, Any]:
        keys = ("temperature", "shift", "thresholds", "cuts", "never_empty", *(("of_mean",) if self.of_mean else ()))
        return {"name": self.name, "target": self.target.spec} | {key: getattr(self, key) for key in keys}

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> "Decision":
        fitted = {key: value for key, value in tree.items() if key not in ("target", "several")}
        fitted = {key: tuple(value) if isinstance(value, list) else value for key, value in fitted.items()}
        return cls(target=stored_target(tree), **fitted)


def expected_grade(probabilities: np.ndarray) -> np.ndarray:
    """(n,) the mean of the grades 0, 1, 2 ... that a row of probabilities expects."""
    return probabilities @ np.arange(probabilities.shape[1]) / probabilities.sum(axis=1)
