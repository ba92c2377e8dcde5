"""What looks wrong while training runs, said while something can still be done about it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from src.errors import Problem

if TYPE_CHECKING:
    from src.training.evaluate import Scores
    from src.training.fold import FoldJob
    from src.training.state import Progress


def stop_on_nan(loss_sum: float, name: str, progress: Progress) -> None:
    """A loss that is no number has ruined the weights: going on would only waste the time."""
    if not math.isfinite(loss_sum):
        raise Problem(
            f"{name}: the loss is {loss_sum} at epoch {progress.epoch + 1}, step {progress.step + 1}. "
            f"Lower optim.lr, set optim.clip=1, or train.precision=fp32; the last checkpoint is kept"
        )


def after_epoch(job: FoldJob, entry: dict[str, Any], scores: Scores, say: Callable[[str], None]) -> None:
    """Once, at the first epoch after warm-up: a loss still at chance, or one answer for every image."""
    config, opened = job.opened.config, job.opened
    if entry["epoch"] != math.floor(config.schedule.warmup_epochs) + 1:
        return
    chance = chance_loss(
        opened.samples.counts, config.data.sampler_exponent if config.data.sampler == "weighted" else 0.0
    )
    if entry["loss"] >= 0.99 * chance:
        say(
            f"warning: {job.name}: after {entry['epoch']} epochs the loss {entry['loss']:.3f} is still at chance ({chance:.3f}). "
            f"If it stays there, try another optim.lr, or look at the images that augment makes"
        )
    answers = np.unique(scores.logits.argmax(1))
    if len(answers) == 1 and len(scores.logits) > 1:
        say(f"warning: {job.name}: every held-out image is called {opened.samples.classes[answers[0]]!r}")


def chance_loss(counts: np.ndarray, exponent: float) -> float:
    """Cross entropy of always answering the class frequencies that the sampler shows."""
    shown = counts[counts > 0] ** (1.0 - exponent)
    shares = shown / shown.sum()
    return float(-(shares * np.log(shares)).sum())
