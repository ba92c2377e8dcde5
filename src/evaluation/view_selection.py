"""The views of test-time augmentation, chosen out of fold from stored logits: the set whose gain is real.

A path is grown from the plain view: at each step the affordable view is added that helps the mean most. To look at
many views and keep the best flatters them, so that each fold is answered by a path that was grown on the other folds;
what is left to pick is the path's length, and the intervals of all lengths hold at once.
"""

from dataclasses import dataclass

import numpy as np

from src.core.errors import UsageError
from src.evaluation.bootstrap import Answer, Gain, gains
from src.evaluation.held_out import HeldOut

PLAIN = "identity"


@dataclass(frozen=True)
class Step:
    """The path up to here. seconds: of one image through all its views. score: nested. gain: over the plain view."""

    views: tuple[str, ...]
    seconds: float
    score: float
    gain: Gain | None


@dataclass(frozen=True)
class ViewChoice:
    """taken: the step whose views to use. steps: the whole path, the plain view first.

    answer: (rows, classes) the nested out-of-fold probabilities of a set of the taken length: each fold is answered by
    views that were chosen on the others.
    """

    metric: str
    steps: tuple[Step, ...]
    taken: Step
    answer: np.ndarray

    @property
    def views(self) -> tuple[str, ...]:
        return self.taken.views

    @property
    def lines(self) -> tuple[str, ...]:
        """A table to print: what each further view costs and brings, and which set is taken."""
        others = len(self.steps) - 1
        text = [f"{'views, one more a line':30s} {'s/image':>9s} {self.metric:>9s}   gain over {PLAIN}, 95 % intervals"]
        for step in self.steps:
            name = step.views[-1] if step.gain is None else f"+ {step.views[-1]}"
            gain = "" if step.gain is None else f"   {step.gain}"
            mark = "   taken" if step is self.taken else ""
            text.append(f"{name:30s} {step.seconds:9.5f} {step.score:9.4f}{gain}{mark}")
        why = f"each fold by views chosen on the others; intervals hold for all {others} lengths at once"
        if others and self.taken.gain is None:
            return (*text, f"no view has a real gain, so the image as it is is all that is used ({why})")
        return (*text, why) if others else tuple(text)


def choose_views(
    held: HeldOut, probabilities: dict[str, np.ndarray], seconds: dict[str, float], budget: float | None = None
) -> ViewChoice:
    """The shortest set of views that has a real gain and is nearly the best; the plain view where there is none.

    probabilities: {view: (rows, classes)} of the held-out rows, `identity` among them. seconds: {view: of one image}.
    budget: the most seconds that an image may take in all its views. Raises UsageError where one view takes more.
    """
    if budget is not None and seconds[PLAIN] > budget:
        raise UsageError(
            f"predict.budget={budget:g}: the image as it is alone takes {seconds[PLAIN]:.4g} seconds: allow more",
            code="budget-too-small",
        )
    path = _path(held, probabilities, np.arange(len(held.id)), seconds, budget)
    answers = _nested_answers(held, probabilities, len(path), seconds, budget)
    found = gains(held.metric, held.targets, answers[0], answers[1:], held.groups, rows=held.rows)
    steps = tuple(
        Step(
            path[: k + 1],
            sum(seconds[v] for v in path[: k + 1]),
            held.metric.score(held.targets, *answer, held.rows),
            gain,
        )
        for k, (answer, gain) in enumerate(zip(answers, [None, *found], strict=True))
    )
    enough = _enough(held, answers, found)
    return ViewChoice(held.metric.name, steps, steps[enough], answers[enough][0])


def _path(
    held: HeldOut,
    probabilities: dict[str, np.ndarray],
    rows: np.ndarray,
    seconds: dict[str, float],
    budget: float | None,
) -> tuple[str, ...]:
    """Views in the order in which they help the mean of these rows most; of equals the first."""
    tables = {view: table[rows] for view, table in probabilities.items()}
    path, total, spent = [PLAIN], tables.pop(PLAIN), seconds[PLAIN]
    while True:
        open_to = [view for view in tables if budget is None or spent + seconds[view] <= budget]
        if not open_to:
            return tuple(path)
        # Of equals the first, not the quicker: seconds are measured, and the same command must choose the same views.
        best = max(open_to, key=lambda view: held.objective(((total + tables[view]) / (len(path) + 1), None), rows))
        path.append(best)
        total, spent = total + tables.pop(best), spent + seconds[best]


def _nested_answers(
    held: HeldOut, probabilities: dict[str, np.ndarray], lengths: int, seconds: dict[str, float], budget: float | None
) -> list[Answer]:
    """For each length of path, every row answered by the views that were chosen on the other folds."""
    answers = [np.zeros_like(probabilities[PLAIN]) for _ in range(lengths)]
    for others, rows in held.splits():
        path = _path(held, probabilities, others, seconds, budget)
        total = np.zeros_like(answers[0][rows])
        for k in range(lengths):
            if k < len(path):  # a path of slower views ends sooner, and stays as it is
                total = total + probabilities[path[k]][rows]
            answers[k][rows] = total / min(k + 1, len(path))
    return [(answer, None) for answer in answers]


def _enough(held: HeldOut, answers: list[Answer], found: list[Gain]) -> int:
    """The step to take: the shortest with a real gain that is within one standard error of the best of those.

    The best length of many is partly luck, and each view costs its seconds again with every image (the rule of Breiman
    and others, 1984).
    """
    real = [k for k, gain in enumerate(found, start=1) if gain.real]
    if not real:
        return 0
    best = max(real, key=lambda k: found[k - 1].value)
    shorter = [k for k in real if k < best]
    apart = gains(held.metric, held.targets, answers[best], [answers[k] for k in shorter], held.groups, rows=held.rows)
    return next((k for k, gain in zip(shorter, apart, strict=True) if gain.value + gain.error >= 0), best)
