"""The store of logits: one file per run, seed, fold, part and view, readable by any program that reads npz.

    runs/<competition>/<run>/seed0/fold0/logits/oof-identity.npz      rows that this fold held out
    runs/<competition>/<run>/seed0/fold0/logits/test-hflip@96.npz     test rows, seen at another size than trained

Arrays: `id` (n,) text, `logits` (n, classes) float32, `classes` (classes,) text, `meta` one JSON text that holds
engine, precision, size and the SHA-256 of the weights. Rows are joined by id, never by position.
"""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from src.errors import Problem
from src.runs import written_whole


@dataclass(frozen=True)
class Logits:
    id: np.ndarray
    logits: np.ndarray
    classes: tuple[str, ...]
    meta: dict[str, Any]


def logits_file(member: Path, part: str, view: str, size: int | None) -> Path:
    """`part` is oof or test; `size` is None where the view is seen as trained."""
    return member / "logits" / f"{part}-{view}{f'@{size}' if size else ''}.npz"


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


def load_logits(path: Path, classes: tuple[str, ...]) -> Logits:
    """Read one table. Raises Problem where it is damaged or belongs to other classes."""
    try:
        with np.load(path, allow_pickle=False) as file:
            table = Logits(file["id"], file["logits"], tuple(file["classes"].tolist()), json.loads(str(file["meta"])))
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise Problem(f"{path} is no table of logits ({error}): delete it, and predict makes it anew") from None
    if table.classes != classes:
        raise Problem(
            f"{path} was made for other classes than the competition has now: train this run anew under another name"
        )
    if len(table.id) != len(table.logits) or table.logits.shape[1:] != (len(classes),):
        raise Problem(
            f"{path}: {len(table.id)} ids and logits of shape {table.logits.shape} do not fit {len(classes)} classes"
        )
    return table


def aligned(table: Logits, ids: np.ndarray, path: Path) -> np.ndarray:
    """The logits in the order of `ids`, (len(ids), classes). Raises Problem where an id is missing or doubled."""
    order = np.argsort(table.id, kind="stable")
    sorted_ids = table.id[order]
    if (sorted_ids[1:] == sorted_ids[:-1]).any():
        raise Problem(f"{path} holds an id twice: delete it, and predict makes it anew")
    at = np.searchsorted(sorted_ids, ids)
    at = np.minimum(at, max(len(sorted_ids) - 1, 0))
    found = sorted_ids[at] == ids if len(sorted_ids) else np.zeros(len(ids), dtype=bool)
    if not found.all():
        missing = np.asarray(ids)[~found]
        raise Problem(
            f"{path} lacks {len(missing)} of {len(ids)} rows, the first is id {missing[0]!r}: "
            f"delete it, and predict makes it anew"
        )
    return table.logits[order[at]]
