"""One fold of one seed: from the last checkpoint, or from the start, to averaged weights and out-of-fold logits."""

import math
import time
from contextlib import nullcontext

import numpy as np
import torch

from src.core.console import log, note
from src.core.paths import CHECKPOINT
from src.core.reporter import EPOCH, Reporter, RowProgress
from src.core.seeding import ORDER, START, STEP, key, seed_all
from src.core.stop_signal import StopSignal
from src.images.augment import Augmentation
from src.images.dataset import AugmentedSteps, Feed, PlainRows, Step
from src.images.samplers import Drawn, epoch_steps, steps_per_epoch
from src.models.factory import build
from src.models.freezing import freeze
from src.training import sanity_checks
from src.training.dead_units import watched
from src.training.distillation import fold_targets, targets_in_words
from src.training.distributed_loader import DistributedLoader
from src.training.evaluate import Scores, best_epoch, evaluate
from src.training.finish import finish, keep_best
from src.training.fitted_head import begin_from_probe
from src.training.fold_job import FoldJob, global_batch
from src.training.learning_rates import rates, set_rate
from src.training.logs import line, shown, write_logs
from src.training.mixing import augmented_rows
from src.training.schedules import schedule_of
from src.training.stages import Stage, stage_at, stages_of
from src.training.state import State
from src.training.step import Stepper
from src.training.warm_start import is_warm_start, load_warm_start

SHOWN_ROWS = 2000  # training rows, at most, that log.train_scores looks at
CHEAP = 0.2  # seconds for which every epoch is kept
WORTH = 50  # seconds of training that are worth a second of writing them down


class FoldTraining:
    """The epochs of one fold. Killed at any moment and made anew, it ends with the same bits."""

    def __init__(self, job: FoldJob, reporter: Reporter) -> None:
        self.job, self.reporter, config = job, reporter, job.competition.config
        self.config = config
        self.rows, self.held_out = job.competition.folds.rows(job.fold)
        self.fold_targets = fold_targets(job)
        self.steps = steps_per_epoch(len(self.fold_targets.rows), global_batch(config))
        seed_all(key(job.seed, job.fold, START))
        samples = job.competition.samples
        network = build(config.model, len(samples.classes), config.images.size, samples.target)
        self.checkpoint = job.folder / CHECKPOINT
        begun = job.ranks.broadcast(self.checkpoint.exists())
        if config.begins_from_probe and not begun and job.ranks.is_main:  # the others get the leader's numbers
            begin_from_probe(job, network)
        if samples.target.own_unit:
            seen = samples.targets[self.rows]
            network.set_unit(samples.target.start(seen, len(samples.classes)), samples.target.unit(seen))
        if network.joined is not None:
            network.joined.branch.learn(job.competition.cells[self.rows])
        if is_warm_start(config.model):
            load_warm_start(network, job.competition, job.seed, job.fold)
        if config.train.checkpointing:
            network.save_memory(config.model.name)
        self.state = State(config, job.machine, network, job.ranks)
        self.device = self.state.device
        self.stepper = Stepper(job, self.state, self.fold_targets.targets)
        self.stages = stages_of(config)
        self.rates = rates(config, self.stages, self.steps)
        self.stage: Stage | None = None
        self.scores: Scores | None = None  # of the last epoch, on the held-out rows
        self.kept_at, self.keeping = time.monotonic(), 0.0  # when a checkpoint was written, and the seconds it took
        self.plain_feed = Feed(PlainRows(job.images, config.images.size), job.machine.workers, self.device)
        self.state.progress.threads, self.state.progress.ranks = job.threads, job.ranks.count
        if begun:
            self.state.restore(self.checkpoint)
        self.ranks_before = self.state.progress.ranks
        if self.ranks_before != job.ranks.count or job.machine.device != "cpu":
            self.state.progress.threads, self.state.progress.ranks = job.threads, job.ranks.count
        torch.set_num_threads(self.state.progress.threads)  # another number of threads adds up in another order

    @property
    def updates(self) -> int:
        """Optimizer steps taken so far."""
        return self.state.progress.epoch * self.steps + self.state.progress.step

    def run(self) -> None:
        """Train what is left, then write the fold's results; `done.json` comes last."""
        progress, job = self.state.progress, self.job
        self.before = self.updates
        self._show()
        if self.updates:
            step = min(progress.step + 1, self.steps)  # all steps may be done, and only the epoch's end be missing
            at = f"epoch {progress.epoch + 1}/{job.epochs}, step {step}/{self.steps}"
            note("fold-resumed", f"{job.name} goes on at {at}{self._handed()}")
        elif job.teacher:
            note("teacher-answers", targets_in_words(job, self.fold_targets))
        with StopSignal(once=job.ranks.count == 1) as stop:
            while progress.epoch < job.epochs and not self._stopped_early():
                self._epoch(stop)
                asked, due = self._agreed(stop.asked, self._worth_keeping())
                if asked or due:
                    self._keep()
                log.info(line(job, progress.history[-1]))
                self._show()  # after the checkpoint: whoever is shown a new epoch may end the training
                if asked:
                    raise KeyboardInterrupt
            if self._agreed(stop.asked)[0]:  # while the last epoch was written down
                self._keep()
                raise KeyboardInterrupt
        finish(job, self.state, self.plain_feed, self.fold_targets, self.scores)
        self.reporter.end(job.name)

    def _show(self) -> None:
        progress, epochs = self.state.progress, self.job.epochs
        facts = {EPOCH: f"{min(progress.epoch + 1, epochs)}/{epochs}"} | shown(
            progress, self.job.competition.metric.name
        )
        self.reporter.show(self.job.name, RowProgress(epochs * self.steps, self.updates, self.before, facts))

    def _handed(self) -> str:
        before, now = self.ranks_before, self.job.ranks.count
        if before == now:
            return ""
        return f"; {before} {'process' if before == 1 else 'processes'} began it, now {now}: other last digits"

    def _enter(self, stage: Stage) -> None:
        """Make ready for a stage: what it freezes, shows and draws."""
        job, data = self.job, self.job.competition.samples
        self.state.rest(freeze(self.state.plain_network.backbone, stage.frozen, self.config.train.hold_norms))
        self.state.share_gradients()
        load_side = self.config.images.load_side()
        pixels, colours = job.competition.seen_format, job.competition.in_colours
        augmentation = Augmentation(stage.augment.transforms, stage.size, load_side, pixels, colours)
        only = augmented_rows(stage.augment.only, data.targets, data.classes, data.target, self.fold_targets.answered)
        feed = Feed(AugmentedSteps(job.images, augmentation, only), job.machine.workers, self.device)
        self.feed = DistributedLoader(feed, job.ranks, stage.size, self.config.planes, pixels.tensor_dtype)
        self.stage = stage

    def _epoch(self, stop: StopSignal) -> None:
        progress = self.state.progress
        stage = stage_at(self.stages, progress.epoch)
        if stage != self.stage:
            self._enter(stage)
        losses = [entry["held_out_loss"] for entry in progress.history if "held_out_loss" in entry]
        self.factor = schedule_of(self.config.schedule).factor(losses)
        begun = time.monotonic()
        for images, rows in self.feed(self._steps_left()):
            self._step(images, rows)
            progress.step += 1
            self._show()
            asked, due = self._agreed(stop.asked, self._overdue())
            if asked or due:
                progress.seconds += time.monotonic() - begun
                begun = time.monotonic()
                self._keep()
                if asked:
                    raise KeyboardInterrupt
        self.stepper.loss_meter.flush()
        progress.seconds += time.monotonic() - begun
        self._end_epoch()

    def _agreed(self, asked: bool, due: bool = False) -> tuple[bool, bool]:
        """Whether any rank was asked to stop, and whether it is time for a checkpoint by the leader's clock."""
        ranks = self.job.ranks
        asked, due = ranks.all_reduce(asked, due and ranks.is_main)
        return asked > 0, due > 0

    def _keep(self) -> None:
        """A checkpoint; no rank goes on, or ends, before it is written."""
        self.stepper.loss_meter.flush()
        begun = time.monotonic()
        self.state.save(self.checkpoint)
        self.kept_at = time.monotonic()
        self.keeping = self.kept_at - begun
        self.job.ranks.barrier()

    def _overdue(self) -> bool:
        return time.monotonic() - self.kept_at > self.config.machine.checkpoint_minutes * 60

    def _worth_keeping(self) -> bool:
        """Whether an epoch's end is kept: not where writing takes long beside what a kill would have done again.

        The epoch whose weights were put aside as the best always is: another life might find another one.
        """
        if self.config.train.keep == "best" and self._is_best():
            return True
        since = time.monotonic() - self.kept_at
        return self.keeping < CHEAP or since > WORTH * self.keeping or self._overdue()

    def _is_best(self) -> bool:
        scores = [entry["score"] for entry in self.state.progress.history if "score" in entry]
        return bool(scores) and best_epoch(self.job.competition.metric, scores) == len(scores) - 1

    def _steps_left(self) -> list[Step]:
        job, progress = self.job, self.state.progress
        order = key(job.seed, job.fold, ORDER, progress.epoch)
        drawn = Drawn(self.fold_targets.rows, self.fold_targets.labels, job.competition.target)
        chunks = epoch_steps(self.stage.sampler, drawn, global_batch(self.config), order)
        steps = [Step(rows, key(job.seed, job.fold, STEP, progress.epoch, i)) for i, rows in enumerate(chunks)]
        return steps[progress.step :]

    def _step(self, images: torch.Tensor, rows: torch.Tensor) -> None:
        """Everything random in a step is drawn anew from its key, so nothing random has to be kept."""
        progress, momentum = self.state.progress, self.rates.momentum
        seed_all(key(self.job.seed, self.job.fold, STEP, progress.epoch, progress.step))
        set_rate(self.state.optimizer, self._lr(self.updates), None if momentum is None else momentum[self.updates])
        self.stepper.take(images, rows, self.updates)

    def _end_epoch(self) -> None:
        state, job, progress = self.state, self.job, self.state.progress
        state.share_statistics()
        entry = {
            "epoch": progress.epoch + 1,
            "steps": self.steps,
            "loss": progress.loss_sum / progress.seen,
            "lr": self._lr(self.updates - 1),
            "seconds": round(progress.seconds, 3),
            "images_per_second": round(progress.seen / max(progress.seconds, 1e-9), 1),
        }
        if self.config.log.gradients:
            entry["gradient_length"] = progress.gradient_sum / self.steps
        if self.config.log.train_scores:
            seen = evaluate(job, state.answering_network, self.plain_feed, self._shown_rows())
            entry |= {"train_loss": seen.loss, "train_score": seen.score}
        if len(self.held_out):
            with watched(state.answering_network) if self.config.log.gradients else nullcontext() as watch:
                self.scores = scores = evaluate(job, state.answering_network, self.plain_feed, self.held_out)
            entry |= {"held_out_loss": scores.loss, "score": scores.score}
            if watch:
                entry["dead_units"] = watch.dead
            sanity_checks.stop_on_nan(scores.loss, job.name, progress.epoch, progress.step)
            keep_best(job, state, scores.score)
            sanity_checks.after_epoch(job, entry, scores, self._chance())
        entry = job.ranks.broadcast(entry)  # the times are the leader's
        progress.history.append(entry)
        progress.next_epoch()
        if job.ranks.is_main:
            write_logs(job, state, entry)

    def _lr(self, update: int) -> float:
        return float(self.rates.lr[update] * self.factor)

    def _shown_rows(self) -> np.ndarray:
        """The training rows that train_scores looks at: all, or every so many of a large table."""
        return self.rows[:: -(-len(self.rows) // SHOWN_ROWS)]

    def _chance(self) -> float:
        """The loss of knowing the class frequencies only; no number for losses and targets of another scale."""
        loss, target, labels = self.stepper.criterion, self.job.competition.target, self.fold_targets.labels
        weighted = loss.rows.weights is not None or self.stepper.weights is not None
        if not loss.plain or weighted or self.job.teacher:
            return math.inf
        drawn = self.stage.sampler.weights(labels, target)
        return target.chance_loss(labels, drawn, loss.smoothing, len(self.job.competition.samples.classes))

    def _stopped_early(self) -> bool:
        patience, history = self.config.train.patience, self.state.progress.history
        if not patience or not history or "score" not in history[0]:
            return False
        better = best_epoch(self.job.competition.metric, [entry["score"] for entry in history])
        if len(history) - 1 - better < patience:
            return False
        note(
            "fold-stopped-early",
            f"{self.job.name} stops: {patience} epochs without a better {self.job.competition.metric.name}",
        )
        return True
