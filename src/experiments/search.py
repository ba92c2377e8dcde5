"""A search: a study proposes runs, poor ones are stopped early, and what all came to is written as one comparison."""

import math
import traceback
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from src.command import parse
from src.competition.card import load_card
from src.errors import Problem
from src.experiments.outcomes import outcomes_of
from src.experiments.space import Space
from src.experiments.study import FAILED, STOPPED, Study, Tried, mend
from src.experiments.sweep import Lines, side_by_side, with_share
from src.metrics import Metric, metric
from src.reporting.comparison import write_comparison
from src.runs import DONE, Run, only_one, read_json
from src.training.session import train
from src.training.side_by_side import Task, run_tasks
from src.training.terminal import Teller
from src.training.warn import Diverged

Say = Callable[[str], None]


class Poor(Exception):
    """Raised out of a run's training, between two epochs, when it is not worth going on with."""


class Trial:
    """One run of a search: trained as every other, looked at after each epoch."""

    def __init__(self, space: Space, measure: Metric, side: int, tried: Tried) -> None:
        """side: how many of them run side by side."""
        self.space, self.measure, self.number = space, measure, tried.number
        self.cell = space.cell(tried.values)
        # Its folds one after the other: the first ones already tell a poor trial.
        self.request = with_share(self.cell.request, 1, side)
        self.run = Run(self.request.competition, self.request.run)

    def __call__(self, teller: Teller) -> None:
        """Train the run and tell the study what it came to."""
        self.study = Study(self.space.folder, self.measure.higher_is_better)
        self.teller = teller
        teller.say(f"trial {self.number}: {self.told}, run {self.run.name}")
        try:
            train(self.request, self._hear)
            self._end()
        except Poor as stand:
            self._end(STOPPED, str(stand))
        except Diverged as problem:  # found out about the values, not about the machine
            self._end(STOPPED, str(problem))
        except Exception as error:  # whatever is wrong with one run must not cost the others
            if not isinstance(error, Problem):
                traceback.print_exc()
            self._end(FAILED, str(error) if isinstance(error, Problem) else f"{type(error).__name__}: {error}")

    @property
    def told(self) -> str:
        return " ".join(f"{axis}={label}" for axis, label in self.cell.values.items())

    @cached_property
    def epochs(self) -> int:
        """As the run was settled, once it is begun: their number may have been left to Podium."""
        return parse([f"run={self.run.name}", f"competition={self.run.competition}"]).config.epochs

    def _hear(self, text: str) -> None:
        """Whatever is told is the moment to look at the logs: an epoch's line comes when its checkpoint is written."""
        self.teller.say("\n".join(f"{self.number} | {line}" for line in text.splitlines()))
        logs = {place: pd.read_csv(log) for place, log in enumerate(self._files("log.csv")) if log.exists()}
        if not logs or all(file.exists() for file in self._files(DONE)):
            return
        epochs = self.epochs
        poor = self.study.report(self.number, _by_step(logs, epochs), epochs // 4)
        last = max(logs)
        if poor and (last, len(logs[last])) < (len(self._files("log.csv")) - 1, epochs):
            raise Poor(
                f"{self.measure.name} {logs[last]['score'].iloc[-1]:.4f} at epoch {len(logs[last])}/{epochs}"
                + (f" of fold number {last + 1}" if last else "")
            )

    def _files(self, name: str) -> list[Path]:
        """That file of each fold and seed, in the order in which they are trained."""
        request, data = self.request, self.request.config.data
        folds = request.folds or range(1 if data.validation == "host" else data.folds)
        return [self.run.member(seed, fold) / name for seed in request.seeds for fold in folds]

    def _end(self, fate: str | None = None, reason: str = "") -> None:
        score = None if fate else float(np.mean([read_json(file)["score"] for file in self._files(DONE)]))
        if score is not None and not math.isfinite(score):
            score, fate, reason = None, FAILED, f"the {self.measure.name} of its held-out rows is not defined"
        self.study.end(self.number, score, fate, reason)
        ended = f"{self.measure.name} {score:.4f}" if fate is None else f"{fate}: {reason}"
        best = self.study.done[:1]
        so_far = f"; best so far {best[0].score:.4f}, trial {best[0].number}" if best else ""
        self.teller.say(f"trial {self.number}: {ended}{so_far}")


def _by_step(logs: dict[int, pd.DataFrame], epochs: int) -> dict[int, float]:
    """{step: held-out score}. Steps go on through the folds and seeds, so that like is held against like."""
    scores: dict[int, float] = {}
    for place, log in logs.items():
        scores |= dict(zip((place * epochs + log["epoch"]).tolist(), log["score"].tolist(), strict=True))
    return {step: score for step, score in scores.items() if math.isfinite(score)}


def search(space: Space, say: Say = print) -> None:
    """Make the trials that are not made yet, then write tables and figures into the space's folder.

    A trial that fails is told and left out, and the others go on; at the end Problem names those that failed. The same
    command goes on with what was under way, and tries failed ones again; a larger number of trials goes on from there.
    """
    card = load_card(space.first.request.competition)
    measure = metric(card.metric, card.folder, card.target)
    with only_one(space.folder, f"search {space.name}"):
        mend(space.folder)
        study = Study(space.folder, measure.higher_is_better)
        study.belongs_to(f"{space.first.request.config.hash()} {measure.name} {'; '.join(map(str, space.dimensions))}")
        sides = side_by_side((space.first,), space.trials)
        made, at_once = len(study.trials), f", {sides.count} at once" if sides.count > 1 else ""
        say(f"{space.title}: {space.trials} trials" + (f", {made} of them made{at_once}" if made else at_once))
        run_tasks(_trials(study, space, measure, sides.count), sides.count, Lines(say), sides.gpus)
        _compare(study, space, say)
    failures = _told(study.with_fate(FAILED), space)
    if failures:
        lines = "".join(f"\n  {label}: {reason}" for label, reason in failures.items())
        raise Problem(f"{len(failures)} of {space.trials} trials failed; the same command tries them again:{lines}")


def _trials(study: Study, space: Space, measure: Metric, side: int) -> Iterator[Task]:
    """What was cut off, what failed, and then new ones, each chosen when its turn comes."""
    failed = study.with_fate(FAILED)
    for tried in study.unfinished():
        yield Trial(space, measure, side, tried)
    for tried in failed:
        yield Trial(space, measure, side, study.ask_again(tried, space))
    while len(study.trials) < space.trials:
        yield Trial(space, measure, side, study.ask(space))


def _compare(study: Study, space: Space, say: Say) -> None:
    cells = tuple(space.cell(tried.values) for tried in study.done)
    absent = {fate.capitalize(): _told(study.with_fate(fate), space) for fate in (STOPPED, FAILED)}
    if cells:
        outcomes = outcomes_of(space.plan(cells), cells)
        say(write_comparison(space.folder, space.title, space.command, outcomes, absent, (_honest(study),)))
        say(f"written to {space.folder}: comparison.md, summary.csv, curves.png, per_class.png and their tables")


def _honest(study: Study) -> str:
    """What a score that was searched for is, and is not."""
    stopped = len(study.with_fate(STOPPED))
    return (
        f"The best is the pick of {len(study.trials)} trials"
        + (f", {stopped} of them stopped early" if stopped else "")
        + ". Which trials were made and which were stopped was led by the held-out rows that score them, never by test "
        "answers; no interval here takes that out. What the pick is really worth, other folds tell, or the leaderboard."
    )


def _told(tries: list[Tried], space: Space) -> dict[str, str]:
    return {space.cell(tried.values).label: tried.reason for tried in tries}
