"""What looks wrong while training runs, said while something can still be done about it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from src.core.console import note
from src.core.errors import Problem
from src.training.evaluate import Scores
from src.training.fold_job import FoldJob


class Diverged(Problem):
    """The loss is no number any more."""

    code = "loss-not-finite"


def stop_on_nan(loss_sum: float, name: str, epoch: int, step: int) -> None:
    """A loss that is no number has ruined the weights: going on would only waste the time."""
    if not math.isfinite(loss_sum):
        raise Diverged(
            f"{name}: the loss is {loss_sum} at epoch {epoch + 1}, step {step + 1}. "
            f"Lower optim.lr, set optim.clip=1, or train.precision=fp32; the last checkpoint is kept"
        )


def after_epoch(job: FoldJob, entry: dict[str, Any], scores: Scores, chance: float) -> None:
    """At the first epoch after warm-up, while the training can still be stopped, and at the last: a loss still at
    chance. At the first one answer for every image, too; whether it ends so is told when the fold is done."""
    schedule = job.competition.config.schedule.of_steps(entry["steps"])
    first, last = min(math.floor(schedule.warmup_epochs) + 1, job.epochs), job.epochs
    if entry["epoch"] not in (first, last):
        return
    if entry["loss"] >= 0.99 * chance:
        remedy = "try another optim.lr, or look at the images that augment makes"
        note(
            "loss-at-chance",
            f"warning: {job.name}: after epoch {entry['epoch']} the loss {entry['loss']:.3f} is still at chance "
            f"({chance:.3f}). {f'If it stays there, {remedy}' if entry['epoch'] < last else remedy.capitalize()}",
        )
    if entry["epoch"] < last:
        one_answer(job, scores, f"after epoch {entry['epoch']} ")


def one_answer(job: FoldJob, scores: Scores, when: str = "") -> None:
    """Tell where every held-out image gets the same answer: such a network tells nothing apart."""
    answers = np.unique(job.competition.target.decide_logits(scores.logits), axis=0)
    if len(answers) == 1 and len(scores.logits) > 1:
        text = f"{when}every held-out image gets the same answer, {_named(answers[0], job)}"
        note("one-answer", f"warning: {job.name}: {text}")


def _named(answer: np.ndarray, job: FoldJob) -> str:
    target = job.competition.target
    return target.in_words(target.cells(answer[None], job.competition.samples.classes)[0])
