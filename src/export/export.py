"""A run's models become one file, which is then read back and must answer as the run did; else no file is left."""

import platform
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch

from src.competition.bags import FILES
from src.competition.competition import Competition, open_competition
from src.config.request import Request
from src.config.schema import Model
from src.core.console import log, note, silenced
from src.core.errors import Problem
from src.core.files import read_json, written_whole
from src.core.paths import DONE, Run
from src.export.export_file import PROBE, Facts, OneModel, Pixels, Score, Tensors, write_export
from src.export.networks import probe_logits
from src.export.predict import Exported, Logits, image_stream
from src.images import decode as decoder
from src.images.file_batches import file_batches
from src.images.frames import ALL
from src.inference.members import ViewTables, trained_members
from src.inference.trained_networks import Member, trained_network
from src.models.factory import RUN
from src.models.hub import HUB

PACKAGES = ("torch", "timm", "opencv-python-headless", "numpy")
# How far the logits that were read back may lie from the stored ones, as a part of the largest. On one machine the same
# images in the same batch give the same bits; another number of threads, batch or algorithm rounds otherwise.
TOLERANCE = {"fp32": 1e-3, "fp16": 1e-2, "bf16": 2e-2}


def export(request: Request, submission: Path, stored: str = "exact") -> Path:
    """Write runs/<competition>/<run>/export/<run>.safetensors: the models, views and decision of `submission`, the
    file that predict has just written for this request.

    stored: exact, or fp16 for half the size. Raises Problem where the file, read back, does not answer as the run did.
    """
    run = Run(request.competition, request.run)
    text = read_json(run.folder / "predictions" / f"{submission.stem}.json")
    with silenced():
        competition = open_competition(request.config, run)
    members = trained_members(run, request)
    tables = ViewTables(competition, run)
    facts = _facts(competition, run, members, text, tables, stored)
    file = run.folder / "export" / f"{run.name}.safetensors"
    with written_whole(file) as part:
        write_export(part, facts, _tensors(competition, members, facts))
        differences = _checked(part, file, competition, tables, members)
        size = part.stat().st_size
    models = "one model" if len(members) == 1 else f"{len(members)} models"
    note("exported", f"{file}: {models}, {size / 1e6:.1f} MB. {differences}")
    log.info(f"to predict with it: python -m src.export.predict {file} IMAGES")
    return file


def _facts(
    competition: Competition, run: Run, members: list[Member], text: dict[str, Any], tables: ViewTables, stored: str
) -> Facts:
    config, samples, size = competition.config, competition.samples, text["size"]
    value, low, high = (text["score"][key] for key in ("value", "low", "high"))
    return Facts(
        version=1,
        competition=competition.card.id,
        run=run.name,
        classes=list(samples.classes),
        shares=samples.shares.tolist(),
        target=competition.card.target,
        model=_without_path(config.model),
        models=[OneModel(seed=m.seed, fold=m.fold, weights=read_json(m.folder / DONE)["weights"]) for m in members],
        images=Pixels(
            trained=config.images.size,
            size=size,
            load_side=config.images.load_side(size),
            fit=config.images.fit,
            prepare=config.images.prepare,
            decoder=decoder.VERSION,
            tiles=config.images.tiles,
            bag_size=config.images.bag_size,
            slices=config.images.slices,
            frames=True if _of_frames(competition) else None,
            bands=list(samples.bands) or None,
            folders=True if competition.card.bag and not _of_frames(competition) else None,
            format=competition.card.pixel_format.to_json(),
        ),
        views=text["views"],
        batch=config.predict.batch,
        precision=tables.engine.precision,
        stored=stored,
        decision=text["decision"],
        never_empty=samples.never_empty,
        score=Score(metric=text["metric"], value=_number(value), low=_number(low), high=_number(high)),
        config_hash=text["config_hash"],
        commit=text["commit"],
        packages={"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
    )


def _of_frames(competition: Competition) -> bool:
    source = competition.card.train
    return competition.card.bag == FILES and source.images.endswith(ALL)


def _without_path(model: Model) -> Model:
    """A starting file of this machine is told by its name alone; its weights are long since overwritten."""
    if not model.weights or model.weights.startswith((RUN, HUB)):
        return model
    return model.model_copy(update={"weights": Path(model.weights).name})


def _number(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None


def _tensors(competition: Competition, members: list[Member], facts: Facts) -> Tensors:
    """The weights that training wrote, and what each model says of the probe."""
    tensors: Tensors = {}
    for member, model in zip(members, facts.models, strict=True):
        network, _ = trained_network(competition.config, member.folder, len(facts.classes), competition.target)
        tensors[PROBE + model.name] = probe_logits(network.to(memory_format=torch.channels_last), facts.images.size)
        for name, tensor in network.backbone.state_dict().items():
            half = facts.stored == "fp16" and tensor.is_floating_point()
            tensors[f"{model.name}.{name}"] = (tensor.half() if half else tensor).contiguous()
    return tensors


def _checked(part: Path, file: Path, competition: Competition, tables: ViewTables, members: list[Member]) -> str:
    """Answer the first batch of test images, from their files, with the file just written, as the stored logits were
    answered: together, on the same device. Returns what to say of it; raises Problem where they are too far apart."""
    exported = Exported.open(part, tables.engine.device, tables.engine.precision)
    facts = exported.facts
    test = competition.samples.test[: facts.batch]
    pixels = facts.images
    bags = [(path,) for path in test["path"]]
    if competition.bags:
        first = len(competition.samples.train)
        bags = [bag.paths for bag in competition.bags[first : first + len(test)]]
    stream = image_stream(pixels, bags)
    (batch,) = file_batches(stream, pixels.size, len(test))
    if batch.faults:
        raise next(iter(batch.faults.values()))
    ids = test["id"].to_numpy()
    known = {
        (place, view): tables.read(member, "test", view, ids)
        for place, member in enumerate(members)
        for view in facts.views
    }
    found = exported.logits(batch.images)
    away, largest = _apart(found, known), max(1.0, *(float(np.abs(table).max()) for table in known.values()))
    (expected, right), (probabilities, decisions) = exported.answer(known), exported.answer(found)
    allowed = max(TOLERANCE[facts.precision], TOLERANCE["fp16"] if facts.stored == "fp16" else 0) * largest
    differences = (
        f"largest difference {away:.3g} of a logit and {np.abs(probabilities - expected).max():.3g} of a probability"
    )
    if not away <= allowed:
        raise Problem(
            f"{file} is not written: read back, its answers to {len(test)} test images differ from the stored ones "
            f"({differences}; {allowed:.3g} of a logit is allowed). Either the stored logits or the weights were "
            f"changed: delete the logits folders in {tables.run.folder}, and give the same command again",
            code="export-differs",
        )
    same = (decisions == right).reshape(len(test), -1).all(axis=1).sum()
    return f"Read back, it answers {len(test)} test images as the run did: {differences}, {same} answers the same"


def _apart(found: Logits, known: Logits) -> float:
    return max(float(np.abs(found[key] - known[key]).max()) for key in known)
