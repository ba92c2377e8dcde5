"""A sweep: the runs of a plan are trained side by side, and what they came to is written down as one comparison."""

import tempfile
import traceback
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from src.competition.card import load_card
from src.competition.competition import loaded_once
from src.config.request import Request
from src.core.console import ProgressReporter, labelled, log, note, silenced
from src.core.devices import gpus
from src.core.errors import Problem, UsageError
from src.core.locks import only_one
from src.core.paths import submissions_folder
from src.core.reporter import Reporter, RowProgress, RowReporter
from src.core.worker_processes import run_tasks
from src.experiments.outcomes import outcomes_of
from src.experiments.sweep_plan import Cell, Plan
from src.inference.members import ViewTables, trained_members
from src.inference.pipeline import predict
from src.inference.run_predictions import open_run
from src.inference.tta import PLAIN
from src.launchers.launcher import HERE
from src.launchers.ray.runs import run_on_ray
from src.reporting.comparison_table import write_comparison
from src.training.machine import cores, device_for, loaders, most_at_once
from src.training.run import train_within


def sweep(plan: Plan, address: str | None = HERE, predicts: bool = False) -> None:
    """Train what is not trained yet, then write tables and figures into the plan's folder.

    address: of the Ray cluster whose nodes do it. predicts: each run answers the test images too, on this machine; a
    submission that it has is kept. A run that fails is told and left out, and the others go on; one that cannot answer
    the test images stays in the table. At the end Problem names those that failed. Raises UsageError where there are no
    test images to answer.
    """
    if predicts and load_card(plan.competition).submission is None:
        raise UsageError(f"{plan.competition} has no test images: leave --predict out", code="no-test-images")
    configs = (cell.request.config for cell in plan.cells)
    with only_one(plan.folder, f"sweep {plan.name}"), loaded_once(configs):
        with ProgressReporter() as terminal:
            failures = _train_here(plan, terminal) if address is HERE else _train_on_ray(plan, address, terminal)
        done = tuple(cell for cell in plan.cells if cell.label not in failures)
        if predicts:  # a run that cannot answer the test images is trained all the same, and stays in the table
            failures |= _predict(done)
        if done:
            outcomes = outcomes_of(plan, done)
            log.info(write_comparison(plan.folder, plan.title, plan.command, outcomes, {"Failed": failures}))
            files = "comparison.html, summary.csv, scores.png, confusions.png and the like"
            log.info(f"written to {plan.folder}: {files}")
    if failures:
        message = "".join(f"\n  {label}: {reason}" for label, reason in failures.items())
        raise Problem(
            f"{len(failures)} of {len(plan.cells)} runs failed; the same command tries them again:{message}",
            code="runs-failed",
        )


@dataclass(frozen=True)
class Sides:
    """So many runs at once, of `each` processes. gpus: of several, those that each run sees; else empty."""

    count: int
    each: int
    gpus: tuple[str, ...] = ()


def shared_out(cells: tuple[Cell, ...]) -> tuple[Sides, list[Request]]:
    """How many runs at once, and their requests with the cores or the GPUs shared out among them."""
    sides = side_by_side(cells, len(cells))
    if sides.count == 1:
        return sides, [cell.request for cell in cells]
    return sides, [with_share(cell.request, sides.each, sides.count) for cell in cells]


def side_by_side(cells: tuple[Cell, ...], most: int) -> Sides:
    """How many runs like these are trained at once. Raises UsageError for more jobs than GPUs."""
    config = cells[0].request.config
    device = device_for(config.machine.device)
    processes = most_at_once(config, device)
    count = min(processes, most)
    each = processes // count
    names = gpus().names if device == "cuda" and count > 1 else ()
    return Sides(count, each, tuple(",".join(names[i * each : (i + 1) * each]) for i in range(count if names else 0)))


def with_share(request: Request, jobs: int, side: int) -> Request:
    """The request on `jobs` processes, where `side` such requests run side by side."""
    config, machine = request.config, request.config.machine
    jobs = min(jobs, len(request.members))
    share = {"jobs": jobs}
    if device_for(machine.device) == "cuda":
        share["workers"] = loaders(config, "cuda", side * jobs)
    elif machine.threads == "auto":
        share["threads"] = max(1, cores() // (side * jobs))
    return replace(request, config=config.model_copy(update={"machine": machine.model_copy(update=share)}))


def _train_here(plan: Plan, reporter: Reporter) -> dict[str, str]:
    """Why which runs failed: {label: reason}."""
    sides, requests = shared_out(plan.cells)
    at_once = f", {sides.count} at once" if sides.count > 1 else ""
    note("sweep-begun", f"{plan.title}: {len(plan.cells)} runs{at_once}")
    _list(plan, reporter)
    with tempfile.TemporaryDirectory() as folder:
        # A file for each, because most of them fail in a process of their own.
        reasons = [Path(folder) / str(number) for number in range(len(plan.cells))]
        work = zip(plan.cells, requests, reasons, strict=True)
        run_tasks([partial(_train_one, *one) for one in work], sides.count, reporter, sides.gpus)
        return {cell.label: file.read_text() for cell, file in zip(plan.cells, reasons, strict=True) if file.exists()}


def _train_on_ray(plan: Plan, address: str, reporter: Reporter) -> dict[str, str]:
    note("sweep-begun", f"{plan.title}: {len(plan.cells)} runs")
    _list(plan, reporter)
    requests = {cell.label: cell.request for cell in plan.cells}
    problems = run_on_ray(requests.items(), address, reporter)
    return {label: str(problem) for label, problem in problems.items()}


def _predict(cells: tuple[Cell, ...]) -> dict[str, str]:
    """Why which runs could not: {label: reason}. The test images in one view."""
    failures = {}
    for cell in cells:
        with labelled(cell.label):
            try:
                _predict_one(cell.request)
            except Exception as error:
                failures[cell.label] = f"not predicted: {_told(error)}"
                note("run-failed", f"failed: {failures[cell.label]}")
    return failures


def _predict_one(request: Request) -> None:
    """What the table needs, by the engine that the run was trained with; and a CSV, as src.predict writes it, where the
    run has none. One that is there may be of more folds and views than these, and src.submit pushes the latest."""
    latest = submissions_folder(request.competition) / f"{request.run}.csv"
    with silenced():  # a dozen lines a run; its score stands in the table, and src.predict tells all
        run, competition = open_run(request)
        ViewTables(competition, run).ensure(trained_members(run, request), PLAIN, ("test",))
        file = None if latest.exists() else predict(request)
    if file:
        log.info(f"{file} written")
    else:
        command = f"python -m src.predict run={request.run} competition={request.competition}"
        note("submission-kept", f"{latest} stays as it is; to write it anew: {command}")


def _list(plan: Plan, reporter: Reporter) -> None:
    for cell in plan.cells:
        reporter.show(cell.label, RowProgress())


def _train_one(cell: Cell, request: Request, reason: Path, reporter: Reporter) -> None:
    with labelled(cell.label):
        try:
            train_within(request, RowReporter(reporter, cell.label))
            reporter.end(cell.label)
        except Exception as error:
            text = _told(error)
            reason.write_text(text)
            note("run-failed", f"failed: {text}")
            reporter.end(cell.label, "failed")


def _told(error: Exception) -> str:
    """In a line: whatever is wrong with one run must not cost the others."""
    if isinstance(error, Problem):
        return str(error)
    log.info("".join(traceback.format_exception(error)))
    return f"{type(error).__name__}: {error}"
