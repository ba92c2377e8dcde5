"""The decision that fits the metric, chosen out of fold: each rule judged nested, the plain one kept if it can be."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from src.evaluation.bootstrap import Answer
from src.evaluation.comparisons import Comparison, Judged, judged
from src.evaluation.held_out import Apply, HeldOut
from src.metrics.decision import Decision
from src.metrics.rules import NoneOfThem, PriorDividedOut, Rule


@dataclass(frozen=True)
class DecisionChoice:
    """decision: fitted on all held-out rows. answer: the nested out-of-fold one. verdict: every rule that was tried."""

    decision: Decision
    answer: Answer
    comparison: Comparison


def choose_decision(
    held: HeldOut,
    probabilities: np.ndarray,
    shift: np.ndarray | None = None,
    never_empty: bool = False,
    sure: bool = True,
) -> DecisionChoice:
    """Try the rules that fit the metric on the held-out probabilities, (rows, classes).

    shift: (classes,) what divides a resampling out, from `prior_shift`; None where training saw the classes as they
    are. Ranks and areas under curves want no decision: then the plain one is all there is. never_empty: of several
    classes, at least one is always answered. sure: see `judged`.
    """
    metric, classes = held.metric, probabilities.shape[1]
    decided = metric.needs == "labels"
    plain = Decision(
        metric.target.plain_rule if decided else metric.target.undecided_rule,
        metric.target,
        thresholds=metric.target.plain_thresholds(classes) if decided else None,
    )
    # Where nothing is below a threshold, no row can be empty.
    plain = replace(plain, never_empty=never_empty and plain.thresholds is not None)
    rules: dict[str, Rule] = {rule.name: rule for rule in metric.rules(shift)}
    if metric.target.last_is_none and not metric.ignores_prior:
        rules[NoneOfThem.name] = NoneOfThem()
    candidates: dict[str, Judged] = {plain.name: (None, plain.apply(probabilities))}

    def fitted(rule: Rule, rows: np.ndarray | slice = slice(None)) -> Decision:
        decision = rule.fit(metric, held.targets[rows], probabilities[rows], held.rows.at(rows))
        return replace(decision, never_empty=plain.never_empty)

    def learned(rule: Rule, rows: np.ndarray) -> Apply:
        decision = fitted(rule, rows)
        return lambda others: decision.apply(probabilities[others])

    for name, rule in rules.items():
        candidates[name] = fitted(rule).apply(probabilities), held.nested(partial(learned, rule))
    if shift is not None and not metric.ignores_prior:
        divided = PriorDividedOut(shift)
        rules[divided.name] = divided
        candidates[divided.name] = None, fitted(divided).apply(probabilities)
    comparison = judged(held, plain.name, candidates, sure=sure)
    rule = rules.get(comparison.taken)
    return DecisionChoice(fitted(rule) if rule else plain, candidates[comparison.taken][1], comparison)
