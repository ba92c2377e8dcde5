"""One fold of one seed: from the last checkpoint, or from the start, to averaged weights and out-of-fold logits."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from src.competition.opened import Opened
from src.errors import Problem
from src.images.augment import Augmentation
from src.images.cache import ImageCache
from src.images.loaders import AugmentedSteps, Feed, PlainRows, Step
from src.images.samplers import epoch_steps, row_weights, steps_per_epoch
from src.inference.engine import Engine
from src.models.factory import build
from src.models.memory import fits, largest_batch
from src.runs import Run
from src.schema import Config
from src.training import warn
from src.training.evaluate import best_epoch, evaluate
from src.training.finish import finish, keep_best
from src.training.logs import write_logs
from src.training.losses import Criterion, chance_loss
from src.training.machine import Machine
from src.training.mixing import augmented_rows, mixing
from src.training.onward import continues, load_run
from src.training.randomness import ORDER, START, STEP, key, seed_all
from src.training.schedule import plateau_factor, rates, set_rate
from src.training.stages import Stage, freeze, hold_norms, stage_at, stages_of
from src.training.state import State
from src.training.stopping import StopSignal
from src.training.terminal import Teller

SHOWN_ROWS = 2000


def global_batch(config: Config) -> int:
    """Images of one optimizer step."""
    train = config.train
    return train.global_batch or (64 if train.batch == "auto" else train.batch)


@dataclass(frozen=True)
class FoldJob:
    """What one fold's training is made of. `epochs` may be fewer than the schedule's: see the fold `all`."""

    opened: Opened
    images: ImageCache
    run: Run
    machine: Machine
    seed: int
    fold: int | str
    epochs: int
    threads: int

    @property
    def folder(self) -> Path:
        return self.run.member(self.seed, self.fold)

    @property
    def name(self) -> str:
        return f"fold {self.fold}" + (f" seed {self.seed}" if self.seed else "")

    @property
    def total_steps(self) -> int:
        rows, _ = self.opened.folds.rows(self.fold)
        return self.epochs * steps_per_epoch(len(rows), global_batch(self.opened.config))

    @property
    def engine(self) -> Engine:
        return Engine(self.machine.device, self.machine.precision)


class FoldTraining:
    """The epochs of one fold. Killed at any moment and made anew, it ends with the same bits."""

    def __init__(self, job: FoldJob, teller: Teller) -> None:
        self.job, self.teller, config = job, teller, job.opened.config
        self.config = config
        self.rows, self.held_out = job.opened.folds.rows(job.fold)
        self.steps = steps_per_epoch(len(self.rows), global_batch(config))
        seed_all(key(job.seed, job.fold, START))
        samples = job.opened.samples
        network = build(config.model, len(samples.classes), config.images.size)
        if continues(config.model):
            load_run(network, config.model, job)
        self.state = State(config, job.machine, network)
        self.device = self.state.accelerator.device
        self.targets = torch.from_numpy(samples.targets)
        self.truth = samples.targets[self.rows]
        self.criterion = Criterion(config.loss, samples.counts, job.opened.card.target)
        self.mix = mixing(config.train, len(samples.classes))
        self.stages = stages_of(config)
        self.rates = rates(config, self.stages, self.steps)
        self.stage: Stage | None = None
        self.plain_feed = Feed(PlainRows(job.images, config.images.size), job.machine.workers, self.device)
        self.checkpoint = job.folder / "checkpoint.pt"
        self.state.progress.threads = job.threads
        if self.checkpoint.exists():
            self.state.restore(self.checkpoint)
        torch.set_num_threads(self.state.progress.threads)  # another number of threads adds up in another order

    @property
    def updates(self) -> int:
        """Optimizer steps taken so far."""
        return self.state.progress.epoch * self.steps + self.state.progress.step

    def run(self) -> None:
        """Train what is left, then write the fold's results; `done.json` comes last."""
        progress, job = self.state.progress, self.job
        if self.updates:
            self.teller.say(
                f"{job.name} goes on at epoch {progress.epoch + 1}/{job.epochs}, step {progress.step + 1}/{self.steps}"
            )
            self.teller.advance(self.updates)
        with StopSignal() as stop:
            while progress.epoch < job.epochs and not self._stopped_early():
                self._epoch(stop)
                if stop.asked:
                    raise KeyboardInterrupt
        self.teller.advance(job.epochs * self.steps - self.updates)
        finish(job, self.state, self.plain_feed, self.teller.say)

    def _enter(self, stage: Stage) -> None:
        """Make ready for a stage: what it freezes, shows and draws."""
        job, data = self.job, self.job.opened.samples
        freeze(self.state.plain_network.backbone, stage.frozen)
        load_side = self.config.images.load_side()
        augmentation = Augmentation(stage.augment.transforms, stage.size, load_side)
        only = augmented_rows(stage.augment.only, data.targets, data.classes)
        self.feed = Feed(AugmentedSteps(job.images, augmentation, only), job.machine.workers, self.device)
        exponent = stage.sampler_exponent
        self.weights = None if exponent is None else row_weights(self.truth, exponent)
        self.stage = stage

    def _epoch(self, stop: StopSignal) -> None:
        progress = self.state.progress
        stage = stage_at(self.stages, progress.epoch)
        if stage != self.stage:
            self._enter(stage)
        losses = [entry["held_out_loss"] for entry in progress.history if "held_out_loss" in entry]
        self.factor = plateau_factor(self.config.schedule, losses)
        saved = begun = time.monotonic()
        for images, rows in self.feed(self._steps_left()):
            self._step(images, rows)
            progress.step += 1
            self.teller.advance(1)
            if stop.asked or time.monotonic() - saved > self.config.machine.checkpoint_minutes * 60:
                progress.seconds += time.monotonic() - begun
                saved = begun = time.monotonic()
                self.state.save(self.checkpoint)
                if stop.asked:
                    raise KeyboardInterrupt
        progress.seconds += time.monotonic() - begun
        self._end_epoch()

    def _steps_left(self) -> list[Step]:
        job, progress = self.job, self.state.progress
        chunks = epoch_steps(
            self.rows, self.weights, global_batch(self.config), key(job.seed, job.fold, ORDER, progress.epoch)
        )
        steps = [Step(rows, key(job.seed, job.fold, STEP, progress.epoch, i)) for i, rows in enumerate(chunks)]
        return steps[progress.step :]

    def _step(self, images: torch.Tensor, rows: torch.Tensor) -> None:
        """One optimizer step over one global batch, in pieces of at most `machine.batch` images."""
        state, progress = self.state, self.state.progress
        seed_all(key(self.job.seed, self.job.fold, STEP, progress.epoch, progress.step))
        state.network.train()
        if self.stage.frozen:
            hold_norms(state.plain_network.backbone)
        momentum = self.rates.momentum
        self.lr = float(self.rates.lr[self.updates] * self.factor)
        set_rate(state.optimizer, self.lr, None if momentum is None else float(momentum[self.updates]))
        images, targets = self.mix(images, self.targets[rows].to(self.device))
        loss_sum = 0.0
        for part, truth in self._pieces(images, targets):
            loss_sum += self._forward_backward(part, truth, len(part) / len(rows)) * len(part)
        warn.stop_on_nan(loss_sum, self.job.name, progress)
        if self.config.optim.clip:
            state.accelerator.clip_grad_norm_(state.network.parameters(), self.config.optim.clip)
        state.prepared_optimizer.step()
        state.prepared_optimizer.zero_grad(set_to_none=True)
        if state.ema:
            state.ema.update(state.plain_network, step=self.updates + 1)
        progress.loss_sum += loss_sum
        progress.seen += len(rows)

    def _pieces(self, images: torch.Tensor, targets: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        count = -(-len(images) // self.job.machine.batch)
        return list(zip(images.tensor_split(count), targets.tensor_split(count), strict=True))

    def _forward_backward(self, images: torch.Tensor, targets: torch.Tensor, share: float) -> float:
        """The mean loss of one piece; its gradients are added by its share of the step."""
        losses: list[float] = []

        def attempt() -> None:
            logits = self.state.network(images.contiguous(memory_format=torch.channels_last))
            loss = self.criterion(logits, targets)
            self.state.accelerator.backward(loss * share)
            losses.append(loss.item())

        if not fits(attempt):
            raise Problem(self._batch_that_fits(len(images)))
        return losses[0]

    def _batch_that_fits(self, tried: int) -> str:
        self.state.prepared_optimizer.zero_grad(set_to_none=True)
        most = largest_batch(lambda batch: try_batch(self.state, self.config, batch), max(1, tried - 1))
        if most == 0:
            return "out of memory with a single image: lower images.size or choose a smaller model.name"
        return (
            f"out of memory with {tried} images at once; the largest batch that fits is {most}. To keep the steps give "
            f"train.batch={most} train.global_batch={global_batch(self.config)}, or train.batch=auto"
        )

    def _end_epoch(self) -> None:
        state, job, progress = self.state, self.job, self.state.progress
        entry = {
            "epoch": progress.epoch + 1,
            "steps": self.steps,
            "loss": progress.loss_sum / progress.seen,
            "lr": self.lr,
            "seconds": round(progress.seconds, 3),
            "images_per_second": round(progress.seen / max(progress.seconds, 1e-9), 1),
        }
        if self.config.log.train_scores:
            seen = evaluate(job, state.answering_network, self.plain_feed, self._shown_rows())
            entry |= {"train_loss": seen.loss, "train_score": seen.score}
        if len(self.held_out):
            scores = evaluate(job, state.answering_network, self.plain_feed, self.held_out)
            entry |= {"held_out_loss": scores.loss, "score": scores.score}
            warn.stop_on_nan(scores.loss, job.name, progress)
            keep_best(job, state, scores.score)
            warn.after_epoch(job, entry, scores, self._chance(), self.teller.say)
        progress.history.append(entry)
        progress.epoch, progress.step, progress.loss_sum, progress.seen, progress.seconds = (
            progress.epoch + 1,
            0,
            0.0,
            0,
            0.0,
        )
        write_logs(job, state, entry)
        state.save(self.checkpoint)
        self.teller.say(_line(job, entry))

    def _shown_rows(self) -> np.ndarray:
        """The training rows that train_scores looks at: all, or every so many of a large table."""
        return self.rows[:: -(-len(self.rows) // SHOWN_ROWS)]

    def _chance(self) -> float:
        """The loss of knowing the class frequencies only; no number for losses that have another scale."""
        loss = self.config.loss
        plain = loss.name in ("auto", "cross_entropy") and loss.class_weights == "none"
        classes = len(self.job.opened.samples.classes)
        return chance_loss(self.truth, self.weights, loss.smoothing, classes) if plain else math.inf

    def _stopped_early(self) -> bool:
        patience, history = self.config.train.patience, self.state.progress.history
        if not patience or not history or "score" not in history[0]:
            return False
        better = best_epoch(self.job.opened.metric, [entry["score"] for entry in history])
        if len(history) - 1 - better < patience:
            return False
        self.teller.say(f"{self.job.name} stops: {patience} epochs without a better {self.job.opened.metric.name}")
        return True


def try_batch(state: State, config: object, batch: int) -> None:
    """One forward and backward pass over `batch` blank images; the network and its gradients are left as they were."""
    network = state.network
    before = {name: value.clone() for name, value in network.named_buffers()}
    images = torch.zeros(
        batch, 3, config.images.size, config.images.size, dtype=torch.uint8, device=state.accelerator.device
    )
    try:
        logits = network.train()(images.contiguous(memory_format=torch.channels_last))
        state.accelerator.backward(logits.float().logsumexp(1).mean())
    finally:
        state.prepared_optimizer.zero_grad(set_to_none=True)
        for name, value in network.named_buffers():
            value.copy_(before[name])
        if state.accelerator.device.type == "cuda":
            torch.cuda.empty_cache()


def _line(job: FoldJob, entry: dict[str, float]) -> str:
    """One line an epoch, in columns."""
    width = len(str(job.epochs))
    held_out = ""
    if "score" in entry:
        held_out = f"held out: loss {entry['held_out_loss']:.4f} {job.opened.metric.name} {entry['score']:.4f}   "
    return (
        f"{job.name}   epoch {entry['epoch']:{width}d}/{job.epochs}   loss {entry['loss']:.4f}   {held_out}"
        f"lr {entry['lr']:.2e}   {entry['seconds']:.1f} s   {entry['images_per_second']:.0f} images/s"
    )
