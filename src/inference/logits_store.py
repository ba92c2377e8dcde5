"""The store of logits: one file per run, seed, fold, part and view, readable by any program that reads npz.

    runs/<competition>/<run>/seed0/fold0/logits/oof-identity.npz      rows that this fold held out
    runs/<competition>/<run>/seed0/fold0/logits/test-hflip@96.npz     test rows, seen at another size than trained
    runs/<competition>/<run>/seed0/fold0/logits/openvino-int8/...     the same of another engine than the run's own

Arrays: `id` (n,) text, `logits` (n, classes) float32, `classes` (classes,) text, `meta` one JSON text that holds
engine, precision, size, the SHA-256 of the weights, of held-out rows the seconds that one image took
(`seconds_per_image`), and of int8 the hash of what its network was made of (`made_of`). Rows are joined by id, never
by position.

A run that was trained elsewhere joins by bringing such tables, and `meta` may be "{}". It must have held out the same
rows: `fold` of runs/<competition>/folds-<key>.csv (columns id and fold; -1 is never held out), the table that any run
here stands on. That run's run.json tells its hash, the first 8 hex digits of the SHA-256 of the csv. (Without any run
here, write {} into run.json: python -m src.predict run=<run> competition=<competition> then makes the csv and tells the
hash.) In runs/<competition>/<run>/, which holds no config.yaml, write

    table = pandas.read_csv("runs/<competition>/folds-<key>.csv", dtype={"id": str}, keep_default_na=False)
    held_out = table["id"][table["fold"] == 0]                        # what the network of fold 0 must not have seen
    numpy.savez("seed0/fold0/logits/oof-identity.npz", id=held_out.to_numpy(dtype=str), logits=logits,
                classes=["blue", "green", "red"], meta="{}")          # classes in the order of any table made here
    pathlib.Path("run.json").write_text(json.dumps({"folds": "<hash>"}))

and test-identity.npz likewise for every test id, in each fold; other views of views.py may join, in all folds alike.
Logits of probabilities p are log(p), or log(p / (1 - p)) where several classes may apply.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src.competition.competition import Competition
from src.config.image_size import SizeWord
from src.core.errors import Problem
from src.core.files import damaged, read_json, read_npz, written_whole
from src.core.paths import DONE, Run
from src.inference.trained_networks import Member

MADE_ANEW = "delete it, and predict makes it anew"
WRITTEN_ANEW = (
    "it was brought, and is never computed here: write it anew, as the head of src/inference/logits_store.py tells"
)


@dataclass(frozen=True)
class Logits:
    id: np.ndarray
    logits: np.ndarray
    classes: tuple[str, ...]
    meta: dict[str, Any]


def logits_file(member: Path, part: str, view: str, size: SizeWord | None, engine: str = "") -> Path:
    """`part` is oof or test; `size` is None where the view is seen as trained; `engine` is the folder of one that is
    not the run's own, so that two engines never answer from one table."""
    return member / "logits" / engine / f"{part}-{view}{f'@{size}' if size else ''}.npz"


def save_logits(
    path: Path, ids: np.ndarray, logits: np.ndarray, classes: tuple[str, ...], meta: dict[str, Any]
) -> None:
    with written_whole(path) as part, part.open("wb") as file:
        np.savez(
            file,
            id=np.asarray(ids, dtype=np.str_),
            logits=np.asarray(logits, dtype=np.float32),
            classes=np.asarray(classes, dtype=np.str_),
            meta=np.asarray(json.dumps(meta, sort_keys=True)),
        )


def load_logits(path: Path, classes: tuple[str, ...], remedy: str = MADE_ANEW) -> Logits:
    """Read one table. Raises Problem, with the remedy, where it is damaged or belongs to other classes."""
    try:
        file = read_npz(path, ("id", "logits", "classes", "meta"), remedy)
        table = Logits(file["id"], file["logits"], tuple(file["classes"].tolist()), json.loads(str(file["meta"])))
    except (ValueError, TypeError) as error:
        raise damaged(path, f"is no table of logits ({error})", remedy) from None
    if table.classes != classes:
        train_anew = "train this run anew under another name"
        raise Problem(
            f"{path} was made for other classes, or for another order of them, than the competition has now: "
            f"{train_anew if remedy == MADE_ANEW else remedy}",
            code="classes-differ",
        )
    if table.id.dtype.kind != "U" or table.logits.dtype.kind not in "fiu" or not isinstance(table.meta, dict):
        raise Problem(
            f"{path}: id is {table.id.dtype} and must be text, logits are {table.logits.dtype} and must be numbers, "
            f"meta is a {type(table.meta).__name__} and must be a dict: {remedy}",
            code="bad-logits",
        )
    if len(table.id) != len(table.logits) or table.logits.shape[1:] != (len(classes),):
        raise Problem(
            f"{path}: {len(table.id)} ids and logits of shape {table.logits.shape} do not fit {len(classes)} classes",
            code="bad-logits",
        )
    return table


def aligned(table: Logits, ids: np.ndarray, path: Path, remedy: str = MADE_ANEW) -> np.ndarray:
    """The logits in the order of `ids`, (len(ids), classes). Raises Problem where an id is missing or doubled."""
    wanted = pd.Index(np.asarray(ids, dtype=object))
    if wanted.is_unique and np.array_equal(table.id, np.asarray(ids, dtype=np.str_)):
        return table.logits  # as they are nearly always, and a million ids take seconds to look up
    known = pd.Index(table.id.astype(object))
    if not known.is_unique:
        raise Problem(f"{path} holds an id twice: {remedy}", code="repeated-id")
    at = known.get_indexer(wanted)
    if (at < 0).any():
        missing = wanted[at < 0]
        raise Problem(
            f"{path} lacks {len(missing)} of {len(ids)} rows, the first is id {str(missing[0])!r}: {remedy}",
            code="missing-row",
        )
    return table.logits[at]


PARTS = ("oof", "test")
NAMES = {PARTS: "logits", ("oof",): "out-of-fold logits", ("test",): "test logits"}  # in a message
SECONDS = "seconds_per_image"  # of a table's meta


class StoredTables:
    """What the store holds of a run. How it gets there is another matter: see ViewTables and BroughtTables."""

    remedy = MADE_ANEW
    size: SizeWord | None = None  # None: as trained
    place: str = ""  # the folder of the engine's tables, where it is not the run's own

    def __init__(self, competition: Competition, run: Run) -> None:
        self.competition, self.run = competition, run

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
                text = self._load(self.file(member, "oof", view)).meta.get(SECONDS)
                if isinstance(text, int | float) and 0 < text < math.inf:
                    found[view].append(float(text))
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
        return load_logits(path, self.competition.samples.classes, self.remedy)

    def _check(self, member: Member, table: Logits, path: Path) -> None:
        if table.meta.get("weights") != read_json(member.folder / DONE)["weights"]:
            raise Problem(
                f"{path} was made by other weights than {member.folder} holds: {self.remedy}",
                code="logits-of-other-weights",
            )
