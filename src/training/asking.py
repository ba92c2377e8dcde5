"""A teacher answers, once at the beginning of a fold; its answers lie in the fold's folder until the fold is done.

They are kept and not computed again when a stopped fold goes on: the teacher may have been trained anew meanwhile, and
another batch or number of threads would give other bits.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from src.engines.engine import Engine
from src.engines.predictor import view_logits
from src.engines.trained import trained_network
from src.errors import Problem
from src.images.loaders import Feed, PlainRows
from src.inference.store import Logits, load_logits, save_logits
from src.runs import only_one, read_json
from src.training.machine import Share
from src.training.onward import seed_of
from src.training.side_by_side import run_tasks
from src.training.teller import Standing, Teller
from src.training.terminal import Terminal

if TYPE_CHECKING:
    from src.training.job import FoldJob

FOLDER = "teacher"


def ask_all(work: list[FoldJob], share: Share, say: Callable[[str], None]) -> None:
    """Let the teachers of these folds answer, as many at once as train; a fold under way keeps the answers it has."""
    asking = [job for job in work if job.teacher and not (job.folder / "checkpoint.pt").exists()]
    if not asking:
        return
    with Terminal(say, what="the teacher answers", unit="image") as terminal:
        for job in asking:
            terminal.show(job.name, Standing(images_asked(job)))
        # Never in this process where folds are forked off it afterwards: what computed with threads cannot be forked.
        run_tasks([partial(_ask, job) for job in asking], share.jobs, terminal, share.gpus)


def images_asked(job: FoldJob) -> int:
    return sum(len(rows) for rows in parts_asked(job).values())


def parts_asked(job: FoldJob) -> dict[str, np.ndarray]:
    """The rows of the image cache that the teacher answers: `train`, this fold's training rows, and `test`."""
    teach, samples = job.opened.config.teach, job.opened.samples
    rows, _ = job.opened.folds.rows(job.fold)
    parts = {"train": rows} if teach.distill else {}
    if teach.pseudo is not None:
        parts["test"] = len(samples.train) + np.arange(len(samples.test))
    return parts


def answers_of(job: FoldJob) -> dict[str, Logits]:
    """The answers to each part, rows in the order of `parts_asked`. Raises Problem where they are damaged or gone."""
    return {part: _read(job, part, rows) for part, rows in parts_asked(job).items()}


def forget(job: FoldJob) -> None:
    """Delete the answers of a fold that is done."""
    shutil.rmtree(job.folder / FOLDER, ignore_errors=True)


def _ask(job: FoldJob, teller: Teller) -> None:
    with only_one(job.folder, f"{job.name} of run {job.run.name}"):
        torch.set_num_threads(job.threads)
        teacher, samples = job.teacher, job.opened.samples
        seed = seed_of(teacher.run, job.seed, job.fold)
        folder = teacher.run.member(seed, job.fold)
        network, weights = trained_network(teacher.config, folder, len(samples.classes))
        engine = Engine(job.machine.device, read_json(teacher.run.folder / "machine.json")["precision"])
        network.to(engine.device, memory_format=torch.channels_last)
        plain = PlainRows(teacher.images, teacher.config.images.size)
        feed, batch = Feed(plain, job.machine.workers, torch.device(engine.device)), job.opened.config.predict.batch
        meta = {"run": teacher.run.name, "seed": seed, "fold": job.fold, "weights": weights}
        total, done = images_asked(job), 0

        def advance(images: int) -> None:
            nonlocal done
            done += images
            teller.show(job.name, Standing(total, done, facts={"images": f"{done}/{total}"}))

        for part, rows in parts_asked(job).items():
            tables = view_logits(network, feed, rows, ("identity",), batch, engine.autocast, advance)
            save_logits(_file(job, part), _ids(job, rows), tables["identity"], samples.classes, meta)
        teller.end(job.name)


def _read(job: FoldJob, part: str, rows: np.ndarray) -> Logits:
    file, remedy = _file(job, part), f"delete {job.folder} to train this fold from its start"
    table = load_logits(file, job.opened.samples.classes, remedy)
    if list(table.id) != list(_ids(job, rows)):
        raise Problem(f"{file} answers other rows than this fold learns from: {remedy}")
    return table


def _file(job: FoldJob, part: str) -> Path:
    return job.folder / FOLDER / f"{part}.npz"


def _ids(job: FoldJob, rows: np.ndarray) -> np.ndarray:
    samples = job.opened.samples
    return np.concatenate([samples.train["id"].to_numpy(), samples.test["id"].to_numpy()])[rows]
