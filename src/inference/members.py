"""The trained members of a run, a seed and a fold each, and the logits of each in every view."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from src.competition.competition import Competition
from src.competition.plan_record import left_out
from src.config.request import ALL, Request
from src.core.console import Bar, note
from src.core.errors import UsageError
from src.core.locks import only_one
from src.core.paths import Run
from src.images.held_batches import HeldBatches
from src.inference.backend_networks import EngineNetworks
from src.inference.backends.backend import Engine
from src.inference.logits_store import NAMES, PARTS, SECONDS, StoredTables, save_logits
from src.inference.trained_networks import Member
from src.inference.tta import PLAIN, VIEWS

Advance = Callable[[int], object]  # told how many images more are done


def trained_members(run: Run, request: Request) -> list[Member]:
    """The members asked for; without fold=, every finished fold, or `all` where there is no other.

    Where the request names no seed, every seed that has a finished fold. Raises UsageError where one is not trained.
    """
    members, count = [], request.config.data.folds
    for seed in request.seeds or trained_seeds(run, count):
        command = f"python -m src.train run={run.name}" + (f" seed={seed}" if seed else "")
        folds = request.folds or run.finished_folds(seed, count) or (ALL,)
        unplanned = left_out(run, seed)
        folds = tuple(fold for fold in folds if fold not in unplanned) or folds
        missing = [str(fold) for fold in folds if not run.finished(seed, fold)]
        if missing and request.folds is None:
            raise UsageError(
                f"run {run.name} has no trained fold of seed {seed} yet: {command} fold=0..{count - 1}",
                code="folds-missing",
            )
        if missing:
            raise UsageError(
                f"run {run.name}, seed {seed}: fold {', '.join(missing)} is not trained yet: "
                f"{command} fold={','.join(missing)}",
                code="folds-missing",
            )
        members += [Member(seed, fold, run.member(seed, fold)) for fold in folds]
    return members


def trained_seeds(run: Run, count: int) -> tuple[int, ...]:
    """The seeds with a finished one of `count` folds, or of `all`; seed 0 where there is none."""
    names = (folder.name.removeprefix("seed") for folder in run.folder.glob("seed*"))
    seeds = sorted(int(name) for name in names if name.isdecimal())
    return tuple(s for s in seeds if run.finished_folds(s, count) or run.finished(s, ALL)) or (0,)


class ViewTables(StoredTables):
    """Logits of one member by view: those stored are read, the rest are computed in one pass and stored.

    engine: what computes them, torch as the run was trained where `use` does not tell otherwise.
    """

    def __init__(self, competition: Competition, run: Run) -> None:
        super().__init__(competition, run)
        self.networks = EngineNetworks(competition, run)
        self.engine = self.networks.usual
        self.size = self.networks.size if self.networks.size != competition.config.images.size else None

    def use(self, engine: Engine) -> None:
        """Let another engine answer, in tables of its own."""
        self.engine = engine
        self.place = "" if engine == self.networks.usual else engine.place
        self.networks.let_go(but=engine)

    def usable(self, members: list[Member], views: tuple[str, ...]) -> tuple[str, ...]:
        """All of them, but of a probe on brought features: those that were brought."""
        if self.competition.config.probe.features is None:
            return views
        kept = tuple(view for view in views if all(self.file(m, "oof", view).exists() for m in members))
        if len(kept) < len(views):
            left_out = ", ".join(view for view in views if view not in kept)
            note("views-missing", f"{left_out}: left out, for the features that were brought hold no such view")
        return kept or PLAIN

    def missing(
        self, members: list[Member], views: tuple[str, ...], parts: tuple[str, ...] = PARTS
    ) -> dict[tuple[Member, str], tuple[str, ...]]:
        """{(member, part): the views whose tables must be computed}, where there are any."""
        found = {(m, part): self._missing(m, part, views) for m in members for part in parts}
        return {key: names for key, names in found.items() if names}

    def ensure(self, members: list[Member], views: tuple[str, ...], parts: tuple[str, ...] = PARTS) -> None:
        """Compute what is missing of the logits of these members."""
        missing = self.missing(members, views, parts)
        if not missing:
            many = f"{len(views)} view{'s' if len(views) > 1 else ''}"
            note("stored-already", f"all {NAMES[parts]} of {len(members)} models in {many} are stored already")
            return
        total = sum(len(self.networks.rows(m, part)) for m, part in missing)
        with Bar(total, "predicting", "image") as bar:
            tests = [member for member, part in missing if part == "test"]
            held = self.networks.held(self.networks.rows(tests[0], "test")) if len(tests) > 1 else None
            for member in members:
                wanted = {part: missing[member, part] for part in parts if (member, part) in missing}
                if wanted:
                    with self._alone(member):
                        self._compute(member, wanted, bar.update, held)

    def seconds(self, members: list[Member], views: tuple[str, ...]) -> dict[str, float]:
        """As stored; views without a record, as training leaves the plain one, are timed on one batch and noted."""
        unknown = tuple(view for view, text in super().seconds(members, views).items() if math.isnan(text))
        if unknown:
            member = members[0]
            with self._alone(member):
                self._time(member, unknown)
        return super().seconds(members, views)

    def _compute(
        self, member: Member, wanted: dict[str, tuple[str, ...]], advance: Advance, held: HeldBatches | None
    ) -> None:
        """held: the test images, where several members see them and no cache has them."""
        ready = self.networks.ready(member, self.engine)
        meta = self._meta(member) | {"images": self.competition.images_hash}
        for part, views in wanted.items():
            rows = self.networks.rows(member, part)
            seconds = {} if part == "oof" else None  # views are chosen, and so timed, out of fold
            looks = held if part == "test" else None
            tables = self.networks.logits(ready, self.engine, rows, views, seconds, advance, looks)
            for view, logits in tables.items():
                text = meta | ({SECONDS: seconds[view]} if seconds else {}) | _version(view)
                self._save(member, part, view, self._ids(part, rows), logits, text)

    def _alone(self, member: Member) -> AbstractContextManager:
        return only_one(member.folder, f"fold {member.fold} of run {self.run.name}")

    def _time(self, member: Member, views: tuple[str, ...]) -> None:
        """Note in the member's held-out tables what one batch of images takes; their logits stay as they are."""
        rows, seconds = self.networks.rows(member, "oof")[: self.competition.config.predict.batch], {}
        self.networks.logits(self.networks.ready(member, self.engine), self.engine, rows, views, seconds)
        for view in views:
            table = self._load(self.file(member, "oof", view))
            self._save(member, "oof", view, table.id, table.logits, table.meta | {SECONDS: seconds[view]})
        note(
            "view-timed", f"{', '.join(views)}: stored without its time, so that it was timed on {len(rows)} images now"
        )

    def _meta(self, member: Member) -> dict[str, Any]:
        """What a table must tell of itself to be this engine's."""
        meta = {"engine": self.engine.name, "precision": self.engine.precision, "size": self.networks.size}
        meta |= {"weights": self.networks.weights(member)}
        meta |= {"cells": self.competition.cells_hash} if self.competition.cells is not None else {}
        made_of = self.networks.made_of(member, self.engine)
        return meta | ({"made_of": made_of} if made_of else {})

    def _save(self, member: Member, part: str, view: str, ids: np.ndarray, logits: np.ndarray, meta: dict) -> None:
        save_logits(self.file(member, part, view), ids, logits, self.competition.samples.classes, meta)

    def _missing(self, member: Member, part: str, views: tuple[str, ...]) -> tuple[str, ...]:
        if part == "oof" and member.fold == ALL:
            return ()
        return tuple(view for view in views if not self._current(member, part, view))

    def _current(self, member: Member, part: str, view: str) -> bool:
        """Whether a table is there and was made of today's images; one that does not tell is believed.

        Another quantisation, as another processor makes it, is another network.
        """
        path = self.file(member, part, view)
        if not path.exists():
            return False
        meta = self._load(path).meta
        same = "images" not in meta or self.competition.same_images(meta["images"])
        same &= "cells" not in meta or meta["cells"] == self.competition.cells_hash
        same &= "view" not in meta or {"view": meta["view"]} == _version(view)
        return same and meta.get("made_of") == self.networks.made_of(member, self.engine)

    def _ids(self, part: str, rows: np.ndarray) -> np.ndarray:
        samples = self.competition.samples
        return samples.test["id"].to_numpy() if part == "test" else samples.train["id"].to_numpy()[rows]


def _version(view: str) -> dict[str, str]:
    """Of a user's own view, what tells one version of it from another."""
    origin = VIEWS.origin(view)
    return {"view": origin} if origin else {}
