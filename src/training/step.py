"""One optimizer step: forward and backward in pieces that fit into memory, then the update and the average."""

from contextlib import nullcontext

import numpy as np
import torch

from src.config.image_size import Size
from src.core.errors import Problem
from src.core.memory import fits, largest_batch
from src.core.paths import has_learned
from src.losses import loss_of
from src.training import sanity_checks
from src.training.fold_job import FoldJob, global_batch
from src.training.loss_meter import LossMeter, StepLoss
from src.training.mixing import mixing
from src.training.state import State


class Stepper:
    """Takes the steps of one fold."""

    def __init__(self, job: FoldJob, state: State, targets: np.ndarray) -> None:
        """targets: of every row of the image cache that a step may hold."""
        self.job, self.state, self.config = job, state, job.competition.config
        samples, (rows, _) = job.competition.samples, job.competition.folds.rows(job.fold)
        self.targets = torch.from_numpy(targets)
        target = job.competition.target
        self.criterion = loss_of(self.config.loss, samples.counts_in(rows), target, target.unit(samples.targets[rows]))
        # Of rows that count differently the mean is over their number: their weights are 1 on average.
        self.normalizer = self.criterion.normalizer if samples.weights is None else len
        self.weights = None  # of the rows, whose mean over those that are learned from is 1
        if samples.weights is not None:
            weights = np.ones(len(targets))  # what a teacher answers counts as a row does on average
            weights[: len(samples.weights)] = samples.weights / samples.weights[rows].mean()
            self.weights = torch.from_numpy(weights.astype(np.float32))
        cells = job.competition.cells
        self.cells = None if cells is None else torch.from_numpy(cells)
        self.mix = mixing(self.config.train, len(samples.classes))
        self.loss_meter = LossMeter(state.device, self._count)

    def take(self, images: torch.Tensor, rows: torch.Tensor, updates: int) -> None:
        """One step over one global batch, of which each rank takes its part in pieces of at most `machine.batch`.

        updates: how many steps were taken before. The whole batch is mixed by every rank alike, with the randomness
        that the step begins with; that of the network itself (dropout) each rank draws for its part.
        """
        state, progress, ranks = self.state, self.state.progress, self.job.ranks
        state.train_mode()
        truth = self.targets[rows]
        weights = None if self.weights is None else _sent(self.weights[rows], images.device)
        images, targets, weights = self.mix(images, _sent(truth, images.device), weights)
        known = truth if targets.ndim == truth.ndim else targets  # what is summed here keeps no GPU waiting
        if ranks.index:  # the leader goes on in the stream, as a single process would
            torch.manual_seed(torch.initial_seed() + ranks.index)
        whole, losses = self.normalizer(known), []
        beside = () if self.cells is None else (_sent(self.cells[rows], images.device),)
        pieces = self._pieces(images, targets, known, *beside, *(() if weights is None else (weights,)))
        for left, (part, answers, counted, *more) in zip(reversed(range(len(pieces))), pieces, strict=True):
            # Gradients are added up over the ranks once a step, with the last piece.
            cells, weighed = more[: len(beside)], more[len(beside) :]
            with state.unshared() if left else nullcontext():
                normalizer = self.normalizer(counted)
                losses.append(
                    (
                        self._forward_backward((part, *cells), answers, normalizer / whole, *weighed),
                        normalizer * len(rows) / whole,
                    )
                )
        self.loss_meter.add(losses, progress.epoch, progress.step)
        if self.config.log.gradients:
            progress.gradient_sum += state.gradient_length()
        state.update(self.config.optim.clip)
        if state.ema:
            state.ema.update(state.plain_network, step=updates + 1)
        progress.seen += len(rows)

    def _count(self, taken: StepLoss) -> None:
        (loss_sum,) = self.job.ranks.all_reduce(taken.loss_sum)
        sanity_checks.stop_on_nan(loss_sum, self.job.name, taken.epoch, taken.step)
        self.state.progress.loss_sum += loss_sum

    def _pieces(self, *wholes: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
        """Of this rank's part of each, cut alike; the parts differ by at most one image."""
        ranks = self.job.ranks
        parts = [whole.tensor_split(ranks.count)[ranks.index] for whole in wholes]
        count = -(-len(parts[0]) // self.job.machine.batch)
        return list(zip(*(part.tensor_split(count) for part in parts), strict=True))

    def _forward_backward(
        self, seen: tuple[torch.Tensor, ...], targets: torch.Tensor, share: float, weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The mean loss of one piece, its rows by their weights; its gradients are added by its share of the step.

        seen: the images, and the cells of columns beside them.
        """
        losses: list[torch.Tensor] = []
        share *= self.job.ranks.count  # of the ranks' gradients the mean is taken, and the sum is meant

        def attempt() -> None:
            logits = self.state.forward(*seen)
            loss = self.criterion(logits, targets, weights)
            self.state.backward(loss * share)
            losses.append(loss.detach())

        if not fits(attempt):
            raise Problem(self._batch_that_fits(len(targets)), code="out-of-memory")
        return losses[0]

    def _batch_that_fits(self, tried: int) -> str:
        self.state.optimizer.zero_grad(set_to_none=True)
        most = largest_batch(lambda batch: try_batch(self.state, self.config, batch), max(1, tried - 1))
        if most == 0:
            return "out of memory with a single image: lower images.size or choose a smaller model.name"
        text = f"out of memory with {tried} images at once; the largest batch that fits is {most}. "
        words = f"train.batch={most} train.global_batch={global_batch(self.config)}"
        if has_learned(self.job.run.folder):  # and a run keeps the batch that it has learned with
            return text + (
                f"The same command goes on once no other program holds memory there, or where there is more of it; or "
                f"begin another run with run=NAME {words}"
            )
        return text + f"To keep the steps give {words}, or train.batch=auto"


def _sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copied to the device; to a GPU without waiting for what it computes."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def try_batch(state: State, config: object, batch: int) -> None:
    """One forward and backward pass over `batch` even images; the network and its gradients are left as they were."""
    network = state.network
    before = {name: value.clone() for name, value in network.named_buffers()}
    shape = batch, config.planes, *Size.of(config.images.size).shape
    images = torch.ones(shape, dtype=torch.uint8, device=state.device)  # not black: every place of a bag is filled
    try:
        with state.unshared():  # other ranks may try another batch
            network.train()
            state.backward(state.forward(images).float().logsumexp(1).mean())
    finally:
        state.optimizer.zero_grad(set_to_none=True)
        for name, value in network.named_buffers():
            value.copy_(before[name])
        if state.device.type == "cuda":
            torch.cuda.empty_cache()
