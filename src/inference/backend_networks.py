"""The trained networks of a run, ready to answer under any engine; what is dear to make is kept beside the weights.

    runs/<competition>/<run>/seed0/fold0/engines/openvino-int8@64.npz

holds the quantised network of one fold (bytes, as the engine's library writes them) and `made_of`, the hash of all that
it depends on: where that differs, it is made anew.
"""

import hashlib
import json
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from src.competition.competition import Competition
from src.core.files import DamagedFile, read_json, read_npz, written_whole
from src.core.paths import DONE, Run
from src.images.dataset import Feed, PlainRows
from src.images.held_batches import HeldBatches, may_be_held
from src.inference.backends import BACKENDS, Backend, backend_of
from src.inference.backends.backend import Engine, explain_library_errors
from src.inference.predictor import view_logits
from src.inference.trained_networks import Member, trained_network
from src.models.factory import try_size

CALIBRATION = 128  # training rows of the fold that int8's ranges are taken from; more made no answer better


class EngineNetworks:
    """usual: the engine that the run was trained with. size: side length that the networks see."""

    def __init__(self, competition: Competition, run: Run) -> None:
        self.competition, self.run = competition, run
        self.machine = read_json(run.folder / "machine.json")
        self.usual = Engine(self.machine["device"], self.machine["precision"])
        self.size = competition.config.predict.size or competition.config.images.size
        self._feed: Feed | None = None
        self._ready: dict[tuple[Member, Engine], nn.Module] = {}

    def rows(self, member: Member, part: str) -> np.ndarray:
        """Rows of the image cache, which holds the training rows, then the test rows. part: train, oof or test."""
        if part == "test":
            return len(self.competition.samples.train) + np.arange(len(self.competition.samples.test))
        return self.competition.folds.rows(member.fold)[0 if part == "train" else 1]

    def ready(self, member: Member, engine: Engine) -> nn.Module:
        """A member's network under an engine: uint8 images in, logits out. Raises Problem where it cannot be had.

        Those of the member that was asked for last are held.
        """
        if any(held != member for held, _ in self._ready):
            self._ready.clear()
        if (member, engine) not in self._ready:
            self._ready[member, engine] = self._made_ready(member, engine)
        return self._ready[member, engine]

    def let_go(self, but: Engine) -> None:
        """Hold no network of another engine any longer."""
        self._ready = {key: network for key, network in self._ready.items() if key[1] == but}

    def logits(
        self,
        ready: nn.Module,
        engine: Engine,
        rows: np.ndarray,
        views: tuple[str, ...],
        seconds: dict[str, float] | None = None,
        progress: Callable[[int], object] = lambda _: None,
        held: HeldBatches | None = None,
    ) -> dict[str, np.ndarray]:
        """As `view_logits`, of rows of the image cache. held: where these rows are held for several networks."""
        batch = self.competition.config.predict.batch
        autocast = partial(backend_of(engine).autocast, engine)
        cells = self.competition.cells
        return view_logits(ready, held or self._images(), rows, views, batch, autocast, progress, seconds, cells)

    def held(self, rows: np.ndarray) -> HeldBatches | None:
        """What holds the images of these rows for several networks; None where a cache does, or they are too many."""
        return HeldBatches(self._images()) if may_be_held(self._plain, len(rows)) else None

    def weights(self, member: Member) -> str:
        """The SHA-256 of a member's weights."""
        return read_json(member.folder / DONE)["weights"]

    def made_of(self, member: Member, engine: Engine) -> str | None:
        """A hash of all that a quantised network, or a user's backend, depends on; None where nothing else does."""
        backend, origin = backend_of(engine), BACKENDS.origin(engine.name)
        own = [origin] if origin else []
        if engine.precision not in backend.calibrated:
            return hashed(own) if own else None
        calibration = [CALIBRATION, self.competition.images_hash, self.competition.folds.hash]
        return hashed([self.weights(member), self.size, calibration, backend.versions(), processor(), *own])

    @cached_property
    def _plain(self) -> PlainRows:
        return PlainRows(self.competition.images(self.size), self.size)

    def _images(self) -> Feed:
        if self._feed is None:
            self._feed = Feed(self._plain, self.machine["workers"], torch.device(self.usual.device))
        return self._feed

    def _made_ready(self, member: Member, engine: Engine) -> nn.Module:
        calibrated = engine.precision in backend_of(engine).calibrated
        model = self._quantised(member, engine) if calibrated else self._converted(member, engine)
        with _backend_of(engine) as backend:
            return backend.ready(model, engine, self.competition.config.predict.batch)

    def _converted(self, member: Member, engine: Engine) -> Any:
        own = self.competition
        classes = len(own.samples.classes)
        network, _ = trained_network(own.config, member.folder, classes, own.target)
        network.input_dtype = own.card.pixel_format.tensor_dtype
        network.slots = own.config.images.bag_size or 1
        if self.size != own.config.images.size:
            try_size(network, own.config.model.name, self.size, classes)
        with _backend_of(engine) as backend:
            return backend.converted(network.eval(), self.size)

    def _quantised(self, member: Member, engine: Engine) -> Any:
        """Read where it is kept, else made and kept."""
        file, made_of = self._kept(member, engine), self.made_of(member, engine)
        arrays = _read(file, made_of)
        if arrays is None:
            rows = self.rows(member, "train")
            if len(rows) > CALIBRATION:
                rows = np.sort(np.random.default_rng(0).choice(rows, CALIBRATION, replace=False))
            ((images, _),) = self._images()([rows])
            pixels = images.permute(0, 2, 3, 1).cpu().numpy()
            converted = self._converted(member, engine)
            with _backend_of(engine) as backend:
                arrays = backend.to_arrays(backend.quantised(converted, pixels))
            with written_whole(file) as part, part.open("wb") as out:
                np.savez(out, made_of=np.asarray(made_of), **arrays)
        with _backend_of(engine) as backend:
            return backend.from_arrays(**arrays)

    def _kept(self, member: Member, engine: Engine) -> Path:
        return member.folder / "engines" / f"{engine.place}@{self.size}.npz"


@contextmanager
def _backend_of(engine: Engine) -> Iterator[Backend]:
    with explain_library_errors(engine, "cannot run this network"):
        yield backend_of(engine)


def _read(file: Path, made_of: str | None) -> dict[str, np.ndarray] | None:
    """The arrays of a kept network; None where it is not there, damaged, or made of something else."""
    try:
        held = read_npz(file)
    except DamagedFile:
        return None  # it is only a copy of what can be made again
    return held if str(held.pop("made_of", None)) == made_of else None


def hashed(facts: Any) -> str:
    """Sixteen hex digits of the SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


@cache
def processor() -> str:
    """What tells one kind of processor from another, to speed and to rounding."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text(encoding="utf-8").partition("\n\n")[0].splitlines() if known.exists() else []
    text = [line for line in lines if line.partition(":")[0].strip() in ("model name", "flags", "Features", "CPU part")]
    return "; ".join([platform.machine(), platform.processor(), *text])
