"""The trials of a search, kept by Optuna in one file: what was tried, how each epoch scored, and what to try next.

The one module that knows Optuna. Its journal is a file of lines that are only ever added to, so that a killed search
loses nothing, and several processes may add to it. A choice depends on the trial's number and the trials that were
over by then, on nothing carried in memory: a search that goes on chooses as one that was never stopped.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import MedianPruner
from optuna.samplers import RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from src.core.errors import Problem
from src.core.locks import hold
from src.experiments.axes import Axis
from src.experiments.ranges import Range
from src.experiments.search_space import Space, name_of

FILE = "trials.journal"
ASKED = 200  # proposals in a row, at most, until one is a run that was not tried yet
UNJUDGED = 5  # trials that end with a score before any is stopped early
RUN, FATE, REASON, COMMON = "run", "fate", "reason", "common"  # what is noted beside Optuna's own
FAILED, STOPPED, AGAIN = "failed", "stopped early", "again"  # fates; a trial without one is done or under way


class _KernelLock:
    """Optuna's own locks are files that outlive a killed process; this one the kernel frees."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file: IO[str] | None = None

    def acquire(self) -> bool:
        self.file = self.path.open("a")
        hold(self.file)
        return True

    def release(self) -> None:
        self.file.close()


@dataclass(frozen=True)
class Tried:
    """A trial as the study knows it. score: None where it has none (yet); fate, reason: where it ended without one."""

    number: int
    run: str | None
    values: dict[str, str | float]
    state: TrialState
    score: float | None
    fate: str | None
    reason: str


class Study:
    """The trials in one folder. Each process opens its own."""

    def __init__(self, folder: Path, higher_is_better: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        backend = JournalFileBackend(str(folder / FILE), _KernelLock(folder / f"{FILE}.lock"))
        self.file = folder / FILE
        try:
            self.study = optuna.create_study(
                storage=JournalStorage(backend),
                study_name="search",
                direction="maximize" if higher_is_better else "minimize",
                sampler=RandomSampler(),  # until it is asked: see `ask`
                load_if_exists=True,
            )
        except (ValueError, KeyError) as error:
            raise Problem(
                f"{self.file} is damaged ({error}): delete it, and the search begins anew; runs that are trained stay",
                code="damaged-file",
            ) from None

    def belongs_to(self, common: str) -> None:
        """Hold the study to what its trials have in common. Raises Problem where that has changed."""
        before = self.study.user_attrs.get(COMMON)
        if before is None:
            self.study.set_user_attr(COMMON, common)
        elif before != common:
            raise Problem(
                f"{self.file} holds trials of another configuration or space, whose scores cannot be compared with new "
                f"ones: put back what was changed, or delete {self.file.parent} (the runs that are trained stay)",
                code="search-differs",
            )

    @property
    def trials(self) -> list[Tried]:
        """The latest trial of each run, in the order in which the runs were first tried."""
        return list({one.run: one for one in map(_tried, self._all()) if one.run and one.fate != AGAIN}.values())

    @property
    def done(self) -> list[Tried]:
        """Those with a score, the best first."""
        sign = -1 if self.study.direction == StudyDirection.MAXIMIZE else 1
        found = [one for one in self.trials if one.state == TrialState.COMPLETE]
        return sorted(found, key=lambda one: (sign * one.score, one.number))

    def with_fate(self, fate: str) -> list[Tried]:
        return [one for one in self.trials if one.fate == fate]

    def unfinished(self) -> list[Tried]:
        """Those that a kill or Ctrl-C left under way, where nobody else is at work."""
        running = [one for one in map(_tried, self._all()) if one.state == TrialState.RUNNING]
        for one in running:
            if not one.run:  # killed before it was known what to try
                self.study.tell(one.number, state=TrialState.FAIL)
        return [one for one in running if one.run]

    def ask(self, space: Space) -> Tried:
        """A trial of a run that was not tried yet, under way from now on."""
        for _ in range(ASKED):
            # Trials under way count as poor ones, so that those that are chosen side by side look in different places.
            self.study.sampler = TPESampler(seed=len(self._all()), constant_liar=True)
            trial = self.study.ask({name_of(one): _distribution(one) for one in space.dimensions})
            run = space.cell(trial.params).request.run
            if all(one.run != run or one.fate == FAILED for one in self.trials):
                trial.set_user_attr(RUN, run)
                return _tried(self._all()[trial.number])
            trial.set_user_attr(FATE, AGAIN)
            self.study.tell(trial, state=TrialState.FAIL)
        raise Problem(
            f"{ASKED} proposals in a row were tried already: widen a range, or give fewer trials",
            code="search-exhausted",
        )

    def ask_again(self, failed: Tried, space: Space) -> Tried:
        """Another trial of the run of one that failed."""
        self.study.enqueue_trial(failed.values)
        return self.ask(space)

    def report(self, number: int, scores: dict[int, float], warmup: int) -> bool:
        """Note the scores {step: score} of a trial that are not known yet; whether it is poor and should stop.

        Poor is one whose best step is below the median of the others at this one. Steps up to `warmup` tell nothing.
        """
        self.study.pruner = MedianPruner(n_startup_trials=UNJUDGED, n_warmup_steps=warmup + 1)
        known = self._all()[number].intermediate_values
        new = {step: score for step, score in scores.items() if step not in known}
        trial = self._trial(number)
        for step, score in new.items():
            trial.report(score, step)
        return bool(new) and trial.should_prune()

    def end(self, number: int, score: float | None = None, fate: str | None = None, reason: str = "") -> None:
        """Close a trial with its score, or with what became of it."""
        if fate:
            trial = self._trial(number)
            trial.set_user_attr(REASON, reason)
            trial.set_user_attr(FATE, fate)
        states = {None: TrialState.COMPLETE, STOPPED: TrialState.PRUNED}
        self.study.tell(number, score, state=states.get(fate, TrialState.FAIL))

    def _all(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def _trial(self, number: int) -> Trial:
        return Trial(self.study, self._all()[number]._trial_id)


def _tried(one: FrozenTrial) -> Tried:
    noted = one.user_attrs
    score = one.value if one.state == TrialState.COMPLETE else None
    return Tried(one.number, noted.get(RUN), one.params, one.state, score, noted.get(FATE), noted.get(REASON, ""))


def _distribution(one: Range | Axis) -> BaseDistribution:
    if isinstance(one, Axis):
        return CategoricalDistribution(tuple(one.choices))
    low, high = one.ends
    if one.whole:
        return IntDistribution(int(low), int(high), log=one.logarithmic)
    return FloatDistribution(low, high, log=one.logarithmic)


def mend(folder: Path) -> None:
    """Drop a last line that was cut off by a power cut or a full disk, where nobody else is at work."""
    with contextlib.suppress(FileNotFoundError), (folder / FILE).open("rb+") as file:
        text = file.read()
        file.truncate(text.rfind(b"\n") + 1)
