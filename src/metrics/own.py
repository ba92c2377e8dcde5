"""A competition's own metric: metric.py in its folder, with everything at hand that a metric of the package has."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import get_args

import numpy as np

from src.core.errors import Problem, UsageError
from src.metrics.metric import Metric, Needs, Rows, takes_rows
from src.metrics.rules import NAMED, Rule
from src.targets import TargetType


class OwnMetric(Metric):
    """What metric.py says.

    `higher_is_better`: True or False. `score(targets, answers)`, or with a third argument, `rows`: ids, groups and
    weights of the rows (see Rows). If it likes, `needs`: probabilities (the usual), labels (answers are decisions) or
    ranks; `decision`: the names of the rules to fit; and `per_row(targets, answers)`, what each row adds to a score
    that is a mean over rows, which makes its intervals quick.
    """

    registered = "own"

    def __init__(self, target: TargetType, path: Path, module: ModuleType) -> None:
        super().__init__(target)
        self.path, self.module = path, module
        self.needs = getattr(module, "needs", None) or "probabilities"
        self.higher_is_better = module.higher_is_better
        self.takes_rows = takes_rows(module.score)

    @property
    def perfect(self) -> float | None:
        """Not known: it may count to 100."""
        return None

    def value(self, truth: np.ndarray, answers: np.ndarray, rows: Rows | None) -> float:
        if not self.takes_rows:
            return self._call("score", truth, answers)
        if rows is None:
            raise Problem(
                f"{self.path}: score asks for rows, and what is scored here has none", code="no-rows-to-score"
            )
        return self._call("score", truth, answers, rows)

    @property
    def weighs_rows(self) -> bool:
        return self.quick or self.takes_rows

    @property
    def quick(self) -> bool:
        return hasattr(self.module, "per_row")

    def per_row(self, truth: np.ndarray, answers: np.ndarray) -> np.ndarray | None:
        return np.asarray(self._call("per_row", truth, answers)) if self.quick else None

    def rules(self, shift: np.ndarray | None) -> tuple[Rule, ...]:
        return tuple(NAMED[name]() for name in decision_names(self.module))

    def _call(self, name: str, *arguments: object) -> object:
        try:
            return getattr(self.module, name)(*arguments)
        except Exception as error:
            raise Problem(
                f"{self.path}: {name} failed: {type(error).__name__}: {error}", code="own-metric-failed"
            ) from error


def own_metric(folder: Path | None, target: TargetType) -> OwnMetric:
    """The metric of metric.py in `folder`. Raises UsageError where it is absent or does not hold what it must."""
    path = folder / "metric.py" if folder else None
    if path is None or not path.is_file():
        raise UsageError(
            f"metric: own needs {path or 'metric.py in the competition folder'}, which is not there",
            code="no-such-file",
        )
    spec = importlib.util.spec_from_file_location("own_metric", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(
            f"{path} cannot be loaded: {type(error).__name__}: {error}", code="extension-failed"
        ) from error
    score, higher, needs = (getattr(module, key, None) for key in ("score", "higher_is_better", "needs"))
    if not callable(score) or not isinstance(higher, bool) or (needs or "probabilities") not in get_args(Needs):
        raise UsageError(
            f"{path} must hold `higher_is_better = True` or False, `def score(targets, answers)`, "
            f"and, if it likes, `needs` as one of {', '.join(get_args(Needs))}",
            code="own-metric-incomplete",
        )
    unknown = [name for name in decision_names(module) if name not in NAMED]
    if unknown:
        raise UsageError(
            f"{path}: decision {unknown[0]!r} is no rule: take one of {', '.join(NAMED)}", code="unknown-decision-rule"
        )
    return OwnMetric(target, path, module)


def decision_names(module: ModuleType) -> list[str]:
    """The rules that metric.py asks to be fitted."""
    names = getattr(module, "decision", None) or []
    return [names] if isinstance(names, str) else list(names)
