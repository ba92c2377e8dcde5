"""What only a trial tells before training: which kind of step is fast on this machine, and which batch fits."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch

from src.errors import Problem
from src.models.gpus import apart
from src.models.memory import largest_batch
from src.schema import Config
from src.training.job import global_batch
from src.training.machine import Machine, share_out
from src.training.ranks import ALONE, Ranks
from src.training.speed import faster, images_tried, open_kinds
from src.training.state import State
from src.training.step import try_batch


@dataclass(frozen=True)
class Trial:
    """Of a throw-away `network`, for the training of so many folds that see so many images in all."""

    config: Config
    network: torch.nn.Module
    folds: int
    images: int
    ranks: Ranks
    say: Callable[[str], None]

    def settle(self, machine: Machine) -> Machine:
        """The machine with what the configuration leaves to a trial. Raises Problem where no image fits."""
        if self.ranks.count == 1:
            share = share_out(self.config, machine, self.folds)
            parameters = sum(p.numel() for p in self.network.parameters())
            kinds = open_kinds(self.config, machine, parameters, share)
            found = faster(self.config, kinds, self.images, partial(_begin, self.config, self.network), self.say)
            alone = share.jobs == 1 and self.config.machine.threads == "auto"
            machine = replace(found, threads=found.threads if alone else None)
        if self.config.train.batch == "auto":
            fitting = partial(self._fitting_batch, machine)
            # In a process that ends: its GPU is free again, and folds can be forked to all of them.
            held_apart = machine.device == "cuda" and self.ranks.count == 1
            machine = replace(machine, batch=min(self.ranks.gathered(apart(fitting) if held_apart else fitting())))
        return machine

    def _fitting_batch(self, machine: Machine) -> int:
        """The largest even part of a rank's share of the global batch that fits."""
        whole = -(-global_batch(self.config) // self.ranks.count)
        state = State(self.config, machine, self.network, self.ranks)
        fits = largest_batch(lambda batch: try_batch(state, self.config, batch), whole)
        if fits == 0:
            raise Problem("not even one image fits into memory: lower images.size or choose a smaller model.name")
        return -(-whole // -(-whole // fits))


def _begin(config: Config, network: torch.nn.Module, kind: Machine) -> Callable[[], object]:
    return partial(try_batch, State(config, kind, network, ALONE), config, images_tried(config))
