"""A competition cut from another one's training rows: a long tail made on purpose, some of the classes, so many rows of
each.

The other's test images take no part. What the cut holds out is never among what it trains on, nor a near duplicate of
it, and is written as a validation table of the host's kind: train on it with data.validation=host.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from src.competition.card import Card, Cut
from src.competition.folds import units_of
from src.competition.quality.cleaning import inspect
from src.competition.samples import TRAIN, Samples, load_samples
from src.core.errors import Problem, UsageError


def write(cut: Cut, base: Card, data: Path) -> None:
    """Write train.csv, with `held_out` also held_out.csv, each with columns id, path and label, and link the images.

    Raises UsageError for a class that the other competition lacks, Problem where a class has too few rows.
    """
    samples = inspect(base, load_samples(base))
    if not samples.target.one_class:
        raise UsageError(
            f"{base.id} has several labels an image: a cut is made of rows with one class each", code="bad-cut"
        )
    generator = np.random.default_rng(cut.seed)
    rows = _rows_of_classes(cut, base, samples)
    rows = generator.permutation(rows)
    held = _first_of_each(samples, rows, cut.held_out)
    units = units_of(samples.train)
    rest = rows[~np.isin(units[rows], units[held])]
    if cut.rows:
        rest = _counted(cut, base, samples, rest)
    if cut.tail:
        rest = _long_tail(samples, rest, cut.tail, generator)
    data.mkdir(parents=True)
    for name, part in (("train", rest), ("held_out", held)):
        if len(part):
            _write_table(base, samples, np.sort(part), data, name)


def _rows_of_classes(cut: Cut, base: Card, samples: Samples) -> np.ndarray:
    for key, names in (("without", cut.without), ("rows", cut.rows)):
        unknown = [name for name in names if name not in samples.classes]
        if unknown:
            raise UsageError(f"cut.{key}: {base.id} has no class {unknown[0]!r}", code="unknown-class")
    kept = [name for name in cut.rows or samples.classes if name not in cut.without]
    left_out = [number for number, name in enumerate(samples.classes) if name not in kept]
    own = (samples.train["part"] == TRAIN).to_numpy()
    return np.flatnonzero(own & ~np.isin(samples.targets, left_out))


def _first_of_each(samples: Samples, rows: np.ndarray, count: int) -> np.ndarray:
    """The first `count` of the rows of each class."""
    return rows[pd.Series(rows).groupby(samples.targets[rows]).cumcount().to_numpy() < count]


def _counted(cut: Cut, base: Card, samples: Samples, rows: np.ndarray) -> np.ndarray:
    """Of each class the first rows, as many as cut.rows asks for."""
    kept = []
    for name, count in cut.rows.items():
        there = rows[samples.targets[rows] == samples.classes.index(name)]
        if len(there) < count:
            raise Problem(
                f"cut.rows: {count} of {name!r} are asked for, and {base.id} has {len(there)} beside those held out",
                code="bad-cut",
            )
        kept.append(there[:count])
    return np.concatenate(kept)


def _long_tail(samples: Samples, rows: np.ndarray, ratio: int, generator: np.random.Generator) -> np.ndarray:
    """Rows whose classes shrink geometrically, the largest `ratio` times the smallest (Cui and others, 2019).

    The tail is as large as the classes allow. Which class is how rare is drawn, among those that have enough rows.
    """
    targets = samples.targets[rows]
    classes, there = np.unique(targets, return_counts=True)
    waiting = generator.permutation(len(classes)).tolist()
    smallest = min(there.max() // ratio, there.min())
    if smallest < 1:
        raise Problem(
            f"cut.tail: {ratio} asks for a class of {ratio} rows, and the largest has {there.max()}", code="bad-cut"
        )
    kept = []
    for count in np.rint(np.geomspace(smallest * ratio, smallest, len(classes))).astype(int):
        one = next((at for at in waiting if there[at] >= count), None)
        if one is None:
            raise Problem(f"cut.tail: {ratio} asks for one more class of {count} rows than there is", code="bad-cut")
        waiting.remove(one)
        kept.append(rows[targets == classes[one]][:count])
    return np.concatenate(kept)


def _write_table(base: Card, samples: Samples, rows: np.ndarray, data: Path, name: str) -> None:
    root = base.data.resolve()
    taken = samples.train.iloc[rows]
    paths = [Path(path).relative_to(root).as_posix() for path in taken["path"]]
    labels = np.array(samples.classes, dtype=object)[samples.targets[rows]]
    pd.DataFrame({"id": taken["id"], "path": paths, "label": labels}).to_csv(data / f"{name}.csv", index=False)
    for path in paths:
        target = data / path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(root / path, target)
        except OSError:  # another disk, or one without links
            shutil.copyfile(root / path, target)
