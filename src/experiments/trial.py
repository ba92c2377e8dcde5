"""One trial of a search: an ordinary run, looked at after each epoch, and stopped where it does poorly."""

import math
import traceback
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from src.config.request import parse
from src.core.console import labelled, log, note
from src.core.errors import Problem
from src.core.files import read_json
from src.core.paths import DONE, Run
from src.core.reporter import EPOCH, Reporter, RowProgress, RowReporter
from src.experiments.search_space import Space
from src.experiments.study import FAILED, STOPPED, Study, Tried
from src.experiments.sweep import with_share
from src.launchers.ray.cell import log_of
from src.metrics import Metric
from src.training.run import train_within
from src.training.sanity_checks import Diverged

PARTS = 20  # of a fold's epochs, after which trials are held against each other: they may differ in their number
TELLING = PARTS // 4  # no fold's first quarter stops a trial


class Poor(Exception):
    """Raised out of a run's training, between two epochs, when it is not worth going on with."""


class Trial:
    """A run of a search. `study` is told what it scores."""

    def __init__(self, space: Space, measure: Metric, tried: Tried, study: Study) -> None:
        self.space, self.measure, self.study = space, measure, study
        self.number, self.cell = tried.number, space.cell(tried.values)
        self.request = self.cell.request
        self.run = Run(self.request.competition, self.request.run)

    @property
    def label(self) -> str:
        return f"trial {self.number}"

    def begin(self) -> None:
        text = " ".join(f"{axis}={label}" for axis, label in self.cell.values.items())
        note("trial-begun", f"{self.label}: {text}, run {self.run.name}")

    def poor(self) -> str | None:
        """Note what its logs tell; where it is poor and not at its end, how it stands."""
        every = self._files("log.csv")
        found = {place: log_of(file) for place, file in enumerate(every)}
        logs = {place: table for place, table in found.items() if table is not None}
        if not logs or all(file.exists() for file in self._files(DONE)):
            return None
        below = self.study.report(self.number, by_part(logs, self.epochs), TELLING)
        last = max(logs)
        epoch = len(logs[last])
        if not below or (last, epoch) >= (len(every) - 1, self.epochs):
            return None
        of_fold = f" of fold number {last + 1}" if last else ""
        return f"{self.measure.name} {logs[last]['score'].iloc[-1]:.4f} at epoch {epoch}/{self.epochs}{of_fold}"

    def end(self, problem: Exception | None) -> str:
        """Tell the study what it came to, a score, poor, or with a Problem that it failed; return that in a word."""
        score, fate, reason = None, None, ""
        if problem is None:
            score = float(np.mean([read_json(file)["score"] for file in self._files(DONE)]))
            if not math.isfinite(score):
                score, fate, reason = None, FAILED, f"the {self.measure.name} of its held-out rows is not defined"
        else:
            # A loss that is no number is found out about the values, not about the machine.
            fate = STOPPED if isinstance(problem, Poor | Diverged) else FAILED
            reason = str(problem) if isinstance(problem, Poor | Problem) else f"{type(problem).__name__}: {problem}"
        self.study.end(self.number, score, fate, reason)
        ended = f"{self.measure.name} {score:.4f}" if fate is None else f"{fate}: {reason}"
        best = self.study.done[:1]
        so_far = f"; best so far {best[0].score:.4f}, trial {best[0].number}" if best else ""
        note("trial-ended", f"{self.label}: {ended}{so_far}")
        return fate or "done"

    @cached_property
    def epochs(self) -> int:
        """As the run was settled, once it is begun: their number may have been left to Podium."""
        return parse([f"run={self.run.name}", f"competition={self.run.competition}"]).config.epochs

    def _files(self, name: str) -> list[Path]:
        """That file of each fold and seed, in the order in which they are trained."""
        return [self.run.member(*member) / name for member in self.request.members]


class _WatchedReporter(RowReporter):
    """A trial's reporter: after each epoch it raises Poor where the trial is not worth going on with."""

    def __init__(self, reporter: Reporter, trial: Trial) -> None:
        super().__init__(reporter, trial.label)
        self.trial, self.at = trial, ("", "")

    def show(self, row: str, progress: RowProgress) -> None:
        super().show(row, progress)
        if (at := (row, progress.facts.get(EPOCH, ""))) != self.at:
            self.at = at
            if stand := self.trial.poor():
                raise Poor(stand)


def train_here(space: Space, measure: Metric, side: int, tried: Tried, reporter: Reporter) -> None:
    """Make a trial on this machine, where `side` of them run side by side. To be called in a process of its own."""
    trial = Trial(space, measure, tried, Study(space.folder, measure.higher_is_better))
    trial.begin()
    try:
        # Its folds one after the other: the first ones already tell a poor trial.
        with labelled(str(trial.number)):
            train_within(with_share(trial.request, 1, side), _WatchedReporter(reporter, trial))
        problem = None
    except Exception as error:  # whatever is wrong with one run must not cost the others
        if not isinstance(error, Poor | Problem):
            log.info(traceback.format_exc())
        problem = error
    reporter.end(trial.label, trial.end(problem))


def by_part(logs: dict[int, pd.DataFrame], epochs: int) -> dict[int, float]:
    """{part: held-out score}: the first epoch's that has so many twentieths of its fold behind it.

    Parts go on through the folds and seeds, so that like is held against like.
    """
    scores: dict[int, float] = {}
    for place, table in logs.items():
        for part in range(1, PARTS * len(table) // epochs + 1):
            score = float(table["score"].iloc[math.ceil(part * epochs / PARTS) - 1])
            if math.isfinite(score):
                scores[place * PARTS + part] = score
    return scores
