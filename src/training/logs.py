"""What an epoch did, as log.csv and, where asked, as TensorBoard events. No epoch stands there twice."""

from __future__ import annotations

from typing import Any

import pandas as pd

from src.core.files import written_whole
from src.training.fold_job import FoldJob
from src.training.state import Progress, State

SIGNAL = ("gradient_length", "dead_units")  # of log.gradients


def write_logs(job: FoldJob, state: State, entry: dict[str, Any]) -> None:
    """Both logs are whole files of what the checkpoint knows, so an epoch done again replaces itself."""
    with written_whole(job.folder / "log.csv") as part:
        pd.DataFrame(state.progress.history).to_csv(part, index=False)
    if job.competition.config.log.tensorboard:
        _write_events(job, state, entry)


def line(job: FoldJob, entry: dict[str, float]) -> str:
    """One line an epoch, in columns."""
    width = len(str(job.epochs))
    held_out = ""
    if "score" in entry:
        held_out = f"held out: loss {entry['held_out_loss']:.4f} {job.competition.metric.name} {entry['score']:.4f}   "
    return (
        f"{job.name}   epoch {entry['epoch']:{width}d}/{job.epochs}   loss {entry['loss']:.4f}   {held_out}"
        f"lr {entry['lr']:.2e}   {entry['seconds']:.1f} s   {entry['images_per_second']:.0f} images/s"
    )


def shown(progress: Progress, metric: str) -> dict[str, str]:
    """What the table shows of a fold, {column: text}: the loss of the epoch under way, and what the last one told."""
    last = progress.history[-1] if progress.history else {}
    facts = {}
    if progress.seen or last:
        facts["loss"] = f"{progress.loss_sum / progress.seen if progress.seen else last['loss']:.4f}"
    if "score" in last:
        facts[metric] = f"{last['score']:.4f}"
    if last:
        facts["images/s"] = f"{last['images_per_second']:.0f}"
    return facts


def _write_events(job: FoldJob, state: State, entry: dict[str, Any]) -> None:
    from torch.utils.tensorboard import SummaryWriter

    folder, suffix = job.folder / "tensorboard", f".epoch{entry['epoch']:05d}"
    for stale in folder.glob(f"*{suffix}"):
        stale.unlink()
    with SummaryWriter(str(folder), filename_suffix=suffix) as writer:
        for name in ("loss", "held_out_loss", "score", "lr", "images_per_second", *SIGNAL):
            if name in entry:
                writer.add_scalar(name, entry[name], entry["epoch"])
        for name, value in state.answering_network.named_parameters():
            writer.add_histogram(name.replace(".", "/"), value.detach().float().cpu(), entry["epoch"])
