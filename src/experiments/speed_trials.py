"""How fast a network trains and answers on this machine, from a few steps that are as those of a training."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from src.competition.auto_config import with_values
from src.competition.competition import Competition
from src.config.image_size import Size
from src.config.schema import Config
from src.experiments.time_plan import Speed
from src.images.augment import Augmentation
from src.images.slices import seen_format, together
from src.images.stream import ImageStream
from src.models.factory import build
from src.training.autotune import begin_step, images_tried, open_kinds, step_seconds
from src.training.fold_job import global_batch
from src.training.machine import CHANNELS_LAST, TINY, Machine, Share, choose, cores, share_out

FEW = 16  # images of a rough trial's step
LONG, MIDDLE = 1800, 600  # seconds of a budget, from which a trial's step has 64 images, or 32; else it has 16


@dataclass(frozen=True)
class SpeedTrials:
    """Of so many folds of a competition, within a budget of so many seconds.

    Always with the threads that a fold will have: on a machine that is busy with other work two threads that wait for
    each other may be slower than one.
    """

    competition: Competition
    folds: int
    seconds: int

    def machine(self, config: Config) -> Machine:
        """The usual one here, without trials; nothing is recorded."""
        with tempfile.TemporaryDirectory() as folder:
            return choose(config, TINY, Path(folder) / "machine.json", lambda machine: machine)

    def share(self, config: Config) -> Share:
        return share_out(config, self.machine(config), self.folds)

    def answer_seconds(self, config: Config, batch: int = FEW) -> float:
        """Of one image, by torch: the quicker of two passes."""
        network, device = self._network(config), self.machine(config).torch_device
        network = network.to(device, memory_format=torch.channels_last).eval()
        shape = Size.of(config.images.size).shape
        images = torch.ones(batch, config.planes, *shape, dtype=torch.uint8, device=device)
        images = images.contiguous(memory_format=torch.channels_last)
        torch.set_num_threads(self.share(config).threads)
        with torch.inference_mode():
            return _quickest(lambda: network(images).float().cpu(), 1) / batch

    def rough(self, config: Config, head: float = 0.0) -> Speed:
        """From small steps in this process. head: seconds of a fold's first head."""
        batch, machine = min(FEW, global_batch(config)), self.machine(config)
        few = with_values(config, {"train.batch": batch, "train.global_batch": batch, "train.epochs": 1})
        open_here = config.train.precision == "auto" and machine.device == "cpu"
        machine = replace(machine, precision="fp32" if open_here else machine.precision)
        torch.set_num_threads(self.share(config).threads)
        seconds = _quickest(begin_step(few, self._network(config), machine), 2) * global_batch(config) / batch
        step = seconds + global_batch(config) * self._augment_seconds(config)
        name, size, answer = config.model.name, config.images.size, self.answer_seconds(config)
        return Speed(name, size, machine.precision, CHANNELS_LAST, step, answer, head=head)

    def precise(self, config: Config, head: float = 0.0) -> tuple[Speed, list[Speed]]:
        """From true steps of as many folds at once as will train, in each precision and layout that is in doubt.

        Returns the fastest and the others.
        """
        one = with_values(config, {"train.epochs": 1})
        if self.machine(config).device == "cpu":
            tried = min(global_batch(config), 64 if self.seconds >= LONG else 32 if self.seconds >= MIDDLE else FEW)
            one = with_values(one, {"train.batch": tried, "train.global_batch": tried})
        network, share = self._network(config), self.share(one)
        kinds = open_kinds(one, self.machine(one), sum(p.numel() for p in network.parameters()), share)
        kinds = [kind for kind in kinds if kind.threads == kinds[0].threads]
        if self.seconds < MIDDLE:
            kinds = [kind for kind in kinds if kind.layout == kinds[0].layout]
        begin = partial(begin_step, one, network)
        beside = share.jobs if kinds[0].device == "cpu" else 1  # each fold has a GPU to itself
        seconds = step_seconds(begin, kinds, beside)
        best = int(np.argmin(seconds))
        alone = 1.0
        if share.jobs > 1 and self.folds % share.jobs:
            torch.set_num_threads(cores())
            alone = min(1.0, _quickest(begin(replace(kinds[best], threads=None)), 1) / seconds[best])
        images, steps = global_batch(config) * self._augment_seconds(config), global_batch(config) / images_tried(one)
        name, size, answer = config.model.name, config.images.size, self.answer_seconds(config)
        found = [
            Speed(name, size, kind.precision, kind.layout, each * steps + images, answer, alone, head)
            for kind, each in zip(kinds, seconds, strict=True)
        ]
        return found[best], found[:best] + found[best + 1 :]

    def _network(self, config: Config) -> torch.nn.Module:
        classes = len(self.competition.samples.classes)
        return build(config.model, classes, config.images.size, self.competition.target, load=False)

    def _augment_seconds(self, config: Config) -> float:
        """Of one row, its images read from memory and augmented by one thread."""
        paths = self.competition.samples.train["path"].iloc[:FEW].tolist()
        side, pixels = config.images.load_side(), self.competition.card.pixel_format
        stream = ImageStream(paths, side, config.images.fit, tuple(config.images.prepare), pixels)
        images, slices = stream.batch(range(len(paths))), config.images.slices
        if slices:
            images, pixels = together(np.stack([images] * slices, axis=1)), seen_format(pixels, slices)
        augmentation = Augmentation(
            config.augment.transforms, config.images.size, side, pixels, self.competition.in_colours
        )
        return _quickest(lambda: augmentation(images, (0, 0)), 2) / len(paths) * (config.images.bag_size or 1)


def _quickest(step: Callable[[], object], steps: int) -> float:
    """The seconds of the shortest of so many steps, after one that is not timed."""
    step()
    times = []
    for _ in range(steps):
        begun = time.perf_counter()
        step()
        times.append(time.perf_counter() - begun)
    return min(times)
