"""The fold table: made once for a competition, frozen in one file, referred to by its hash."""

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from src.competition.samples import Samples
from src.errors import Problem
from src.runs import written_whole


@dataclass(frozen=True)
class Folds:
    """of_row: (rows of train,) the fold that each row is held out in."""

    count: int
    of_row: np.ndarray
    hash: str
    notes: tuple[str, ...]

    def rows(self, fold: int | str) -> tuple[np.ndarray, np.ndarray]:
        """Training and held-out rows of one fold; the fold `all` trains on every row and holds out none."""
        if fold == "all":
            return np.arange(len(self.of_row)), np.zeros(0, dtype=np.int64)
        return np.flatnonzero(self.of_row != fold), np.flatnonzero(self.of_row == fold)


def freeze_folds(samples: Samples, count: int, seed: int, folder: Path) -> Folds:
    """The fold table of `folder`, computed at first use and read from then on.

    Stratified by class. Its file name comes from what goes in (ids, classes, count, seed), its hash from the file.
    """
    small = [f"{name} ({n})" for name, n in zip(samples.classes, samples.counts, strict=True) if 0 < n < count]
    if len(samples.train) < count:
        raise Problem(f"{len(samples.train)} training rows cannot make {count} folds: set data.folds lower")
    key = hashlib.sha256()
    for part in (samples.train["id"], samples.targets, (count, seed)):
        key.update("\n".join(map(str, part)).encode() + b"\0")
    path = folder / f"folds-{key.hexdigest()[:8]}.csv"
    if not path.exists():
        of_row = _stratified(samples.targets, count, seed)
        with written_whole(path) as part:
            pd.DataFrame({"id": samples.train["id"], "fold": of_row}).to_csv(part, index=False)
    table = pd.read_csv(path, dtype={"id": str}, keep_default_na=False)
    if list(table["id"]) != list(samples.train["id"]):
        raise Problem(f"{path} was changed by hand: delete it, and the runs made with it, to start anew")
    notes = (
        (f"classes smaller than {count} folds, so some folds hold none of them: {', '.join(small)}",) if small else ()
    )
    return Folds(count, table["fold"].to_numpy(), hashlib.sha256(path.read_bytes()).hexdigest()[:8], notes)


def _stratified(targets: np.ndarray, count: int, seed: int) -> np.ndarray:
    from sklearn.model_selection import StratifiedKFold

    of_row = np.full(len(targets), -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # small classes are reported by name instead
        try:
            splits = list(StratifiedKFold(count, shuffle=True, random_state=seed).split(targets, targets))
        except ValueError as error:
            raise Problem(
                f"no class has {count} images, so {count} folds cannot be made: set data.folds lower ({error})"
            ) from None
    for fold, (_, held_out) in enumerate(splits):
        of_row[held_out] = fold
    return of_row
