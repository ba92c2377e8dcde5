"""The decision that fits the metric, chosen out of fold: each rule judged nested, the plain one kept if it can be."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from src.evaluation.bootstrap import Answer
from src.evaluation.comparisons import Judged, Verdict, judged
from src.evaluation.decision_rules import Decision, expected_grade
from src.evaluation.held_out import Apply, HeldOut
from src.evaluation.thresholds import (
    cut_points,
    macro_thresholds,
    micro_thresholds,
    sample_thresholds,
    shared_threshold,
)

Rule = Callable[[np.ndarray, np.ndarray], Decision]  # the truth and the probabilities of the rows to learn from
TILTS = np.arange(-12, 13) / 8  # powers of the classes' shares
DIVIDED = "prior divided out"
HOTTEST = 10.0  # temperatures lie between one part of it and it


@dataclass(frozen=True)
class DecisionChoice:
    """decision: fitted on all held-out rows. answer: the nested out-of-fold one. verdict: every rule that was tried."""

    decision: Decision
    answer: Answer
    verdict: Verdict


def choose_decision(
    held: HeldOut, probabilities: np.ndarray, shift: np.ndarray | None = None, never_empty: bool = False
) -> DecisionChoice:
    """Try the rules that fit the metric on the held-out probabilities, (rows, classes).

    shift: (classes,) what divides a resampling out, from `prior_shift`; None where training saw the classes as they
    are. Ranks and areas under curves want no decision: then the plain one is all there is. never_empty: of several
    classes, at least one is always answered.
    """
    classes, sets = probabilities.shape[1], held.several and held.metric.needs == "labels"
    plain = Decision(_plain_name(held), held.several, thresholds=(0.5,) * classes if sets else None)
    plain = replace(plain, never_empty=never_empty and sets)
    rules = {name: _filled(rule, plain.never_empty) for name, rule in _rules(held, shift).items()}
    ways: dict[str, Judged] = {plain.name: (None, plain.apply(probabilities))}
    for name, rule in rules.items():
        same = rule(held.targets, probabilities).apply(probabilities)
        ways[name] = same, held.nested(partial(_learned, rule, held, probabilities))
    if shift is not None and held.metric.name not in ("auc", "mean_column_auc"):
        ways[DIVIDED] = None, Decision(DIVIDED, held.several, shift=_plain(shift)).apply(probabilities)
        rules[DIVIDED] = lambda targets, p: Decision(DIVIDED, held.several, shift=_plain(shift))
    verdict = judged(held, plain.name, ways)
    rule = rules.get(verdict.taken)
    return DecisionChoice(rule(held.targets, probabilities) if rule else plain, ways[verdict.taken][1], verdict)


def prior_shift(targets: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    """(classes,) what turns probabilities learned under row weights back: the logarithm of a class's true share over
    its share as drawn (Saerens and others, 2002); of multi-label targets, of its odds.

    targets: (n,) int or (n, classes) 0/1 of the rows trained on. weights: (n,) as `row_weights` gives the sampler.
    A class without a row is not moved.
    """
    truth = targets if targets.ndim == 2 else targets[:, None] == np.arange(classes)
    true, drawn = truth.mean(axis=0), (weights / weights.sum()) @ truth
    if targets.ndim == 2:
        true, drawn = true / np.maximum(1 - true, 1e-12), drawn / np.maximum(1 - drawn, 1e-12)
    there = (true > 0) & (drawn > 0)
    return np.where(there, np.log(np.where(there, true, 1) / np.where(there, drawn, 1)), 0.0)


def _filled(rule: Rule, never_empty: bool) -> Rule:
    return lambda targets, p: replace(rule(targets, p), never_empty=never_empty)


def _learned(rule: Rule, held: HeldOut, probabilities: np.ndarray, rows: np.ndarray) -> Apply:
    decision = rule(held.targets[rows], probabilities[rows])
    return lambda others: decision.apply(probabilities[others])


def _rules(held: HeldOut, shift: np.ndarray | None) -> dict[str, Rule]:
    """The rules that are fitted for this metric, by the name that is printed."""
    name, several = held.metric.name, held.several
    if name == "qwk":
        return {"cut-points": partial(_cuts, "cut-points")}
    if name == "log_loss":
        rules = {"temperature": partial(_temperature, "temperature", held, None)}
        if shift is not None:
            rules["prior and temperature"] = partial(_temperature, "prior and temperature", held, shift)
        return rules
    if name == "f1" or (several and held.metric.needs == "labels" and name != "own"):
        rules = {"one threshold": partial(_one_threshold, "one threshold", held)}
        if name in ("macro_f1", "micro_f1", "sample_f1"):
            rules["a threshold each class"] = partial(_class_thresholds, "a threshold each class", held)
        return rules
    if name in ("macro_f1", "balanced_accuracy"):
        return {"tilted prior": partial(_tilted, "tilted prior", held)}
    return {}


def _cuts(name: str, targets: np.ndarray, p: np.ndarray) -> Decision:
    return Decision(name, False, cuts=_plain(cut_points(targets, expected_grade(p), p.shape[1])))


def _temperature(name: str, held: HeldOut, shift: np.ndarray | None, targets: np.ndarray, p: np.ndarray) -> Decision:
    from scipy.optimize import minimize_scalar

    def at(log_temperature: float) -> Decision:
        move = None if shift is None else _plain(shift)
        return Decision(name, held.several, temperature=float(np.exp(log_temperature)), shift=move)

    def loss(log_temperature: float) -> float:
        return held.metric.score(targets, *at(log_temperature).apply(p))

    reach = np.log(HOTTEST)
    return at(minimize_scalar(loss, bounds=(-reach, reach), method="bounded", options={"xatol": 1e-3}).x)


def _one_threshold(name: str, held: HeldOut, targets: np.ndarray, p: np.ndarray) -> Decision:
    def at(threshold: float) -> Decision:
        return Decision(name, held.several, thresholds=(float(threshold),) * p.shape[1])

    return at(shared_threshold(lambda threshold: held.merit_of(targets, at(threshold).apply(p))))


def _class_thresholds(name: str, held: HeldOut, targets: np.ndarray, p: np.ndarray) -> Decision:
    truth = targets > 0.5
    if held.metric.name == "macro_f1":
        found = macro_thresholds(truth, p)
    elif held.metric.name == "micro_f1":
        found = micro_thresholds(truth, p)
    else:
        found = sample_thresholds(truth, p, _one_threshold(name, held, targets, p).thresholds[0])
    return Decision(name, True, thresholds=_plain(found))


def _tilted(name: str, held: HeldOut, targets: np.ndarray, p: np.ndarray) -> Decision:
    """Each class weighed by one power of its share: rare classes up or down, one number for all (Menon, 2021)."""
    counts = np.bincount(targets, minlength=p.shape[1])
    shares = np.log((counts + 1) / (len(targets) + len(counts)))
    tilts = [Decision(name, False, shift=_plain(tilt * shares)) for tilt in sorted(TILTS, key=abs)]
    return max(tilts, key=lambda tilt: held.merit_of(targets, tilt.apply(p)))


def _plain(values: np.ndarray) -> tuple[float, ...]:
    return tuple(map(float, values))


def _plain_name(held: HeldOut) -> str:
    if held.metric.needs != "labels":
        return "probabilities as they are"
    return "one half" if held.several else "likeliest class"
