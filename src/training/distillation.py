"""Distillation and pseudo-labels: a teacher's answers, what a fold learns from them, and what they brought.

They are kept and not computed again when a stopped fold goes on: the teacher may have been trained anew meanwhile, and
another batch or number of threads would give other bits.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from src.competition.competition import Competition, cells_beside
from src.competition.folds import units_of
from src.core.console import ProgressReporter, note
from src.core.errors import Problem
from src.core.files import read_json
from src.core.locks import only_one
from src.core.paths import CHECKPOINT, DONE, Run
from src.core.reporter import Reporter, RowProgress
from src.core.worker_processes import run_tasks
from src.evaluation.bootstrap import format_difference, paired_difference
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

FOLDER = "teacher"


def predict_teachers(work: list[FoldJob], share: Share) -> None:
    """Let the teachers of these folds answer, as many at once as train; a fold under way keeps the answers it has."""
    asking = [job for job in work if job.teacher and not (job.folder / CHECKPOINT).exists()]
    if not asking:
        return
    with ProgressReporter(what="the teacher answers", unit="image") as terminal:
        for job in asking:
            terminal.show(job.name, RowProgress(teacher_image_count(job)))
        # Never in this process where folds are forked off it afterwards: what computed with threads cannot be forked.
        run_tasks([partial(_ask, job) for job in asking], share.jobs, terminal, share.gpus)


def teacher_image_count(job: FoldJob) -> int:
    return sum(len(rows) for rows in teacher_rows(job).values())


def teacher_rows(job: FoldJob) -> dict[str, np.ndarray]:
    """The rows of the image cache that the teacher answers: `train`, this fold's training rows, and `test`."""
    teach, samples = job.competition.config.teach, job.competition.samples
    rows, _ = job.competition.folds.rows(job.fold)
    parts = {"train": rows} if teach.distill else {}
    if teach.pseudo is not None:
        parts["test"] = len(samples.train) + np.arange(len(samples.test))
    return parts


def teacher_logits(job: FoldJob) -> dict[str, Logits]:
    """The answers to each part, rows in the order of `parts_asked`. Raises Problem where they are damaged or gone."""
    return {part: _read(job, part, rows) for part, rows in teacher_rows(job).items()}


def forget(job: FoldJob) -> None:
    """Delete the answers of a fold that is done."""
    shutil.rmtree(job.folder / FOLDER, ignore_errors=True)


def _ask(job: FoldJob, reporter: Reporter) -> None:
    with only_one(job.folder, f"{job.name} of run {job.run.name}"):
        torch.set_num_threads(job.threads)
        teacher, samples = job.teacher, job.competition.samples
        seed = seed_of(teacher.run, job.seed, job.fold)
        folder = teacher.run.member(seed, job.fold)
        network, weights = trained_network(teacher.config, folder, len(samples.classes), samples.target)
        engine = Engine(job.machine.device, read_json(teacher.run.folder / "machine.json")["precision"])
        network.to(engine.device, memory_format=torch.channels_last)
        plain = PlainRows(teacher.images, teacher.config.images.size)
        feed, batch = (
            Feed(plain, job.machine.workers, torch.device(engine.device)),
            job.competition.config.predict.batch,
        )
        cells = cells_beside(samples, teacher.config.model)
        meta = {"run": teacher.run.name, "seed": seed, "fold": job.fold, "weights": weights}
        total, done = teacher_image_count(job), 0

        def advance(images: int) -> None:
            nonlocal done
            done += images
            reporter.show(job.name, RowProgress(total, done, facts={"images": f"{done}/{total}"}))

        for part, rows in teacher_rows(job).items():
            tables = view_logits(network, feed, rows, ("identity",), batch, engine.autocast, advance, cells=cells)
            save_logits(_file(job, part), _ids(job, rows), tables["identity"], samples.classes, meta)
        reporter.end(job.name)


def _read(job: FoldJob, part: str, rows: np.ndarray) -> Logits:
    file, remedy = _file(job, part), f"delete {job.folder} to train this fold from its start"
    table = load_logits(file, job.competition.samples.classes, remedy)
    if list(table.id) != list(_ids(job, rows)):
        raise Problem(f"{file} answers other rows than this fold learns from: {remedy}", code="logits-of-other-rows")
    return table


def _file(job: FoldJob, part: str) -> Path:
    return job.folder / FOLDER / f"{part}.npz"


def _ids(job: FoldJob, rows: np.ndarray) -> np.ndarray:
    samples = job.competition.samples
    return np.concatenate([samples.train["id"].to_numpy(), samples.test["id"].to_numpy()])[rows]


NONE = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class FoldTargets:
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


def fold_targets(job: FoldJob) -> FoldTargets:
    """The targets of a fold, from the answers that its teacher gave where it has one."""
    samples, teach, target = job.competition.samples, job.competition.config.teach, job.competition.target
    rows, _ = job.competition.folds.rows(job.fold)
    labels = samples.targets[rows]
    if job.teacher is None:
        return FoldTargets(rows, labels, samples.targets, NONE)
    count, classes = len(samples.train), len(samples.classes)
    answers = teacher_logits(job)
    meta = next(iter(answers.values())).meta
    targets = np.full((count + len(samples.test), classes), np.nan, dtype=np.float32)
    targets[rows] = target.soft(labels, classes)
    if "train" in answers:
        shares = target.predictions(answers["train"].logits)
        targets[rows] = (1 - teach.distill) * targets[rows] + teach.distill * shares
    if "test" not in answers:
        return FoldTargets(rows, labels, targets, NONE, meta=meta)
    logits = answers["test"].logits
    shares = target.predictions(logits)
    sure = target.confidence(shares)
    taken = np.flatnonzero(sure >= teach.pseudo)
    targets[count + taken] = shares[taken]
    answered = target.decide_logits(logits).astype(labels.dtype)
    rows, labels = np.concatenate([rows, count + taken]), np.concatenate([labels, answered[taken]])
    return FoldTargets(rows, labels, targets, taken, sure, answered, meta)


def epoch_length(job: FoldJob) -> int:
    """Optimizer steps of one epoch over the fold's targets."""
    return steps_per_epoch(len(fold_targets(job).rows), global_batch(job.competition.config))


def targets_in_words(job: FoldJob, fold_targets: FoldTargets) -> str:
    """One line about what the teacher adds."""
    teach, meta, taken = job.competition.config.teach, fold_targets.meta, fold_targets.taken
    text = f"{job.name} is taught by fold {meta['fold']} of run {meta['run']}, seed {meta['seed']}"
    if teach.distill:
        text += (
            f": its share in the targets of {len(fold_targets.rows) - len(taken)} training rows is {teach.distill:g}"
        )
    if teach.pseudo is None:
        return text
    if not len(taken):
        return (
            f"{text}; it is nowhere {teach.pseudo:g} sure of the {len(fold_targets.sure)} test images, at most "
            f"{fold_targets.sure.max():.3f}, and none is learned from"
        )
    return (
        f"{text}; {len(taken)} of {len(fold_targets.sure)} test images are learned from too, with its answers, of "
        f"which it is {fold_targets.sure[taken].min():.3f} to {fold_targets.sure[taken].max():.3f} sure: only images "
        f"are used, no test label"
    )


def teacher_summary(fold_targets: FoldTargets) -> dict[str, Any]:
    """For done.json: which model taught, and how many test images were learned from, how sure it was of them."""
    facts = {**fold_targets.meta, "test_images": len(fold_targets.taken)}
    return facts | (
        {"median_sure": round(float(np.median(fold_targets.sure[fold_targets.taken])), 4)}
        if len(fold_targets.taken)
        else {}
    )


def report_student_against_teacher(
    competition: Competition, run: Run, seeds: tuple[int, ...], folds: list[int]
) -> None:
    """Teacher against student over these finished folds; nothing is said of a run without a teacher.

    Where the teacher was deleted or trained anew since, that is said: it is no longer the one that taught.
    """
    if competition.config.teach.run is None:
        return
    members = {(seed, fold): read_json(run.member(seed, fold) / DONE)["teacher"] for fold in folds for seed in seeds}
    teacher, changed = Run(run.competition, competition.config.teach.run), []
    for (_, fold), facts in members.items():
        done = teacher.member(facts["seed"], fold) / DONE
        if not done.exists() or read_json(done)["weights"] != facts["weights"]:
            changed.append(fold)
    if changed:
        fold = changed[0]
        note(
            "teacher-changed",
            f"fold {fold} of {teacher.name} is not the teacher any more that it was: no score before and after",
        )
        return
    before, after, held_out, fewest = [], [], [], len(seeds)
    for fold in folds:
        taught = tuple(sorted({members[seed, fold]["seed"] for seed in seeds}))
        held_out.append(_shared(competition, teacher, taught[0], fold))
        before.append(stored_answers(competition, teacher, taught, fold, held_out[-1]))
        after.append(stored_answers(competition, run, seeds, fold, held_out[-1]))
        fewest = min(fewest, len(taught))
    rows = np.concatenate(held_out)
    truth, units = competition.samples.targets[rows], units_of(competition.samples.train)[rows]
    tables = np.concatenate(before), np.concatenate(after)
    known = competition.rows.at(rows)
    scores = [competition.metric.score(truth, table, rows=known) for table in tables]
    gain = paired_difference(competition.metric, truth, *tables, units, rows=known)
    difference = format_difference(f"the teacher ({teacher.name})", f"the student ({run.name})", gain)
    note(
        "student-and-teacher",
        f"{competition.metric.name} out of fold of the teacher {scores[0]:.4f}, of the student {scores[1]:.4f}, on the "
        f"same {len(rows)} rows: {difference}",
    )
    if fewest < len(seeds):
        note(
            "uneven-seeds",
            f"note: the student's answers are the mean over {len(seeds)} seeds, the teacher's over {fewest}: some of "
            f"the difference comes from that",
        )


def _shared(competition: Competition, teacher: Run, seed: int, fold: int) -> np.ndarray:
    """The rows that this fold holds out here and there: what data.ignore names may differ."""
    rows = competition.folds.rows(fold)[1]
    file = logits_file(teacher.member(seed, fold), "oof", "identity", None)
    known = load_logits(file, competition.samples.classes).id
    return rows[np.isin(competition.samples.train["id"].to_numpy()[rows].astype(str), known)]
