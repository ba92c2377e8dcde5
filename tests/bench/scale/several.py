"""Steps with several folds side by side, or several views: what processes share, and what each more of them costs."""

import multiprocessing
import os
from collections.abc import Callable
from ctypes import c_int64
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench.scale.steps import FirstBatch, Reporter, request

FOLDS, VIEWS = (1, 2, 5), (1, 4, 8)
SEEN = 5000  # images that the views show
Figured = Callable[[], dict[str, float]]  # work that tells more figures than steps do


def side_by_side(count: int, home: Path) -> Figured:
    """So many folds at once, as src.train forks them, each held at its first optimizer step until all are there."""
    from src.competition.competition import open_competition
    from src.core.distributed import ALONE
    from src.core.worker_processes import run_tasks
    from src.training.fold_job import FoldJob
    from src.training.machine import Machine

    config, run = request("scale")
    run = run.__class__(run.competition, f"tried-{count}")
    fork = multiprocessing.get_context("fork")
    there, processes, total = fork.Barrier(count), fork.Array(c_int64, count), fork.Value(c_int64)

    def work() -> dict[str, float]:
        competition = open_competition(config, run)
        images, machine = competition.images(), Machine("cpu", "fp32", 0, 64)
        jobs = [FoldJob(competition, images, run, machine, 0, fold, 1, 1, None, ALONE) for fold in range(count)]
        meet = partial(_meet, there, processes, total, os.getpid())
        run_tasks([partial(_first_step, job, meet) for job in jobs], count, Reporter())
        return {"pss": total.value / 1e9}

    return work


def _first_step(job: Any, meet: Callable[[int], None], reporter: object) -> None:
    from src.training.trainer import FoldTraining

    try:
        FoldTraining(job, Reporter()).run()
    except FirstBatch:
        meet(job.fold)
        return
    raise AssertionError("training took no step")


def _meet(there: Any, processes: Any, total: Any, parent: int, place: int) -> None:
    """Wait for the others; one measures all, while none has left."""
    processes[place] = os.getpid()
    if there.wait() == 0:
        total.value = sum(map(proportional, {parent, *processes}))
    there.wait()


def proportional(process: int) -> int:
    """The bytes of a process, each page shared by so many others counted for its part of it only (PSS).

    Others that use the same libraries take their part too: it is less than it would be alone, on a busy machine.
    """
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def in_views(count: int, home: Path) -> Figured:
    """One network's answers to SEEN images in so many views, in one process of one thread."""
    import torch

    from src.competition.competition import open_competition
    from src.inference.backend_networks import EngineNetworks
    from src.inference.trained_networks import Member
    from src.inference.tta import VIEWS as KNOWN

    torch.set_num_threads(1)  # several would wait for each other on a busy machine
    config, run = request("answers")
    competition = open_competition(config, run)
    networks, member = EngineNetworks(competition, run), Member(0, 0, run.member(0, 0))
    rows, ready = networks.rows(member, "test")[:SEEN], networks.ready(member, networks.usual)
    networks.logits(ready, networks.usual, rows[:64], ("identity",))  # the first batch opens the cache

    def work() -> dict[str, float]:
        networks.logits(ready, networks.usual, rows, tuple(KNOWN)[:count])
        return {"images": float(len(rows))}

    return work


SEVERAL: dict[str, Callable[[Path], Figured]] = {
    **{f"folds_{count}": partial(side_by_side, count) for count in FOLDS},
    **{f"views_{count}": partial(in_views, count) for count in VIEWS},
}
