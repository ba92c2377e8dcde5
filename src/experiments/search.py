"""A search: a study proposes runs, poor ones are stopped early, and what all came to is written as one comparison.

On a Ray cluster the cells that train folds and sweeps there train the trials too, and this command alone asks and tells
the study. Ray Tune would be a second owner of trials, with checkpoints, retries and a resume of its own beside those
that every run has; what it would add, schedulers of many trials, Optuna's pruner does.
"""

from collections.abc import Iterator
from functools import partial

from src.competition.card import load_card
from src.competition.competition import loaded_once
from src.config.request import Request
from src.core.console import ProgressReporter, log, note
from src.core.errors import Problem
from src.core.locks import only_one
from src.core.worker_processes import run_tasks
from src.experiments.outcomes import outcomes_of
from src.experiments.search_space import Space
from src.experiments.study import FAILED, STOPPED, Study, Tried, mend
from src.experiments.sweep import side_by_side
from src.experiments.trial import Poor, Trial, train_here
from src.launchers.launcher import HERE
from src.launchers.ray.runs import run_on_ray
from src.metrics import Metric, metric
from src.reporting.comparison_table import write_comparison


def search(space: Space, address: str | None = HERE) -> None:
    """Make the trials that are not made yet, then write tables and figures into the space's folder.

    address: of the Ray cluster whose nodes train them. A trial that fails is told and left out, and the others go on;
    at the end Problem names those that failed. The same command goes on with what was under way, and tries failed ones
    again; a larger number of trials goes on from there.
    """
    card = load_card(space.first.request.competition)
    measure = metric(card.metric, card.target_type, card.folder)
    with only_one(space.folder, f"search {space.name}"):
        mend(space.folder)
        study = Study(space.folder, measure.higher_is_better)
        study.belongs_to(f"{space.first.request.config.hash()} {measure.name} {'; '.join(map(str, space.dimensions))}")
        made = len(study.trials)
        so_far = f", {made} of them made" if made else ""
        left = space.trials - len(study.done) - len(study.with_fate(STOPPED))
        with loaded_once([space.first.request.config]):
            with ProgressReporter(count=left) as terminal:
                if address is HERE:
                    sides = side_by_side((space.first,), space.trials)
                    at_once = f", {sides.count} at once" if sides.count > 1 else ""
                    note("search-begun", f"{space.title}: {space.trials} trials{so_far}{at_once}")
                    tasks = (partial(train_here, space, measure, sides.count, tried) for tried in _tries(study, space))
                    run_tasks(tasks, sides.count, terminal, sides.gpus)
                else:
                    note("search-begun", f"{space.title}: {space.trials} trials{so_far}")
                    trials = OnCluster(study, space, measure)
                    run_on_ray(trials.cells(), address, terminal, watch=trials)
            _compare(study, space)
    failures = _format(study.with_fate(FAILED), space)
    if failures:
        lines = "".join(f"\n  {label}: {reason}" for label, reason in failures.items())
        raise Problem(
            f"{len(failures)} of {space.trials} trials failed; the same command tries them again:{lines}",
            code="runs-failed",
        )


class OnCluster:
    """The trials that are under way on a cluster, seen from beside the command."""

    def __init__(self, study: Study, space: Space, measure: Metric) -> None:
        self.study, self.space, self.measure = study, space, measure
        self.trials: dict[str, Trial] = {}
        self.stands: dict[str, str] = {}

    def cells(self) -> Iterator[tuple[str, Request]]:
        """Each chosen when there is room for it."""
        for tried in _tries(self.study, self.space):
            trial = Trial(self.space, self.measure, tried, self.study)
            trial.begin()
            label = trial.label
            self.trials[label] = trial
            yield label, trial.request

    def poor(self, label: str) -> bool:
        stand = self.trials[label].poor()
        if stand:
            self.stands[label] = stand
        return stand is not None

    def over(self, label: str, problem: Exception | None) -> None:
        """One that ended with a score before it could be stopped keeps it."""
        if problem and label in self.stands:
            problem = Poor(self.stands[label])
        self.trials.pop(label).end(problem)


def _tries(study: Study, space: Space) -> Iterator[Tried]:
    """What was cut off, what failed, and then new ones, each chosen when its turn comes."""
    failed = study.with_fate(FAILED)
    yield from study.unfinished()
    for tried in failed:
        yield study.ask_again(tried, space)
    while len(study.trials) < space.trials:
        yield study.ask(space)


def _compare(study: Study, space: Space) -> None:
    cells = tuple(space.cell(tried.values) for tried in study.done)
    absent = {fate.capitalize(): _format(study.with_fate(fate), space) for fate in (STOPPED, FAILED)}
    if cells:
        outcomes = outcomes_of(space.plan(cells), cells)
        log.info(write_comparison(space.folder, space.title, space.command, outcomes, absent, (_honest(study),)))
        log.info(f"written to {space.folder}: comparison.html, summary.csv, scores.png, confusions.png and the like")


def _honest(study: Study) -> str:
    """What a score that was searched for is, and is not."""
    stopped = len(study.with_fate(STOPPED))
    return (
        f"The best is the pick of {len(study.trials)} trials"
        + (f", {stopped} of them stopped early" if stopped else "")
        + ". Which trials were made and which were stopped was led by the held-out rows that score them, never by test "
        "answers; no interval here takes that out. What the pick is really worth, other folds tell, or the leaderboard."
    )


def _format(tries: list[Tried], space: Space) -> dict[str, str]:
    return {space.cell(tried.values).label: tried.reason for tried in tries}
