"""Several runs become one answer: the plain mean, fitted weights, a mean of ranks or a linear stack, judged nested.

Whatever is fitted on out-of-fold rows looks better there than it is: every way is scored by what was fitted on the
other folds, and the plain way (the mean, or the best run alone) is kept unless another way's gain over it is real.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from src.core.errors import Problem
from src.evaluation.bootstrap import Answer
from src.evaluation.comparisons import Comparison, judged
from src.evaluation.held_out import HeldOut
from src.targets import TargetType, stored_target

Method = Literal["best run", "plain mean", "weighted mean", "rank mean", "linear stack"]  # as they are stored
BEST, PLAIN, WEIGHTED, RANKS, STACK = get_args(Method)
Tables = dict[str, np.ndarray]  # {run: (rows, classes) probabilities}, the same rows in the same order
STEPS, PATIENCE = 40, 10  # of the climb: weights are multiples of 1/40 at the finest


@dataclass(frozen=True)
class Blend:
    """How runs are joined, ready for the test rows and for a json file.

    weights: (runs,) that sum to 1, of the means, and of the best run all that there is; of a stack
    (classes, runs + 1), each class's factors of the runs' log-odds and its constant.
    """

    method: Method
    runs: tuple[str, ...]
    target: TargetType
    weights: tuple[Any, ...]

    def apply(self, tables: Tables, parts: np.ndarray | None = None) -> np.ndarray:
        """(rows, classes) probabilities; of a rank mean, ranks between 0 and 1.

        parts: (rows,) rows of one part were answered by the same networks, and are ranked together; None where all
        were, as test rows are. Raises Problem where a run is missing.
        """
        missing = [run for run in self.runs if run not in tables]
        if missing:
            raise Problem(
                f"the {self.method} needs run {missing[0]}, which is not among {', '.join(tables)}", code="missing-run"
            )
        stack = [tables[run] for run in self.runs]
        if self.method == STACK:
            return self.target.apply_stack(np.array(self.weights), stack)
        if self.method == RANKS:
            stack = [_ranks(table, parts) for table in stack]
        return sum(weight * table for weight, table in zip(self.weights, stack, strict=True))

    @property
    def alone(self) -> str | None:
        """The one run whose answer is taken as it is; None where several are joined."""
        sure = self.method in (BEST, PLAIN, WEIGHTED) and max(self.weights) == 1.0
        return self.runs[self.weights.index(1.0)] if sure else None

    def to_json(self) -> dict[str, Any]:
        return {"method": self.method, "runs": self.runs, "target": self.target.spec, "weights": self.weights}

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> "Blend":
        rows = (tuple(one) if isinstance(one, list | tuple) else one for one in tree["weights"])
        return cls(tree["method"], tuple(tree["runs"]), stored_target(tree), tuple(rows))


@dataclass(frozen=True)
class BlendChoice:
    """taken: the blend to use, fitted on all held-out rows. answer: its nested out-of-fold probabilities.

    comparison: every single run, and every way to join them, beside the plain way.
    """

    taken: Blend
    answer: np.ndarray
    comparison: Comparison


def plain_mean(runs: tuple[str, ...], target: TargetType) -> Blend:
    """The blend that nothing is fitted for."""
    return Blend(PLAIN, runs, target, (1 / len(runs),) * len(runs))


def choose_blend(
    held: HeldOut, tables: Tables, fitted: bool = True, ranks: bool = True, plain: Method = PLAIN
) -> BlendChoice:
    """Judge the ways to join these runs' held-out probabilities. Raises Problem for a single run.

    fitted: whether more than the plain mean is tried. ranks: whether the mean of ranks is, where the metric allows it.
    plain: the way that every other one must really beat, the mean or the best run.
    The networks that made a row's probabilities never saw it, but those of the rows that a fit learns from did: what
    is left of that in the nested scores is small, and the same for every way.
    """
    if len(tables) < 2:
        raise Problem("a blend needs at least two runs", code="too-few-runs")
    every, singles = np.arange(len(held.id)), {}
    for run, table in tables.items():
        singles[f"run {run}"] = (None, (table, None))
    candidates: dict[str, tuple[Answer | None, Answer]] = {}
    for method in dict.fromkeys((plain, *(_methods(held, ranks) if fitted else (PLAIN,)))):
        same = _fit(method, held, tables, every).apply(tables, held.folds), None
        if method in (PLAIN, RANKS):
            candidates[method] = None, same
        else:
            candidates[method] = same, held.nested(lambda rows, method=method: _applied(method, held, tables, rows))
    comparison = judged(held, plain, candidates, beside=singles)
    return BlendChoice(_fit(comparison.taken, held, tables, every), candidates[comparison.taken][1][0], comparison)


def hill_climbing(held: HeldOut, tables: Tables, rows: np.ndarray) -> np.ndarray:
    """(runs,) weights that sum to 1: greedy selection with replacement from the best single run (Caruana, 2004).

    Each step adds the run that helps the mean most; of all steps the best is kept, the first of equals, and the climb
    ends when PATIENCE steps were no better.
    """
    stack = [table[rows] for table in tables.values()]
    counts = np.zeros(len(stack))
    total, best, kept = np.zeros_like(stack[0]), -np.inf, counts
    while counts.sum() < min(STEPS, kept.sum() + PATIENCE):
        merits = [held.objective(((total + table) / (counts.sum() + 1), None), rows) for table in stack]
        at = int(np.argmax(merits))
        total, counts = total + stack[at], counts + (np.arange(len(stack)) == at)
        if merits[at] > best:
            best, kept = merits[at], counts
    return kept / kept.sum() if kept.any() else np.full(len(stack), 1 / len(stack))


def _methods(held: HeldOut, ranks: bool) -> tuple[Method, ...]:
    """Ranks forget what a probability is: they fit scores of order alone, where a row need not sum to 1."""
    return PLAIN, WEIGHTED, *((RANKS,) if ranks and held.metric.blends_ranks else ()), STACK


def _applied(method: Method, held: HeldOut, tables: Tables, rows: np.ndarray) -> Any:
    blend = _fit(method, held, tables, rows)
    return lambda others: (blend.apply({run: table[others] for run, table in tables.items()}), None)


def _fit(method: Method, held: HeldOut, tables: Tables, rows: np.ndarray) -> Blend:
    if method == BEST:
        merits = [held.objective((table[rows], None), rows) for table in tables.values()]
        weights = tuple(float(at == np.argmax(merits)) for at in range(len(merits)))
    elif method == WEIGHTED:
        weights = tuple(hill_climbing(held, tables, rows).tolist())
    elif method == STACK:
        weights = tuple(
            map(tuple, held.target.fit_stack(held.targets[rows], [table[rows] for table in tables.values()]).tolist())
        )
    else:
        weights = (1 / len(tables),) * len(tables)
    return Blend(method, tuple(tables), held.target, weights)


def _ranks(table: np.ndarray, parts: np.ndarray | None) -> np.ndarray:
    from scipy.stats import rankdata  # half a second, which a single run need not wait

    ranked = np.zeros(table.shape)
    parts = np.zeros(len(table)) if parts is None else parts
    for part in np.unique(parts):
        rows = parts == part
        ranked[rows] = rankdata(table[rows], axis=0) / (rows.sum() + 1)
    return ranked
