"""What a configuration leaves to `auto`, chosen from the competition's images and this machine, and told."""

from pathlib import Path
from typing import Any

import numpy as np

from src.competition.plan_record import as_planned, plan_of
from src.competition.samples import Samples
from src.config import run_config
from src.config.image_size import Size, SizeWord
from src.config.load import merge
from src.config.schema import Config, Model, check
from src.core.console import log, note
from src.core.errors import UsageError
from src.core.paths import Run
from src.images.read import image_size
from src.metrics import Metric

PRETRAINED, POOL = "model.pretrained", "model.pool"
LOOKED_AT = 200  # images whose size is read
UNEVEN = 4  # largest to smallest class, from which the sampler helps more than it disturbs
VISITS = {"cpu": 25_000, "gpu": 400_000}  # images that one fold's training shows in all
EPOCHS = {"cpu": (6, 40), "gpu": (12, 40)}


def resolve_auto(config: Config, run: Run, samples: Samples, metric: Metric) -> Config:
    """The configuration without any auto. A run that was begun, or planned, keeps what was chosen then.

    A budget that nobody has planned by is left out: what needs no training needs no time, and training asks for a plan.
    """
    config = _with_columns(_with_hub_network(config, run), samples)
    keys = config.undecided
    if run_config.is_stored(run):
        return _as_begun(config, run) if keys or config.budget else config
    plan = plan_of(run) if config.budget else None
    config = with_values(config, as_planned(config, plan)) if plan else config.model_copy(update={"budget": None})
    keys = config.undecided
    asked = [key for key in keys if key not in (PRETRAINED, POOL)]
    if asked:
        values = {key: value for key, value in _chosen(config, samples, metric).items() if key in asked}
        shown = " ".join(f"{key}={value}" for key, value in values.items())
        log.info(f"chosen for these images and this machine: {shown}")
        config = with_values(config, values)
    if POOL in keys:
        config = with_values(config, {POOL: usual_pool(config.model)})
    if config.model.pretrained is False:
        return config
    return with_values(config, {PRETRAINED: _pretrained(config.model)})


def _with_columns(config: Config, samples: Samples) -> Config:
    """The columns that the network sees beside the pictures. Raises UsageError where there are none, or where what is
    asked for knows pictures alone."""
    branch, metadata = config.model.metadata, samples.metadata
    if branch == "none":
        return with_values(config, {"model.columns": None}) if config.model.columns else config
    if not metadata:
        raise UsageError(
            f"model.metadata={branch}: the card names no columns that training and test table share: write metadata: "
            "auto, or a list of columns, into it",
            code="no-metadata",
        )
    for key, asked in (
        ("train.mixup and train.cutmix mix pictures, and columns cannot be mixed", _mixes(config)),
        ("train.head_init=probe fits a layer on pictures alone", config.begins_from_probe),
        (f"a probe trains no {branch}: take model.metadata=linear", config.only_probe and branch != "linear"),
    ):
        if asked:
            raise UsageError(f"model.metadata={branch}: {key}", code="unfit-for-metadata")
    columns = {column.name: len(column.categories) for column in metadata.columns}
    return with_values(config, {"model.columns": columns})


def _mixes(config: Config) -> bool:
    return bool(config.train.mixup or config.train.cutmix)


def _as_begun(config: Config, run: Run) -> Config:
    stored = run_config.read(run.folder)
    if stored.budget is None:  # a run that is older than budgets, or that was begun without
        config = config.model_copy(update={"budget": None})
    config = with_values(config, as_planned(config, plan_of(run)))
    return with_values(config, {key: stored.value(key) for key in config.undecided})


def _with_hub_network(config: Config, run: Run) -> Config:
    """`model.name=hf-hub:owner/name` as timm's name of that network, its weights and its normalisation.

    A run that was begun with it keeps what was told then, so that it needs the hub no more.
    """
    from src.models.hub import HUB, hub_network

    word, own = config.model.name, config.model
    if not word.startswith(HUB):
        return config
    stored = run_config.read(run.folder).model if run_config.is_stored(run) else None
    if stored and stored.weights == word:
        told = {"name": stored.name, "args": stored.args | own.args, "mean": stored.mean, "std": stored.std}
    else:
        found = hub_network(word)
        note("network-of-hub", f"{word} is a {found.architecture}, licence {found.licence}")
        told = {"name": found.architecture, "args": found.args | own.args}
        told |= {"mean": own.mean or found.mean, "std": own.std or found.std}
    told["weights"] = own.weights or word
    return with_values(config, {f"model.{key}": value for key, value in told.items()})


def _pretrained(model: Model) -> bool:
    """Whether the network begins with published weights; one line tells with which. Raises Problem where it must and
    there are none."""
    import timm

    from src.models.weights import published, weights_or_refusal
    from src.models.zoo import register_networks

    if model.weights:
        note("weights-found", f"{model.name} begins with the weights of {model.weights}")
        return model.pretrained is True
    register_networks()
    if not timm.is_model(model.name):
        return model.pretrained is True  # whoever builds it tells
    found = weights_or_refusal(model.name) if model.pretrained is True else published(model.name)
    if found:
        note("weights-found", str(found))
    else:
        reason = "are at hand and timm's hub does not answer" if timm.is_model_pretrained(model.name) else "exist"
        note("from-scratch", f"{model.name} begins from scratch: no published weights {reason}")
    return found is not None


def usual_pool(model: Model) -> str:
    """The last stages joined, of a network that can; else its own pool."""
    import timm

    from src.models.pools import POOLS
    from src.models.unfit import UNFIT
    from src.models.zoo import register_networks

    register_networks()
    if not timm.is_model(model.name):
        return "stock"  # whoever builds it tells
    try:
        POOLS.get("stages")(timm.create_model(model.name, num_classes=2, **model.args), model.name)
    except (UsageError, *UNFIT) as error:
        if isinstance(error, UsageError):
            log.info(f"{model.name} keeps its own pool: it has no stages that could be joined")
        return "stock"
    return "stages"


def with_values(config: Config, values: dict[str, Any]) -> Config:
    """The configuration with {section.key: value} in place of what it has."""
    tree: Any = config.model_dump()
    for key, value in values.items():
        section, name = key.split(".")
        tree = merge(tree, {section: {name: value}})
    return check(tree)


def _chosen(config: Config, samples: Samples, metric: Metric) -> dict[str, Any]:
    place, rows = place_of(config.machine.device), len(samples.train)
    size = _size(samples, place, config.images.tiles) if config.images.size == "auto" else config.images.size
    counts = samples.counts[samples.counts > 0]
    # Where probabilities are scored, showing rare classes more often would shift them all.
    uneven = metric.needs == "labels" and len(counts) > 0 and counts.max() >= UNEVEN * counts.min()
    least, most = EPOCHS[place]
    return {
        "images.size": size,
        "model.name": _network(size, place),
        "data.sampler": "weighted" if uneven else "plain",
        "train.epochs": int(np.clip(round(VISITS[place] / rows), least, most)),
        # A small table needs small batches, or it gets no steps to learn by.
        "train.global_batch": int(np.clip(2 ** round(np.log2(max(rows, 1) / 20)), 8, 64)),
    }


def place_of(device: str) -> str:
    from src.core.devices import gpus

    if device == "auto":
        return "gpu" if gpus().names else "cpu"
    return "cpu" if device == "cpu" else "gpu"


def _size(samples: Samples, place: str, tiles: str | None) -> int:
    """The images' own short side, a multiple of 8, within what the machine can afford."""
    least, most = (16, 64) if place == "cpu" else (32, 224)
    return int(np.clip(round(usual_side(samples, tiles) / 8) * 8, least, most))


def usual_side(samples: Samples, tiles: str | None = None) -> float:
    """The median of the images' short sides in pixels, or of their tiles', as some of them tell."""
    grid = Size.of(tiles or 1)
    paths = samples.train["path"]
    some = paths.iloc[np.linspace(0, len(paths) - 1, min(LOOKED_AT, len(paths))).astype(int)]
    sizes = [image_size(Path(path)) for path in some]
    return float(np.median([min(width / grid.width, height / grid.height) for width, height in sizes]))


def _network(size: SizeWord, place: str) -> str:
    short = Size.of(size).short
    if place == "cpu":
        return "resnet8" if short <= 32 else "resnet18"
    return "resnet18" if short <= 96 else "resnet50"
