"""The learning-rate finder: some steps at a climbing rate, and what the loss says to it (Smith, 2017)."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from src.competition.competition import open_competition
from src.config.request import Request
from src.config.schema import Config
from src.core.console import ProgressReporter, log, note
from src.core.distributed import ALONE
from src.core.errors import Problem
from src.core.files import written_whole
from src.core.paths import Run
from src.core.reporter import RowProgress
from src.models.factory import build
from src.reporting.figures import save
from src.reporting.lr_finder_figure import draw_rates
from src.training.distillation import predict_teachers
from src.training.fold_job import FoldJob, global_batch
from src.training.logs import shown
from src.training.machine import Machine, Share, choose, share_out
from src.training.preflight import check_choices
from src.training.schedules import Curve
from src.training.teacher import check_teacher, teacher_of
from src.training.trainer import FoldTraining

LOWEST, HIGHEST, STEPS = 1e-5, 10.0, 100
SMOOTHING = 0.9  # of the running mean: it looks back about ten steps
SETTLING = 10  # steps in which that mean still settles, and the rate is too low to matter
NOTICED = 0.02  # of the loss at the start: what changes less, or less than batches differ there, is noise
CLIMB = 0.2  # of the fall so far: a loss that climbs back by this much has left its valley


@dataclass(frozen=True)
class DryRunJob(FoldJob):
    """A fold's training that neither reads nor writes the run's own folder."""

    place: Path

    @property
    def folder(self) -> Path:
        return self.place


class Diverged(Exception):
    """The loss is no number any more."""


class LearningRateTest(FoldTraining):
    """Training with the first stage's images and loss, at rates given step by step."""

    def losses(self, rates: np.ndarray) -> Iterator[float]:
        """The loss before each step; ends early where it is no number."""
        self._enter(self.stages[0])
        self.rates, self.factor = Curve(rates), 1.0
        self.stepper.criterion = _finite(self.stepper.criterion)
        progress = self.state.progress
        try:
            while self.updates < len(rates):
                for images, rows in self.feed(self._steps_left()[: len(rates) - self.updates]):
                    before = progress.loss_sum
                    self._step(images, rows)
                    self.stepper.loss_meter.flush()
                    progress.step += 1
                    facts = {"rate": f"{rates[self.updates - 1]:.1e}"} | shown(progress, "")
                    self.reporter.show(self.job.name, RowProgress(len(rates), self.updates, facts=facts))
                    yield (progress.loss_sum - before) / len(rows)
                progress.epoch, progress.step = progress.epoch + 1, 0
        except Diverged:
            return


def find_lr(request: Request, ends: tuple[float, float] = (LOWEST, HIGHEST)) -> float:
    """Try rates on one fold (the first that is asked for, else 0), and propose one for optim.lr.

    A tenth of the rate where the smoothed loss was lowest (Gugger, 2018) is proposed: where it falls most steeply is
    told too, but is often too high for optimizers that are slow to answer. Writes lr-finder.csv and lr-finder.png into
    the run's folder, and nothing else: the run's name stays free. ends: the lowest and the highest rate that is tried.
    Raises Problem where no rate made the loss fall.
    """
    run = Run(request.competition, request.run)
    with tempfile.TemporaryDirectory() as place:
        job = _rehearsal(request, run, Path(place), ends)
        predict_teachers([job], Share(1, job.threads, job.machine.workers))
        with ProgressReporter(what="learning rates") as terminal:
            table = tried(LearningRateTest(job, terminal).losses, ends)
    lowest, steepest = marks(table)
    proposed = float(f"{lowest / 10:.1e}")
    with written_whole(run.folder / "lr-finder.csv") as part:
        table.to_csv(part, index=False)
    figure = run.folder / "lr-finder.png"
    save(draw_rates(table, {"proposed": proposed, "steepest": steepest, "lowest": lowest}), figure)
    start, noise = beginning(table)
    if start - table["smoothed"].iloc[SETTLING:].min() < noise:
        raise Problem(
            f"no rate from {ends[0]:g} to {ends[1]:g} made the loss fall: look at {figure}, and at the labels",
            code="no-rate-found",
        )
    note(
        "rate-proposed",
        f"optim.lr={proposed:g} is proposed: a tenth of {lowest:.1e}, where the smoothed loss was lowest. It fell most "
        f"steeply at {steepest:.1e}. Look at {figure}",
    )
    return proposed


def tried(
    losses: Callable[[np.ndarray], Iterator[float]], ends: tuple[float, float] = (LOWEST, HIGHEST)
) -> pd.DataFrame:
    """step, lr, loss, and smoothed: the running mean, corrected for its start at nothing (Kingma and Ba, 2015).

    `losses` gives the loss at each of the rates it is given. Ends where the loss has left its valley. Raises Problem
    where it is no number before anything could be seen.
    """
    rates = np.geomspace(*ends, STEPS)
    lines, mean = [], 0.0
    for step, (rate, loss) in enumerate(zip(rates, losses(rates), strict=False), start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        lines.append({"step": step, "lr": rate, "loss": loss, "smoothed": mean / (1 - SMOOTHING**step)})
        if step > SETTLING and _left_valley(pd.DataFrame(lines)):
            break
    if len(lines) <= SETTLING:
        raise Problem(
            f"the loss is no number at a rate of {rates[len(lines)]:.1e}: look at the images and the weights",
            code="loss-not-finite",
        )
    return pd.DataFrame(lines)


def marks(table: pd.DataFrame) -> tuple[float, float]:
    """The rate where the smoothed loss was lowest, and the one up to there where it fell most steeply by log(rate)."""
    smoothed = table["smoothed"].to_numpy()
    low = SETTLING + int(smoothed[SETTLING:].argmin())
    steepest = SETTLING + int(np.gradient(smoothed[: low + 1])[SETTLING:].argmin())
    return float(table["lr"].iloc[low]), float(table["lr"].iloc[steepest])


def beginning(table: pd.DataFrame) -> tuple[float, float]:
    """The loss before the rate began to matter, and what has to be taken for noise."""
    losses = table["loss"].head(SETTLING)
    return float(losses.median()), float(max(NOTICED * losses.median(), losses.std()))


def _left_valley(table: pd.DataFrame) -> bool:
    (start, noise), lowest = beginning(table), table["smoothed"].iloc[SETTLING:].min()
    fall, climb = start - lowest, table["smoothed"].iloc[-1] - lowest
    return fall > noise and climb > max(CLIMB * fall, noise)


def _rehearsal(request: Request, run: Run, place: Path, ends: tuple[float, float]) -> DryRunJob:
    competition = open_competition(request.config, run)
    check_choices(competition)
    config, fold = competition.config, (request.folds or (0,))[0]
    check_teacher(competition, run, [(request.seeds[0], fold)])
    network = build(config.model, len(competition.samples.classes), config.images.size, competition.target)
    parameters = sum(p.numel() for p in network.parameters())
    kept = run.folder / "machine.json"
    record = kept if kept.exists() else place / "machine.json"
    machine = choose(config, parameters, record, partial(_whole_batch, config))
    share = share_out(config, machine, 1)
    machine = replace(machine, workers=share.workers)
    log.info(f"{STEPS} steps of {config.model.name} on {machine.device}, at rates from {ends[0]:g} to {ends[1]:g}")
    images = competition.images()
    teacher = teacher_of(competition)
    return DryRunJob(
        competition, images, run, machine, request.seeds[0], fold, config.epochs, share.threads, teacher, ALONE, place
    )


def _whole_batch(config: Config, machine: Machine) -> Machine:
    """Too short for trials."""
    return replace(machine, batch=global_batch(config)) if config.train.batch == "auto" else machine


def _finite(criterion: Callable) -> Callable:
    def watched(logits: torch.Tensor, targets: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        loss = criterion(logits, targets, rows)
        if not torch.isfinite(loss):
            raise Diverged
        return loss

    return watched
