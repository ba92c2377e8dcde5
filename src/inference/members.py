"""The trained members of a run, a seed and a fold each, and the logits of each in every view."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tqdm import tqdm

from src.command import ALL, Request
from src.competition.opened import Opened
from src.errors import Problem, UsageError
from src.images.loaders import Feed, PlainRows
from src.inference.engine import Engine
from src.inference.predictor import view_logits
from src.inference.store import aligned, load_logits, logits_file, save_logits
from src.models.factory import Network, build
from src.runs import DONE, Run, only_one, read_json, sha256_of

Say = Callable[[str], None]


@dataclass(frozen=True)
class Member:
    seed: int
    fold: int | str
    folder: Path


def trained_members(run: Run, request: Request) -> list[Member]:
    """The members asked for; without fold=, every finished fold, or `all` where there is no other.

    Raises UsageError where one of them is not trained.
    """
    members = []
    for seed in request.seeds:
        command = f"python -m src.train run={run.name}" + (f" seed={seed}" if seed else "")
        folds = request.folds or run.finished_folds(seed, request.config.data.folds) or (ALL,)
        missing = [str(fold) for fold in folds if not run.finished(seed, fold)]
        if missing and request.folds is None:
            raise UsageError(
                f"run {run.name} has no trained fold of seed {seed} yet: "
                f"{command} fold=0..{request.config.data.folds - 1}"
            )
        if missing:
            raise UsageError(
                f"run {run.name}, seed {seed}: fold {', '.join(missing)} is not trained yet: "
                f"{command} fold={','.join(missing)}"
            )
        members += [Member(seed, fold, run.member(seed, fold)) for fold in folds]
    return members


class ViewTables:
    """Logits of one member by view: those stored are read, the rest are computed in one pass and stored."""

    def __init__(self, opened: Opened, run: Run, say: Say) -> None:
        self.opened, self.run, self.say = opened, run, say
        self.config = opened.config
        self.machine = read_json(run.folder / "machine.json")
        self.engine = Engine(self.machine["device"], self.machine["precision"])
        size = self.config.predict.size
        self.size = size if size != self.config.images.size else None  # None: as trained
        self._feed: Feed | None = None

    def ensure(self, members: list[Member], views: tuple[str, ...]) -> None:
        """Compute what is missing of the out-of-fold and test logits of these members."""
        missing = {(m, part): self._missing(m, part, views) for m in members for part in ("oof", "test")}
        missing = {key: names for key, names in missing.items() if names}
        if not missing:
            self.say(f"all logits of {len(members)} models in {len(views)} views are stored already")
            return
        self._feed = self._feed or self._images_feed()
        total = sum(len(self._rows(m, part)) for m, part in missing)
        with tqdm(total=total, desc="predicting", unit="image", leave=False, disable=None) as bar:
            for member in members:
                parts = {part: missing[member, part] for part in ("oof", "test") if (member, part) in missing}
                if parts:
                    with only_one(member.folder, f"fold {member.fold} of run {self.run.name}"):
                        self._compute(member, parts, bar)

    def read(self, member: Member, part: str, view: str, ids: np.ndarray) -> np.ndarray:
        """(len(ids), classes) logits by id."""
        path = logits_file(member.folder, part, view, self.size)
        table = load_logits(path, self.opened.samples.classes)
        if table.meta.get("weights") != read_json(member.folder / DONE)["weights"]:
            raise Problem(
                f"{path} was made by other weights than {member.folder} holds: delete it, and predict makes it anew"
            )
        return aligned(table, ids, path)

    def _compute(self, member: Member, parts: dict[str, tuple[str, ...]], bar: tqdm) -> None:
        network, weights = self._network(member)
        seen = self.size or self.config.images.size
        meta = {"engine": self.engine.name, "precision": self.engine.precision, "size": seen, "weights": weights}
        meta |= {"images": self.opened.images_hash}
        for part, views in parts.items():
            rows = self._rows(member, part)
            tables = view_logits(
                network, self._feed, rows, views, self.config.predict.batch, self.engine.autocast, bar.update
            )
            for view, logits in tables.items():
                save_logits(
                    logits_file(member.folder, part, view, self.size),
                    self._ids(part, rows),
                    logits,
                    self.opened.samples.classes,
                    meta,
                )

    def _missing(self, member: Member, part: str, views: tuple[str, ...]) -> tuple[str, ...]:
        if part == "oof" and member.fold == ALL:
            return ()
        return tuple(view for view in views if not self._current(logits_file(member.folder, part, view, self.size)))

    def _current(self, path: Path) -> bool:
        """Whether a table is there and was made of today's images; one that does not tell is believed."""
        if not path.exists():
            return False
        images = load_logits(path, self.opened.samples.classes).meta.get("images", self.opened.images_hash)
        return images == self.opened.images_hash

    def _rows(self, member: Member, part: str) -> np.ndarray:
        """Rows of the image cache: the training rows, then the test rows."""
        count = len(self.opened.samples.train)
        if part == "test":
            return count + np.arange(len(self.opened.samples.test))
        return self.opened.folds.rows(member.fold)[1]

    def _ids(self, part: str, rows: np.ndarray) -> np.ndarray:
        samples = self.opened.samples
        return samples.test["id"].to_numpy() if part == "test" else samples.train["id"].to_numpy()[rows]

    def _images_feed(self) -> Feed:
        size = self.size or self.config.images.size
        return Feed(
            PlainRows(self.opened.images(size, say=self.say), size),
            self.machine["workers"],
            torch.device(self.engine.device),
        )

    def _network(self, member: Member) -> tuple[Network, str]:
        file = member.folder / "model.safetensors"
        network = build(self.config.model, len(self.opened.samples.classes), self.config.images.size, load=False)
        try:
            network.backbone.load_state_dict(load_file(file))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise Problem(
                f"{file} cannot be used ({type(error).__name__}): delete {member.folder} and train the fold again"
            ) from None
        weights = sha256_of(file)
        if weights != read_json(member.folder / DONE)["weights"]:
            raise Problem(f"{file} was changed after training: delete {member.folder} and train the fold again")
        return network.to(self.engine.device, memory_format=torch.channels_last), weights
