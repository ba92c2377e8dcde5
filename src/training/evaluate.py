"""How good a network is on the rows that its fold held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from src.images.loaders import Feed
from src.inference.ensemble import probabilities_of
from src.inference.predictor import view_logits
from src.metrics import Metric
from src.training.losses import plain_loss

if TYPE_CHECKING:
    from src.training.job import FoldJob


@dataclass(frozen=True)
class Scores:
    """logits: (rows, classes) of the plain view. loss: the mean without smoothing."""

    logits: np.ndarray
    loss: float
    score: float


def evaluate(job: FoldJob, network: nn.Module, feed: Feed, rows: np.ndarray) -> Scores:
    opened = job.opened
    batch = opened.config.predict.batch
    logits = view_logits(network, feed, rows, ("identity",), batch, job.engine.autocast)["identity"]
    targets = opened.samples.targets[rows]
    return Scores(
        logits, plain_loss(logits, targets), opened.metric.score(targets, probabilities_of(logits, opened.card.target))
    )


def best_epoch(metric: Metric, scores: list[float]) -> int:
    """The first epoch, counted from 0, whose score none surpasses; a score that is not defined never wins."""
    better = [score if metric.higher_is_better else -score for score in scores]
    return int(np.argmax(np.nan_to_num(better, nan=-np.inf)))
