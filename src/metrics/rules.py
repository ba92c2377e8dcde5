"""Decision rules that can be fitted for a metric: each turns the truth and the probabilities of some rows into one."""

from collections.abc import Callable

import numpy as np

from src.metrics.decision import Decision, expected_grade
from src.metrics.metric import Metric, OneThreshold, Rows, Rule
from src.metrics.thresholds import cut_points

TILTS = np.arange(-12, 13) / 8  # powers of the classes' shares
NONE_PLACES = 41  # shifts of the class that stands for none of the others
HOTTEST = 10.0  # temperatures lie between one part of it and it


class CutPoints(Rule):
    """Cuts of the expected grade, for quadratic weighted kappa."""

    name = "cut-points"

    def fit(self, metric: Metric, truth: np.ndarray, p: np.ndarray, rows: Rows | None = None) -> Decision:
        return Decision(self.name, metric.target, cuts=plain(cut_points(truth, expected_grade(p), p.shape[1])))


class Temperature(Rule):
    """One factor for how sure the networks are; with `shift`, (classes,), after that has moved the classes."""

    name = "temperature"

    def __init__(self, shift: np.ndarray | None = None) -> None:
        self.shift = None if shift is None else plain(shift)
        if shift is not None:
            self.name = "prior and temperature"

    def fit(self, metric: Metric, truth: np.ndarray, p: np.ndarray, rows: Rows | None = None) -> Decision:
        from scipy.optimize import minimize_scalar

        def at(log_temperature: float) -> Decision:
            return Decision(self.name, metric.target, temperature=float(np.exp(log_temperature)), shift=self.shift)

        def loss(log_temperature: float) -> float:
            score = metric.score(truth, *at(log_temperature).apply(p), rows)
            return -score if metric.higher_is_better else score

        reach = np.log(HOTTEST)
        return at(minimize_scalar(loss, bounds=(-reach, reach), method="bounded", options={"xatol": 1e-3}).x)


class ClassThresholds(Rule):
    """A threshold for each class; `best` finds them from truth, probabilities and one threshold to start from."""

    name = "a threshold each class"

    def __init__(self, best: Callable[[np.ndarray, np.ndarray, float], np.ndarray]) -> None:
        self.best = best

    def fit(self, metric: Metric, truth: np.ndarray, p: np.ndarray, rows: Rows | None = None) -> Decision:
        start = OneThreshold().fit(metric, truth, p, rows).thresholds[0]
        return Decision(self.name, metric.target, thresholds=plain(self.best(truth > 0.5, p, start)))


class TiltedPrior(Rule):
    """Each class weighed by one power of its share: rare classes up or down, one number for all (Menon, 2021)."""

    name = "tilted prior"

    def fit(self, metric: Metric, truth: np.ndarray, p: np.ndarray, rows: Rows | None = None) -> Decision:
        counts = np.bincount(truth, minlength=p.shape[1])
        shares = np.log((counts + 1) / (len(truth) + len(counts)))
        tilts = [Decision(self.name, metric.target, shift=plain(tilt * shares)) for tilt in sorted(TILTS, key=abs)]
        return max(tilts, key=lambda tilt: metric.objective(truth, *tilt.apply(p), rows))


class NoneOfThem(Rule):
    """How easily the last class, which stands for none of the others, is answered: a shift of its own.

    The places tried are those at which equal numbers of rows turn to it.
    """

    name = "none of them"

    def fit(self, metric: Metric, truth: np.ndarray, p: np.ndarray, rows: Rows | None = None) -> Decision:
        strength = metric.target.log_strength(p)
        behind = strength[:, :-1].max(axis=1) - strength[:, -1]
        places = np.quantile(behind, np.linspace(0, 1, NONE_PLACES)) if len(behind) else []
        shifts = [0.0, *sorted((float(place) for place in places), key=abs)]
        still = (0.0,) * (p.shape[1] - 1)
        tried = [Decision(self.name, metric.target, shift=(*still, shift)) for shift in shifts]
        return max(tried, key=lambda one: metric.objective(truth, *one.apply(p), rows))


class PriorDividedOut(Rule):
    """What a resampling of the classes shifted is moved back; nothing is fitted."""

    name = "prior divided out"

    def __init__(self, shift: np.ndarray) -> None:
        self.shift = plain(shift)

    def fit(self, metric: Metric, truth: np.ndarray, p: np.ndarray, rows: Rows | None = None) -> Decision:
        return Decision(self.name, metric.target, shift=self.shift)


NAMED: dict[str, type[Rule]] = {rule.name: rule for rule in (CutPoints, Temperature, OneThreshold, TiltedPrior)}


def plain(values: np.ndarray) -> tuple[float, ...]:
    return tuple(map(float, values))
