"""Training that goes on from another run's weights, fold by fold: `model.weights=run:NAME`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from src.errors import Problem, UsageError
from src.models.factory import RUN
from src.runs import Run, read_json
from src.schema import Model

if TYPE_CHECKING:
    from src.training.job import FoldJob


def continues(model: Model) -> bool:
    return (model.weights or "").startswith(RUN)


def earlier_run(model: Model, competition: str, folds_hash: str) -> Run:
    """The run to go on from. Raises UsageError where it is absent, or has seen rows that a fold holds out here."""
    run = Run(competition, model.weights.removeprefix(RUN))
    record = run.folder / "run.json"
    if not record.exists():
        raise UsageError(f"model.weights={model.weights}: there is no run {run.name} of {competition}")
    if read_json(record)["folds"] != folds_hash:
        raise UsageError(
            f"model.weights={model.weights}: run {run.name} has other folds, so its weights have seen rows that are "
            f"held out here. Train both with the same data.folds and data.fold_seed"
        )
    return run


def load_run(network: nn.Module, model: Model, job: FoldJob) -> None:
    """Put the weights of the same fold, and of the same seed or else seed 0, into `network`."""
    run = earlier_run(model, job.run.competition, job.opened.folds.hash)
    seed = job.seed if run.finished(job.seed, job.fold) else 0
    file = run.member(seed, job.fold) / "model.safetensors"
    if not run.finished(seed, job.fold):
        raise Problem(f"model.weights={model.weights}: fold {job.fold} of {run.name} is not trained yet")
    try:
        network.backbone.load_state_dict(load_file(file))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise Problem(f"{file} does not fit this network ({reason}): name the same model and stem") from None
