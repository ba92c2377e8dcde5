"""One trained network's features of rows that it never saw: those its fold held out, and the test rows.

    runs/<competition>/<run>/seed0/fold0/features.npz

Arrays: `held_out_id` and `test_id` text, `held_out` and `test` (rows, width) float32, `meta` one JSON text that holds
size, engine, precision, and what the images and weights were.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from src.competition.competition import Competition
from src.core.console import Bar
from src.core.files import DamagedFile, read_json, read_npz, written_whole
from src.core.locks import only_one
from src.core.paths import DONE, Run
from src.images.dataset import Feed, PlainRows
from src.inference.backends.backend import Engine
from src.inference.brought_features import brought_features
from src.inference.predictor import view_logits
from src.inference.trained_networks import Member, trained_network
from src.models.features import FeaturesOf

PLAIN = "identity"


@dataclass(frozen=True)
class Features:
    """held_out: (rows, width) of the training rows asked for, test: (rows, width) of the test rows, in their order."""

    held_out: np.ndarray
    test: np.ndarray


def features_of(competition: Competition, run: Run, member: Member, held_out: np.ndarray, test: np.ndarray) -> Features:
    """Features in the plain view, at the size trained: read where they are stored, else computed and stored.

    held_out: rows of samples.train. test: rows of samples.test. Raises Problem where weights or the store are damaged.
    """
    file, samples = member.folder / "features.npz", competition.samples
    brought = brought_features(competition)
    if brought:
        found = brought.read(PLAIN)
        return Features(found[held_out], found[len(samples.train) + test])
    ids = samples.train["id"].to_numpy()[held_out], samples.test["id"].to_numpy()[test]
    stored = _stored(file, competition, member, ids)
    if stored:
        return stored
    with only_one(member.folder, f"fold {member.fold} of run {run.name}"):
        found, meta = _computed(competition, run, member, held_out, test)
        with written_whole(file) as part, part.open("wb") as handle:
            np.savez(
                handle,
                held_out_id=np.asarray(ids[0], dtype=np.str_),
                test_id=np.asarray(ids[1], dtype=np.str_),
                held_out=found.held_out,
                test=found.test,
                meta=np.asarray(json.dumps(meta, sort_keys=True)),
            )
    return found


def _stored(
    file: Path, competition: Competition, member: Member, ids: tuple[np.ndarray, np.ndarray]
) -> Features | None:
    """What is stored, if it is of these rows, weights and images."""
    try:
        held = read_npz(file, ("meta", "held_out_id", "test_id", "held_out", "test"))
        meta = json.loads(str(held["meta"]))
    except (DamagedFile, ValueError):
        return None  # it is only a copy of what can be computed again
    rows, found = (held["held_out_id"], held["test_id"]), Features(held["held_out"], held["test"])
    wanted = read_json(member.folder / DONE)["weights"]
    same = all(np.array_equal(one, np.asarray(other, dtype=np.str_)) for one, other in zip(rows, ids, strict=True))
    same &= meta.get("weights") == wanted and competition.same_images(meta.get("images"))
    return found if same else None


def _computed(
    competition: Competition, run: Run, member: Member, held_out: np.ndarray, test: np.ndarray
) -> tuple[Features, dict[str, Any]]:
    config, machine = competition.config, read_json(run.folder / "machine.json")
    engine, size = Engine(machine["device"], machine["precision"]), config.images.size
    network, weights = trained_network(config, member.folder, len(competition.samples.classes), competition.target)
    features = FeaturesOf(network).to(engine.device, memory_format=torch.channels_last)
    feed = Feed(PlainRows(competition.images(), size), machine["workers"], torch.device(engine.device))
    rows = np.concatenate([held_out, len(competition.samples.train) + test])
    with Bar(len(rows), "features", "image") as bar:
        seen = view_logits(features, feed, rows, (PLAIN,), config.predict.batch, engine.autocast, bar.update)[PLAIN]
    meta = {"engine": engine.name, "precision": engine.precision, "size": size, "weights": weights}
    return Features(seen[: len(held_out)], seen[len(held_out) :]), meta | {"images": competition.images_hash}
