"""A run that keeps to a time: the probe first, then what speeds measured here allow, planned and told before it begins.

    budget=20m    1. the probe, a run of its own beside it, with its checked CSV: from then on there is an answer
                  2. where it is weak, or the pictures are small: one fold from scratch, for a few epochs and for
                     three times as many, in a slice of the time; what the trend of its scores promises, beside the
                     probe's score on the same held-out rows, decides how to go on
                  3. a few true steps, timed with as many folds at once as will train
                  4. size and epochs, so that training, prediction and page fit with a tenth to spare; plan.json
                  5. training. A fold that would not end in time is left out, and told. So are all others where the
                     first ones, alone or joined with the probe, do not gain over it

A run that has begun keeps its plan: what is left of it is trained to its end, however long that takes.
"""

import multiprocessing
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from src.competition.card import load_card
from src.competition.plan_record import Facts, note_took, plan_of, write_plan
from src.config import run_config
from src.config.request import ALL, Request
from src.config.schema import Config, seconds_of
from src.core.console import log, messages_to, note, show_bars_here
from src.core.errors import Problem, UsageError
from src.core.files import read_json, write_json
from src.core.launch import launched
from src.core.paths import Run
from src.core.process import end_with, own_work
from src.experiments.budget_plan import PROBE, Planned, Planner
from src.experiments.first_folds import FirstFolds
from src.training.run import train

OVER = 0.03  # of the budget, by which a fold may end too late and still begin
TRAINING = "training"
ENDS = 5  # seconds in which a process ends by itself


def train_within_budget(request: Request, begun: float) -> None:
    """As `train`, planned to fit into the configuration's budget. begun: when the command began (monotonic clock).

    Raises UsageError where nothing is left to plan, Problem where the time is too short for a network that is named.
    """
    run = Run(request.competition, request.run)
    if run_config.is_stored(run):
        _go_on(request, run)
        return
    check_plannable(request)
    load_card(request.competition)  # a misspelt name is told at once
    planned = _in_another_process(_plan, request, begun)
    if planned.config is None:
        raise Problem(planned.text, code="budget-too-short")
    write_plan(run, planned.facts)
    note("plan", planned.text)
    if planned.instead:
        _take_over(Run(request.competition, planned.instead), run, planned.config, planned.facts)
    pace = Pace(planned, begun, seconds_of(request.config.budget), len(request.members))
    first = FirstFolds(run, planned, request.members)
    before = time.monotonic()

    def may_begin(seed: int, fold: int | str) -> bool:
        if first.gain():
            may = pace.may_begin(seed, fold)
        else:
            pace.left_out.append((seed, fold))
            may = False
        if not may:  # kept at once: a command that is killed is gone on with
            _keep_left_out(run, pace, first)
        return may

    train(replace(request, config=planned.config), may_begin)
    note_took(run, TRAINING, time.monotonic() - before)
    _tell_end(run, pace, first)


def _go_on(request: Request, run: Run) -> None:
    """Train to its end what has begun. Folds that were left out because the first ones gained nothing are trained
    where nothing but such folds is asked for."""
    facts = plan_of(run) or {}
    out = {tuple(one) for one in facts.get("left_out", [])} if facts.get("no_gain") else set()
    vain = [one for one in request.members if one in out and not run.finished(*one)]
    if not vain or out.issuperset(request.members):
        train(request)
        return
    folds = ",".join(str(fold) for fold in dict.fromkeys(fold for _, fold in vain))
    note(
        "no-gain", f"the first folds gained nothing over the probe: no other is begun. fold={folds}, alone, trains them"
    )
    if len(request.seeds) == 1:
        kept = tuple(fold for seed, fold in request.members if (seed, fold) not in vain)
        train(replace(request, folds=kept))
    else:
        train(request, lambda seed, fold: (seed, fold) not in vain)


def check_plannable(request: Request) -> None:
    """Raises UsageError for a request whose time cannot be planned."""
    config = request.config
    if config.train.stages or config.train.epochs != "auto" or not config.probe.off:
        fixed = "train.stages" if config.train.stages else "probe.head" if not config.probe.off else "train.epochs"
        raise UsageError(
            f"budget={config.budget}: {fixed} is fixed, so there is nothing to plan: give train.epochs=auto without "
            f"stages, or the budget without config=NAME, or budget=null",
            code="nothing-to-plan",
        )
    if request.folds == (ALL,):
        raise UsageError(
            f"budget={config.budget} plans by held-out rows, and fold=all has none: train folds first, then fold=all "
            f"goes on with their plan",
            code="budget-needs-folds",
        )
    if launched().count > 1:
        raise UsageError(
            f"budget={config.budget} is planned in one process: give this command without a launcher",
            code="budget-not-planned",
        )


class Pace:
    """Whether a fold may begin: not where the pace so far would end it beyond the budget."""

    def __init__(self, planned: Planned, begun: float, seconds: int, folds: int) -> None:
        self.planned, self.folds, self.deadline = planned, folds, begun + seconds * (1 + OVER) - planned.after
        self.started: float | None = None
        self.begun: list[float] = []
        self.left_out: list[tuple[int, int | str]] = []

    def may_begin(self, seed: int, fold: int | str) -> bool:
        now, speed, work = time.monotonic(), self.planned.speed, self.planned.work
        if speed is None:
            return True
        if self.started is None:
            self.started = now
        fold_seconds, rounds = speed.fold(work, self.planned.epochs), len(self.begun) // work.jobs
        pace = max(1.0, (now - self.started) / (rounds * fold_seconds)) if rounds else 1.0
        alone = work.jobs > 1 and self.folds - len(self.begun) == 1 and work.folds % work.jobs == 1
        ends = now + pace * fold_seconds * (speed.alone if alone else 1.0)
        if self.begun and ends > self.deadline:
            note(
                "fold-left-out",
                f"fold {fold} is left out: by the pace so far, {pace:.2f} times the planned time, it would end "
                f"{clock(ends - self.deadline)} beyond the budget. The same command trains it later",
            )
            self.left_out.append((seed, fold))
            return False
        self.begun.append(now)
        return True


def _keep_left_out(run: Run, pace: Pace, first: FirstFolds) -> Facts:
    left_out = [list(one) for one in dict.fromkeys(pace.left_out)]
    facts = plan_of(run) | {"left_out": left_out, "no_gain": first.found is False}
    write_plan(run, facts)
    return facts


def _tell_end(run: Run, pace: Pace, first: FirstFolds) -> None:
    facts = _keep_left_out(run, pace, first)
    took, meant = facts["took"].get(TRAINING, 0.0), facts["planned"].get(TRAINING, 0.0)
    if facts["by"] != PROBE:
        log.info(f"training took {clock(took)}, planned were {clock(meant)}")


def _take_over(trained: Run, run: Run, config: Config, facts: Facts) -> None:
    """Let what `trained` has learned be the run's own: it is the same configuration, and is not trained again."""
    for folder in trained.folder.glob("seed*"):
        shutil.copytree(folder, run.folder / folder.name, dirs_exist_ok=True)
    for name in ("run.json", "machine.json"):
        shutil.copy2(trained.folder / name, run.folder / name)
    record = run.folder / run_config.RECORD
    write_json(record, read_json(record) | {"config_hash": config.hash()})
    run_config.write(run, config)
    write_plan(run, facts)


def clock(seconds: float) -> str:
    """Such as 45 s, 3 min 20 s or 1 h 5 min."""
    whole = round(max(0.0, seconds))
    if whole < 120:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _plan(request: Request, begun: float) -> Planned:
    return Planner(request, begun, starts=1 if own_work() else 2).plan()


def _in_another_process(work: Callable[..., Any], *values: Any) -> Any:
    """What `work` returns, called in another process: it starts threads, and folds are forked off this one later.

    Forked, and so at once, where nothing can have started threads or used a GPU before. Its messages come here, its
    bars it shows itself. Raises what it raises, as a Problem where it dies.
    """
    context = multiprocessing.get_context("fork" if own_work() else "spawn")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(work, values, theirs, os.getpid()))
    sys.stdout.flush()  # a fork would write what waits there once more
    child.start()
    theirs.close()
    try:
        while True:
            kind, value = ours.recv()
            if kind == "message":
                note(*value)
            elif kind == "problem":
                raise value
            else:
                child.join(ENDS)  # it gives back what it shares with the system
                return value
    except EOFError:
        child.join()
        if child.exitcode == 130:
            raise KeyboardInterrupt from None
        raise Problem(
            f"planning ended without an answer (code {child.exitcode}); killed by the system? Then give a smaller "
            f"images.size or model.name, or budget=null",
            code="process-lost",
        ) from None
    finally:
        child.kill()
        child.join()


def _child(work: Callable[..., Any], values: tuple, answer: Connection, parent: int) -> None:
    end_with(parent)
    show_bars_here()
    try:
        with messages_to(lambda text, code: answer.send(("message", (code, text)))):
            found = work(*values)
        answer.send(("result", found))
    except (Problem, OSError) as problem:
        answer.send(("problem", problem))
    except KeyboardInterrupt:
        os._exit(130)
    except BaseException:
        answer.send(("problem", Problem(traceback.format_exc(), code="unexpected")))
