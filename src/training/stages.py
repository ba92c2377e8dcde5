"""The stages of a run, in order: each some epochs with a size, augmentation, sampler and frozen part of their own."""

from dataclasses import dataclass

from src.config.image_size import SizeWord
from src.config.schema import Augment, Config
from src.images.samplers import Sampler, sampler_of


@dataclass(frozen=True)
class Stage:
    """`lr` is None where the schedule of the stage before goes on. frozen: see models/freezing.py."""

    first: int
    epochs: int
    lr: float | None
    frozen: str | int
    size: SizeWord
    augment: Augment
    sampler: Sampler


def stages_of(config: Config) -> list[Stage]:
    """The configuration's stages, filled up from the rest of it; without any, one that is the whole run."""
    whole = Stage(
        first=0,
        epochs=config.epochs,
        lr=None,
        frozen=config.train.frozen,
        size=config.images.size,
        augment=config.augment,
        sampler=sampler_of(config.data.sampler, config.data.sampler_exponent),
    )
    if not config.train.stages:
        return [whole]
    stages, first = [], 0
    for asked in config.train.stages:
        exponent = config.data.sampler_exponent if asked.sampler_exponent is None else asked.sampler_exponent
        stages.append(
            Stage(
                first=first,
                epochs=asked.epochs,
                lr=asked.lr,
                frozen=asked.frozen,
                size=asked.size or config.images.size,
                augment=asked.augment or config.augment,
                sampler=sampler_of(asked.sampler or config.data.sampler, exponent),
            )
        )
        first += asked.epochs
    return stages


def stage_at(stages: list[Stage], epoch: int) -> Stage:
    return next(stage for stage in reversed(stages) if stage.first <= epoch)
