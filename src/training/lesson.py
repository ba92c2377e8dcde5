"""What a fold learns from: labelled rows, a teacher's answers to them, and test images that the teacher is sure of."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from src.images.samplers import steps_per_epoch
from src.judging.ensemble import likeliest, probabilities_of
from src.training.asking import answers_of
from src.training.job import FoldJob, global_batch

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
    samples, teach, target = job.opened.samples, job.opened.config.teach, job.opened.card.target
    rows, _ = job.opened.folds.rows(job.fold)
    labels = samples.targets[rows]
    if job.teacher is None:
        return Lesson(rows, labels, samples.targets, NONE)
    count, classes = len(samples.train), len(samples.classes)
    answers = answers_of(job)
    meta = next(iter(answers.values())).meta
    targets = np.full((count + len(samples.test), classes), np.nan, dtype=np.float32)
    targets[rows] = labels if labels.ndim == 2 else np.eye(classes, dtype=np.float32)[labels]
    if "train" in answers:
        shares = probabilities_of(answers["train"].logits, target)
        targets[rows] = (1 - teach.distill) * targets[rows] + teach.distill * shares
    if "test" not in answers:
        return Lesson(rows, labels, targets, NONE, meta=meta)
    logits = answers["test"].logits
    shares = probabilities_of(logits, target)
    sure = sureness(shares, target)
    taken = np.flatnonzero(sure >= teach.pseudo)
    targets[count + taken] = shares[taken]
    answered = likeliest(logits, target).astype(labels.dtype)
    rows, labels = np.concatenate([rows, count + taken]), np.concatenate([labels, answered[taken]])
    return Lesson(rows, labels, targets, taken, sure, answered, meta)


def epoch_length(job: FoldJob) -> int:
    """Optimizer steps of one epoch over the fold's lesson."""
    return steps_per_epoch(len(lesson_of(job).rows), global_batch(job.opened.config))


def sureness(shares: np.ndarray, target: str) -> np.ndarray:
    """(n, classes) probabilities -> (n,): of the likeliest class, or of the least certain yes or no of several."""
    return np.maximum(shares, 1 - shares).min(1) if target == "multilabel" else shares.max(1)


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
