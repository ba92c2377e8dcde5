"""The end of a fold: the weights that answer, the out-of-fold logits, and a look at the mistakes."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from src.core.console import log, note
from src.core.files import csv_for_people, damaged, sha256_of, write_json, write_text, written_whole
from src.core.paths import CHECKPOINT, DONE
from src.images.dataset import Feed
from src.inference.logits_store import logits_file, save_logits
from src.training.distillation import FoldTargets, forget, teacher_summary
from src.training.evaluate import Scores, best_epoch, evaluate
from src.training.fold_job import FoldJob
from src.training.sanity_checks import one_answer
from src.training.state import State

BEST, SUM = "best.safetensors", "crc32"
SHOWN = 15  # classes up to which the whole confusion matrix is printed


def keep_best(job: FoldJob, state: State, score: float) -> None:
    """With train.keep=best, put aside the weights of the best epoch so far."""
    if job.competition.config.train.keep != "best" or not job.ranks.is_main:
        return
    scores = [entry["score"] for entry in state.progress.history] + [score]
    if best_epoch(job.competition.metric, scores) == len(scores) - 1:
        _save(state.answering_network.backbone, job.folder / BEST, summed=True)


def finish(job: FoldJob, state: State, feed: Feed, fold_targets: FoldTargets, last: Scores | None) -> None:
    """Write model.safetensors, the out-of-fold logits and the per-class tables; then mark the fold as done.

    last: what the last epoch's end found on the held-out rows; None where it was before this process.
    """
    _, held_out = job.competition.folds.rows(job.fold)
    done = _choose(job, state) if len(held_out) else {}
    scores = last if job.competition.config.train.keep == "last" else None
    if scores is None and len(held_out):
        scores = evaluate(job, state.answering_network, feed, held_out)
    if job.ranks.is_main:
        if job.teacher:
            done["teacher"] = teacher_summary(fold_targets)
        write_fold(job, state.answering_network.backbone, state.progress.history, done, scores)
    job.ranks.barrier()


def write_fold(
    job: FoldJob,
    backbone: nn.Module,
    history: list[dict[str, Any]],
    done: dict[str, Any],
    scores: Scores | None,
) -> None:
    """Write the weights, what they answer, and the tables; `done.json`, with what `done` tells, comes last.

    history: what log.csv holds, an entry an epoch. scores: on the held-out rows, where there are any.
    """
    folder, competition = job.folder, job.competition
    weights = folder / "model.safetensors"
    _save(backbone, weights)
    done |= {"epochs": len(history), "seconds": round(sum(entry["seconds"] for entry in history), 1)}
    done["weights"] = sha256_of(weights)
    if scores is None:
        note(
            "not-scored",
            f"{job.name} done: trained on all rows for {len(history)} epochs, so no row is left to score it on",
        )
    else:
        done["best_epoch"] = 1 + best_epoch(competition.metric, [entry["score"] for entry in history])
        done["score"] = scores.score
        _store(job, scores, done["weights"])
        _, held_out = competition.folds.rows(job.fold)
        _mistakes(job, competition.samples.targets[held_out], scores.logits)
        note(
            "fold-done",
            f"{job.name} done: {competition.metric.name} {scores.score:.4f} on {len(held_out)} held-out rows, "
            f"{done['seconds']:.0f} s",
        )
        one_answer(job, scores)
    write_json(folder / DONE, done)
    for passing in (folder / BEST, folder / CHECKPOINT):
        passing.unlink(missing_ok=True)
    forget(job)


def _store(job: FoldJob, scores: Scores, weights: str) -> None:
    competition = job.competition
    _, held_out = competition.folds.rows(job.fold)
    save_logits(
        logits_file(job.folder, "oof", "identity", None),
        competition.samples.train["id"].to_numpy()[held_out],
        scores.logits,
        competition.samples.classes,
        {
            "engine": "torch",
            "precision": job.machine.precision,
            "size": competition.config.images.size,
            "weights": weights,
            "images": competition.images_hash,
        },
    )


def _choose(job: FoldJob, state: State) -> dict[str, float]:
    """With train.keep=best, load the best epoch's weights and tell by how much they flatter the score."""
    scores = [entry["score"] for entry in state.progress.history]
    best = best_epoch(job.competition.metric, scores)
    if job.competition.config.train.keep != "best":
        return {"last_score": scores[-1], "best_score": scores[best]}
    state.answering_network.backbone.load_state_dict(_best(job.folder))
    note(
        "epoch-kept",
        f"{job.name} keeps epoch {best + 1}: {scores[best]:.4f} against {scores[-1]:.4f} at the last. "
        f"It was chosen on the rows that score it, so the score flatters by up to {abs(scores[best] - scores[-1]):.4f}",
    )
    return {"last_score": scores[-1], "best_score": scores[best]}


def _save(backbone: nn.Module, path: Path, summed: bool = False) -> None:
    """summed: with a checksum of its own, as nothing else knows what these weights were."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in backbone.state_dict().items()}
    checksum = {SUM: _sum_of(tensors)} if summed else {}
    with written_whole(path) as part:
        part.write_bytes(save(tensors, metadata={"format": "pt"} | checksum))


def _best(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of the best epoch. Raises DamagedFile where they are not as they were put aside."""
    file, remedy = folder / BEST, f"delete {folder} to train this fold from its start"
    try:
        with safe_open(file, "pt") as held:
            text = (held.metadata() or {}).get(SUM)
            tensors = {name: held.get_tensor(name) for name in held.keys()}  # noqa: SIM118  it is no dict
    except (OSError, SafetensorError) as error:
        raise damaged(file, f"cannot be read ({type(error).__name__})", remedy) from None
    if text is not None and text != _sum_of(tensors):
        raise damaged(file, "is damaged (its checksum does not match)", remedy)
    return tensors


def _sum_of(tensors: dict[str, torch.Tensor]) -> str:
    found = 0
    for name in sorted(tensors):
        found = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy(), zlib.crc32(name.encode(), found))
    return str(found)


def _mistakes(job: FoldJob, targets: np.ndarray, logits: np.ndarray) -> None:
    """per_class.csv of classes, confusion.csv where an image has one; both printed as far as they are readable."""
    target = job.competition.target
    classes, answers = job.competition.samples.classes, target.decide_logits(logits)
    rows, right = target.recognised(targets, answers, len(classes))
    if not rows.any():
        return
    if target.one_class:
        confusion = np.zeros((len(classes), len(classes)), dtype=int)
        np.add.at(confusion, (targets, answers), 1)
        matrix = pd.DataFrame(confusion, index=pd.Index(classes, name="truth"), columns=classes)
        write_text(job.folder / "confusion.csv", csv_for_people(matrix, index=True))
    share = np.divide(right, rows, out=np.full(len(classes), np.nan), where=rows > 0)
    table = pd.DataFrame({"class": classes, "rows": rows, "accuracy": share.round(4)})
    write_text(job.folder / "per_class.csv", csv_for_people(table))
    if target.one_class and len(classes) <= SHOWN:
        log.info(_matrix(classes, confusion, share))
    else:
        hardest = table[table["rows"] > 0].sort_values("accuracy").head(10)
        log.info("the hardest classes:\n" + hardest.to_string(index=False))


def _matrix(classes: tuple[str, ...], confusion: np.ndarray, right: np.ndarray) -> str:
    """Rows are the truth, columns the answer, numbered as the rows; the accuracy of each class at the end."""
    name = min(22, max(len(c) for c in classes))
    cell = max(3, len(str(confusion.max())) + 1)
    head = " " * (name + 5) + "".join(f"{i:{cell}d}" for i in range(len(classes))) + "   right"
    lines = [
        f"  {i:2d} {c[:name]:{name}}" + "".join(f"{n or '·':>{cell}}" for n in row) + f"   {share:.3f}"
        for i, (c, row, share) in enumerate(zip(classes, confusion, right, strict=True))
    ]
    return "\n".join([head, *lines])
