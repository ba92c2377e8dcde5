"""The learning-rate finder: some steps at a climbing rate, and what the loss said to it (Smith, 2017, as LR range test)."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from src.command import Request
from src.competition.opened import open_competition
from src.errors import Problem
from src.models.factory import build
from src.reporting.figures import save
from src.reporting.rates import draw_rates
from src.runs import Run, written_whole
from src.training.choices import check_choices
from src.training.fold import FoldTraining
from src.training.job import FoldJob, global_batch
from src.training.machine import choose, split_cores
from src.training.schedule import Rates
from src.training.terminal import Terminal

LOWEST, HIGHEST, STEPS = 1e-5, 10.0, 100
SMOOTHING = 0.9  # of the running mean: it looks back about ten steps
DIVERGED = 4.0  # times the lowest smoothed loss: beyond it nothing more is to be seen
WARMING = 10  # steps in which the running mean still settles
LEAST_FALL = 0.02  # of the first loss: less is noise, and no rate can be told from it

Say = Callable[[str], None]


@dataclass(frozen=True)
class Rehearsal(FoldJob):
    """A fold's training that neither reads nor writes the run's own folder."""

    place: Path

    @property
    def folder(self) -> Path:
        return self.place


class Diverged(Exception):
    """The loss is no number any more."""


class RateTest(FoldTraining):
    """Training with the first stage's images and loss, at rates given step by step."""

    def losses(self, rates: np.ndarray) -> Iterator[float]:
        """The loss before each step; ends early where it is no number."""
        self._enter(self.stages[0])
        self.rates, self.factor = Rates(rates, None), 1.0
        self.stepper.criterion = _finite(self.stepper.criterion)
        progress = self.state.progress
        try:
            while self.updates < len(rates):
                for images, rows in self.feed(self._steps_left()[: len(rates) - self.updates]):
                    before = progress.loss_sum
                    self._step(images, rows)
                    progress.step += 1
                    self.teller.advance(1)
                    yield (progress.loss_sum - before) / len(rows)
                progress.epoch, progress.step = progress.epoch + 1, 0
        except Diverged:
            return


def find_lr(request: Request, say: Say = print) -> float:
    """Try rates on one fold (the first that is asked for, else 0), and propose one for optim.lr.

    Writes lr-finder.csv and lr-finder.png into the run's folder, and nothing that belongs to a run: its name stays free.
    Raises UsageError or Problem as training does, and Problem where no rate made the loss fall.
    """
    run = Run(request.competition, request.run)
    with tempfile.TemporaryDirectory() as place:
        job = _rehearsal(request, run, Path(place), say)
        terminal = Terminal(STEPS, say)
        try:
            table = _tried(RateTest(job, terminal))
        finally:
            terminal.close()
    lowest, steepest = marks(table)
    proposed = float(f"{lowest / 10:.1e}")
    with written_whole(run.folder / "lr-finder.csv") as part:
        table.to_csv(part, index=False)
    figure = run.folder / "lr-finder.png"
    save(draw_rates(table, {"proposed": proposed, "steepest": steepest, "lowest": lowest}), figure)
    begin = table["loss"].head(WARMING).median()
    if begin - table["smoothed"].min() < LEAST_FALL * begin:
        raise Problem(f"no rate from {LOWEST:g} to {HIGHEST:g} made the loss fall: look at {figure}, and at the labels")
    if len(table) == STEPS and lowest == table["lr"].iloc[-1]:
        say(f"note: the loss still fell at the highest rate that was tried, {HIGHEST:g}")
    say(
        f"optim.lr={proposed:g} is proposed: a tenth of {lowest:.1e}, where the smoothed loss was lowest (Gugger, 2018). "
        f"It fell most steeply at {steepest:.1e}. Look at {figure}"
    )
    return proposed


def marks(table: pd.DataFrame) -> tuple[float, float]:
    """The rate where the smoothed loss was lowest, and the one before it where it fell most steeply by log(rate)."""
    smoothed = table["smoothed"].to_numpy()
    low = int(smoothed.argmin())
    if low < 2:
        return float(table["lr"].iloc[low]), float(table["lr"].iloc[low])
    slope = np.gradient(smoothed[: low + 1])
    return float(table["lr"].iloc[low]), float(table["lr"].iloc[int(slope.argmin())])


def _rehearsal(request: Request, run: Run, place: Path, say: Say) -> Rehearsal:
    fold = (request.folds or (0,))[0]
    opened = open_competition(request.config, run, say)
    check_choices(opened, say)
    config = opened.config
    network = build(config.model, len(opened.samples.classes), config.images.size)
    parameters = sum(p.numel() for p in network.parameters())
    kept = run.folder / "machine.json"
    record = kept if kept.exists() else place / "machine.json"
    machine = choose(config, parameters, record, lambda _: global_batch(config))
    _, threads = split_cores(config, machine.device, 1)
    say(f"{STEPS} steps of {config.model.name} on {machine.device}, from {LOWEST:g} to {HIGHEST:g}")
    return Rehearsal(
        opened, opened.images(say=say), run, machine, request.seeds[0], fold, config.epochs, threads, place
    )


def _tried(test: RateTest) -> pd.DataFrame:
    """step, lr, loss, and smoothed: the running mean, corrected for its start at nothing."""
    rates = np.geomspace(LOWEST, HIGHEST, STEPS)
    lines, mean, best = [], 0.0, np.inf
    for step, loss in enumerate(test.losses(rates), start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        smoothed = mean / (1 - SMOOTHING**step)
        lines.append({"step": step, "lr": rates[step - 1], "loss": loss, "smoothed": smoothed})
        best = min(best, smoothed)
        if step > WARMING and smoothed > DIVERGED * best:
            break
    if not lines:
        raise Problem(
            f"{test.job.name}: the loss of the very first step is no number: look at the images and the weights"
        )
    return pd.DataFrame(lines)


def _finite(criterion: Callable) -> Callable:
    def watched(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        loss = criterion(logits, targets)
        if not torch.isfinite(loss):
            raise Diverged
        return loss

    return watched
