"""Choices that contradict each other or the competition, told before the first epoch."""

from collections.abc import Callable

from src.competition.opened import Opened
from src.images.augment import Augmentation
from src.training.losses import Criterion
from src.training.mixing import augmented_rows
from src.training.onward import continues, earlier_run
from src.training.stages import stages_of
from src.training.teacher import check_teaching


def check_choices(opened: Opened, say: Callable[[str], None]) -> None:
    """Raises UsageError for what cannot work; warns of what works against itself."""
    config, samples = opened.config, opened.samples
    Criterion(config.loss, samples.counts, opened.card.target)
    stages = stages_of(config)
    for stage in stages:
        Augmentation(stage.augment.transforms, stage.size, config.images.load_side())
        augmented_rows(stage.augment.only, samples.targets, samples.classes)
    if continues(config.model):
        earlier_run("model.weights", config.model.weights, opened)
    check_teaching(opened)
    drawn = max((stage.sampler_exponent or 0 for stage in stages), default=0)
    corrections = [f"data.sampler=weighted ({drawn:g})"] if drawn else []
    corrections += [f"loss.class_weights={config.loss.class_weights}"] if config.loss.class_weights != "none" else []
    corrections += ["loss.name=balanced_softmax"] if config.loss.name == "balanced_softmax" else []
    if len(corrections) > 1:
        say(f"warning: uneven classes are corrected twice, by {' and '.join(corrections)}: keep one of them")
    if corrections and opened.metric.needs == "probabilities":
        say(
            f"warning: {corrections[0]} shifts the probabilities towards rare classes, and {opened.metric.name} scores "
            f"probabilities: leave it out, or correct for it at prediction"
        )
