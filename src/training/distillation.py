"""Distillation and pseudo-labels: a teacher's answers, what a fold learns from them, and what they brought.

They are kept and not computed again when a stopped fold goes on: the teacher may have been trained anew meanwhile, and
another batch or number of threads would give other bits.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from src.competition.competition import Opened
from src.competition.folds import units_of
from src.core.console import Terminal
from src.core.errors import Problem
from src.core.files import read_json
from src.core.locks import only_one
from src.core.paths import DONE, Run
from src.core.reporter import Standing, Teller
from src.core.worker_processes import run_tasks
from src.evaluation.bootstrap import difference_told, paired_difference
from src.images.dataset import Feed, PlainRows
from src.images.samplers import steps_per_epoch
from src.inference.backends.backend import Engine
from src.inference.logits_store import Logits, load_logits, logits_file, save_logits
from src.inference.predictor import view_logits
from src.inference.trained_networks import trained_network
from src.training.evaluate import stored_answers
from src.training.fold_job import FoldJob, global_batch
from src.training.machine import Share
from src.training.warm_start import seed_of

if TYPE_CHECKING:
    from src.training.fold_job import FoldJob


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


NONE = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class Lesson:
    """Rows are those of the image cache: the training rows, then the test rows.

    rows: (n,) that an epoch draws from: the fold's labelled rows, then the test rows that the teacher is sure of.
    labels: (n,) int or (n, classes) 0/1, what the sampler takes each of them for; test rows as the teacher answers.
    targets: what the loss compares with, by row. Without a teacher the labels as they are; with one (all rows, classes)
    float32 shares, in which rows that this fold must not learn from are NaN: they would stop the training.
    sure: (test rows,) how sure the teacher is of each, and answered: like labels, its likeliest answers to them; None
    where they are not learned from. taken: the test rows that are. meta: of the teacher's answers.
    """

    rows: np.ndarray
    labels: np.ndarray
    targets: np.ndarray
    taken: np.ndarray
    sure: np.ndarray | None = None
    answered: np.ndarray | None = None
    meta: dict[str, Any] | None = None


def lesson_of(job: FoldJob) -> Lesson:
    """The lesson of a fold, from the answers that its teacher gave (see asking.py) where it has one."""
    samples, teach, target = job.opened.samples, job.opened.config.teach, job.opened.target
    rows, _ = job.opened.folds.rows(job.fold)
    labels = samples.targets[rows]
    if job.teacher is None:
        return Lesson(rows, labels, samples.targets, NONE)
    count, classes = len(samples.train), len(samples.classes)
    answers = answers_of(job)
    meta = next(iter(answers.values())).meta
    targets = np.full((count + len(samples.test), classes), np.nan, dtype=np.float32)
    targets[rows] = target.soft(labels, classes)
    if "train" in answers:
        shares = target.predictions(answers["train"].logits)
        targets[rows] = (1 - teach.distill) * targets[rows] + teach.distill * shares
    if "test" not in answers:
        return Lesson(rows, labels, targets, NONE, meta=meta)
    logits = answers["test"].logits
    shares = target.predictions(logits)
    sure = target.sureness(shares)
    taken = np.flatnonzero(sure >= teach.pseudo)
    targets[count + taken] = shares[taken]
    answered = target.decide_logits(logits).astype(labels.dtype)
    rows, labels = np.concatenate([rows, count + taken]), np.concatenate([labels, answered[taken]])
    return Lesson(rows, labels, targets, taken, sure, answered, meta)


def epoch_length(job: FoldJob) -> int:
    """Optimizer steps of one epoch over the fold's lesson."""
    return steps_per_epoch(len(lesson_of(job).rows), global_batch(job.opened.config))


def told(job: FoldJob, lesson: Lesson) -> str:
    """One line about what the teacher adds."""
    teach, meta, taken = job.opened.config.teach, lesson.meta, lesson.taken
    text = f"{job.name} is taught by fold {meta['fold']} of run {meta['run']}, seed {meta['seed']}"
    if teach.distill:
        text += f": its share in the targets of {len(lesson.rows) - len(taken)} training rows is {teach.distill:g}"
    if teach.pseudo is None:
        return text
    if not len(taken):
        return (
            f"{text}; it is nowhere {teach.pseudo:g} sure of the {len(lesson.sure)} test images, at most "
            f"{lesson.sure.max():.3f}, and none is learned from"
        )
    return (
        f"{text}; {len(taken)} of {len(lesson.sure)} test images are learned from too, with its answers, of which it "
        f"is {lesson.sure[taken].min():.3f} to {lesson.sure[taken].max():.3f} sure: only images are used, no test label"
    )


def taught_by(lesson: Lesson) -> dict[str, Any]:
    """For done.json: which model taught, and how many test images were learned from, how sure it was of them."""
    facts = {**lesson.meta, "test_images": len(lesson.taken)}
    return facts | ({"median_sure": round(float(np.median(lesson.sure[lesson.taken])), 4)} if len(lesson.taken) else {})


def say_before_and_after(
    opened: Opened, run: Run, seeds: tuple[int, ...], folds: list[int], say: Callable[[str], None]
) -> None:
    """Teacher against student over these finished folds; nothing is said of a run without a teacher.

    Where the teacher was deleted or trained anew since, that is said: it is no longer the one that taught.
    """
    if opened.config.teach.run is None:
        return
    members = {(seed, fold): read_json(run.member(seed, fold) / DONE)["teacher"] for fold in folds for seed in seeds}
    teacher, changed = Run(run.competition, opened.config.teach.run), []
    for (_, fold), facts in members.items():
        done = teacher.member(facts["seed"], fold) / DONE
        if not done.exists() or read_json(done)["weights"] != facts["weights"]:
            changed.append(fold)
    if changed:
        say(f"fold {changed[0]} of {teacher.name} is not the teacher any more that it was: no score before and after")
        return
    before, after, held_out, fewest = [], [], [], len(seeds)
    for fold in folds:
        taught = tuple(sorted({members[seed, fold]["seed"] for seed in seeds}))
        held_out.append(_shared(opened, teacher, taught[0], fold))
        before.append(stored_answers(opened, teacher, taught, fold, held_out[-1]))
        after.append(stored_answers(opened, run, seeds, fold, held_out[-1]))
        fewest = min(fewest, len(taught))
    rows = np.concatenate(held_out)
    truth, units = opened.samples.targets[rows], units_of(opened.samples.train)[rows]
    tables = np.concatenate(before), np.concatenate(after)
    known = opened.rows.at(rows)
    scores = [opened.metric.score(truth, table, rows=known) for table in tables]
    gain = paired_difference(opened.metric, truth, *tables, units, rows=known)
    say(
        f"{opened.metric.name} out of fold of the teacher {scores[0]:.4f}, of the student {scores[1]:.4f}, on the same "
        f"{len(rows)} rows: {difference_told(f'the teacher ({teacher.name})', f'the student ({run.name})', gain)}"
    )
    if fewest < len(seeds):
        say(
            f"note: the student's answers are the mean over {len(seeds)} seeds, the teacher's over {fewest}: some of "
            f"the difference comes from that"
        )


def _shared(opened: Opened, teacher: Run, seed: int, fold: int) -> np.ndarray:
    """The rows that this fold holds out here and there: what data.ignore names may differ."""
    rows = opened.folds.rows(fold)[1]
    file = logits_file(teacher.member(seed, fold), "oof", "identity", None)
    known = load_logits(file, opened.samples.classes).id
    return rows[np.isin(opened.samples.train["id"].to_numpy()[rows].astype(str), known)]
