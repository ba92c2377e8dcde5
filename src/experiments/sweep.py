"""A sweep: the runs of a plan are trained side by side, and what they came to is written down as one comparison."""

import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from src.cluster.cells import epochs_of, run_on_ray
from src.cluster.launcher import HERE
from src.command import Request
from src.errors import Problem
from src.experiments.grid import Cell, Plan
from src.experiments.outcomes import outcomes_of
from src.reporting.comparison import write_comparison
from src.runs import only_one
from src.schema import Config
from src.training.machine import cores
from src.training.session import train
from src.training.side_by_side import run_tasks
from src.training.terminal import Teller

Say = Callable[[str], None]


@dataclass(frozen=True)
class Lines:
    """Tells lines alone: each run has a bar of its own where it has the terminal to itself."""

    say: Say

    def advance(self, steps: int) -> None:
        pass


def sweep(plan: Plan, address: str | None = HERE, say: Say = print) -> None:
    """Train what is not trained yet, then write tables and figures into the plan's folder.

    address: of the Ray cluster whose nodes do it. A run that fails is told and left out, and the others go on; at the
    end Problem names those that failed.
    """
    with only_one(plan.folder, f"sweep {plan.name}"):
        failures = _train_here(plan, say) if address is HERE else _train_on_ray(plan, address, say)
        done = tuple(cell for cell in plan.cells if cell.label not in failures)
        if done:
            outcomes = outcomes_of(plan, done)
            say(write_comparison(plan.folder, plan.title, plan.command, outcomes, {"Failed": failures}))
            say(f"written to {plan.folder}: comparison.md, summary.csv, curves.png, per_class.png and their tables")
    if failures:
        told = "".join(f"\n  {label}: {reason}" for label, reason in failures.items())
        raise Problem(f"{len(failures)} of {len(plan.cells)} runs failed; the same command tries them again:{told}")


def shared_out(cells: tuple[Cell, ...]) -> tuple[int, list[Request]]:
    """How many runs at once, and their requests with the cores shared out among them; on a GPU one by one."""
    side, processes = side_by_side(cells, len(cells))
    if side == 1:
        return 1, [cell.request for cell in cells]
    return side, [with_share(cell.request, processes // side, side) for cell in cells]


def side_by_side(cells: tuple[Cell, ...], most: int) -> tuple[int, int]:
    """How many runs like these at once, and of how many processes in all."""
    asked = cells[0].request.config.machine
    on_cpu = all(_on_cpu(cell.request.config) for cell in cells)
    processes = (cores() if on_cpu else 1) if asked.jobs == "auto" else asked.jobs
    return (min(processes, most) if on_cpu else 1), processes


def with_share(request: Request, jobs: int, side: int) -> Request:
    """The request on `jobs` processes, where `side` such requests run side by side."""
    config, machine = request.config, request.config.machine
    jobs = min(jobs, len(request.members))
    threads = max(1, cores() // (side * jobs)) if machine.threads == "auto" else machine.threads
    share = machine.model_copy(update={"jobs": jobs, "threads": threads})
    return replace(request, config=config.model_copy(update={"machine": share}))


def _on_cpu(config: Config) -> bool:
    accelerator = torch.cuda.is_available() or torch.backends.mps.is_available()
    return config.machine.device == "cpu" or (config.machine.device == "auto" and not accelerator)


def _train_here(plan: Plan, say: Say) -> dict[str, str]:
    """Why which runs failed: {label: reason}."""
    side, requests = shared_out(plan.cells)
    at_once = f", {side} at once" if side > 1 else ""
    say(f"{plan.title}: {len(plan.cells)} runs{at_once}")
    with tempfile.TemporaryDirectory() as folder:
        # A file for each, because most of them fail in a process of their own.
        reasons = [Path(folder) / str(number) for number in range(len(plan.cells))]
        work = zip(plan.cells, requests, reasons, strict=True)
        run_tasks([partial(_train_one, *one) for one in work], side, Lines(say))
        return {cell.label: file.read_text() for cell, file in zip(plan.cells, reasons, strict=True) if file.exists()}


def _train_on_ray(plan: Plan, address: str, say: Say) -> dict[str, str]:
    say(f"{plan.title}: {len(plan.cells)} runs")
    requests = {cell.label: cell.request for cell in plan.cells}
    problems = run_on_ray(requests.items(), address, say, epochs_of(requests))
    return {label: str(problem) for label, problem in problems.items()}


def _train_one(cell: Cell, request: Request, reason: Path, teller: Teller) -> None:
    def say(text: str) -> None:
        teller.say("\n".join(f"{cell.label} | {line}" for line in text.splitlines()))

    try:
        train(request, say)
    except Exception as error:  # whatever is wrong with one run must not cost the others
        if not isinstance(error, Problem):
            traceback.print_exc()
        told = str(error) if isinstance(error, Problem) else f"{type(error).__name__}: {error}"
        reason.write_text(told)
        say(f"failed: {told}")
