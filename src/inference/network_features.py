"""What a frozen network sees in every image of a competition: made once for all folds and runs, and kept by id.

    competition/<id>/cache/features/<network>@<size>-<hash>/train-identity.npz

Arrays: `id` (n,) text, `features` (n, width) float32, `meta` one JSON text: network, size, view, engine, and the hashes
of weights and images. Beside it test-identity.npz, and both of each view more. The hash in the folder's name is of all
that the features depend on. Features of other programs come in files of the same form, `meta` left out.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from src.competition.competition import Competition, open_competition
from src.config.request import Request
from src.config.schema import Model
from src.core.console import Bar, log
from src.core.devices import gpus
from src.core.errors import Problem
from src.core.files import DamagedFile, read_npz, written_whole
from src.core.locks import waiting_lock
from src.core.paths import Run
from src.images.dataset import Feed, PlainRows
from src.images.prepare_steps import versions_of
from src.inference.backends import BACKENDS, TORCH, backend_of
from src.inference.backends.backend import Engine, explain_library_errors
from src.inference.predictor import view_logits
from src.inference.tta import VIEWS, view_names
from src.models.factory import RUN, Network, build
from src.models.features import without_head

TRAIN, TEST = "train", "test"
PAYS = 400  # passes below which another engine costs more than it saves
KEPT_EACH = 2048  # images after which what was computed is kept, so that a command that is stopped loses no more
EXACT = 1e-3  # the most that an engine's features may be away from torch's, of their length
FP32 = "fp32"


@dataclass(frozen=True)
class NetworkFeatures:
    """network: without its last layer, see `without_head`. name: of its architecture."""

    competition: Competition
    network: Network
    name: str
    device: str
    workers: int = 0

    @cached_property
    def weights(self) -> str:
        """A hash of the network: its layers, for a pool or a stride has no numbers, and its numbers."""
        digest = hashlib.sha256(repr(self.network).encode())
        tensors = {**self.network.state_dict(), "mean": self.network.mean, "std": self.network.std}
        for name, tensor in sorted(tensors.items()):
            digest.update(f"{name}{tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()[:16]

    @cached_property
    def folder(self) -> Path:
        images = self.competition.config.images
        facts = [
            self.weights,
            self.competition.images_hash,
            images.load_side(),
            images.fit,
            versions_of(images.prepare),
        ]
        facts += [] if images.slices is None else [f"slices {images.slices}"]
        facts += [] if images.bag_size is None else [images.bag_size]  # a bag's images are joined within the features
        key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
        return self.competition.card.folder / "cache" / "features" / f"{self.name}@{images.size}-{key}"

    def file(self, part: str, view: str) -> Path:
        return self.folder / f"{part}-{view}.npz"

    def ensure(self, views: tuple[str, ...], told: Callable[[int], None] | None = None) -> None:
        """Compute what is not kept yet, in one pass over the images.

        told: called with the number of images of each batch; without it a bar is drawn.
        """
        if self.missing(views):
            with waiting_lock(self.folder / "lock", f"computing features in {self.folder}"):
                missing = self.missing(views)  # another process may have computed them while this one waited
                if missing:
                    self._compute(missing, told)

    def read(self, view: str) -> np.ndarray:
        """(rows, width) float32 of the training rows, then the test rows. Raises Problem where a file is damaged."""
        samples = self.competition.samples
        ids = {TRAIN: samples.train["id"].to_numpy(), TEST: samples.test["id"].to_numpy()}
        return np.concatenate([read_features(self.file(part, view), ids[part]) for part in ids])

    def missing(self, views: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the views whose features are not kept."""
        return tuple(view for view in views if not all(self._current(part, view) for part in (TRAIN, TEST)))

    def _current(self, part: str, view: str) -> bool:
        try:
            meta = json.loads(str(read_npz(self.file(part, view), ("id", "features", "meta"))["meta"]))
        except (DamagedFile, ValueError):
            return False  # it is only a copy of what can be made again
        return meta.get("view_version") == VIEWS.origin(view)

    def _compute(self, views: tuple[str, ...], told: Callable[[int], None] | None) -> None:
        competition, size = self.competition, self.competition.config.images.size
        images = PlainRows(competition.images(once=True), size)
        feed = Feed(images, self.workers, torch.device(self.device))
        count = len(competition.samples.train)
        rows, batch = np.arange(count + len(competition.samples.test)), competition.config.predict.batch
        begun = time.monotonic()
        engine, ready = self._fastest(feed, rows[:batch], len(rows) * len(views))
        stopped = self.folder / f"stopped-{engine.name}-{'+'.join(views)}"
        parts: dict[str, list[np.ndarray]] = {view: [] for view in views}
        step, computed = batch * max(1, KEPT_EACH // batch), 0
        with nullcontext() if told else Bar(len(rows), "features", "image") as bar:
            autocast, tell = partial(backend_of(engine).autocast, engine), told or bar.update
            for start in range(0, len(rows), step):
                some, file = rows[start : start + step], stopped / f"{start}.npz"
                made = _kept(file, views, len(some))
                if made is None:
                    made = view_logits(ready, feed, some, views, batch, autocast, tell)
                    computed += len(some)
                    if len(rows) > step:
                        with written_whole(file) as part, part.open("wb") as out:
                            np.savez(out, **made)
                else:
                    tell(len(some))
                for view in views:
                    parts[view].append(made[view])
        found = {view: np.concatenate(tables) for view, tables in parts.items()}
        passes = computed * len(views) / (time.monotonic() - begun)
        log.info(f"features of {self.name} at {size} px, {len(views)} views, by {engine}: {passes:.0f} images/s")
        facts = {"network": self.name, "size": size, "engine": engine.name, "precision": engine.precision}
        facts |= {"weights": self.weights, "images": competition.images_hash}
        for view, features in found.items():
            meta = facts | {"view": view, "view_version": VIEWS.origin(view)}
            for part, table, made in (
                (TRAIN, competition.samples.train, features[:count]),
                (TEST, competition.samples.test, features[count:]),
            ):
                write_features(self.file(part, view), table["id"].to_numpy(), made, meta)
        shutil.rmtree(stopped, ignore_errors=True)

    def _fastest(self, feed: Feed, rows: np.ndarray, passes: int) -> tuple[Engine, nn.Module]:
        """Torch in fp32, or what makes the same features of one batch sooner."""
        asked, batch = self.competition.config.predict.engine, self.competition.config.predict.batch
        plain = Engine(self.device, FP32)
        chosen = plain, backend_of(plain).ready(self.network.eval(), plain, batch)
        if passes < PAYS or asked == TORCH:
            return chosen
        ((images, _),) = feed([rows])
        truth, fastest = _timed(chosen[1], images)
        for engine, ready in self._others(asked, batch):
            try:
                with explain_library_errors(engine, "failed"):
                    found, seconds = _timed(ready, images)
            except Problem as problem:  # torch is there
                log.info(f"not {engine}: {problem}")
                continue
            if seconds < fastest and np.linalg.norm(found - truth) <= EXACT * np.linalg.norm(truth):
                chosen, fastest = (engine, ready), seconds
        return chosen

    def _others(self, asked: str, batch: int) -> Iterator[tuple[Engine, nn.Module]]:
        """The other engines that can run this network here."""
        self.network.input_dtype = self.competition.card.pixel_format.tensor_dtype
        self.network.slots = self.competition.config.images.bag_size or 1
        for name, kind in BACKENDS.items():
            engine, fits = Engine(self.device, FP32, name), self.device in kind.devices and FP32 in kind.precisions
            if name == TORCH or asked not in ("auto", name) or not fits or kind().lacking(self.device, FP32):
                continue
            try:
                with explain_library_errors(engine, "cannot run this network"):
                    backend = kind()
                    converted = backend.converted(self.network, self.competition.config.images.size)
                    yield engine, backend.ready(converted, engine, batch)
            except Problem as problem:
                log.info(f"not {engine}: {problem}")


def _kept(file: Path, views: tuple[str, ...], rows: int) -> dict[str, np.ndarray] | None:
    """What a command that was stopped had computed of these rows, {view: (rows, width)}; None where it had not."""
    try:
        held = read_npz(file, views)
    except DamagedFile:
        return None
    return held if all(len(table) == rows for table in held.values()) else None


def frozen_features(request: Request) -> NetworkFeatures:
    """The features, in predict.views, of the network that a configuration begins with, computed where need be.

    Raises Problem for a network without weights, or whose last layer is not one linear layer.
    """
    competition = open_competition(request.config, Run(request.competition, request.run))
    config = competition.config
    check_begins_trained(config.model)
    network = build(config.model, len(competition.samples.classes), config.images.size, competition.target)
    without_head(network)
    device = config.machine.device if config.machine.device != "auto" else "cuda" if gpus().names else "cpu"
    features = NetworkFeatures(
        competition, network.to(device, memory_format=torch.channels_last), config.model.name, device
    )
    features.ensure(view_names(config.predict.views, config.images.size))
    return features


def check_begins_trained(model: Model) -> None:
    """Raises Problem where nothing that a network has learned could be seen."""
    if model.pretrained is False and (model.weights is None or model.weights.startswith(RUN)):
        raise Problem(
            f"{model.name} begins without weights, and what it sees means nothing: choose a network that has some, "
            f"such as model.name=tf_efficientnet_lite0, or give model.pretrained=FILE",
            code="no-weights-to-begin-with",
        )


def _timed(ready: nn.Module, images: torch.Tensor) -> tuple[np.ndarray, float]:
    """What is made of one batch, and the seconds of the quicker of two passes."""
    seconds = []
    with torch.inference_mode():
        for _ in range(2):
            begun = time.perf_counter()
            found = ready(images.contiguous(memory_format=torch.channels_last)).float().cpu().numpy()
            seconds.append(time.perf_counter() - begun)
    return found, min(seconds)


def write_features(path: Path, ids: np.ndarray, features: np.ndarray, meta: dict[str, Any]) -> None:
    with written_whole(path) as part, part.open("wb") as file:
        np.savez(
            file,
            id=np.asarray(ids, dtype=np.str_),
            features=np.asarray(features, dtype=np.float32),
            meta=np.asarray(json.dumps(meta, sort_keys=True)),
        )


def read_features(path: Path, ids: np.ndarray, remedy: str = "delete it, and it is made anew") -> np.ndarray:
    """(len(ids), width) float32, in the order of `ids`. Raises Problem where the file does not hold them all."""
    held = read_npz(path, ("id", "features"), remedy)
    names, features = held["id"].astype(str), held["features"]
    if features.ndim != 2 or len(features) != len(names) or features.dtype.kind != "f":
        raise Problem(
            f"{path}: {len(names)} ids and features of shape {features.shape} and type {features.dtype}: features must "
            f"be (ids, width) floating point numbers",
            code="bad-features",
        )
    if np.array_equal(names, np.asarray(ids, dtype=np.str_)):
        found = features
    else:
        known = pd.Index(names.astype(object))
        at = known.get_indexer(pd.Index(np.asarray(ids, dtype=object))) if known.is_unique else np.array([-1])
        if (at < 0).any():
            what = f"lacks {(at < 0).sum()} of {len(ids)} ids" if known.is_unique else "holds an id twice"
            raise Problem(f"{path} {what}", code="bad-features")
        found = features[at]
    if not np.isfinite(found).all():
        raise Problem(f"{path} holds features that are not finite", code="bad-features")
    return found.astype(np.float32, copy=False)
