"""What one fold's training is made of."""

from dataclasses import dataclass
from pathlib import Path

from src.competition.competition import Competition
from src.config.schema import Config
from src.core.distributed import Ranks
from src.core.paths import Run
from src.images.cache import ImageCache
from src.inference.backends.backend import Engine
from src.training.machine import Machine
from src.training.teacher import Teacher


def global_batch(config: Config) -> int:
    """Images of one optimizer step."""
    train = config.train
    return train.global_batch or (64 if train.batch == "auto" else train.batch)


@dataclass(frozen=True)
class FoldJob:
    """What one fold's training is made of. `epochs` may be fewer than the schedule's: see the fold `all`."""

    competition: Competition
    images: ImageCache | None  # None: nothing is seen of them
    run: Run
    machine: Machine
    seed: int
    fold: int | str
    epochs: int
    threads: int
    teacher: Teacher | None
    ranks: Ranks

    @property
    def folder(self) -> Path:
        return self.run.member(self.seed, self.fold)

    @property
    def name(self) -> str:
        return f"fold {self.fold}" + (f" seed {self.seed}" if self.seed else "")

    @property
    def engine(self) -> Engine:
        return Engine(self.machine.device, self.machine.precision)
