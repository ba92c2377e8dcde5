"""How good a network is on the rows that its fold held out, and what it answered to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import nn

from src.competition.competition import Competition
from src.core.paths import Run
from src.evaluation.averaging import mean_predictions
from src.images.dataset import Feed
from src.inference.logits_store import aligned, load_logits, logits_file
from src.inference.predictor import view_logits
from src.metrics import Metric
from src.training.fold_job import FoldJob


@dataclass(frozen=True)
class Scores:
    """logits: (rows, classes) of the plain view. loss: the mean without smoothing."""

    logits: np.ndarray
    loss: float
    score: float


def evaluate(job: FoldJob, network: nn.Module, feed: Feed, rows: np.ndarray) -> Scores:
    competition = job.competition
    logits = _logits(job, network, feed, rows)
    targets = competition.samples.targets[rows]
    score = competition.metric.score(targets, competition.target.predictions(logits), rows=competition.rows.at(rows))
    return Scores(logits, float(competition.target.plain_loss(targets, logits)), score)


def _logits(job: FoldJob, network: nn.Module, feed: Feed, rows: np.ndarray) -> np.ndarray:
    """(len(rows), classes) logits of the plain view, known to every rank; each answers its share of the rows."""
    ranks, batch = job.ranks, job.competition.config.predict.batch
    mine, autocast = rows[ranks.index :: ranks.count], job.engine.autocast
    own = view_logits(network, feed, mine, ("identity",), batch, autocast, cells=job.competition.cells)
    parts = ranks.all_gather(own["identity"])
    if len(parts) == 1:
        return parts[0]
    logits = np.empty((len(rows), parts[0].shape[1]), np.float32)
    for rank, part in enumerate(parts):
        if len(part):  # fewer rows than ranks leave some without any
            logits[rank :: ranks.count] = part
    return logits


def stored_answers(
    competition: Competition, run: Run, seeds: tuple[int, ...], fold: int, rows: np.ndarray
) -> np.ndarray:
    """(len(rows), classes) probabilities of rows that the fold held out: the stored plain view, the mean over seeds."""
    ids = competition.samples.train["id"].to_numpy()[rows]
    files = [logits_file(run.member(seed, fold), "oof", "identity", None) for seed in seeds]
    tables = [aligned(load_logits(file, competition.samples.classes), ids, file) for file in files]
    return mean_predictions(tables, competition.target)


def best_epoch(metric: Metric, scores: list[float]) -> int:
    """The first epoch, counted from 0, whose score none surpasses; a score that is not defined never wins."""
    better = [score if metric.higher_is_better else -score for score in scores]
    return int(np.argmax(np.nan_to_num(better, nan=-np.inf)))
