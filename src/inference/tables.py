"""The tables of logits of one run's members, read by id from the store."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from src.competition.opened import Opened
from src.engines.trained import Member
from src.errors import Problem
from src.inference.store import MADE_ANEW, Logits, aligned, load_logits, logits_file
from src.runs import DONE, Run, read_json

Say = Callable[[str], None]
PARTS = ("oof", "test")
NAMES = {PARTS: "logits", ("oof",): "out-of-fold logits", ("test",): "test logits"}  # in a message
SECONDS = "seconds_per_image"  # of a table's meta


class StoredTables:
    """What the store holds of a run. How it gets there is another matter: see ViewTables and BroughtTables."""

    remedy = MADE_ANEW
    size: int | None = None  # None: as trained
    place: str = ""  # the folder of the engine's tables, where it is not the run's own

    def __init__(self, opened: Opened, run: Run, say: Say) -> None:
        self.opened, self.run, self.say = opened, run, say

    def ensure(self, members: list[Member], views: tuple[str, ...], parts: tuple[str, ...] = PARTS) -> None:
        """See to it that these tables are in the store."""
        raise NotImplementedError

    def usable(self, members: list[Member], views: tuple[str, ...]) -> tuple[str, ...]:
        """Those of `views` that there can be tables of."""
        return views

    def seconds(self, members: list[Member], views: tuple[str, ...]) -> dict[str, float]:
        """{view: seconds of one image through one model}, the middle of the members' records; NaN where none tells."""
        found: dict[str, list[float]] = {view: [] for view in views}
        for member in members:
            for view in views:
                told = self._load(self.file(member, "oof", view)).meta.get(SECONDS)
                if isinstance(told, int | float) and 0 < told < math.inf:
                    found[view].append(float(told))
        return {view: float(np.median(values)) if values else math.nan for view, values in found.items()}

    def read(self, member: Member, part: str, view: str, ids: np.ndarray) -> np.ndarray:
        """(len(ids), classes) logits by id. Raises Problem where the table is damaged, stale or lacks an id."""
        path = self.file(member, part, view)
        table = self._load(path)
        self._check(member, table, path)
        return aligned(table, ids, path, self.remedy)

    def file(self, member: Member, part: str, view: str) -> Path:
        return logits_file(member.folder, part, view, self.size, self.place)

    def _load(self, path: Path) -> Logits:
        return load_logits(path, self.opened.samples.classes, self.remedy)

    def _check(self, member: Member, table: Logits, path: Path) -> None:
        if table.meta.get("weights") != read_json(member.folder / DONE)["weights"]:
            raise Problem(f"{path} was made by other weights than {member.folder} holds: {self.remedy}")
