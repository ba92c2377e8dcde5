"""What is checked before the first epoch: choices that contradict each other, folders, machines and processes."""

import os
import secrets
import time

import numpy as np

from src.competition.competition import Competition
from src.core.console import note
from src.core.distributed import Ranks
from src.core.errors import Problem, UsageError
from src.core.files import write_text
from src.core.paths import Run, submissions_folder
from src.images.augment import Augmentation
from src.images.samplers import Sampler
from src.inference.tta import view_names
from src.losses import Loss, loss_of
from src.training.distillation import epoch_length, fold_targets
from src.training.fitted_head import head_kinds
from src.training.fold_job import FoldJob
from src.training.learning_rates import rates
from src.training.mixing import augmented_rows
from src.training.stages import Stage, stages_of
from src.training.teacher import check_distillation
from src.training.warm_start import earlier_run, is_warm_start


def check_choices(competition: Competition) -> None:
    """Raises UsageError for what cannot work; warns of what works against itself."""
    config, samples = competition.config, competition.samples
    loss = loss_of(config.loss, samples.counts, competition.target)
    if (config.train.mixup or config.train.cutmix) and not competition.target.mixes:
        text = f"train.mixup and train.cutmix cannot mix the truth of {competition.target.name} targets: leave them out"
        raise UsageError(text, code="unfit-for-target")
    if (config.train.mixup or config.train.cutmix) and config.images.bag_size:
        text = "train.mixup and train.cutmix would mix the images of two bags place by place: leave them out"
        raise UsageError(text, code="unfit-for-bags")
    if samples.weights is not None:
        _check_weighing(competition, loss)
    view_names([*config.predict.views, *config.probe.views], config.images.size)
    stages = stages_of(config)
    for stage in stages:
        side, pixels = config.images.load_side(), competition.seen_format
        Augmentation(stage.augment.transforms, stage.size, side, pixels, competition.in_colours)
        augmented_rows(stage.augment.only, samples.targets, samples.classes, samples.target)
    if is_warm_start(config.model):
        earlier_run("model.weights", config.model.weights, competition)
    check_distillation(competition)
    rates(config, stages, steps=1)
    corrections = [f"data.sampler={one.name}" for one in _uneven(competition, stages)]
    corrections += [f"loss.class_weights={config.loss.class_weights}"] if config.loss.class_weights != "none" else []
    corrections += [f"loss.name={loss.name}"] if loss.evens_classes else []
    if len(corrections) > 1:
        note(
            "corrected-twice",
            f"warning: uneven classes are corrected twice, by {' and '.join(corrections)}: keep one of them",
        )
    if corrections and competition.metric.needs == "probabilities":
        note(
            "probabilities-shifted",
            f"warning: {corrections[0]} shifts the probabilities towards rare classes, and {competition.metric.name} "
            f"scores probabilities: leave it out, or correct for it at prediction",
        )


def _check_weighing(competition: Competition, loss: Loss) -> None:
    """Raises UsageError where rows are to count differently and something would count them alike."""
    config = competition.config
    unfit = [] if loss.weighs_rows else [f"loss.name={loss.name}"]
    if unfit and config.loss.class_weights != "none":
        unfit = [f"loss.class_weights={config.loss.class_weights} with loss.name={loss.name}"]
    if config.probe.head or config.begins_from_probe:
        kinds = head_kinds(config, competition.target)
        unfit += [f"probe.head={one.name}" for one in kinds if not one.weighs_rows]
    if unfit:
        raise UsageError(
            f"{unfit[0]} cannot weigh rows, and those of {competition.card.id} count differently (the card's weight or "
            "the votes of soft_labels): leave it out, or take the weights out of the card (weigh_votes: false)",
            code="unfit-for-weights",
        )


def _uneven(competition: Competition, stages: list[Stage]) -> list[Sampler]:
    """The first sampler of the stages that shows some rows more often than others."""
    targets = competition.samples.targets
    shown = ((stage.sampler, stage.sampler.weights(targets, competition.target)) for stage in stages)
    return [sampler for sampler, weights in shown if weights is not None and np.ptp(weights) > 0][:1]


PATIENCE = 60  # seconds that a network disk is given to show another machine's files


def check_writable(run: Run) -> None:
    """A folder that cannot be written is found now, not when the answers are ready."""
    for folder in (run.folder, submissions_folder(run.competition)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (PermissionError, NotADirectoryError, FileExistsError) as error:
            raise Problem(
                f"{folder} cannot be made ({error.strerror}): make room for it, or set PODIUM_HOME", code="no-folder"
            ) from None
        if not os.access(folder, os.W_OK):
            raise Problem(
                f"{folder} cannot be written: make it writable, or set PODIUM_HOME to another folder",
                code="no-permission",
            )


def check_shared(run: Run, ranks: Ranks) -> None:
    """Whether every rank works in the leader's folder, and not in one of the same name on its own machine.

    A network disk may take a while to show what the leader wrote.
    """
    if ranks.count == 1:
        return
    word, mark = ranks.broadcast(secrets.token_hex(8)), run.folder / "launch"
    if ranks.is_main:
        write_text(mark, word)
    until = time.monotonic() + PATIENCE
    while not mark.exists() or mark.read_text() != word:
        if time.monotonic() > until:
            raise Problem(
                f"{run.folder} is not the first machine's: all machines must share PODIUM_HOME",
                code="storage-not-shared",
            )
        time.sleep(0.5)
    ranks.barrier()
    if ranks.is_main:
        mark.unlink()


def check_steps(work: list[FoldJob], ranks: Ranks) -> None:
    """Every rank needs an image of every step."""
    fewest = min(len(fold_targets(job).rows) // epoch_length(job) for job in work)
    if fewest < ranks.count:
        raise UsageError(
            f"a step of {fewest} images cannot be shared by {ranks.count} processes: raise train.batch (or "
            f"train.global_batch), or launch fewer",
            code="batch-too-small",
        )
