"""The fold table: stratified k-fold within groups, made once, frozen in one file, known by its hash."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from src.competition.samples import TRAIN, VALIDATION, Samples
from src.core.console import Note
from src.core.errors import Problem
from src.core.files import read_csv, written_whole
from src.targets import Strata


def deal(targets: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The fold of each row, (rows,), for rows that are independent and have one class each.

    Rows are shuffled, put in the order of their classes and dealt like cards, going on from class to class: the
    share of a class differs by one row at most between folds, and so do the folds' sizes, however small the classes.
    """
    order = np.random.default_rng(seed).permutation(len(targets))
    order = order[np.argsort(targets[order], kind="stable")]
    of_row = np.empty(len(targets), np.int64)
    of_row[order] = np.arange(len(targets)) % count
    return of_row


def deal_units(strata: Strata, units: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The fold of each row where the rows of one unit must share it, or where rows have several classes.

    Greedy, the largest units first and among equals those with the rarest class: each goes to the fold that holds
    the least of what the unit brings, every class weighed by its rarity, then to the smallest fold. It is the idea
    of iterative stratification (Sechidis et al., 2011) and of StratifiedGroupKFold, in one pass.
    """
    _, units = np.unique(units, return_inverse=True)
    unit, label, rows = _contents(strata, units)
    totals = np.bincount(label, rows)
    sizes = np.bincount(units)
    rarity = np.full(len(sizes), np.inf)
    np.minimum.at(rarity, unit, totals[label])
    shuffled = np.random.default_rng(seed).permutation(len(sizes))
    order = shuffled[np.lexsort((rarity[shuffled], -sizes[shuffled]))]
    starts = np.searchsorted(unit, np.arange(len(sizes) + 1)).tolist()
    shares, label, rows = (rows / totals[label]).tolist(), label.tolist(), rows.tolist()
    held = [[0.0] * count for _ in totals]  # shares of each class, by fold
    filled, limit = [0.0] * count, len(units) / count
    fold_of = [0] * len(sizes)
    for one, size in zip(order.tolist(), sizes[order].tolist(), strict=True):
        inside = range(starts[one], starts[one + 1])
        costs = [0.0] * count
        for k in inside:
            share, class_held = shares[k], held[label[k]]
            costs = [cost + share * there for cost, there in zip(costs, class_held, strict=True)]
        # A fold that is full takes more only where all are: rare classes must not pile up rows in one fold.
        best = min(range(count), key=lambda fold: (filled[fold] + size > limit + size / 2, costs[fold], filled[fold]))
        fold_of[one] = best
        filled[best] += size
        for k in inside:
            held[label[k]][best] += shares[k]
    return np.array(fold_of)[units]


def _contents(strata: Strata, units: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What each unit brings, sorted by unit: its number, a class, and the rows of that class in it."""
    cells, counts = np.unique(units[strata.rows] * strata.count + strata.labels, return_counts=True)
    return cells // strata.count, cells % strata.count, counts


NEVER = -1  # the fold of rows that are trained on and never held out
SHOWN = 12  # classes named in a note


@dataclass(frozen=True)
class Folds:
    """of_row: (rows of train,) the fold that each row is held out in, or -1 for rows that are only trained on.

    hash: of the table as it was frozen, with all rows. barred: (rows of train,) where not None, the fold whose training
    must not see a row though it does not hold it out, or -1.
    """

    count: int
    of_row: np.ndarray
    hash: str
    notes: tuple[Note, ...]
    barred: np.ndarray | None = None

    def rows(self, fold: int | str) -> tuple[np.ndarray, np.ndarray]:
        """Training and held-out rows of one fold; the fold `all` trains on every row and holds out none."""
        if fold == "all":
            return np.arange(len(self.of_row)), np.zeros(0, dtype=np.int64)
        held_out = self.of_row == fold
        hidden = held_out if self.barred is None else held_out | (self.barred == fold)
        return np.flatnonzero(~hidden), np.flatnonzero(held_out)


def freeze_folds(samples: Samples, count: int, seed: int, folder: Path, host: bool = False) -> Folds:
    """The fold table of `folder`, computed at first use and read from then on.

    Stratified by class; rows of one group or of one cluster of near duplicates share a fold. With `host` there is
    one fold, whose held-out rows are the host's validation set. Rows of extra tables are never held out.
    The file's name comes from what goes in, its hash from the file. Raises Problem where the folds cannot be made.
    """
    path = folder / f"folds-{_key(samples, count, seed, host)}.csv"
    units = units_of(samples.train)
    if not path.exists():
        of_row = _host(samples) if host else _cross(samples, units, count, seed)
        with written_whole(path) as part:
            pd.DataFrame({"id": samples.train["id"], "fold": of_row}).to_csv(part, index=False)
    table = read_csv(path, ("id", "fold"), dtype={"id": str})
    if list(table["id"]) != list(samples.train["id"]) or table["fold"].dtype.kind != "i":
        raise Problem(
            f"{path} was changed by hand: delete it, and the runs made with it, to start anew", code="folds-edited"
        )
    of_row = table["fold"].to_numpy()
    notes = () if host else tuple(_notes(samples, units, of_row, count))
    return Folds(1 if host else count, of_row, hashlib.sha256(path.read_bytes()).hexdigest()[:8], notes)


def units_of(train: pd.DataFrame) -> np.ndarray:
    """(rows,) int64: rows with one number share their group or their cluster, directly or through others."""
    links = [pd.factorize(train[column].where(train[column] != ""))[0] for column in ("group", "cluster")]
    if (links[0] < 0).all() and (links[1] < 0).all():
        return np.arange(len(train))
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count, rows, nodes = len(train), [], []
    for codes in links:
        held = np.flatnonzero(codes >= 0)
        rows.append(held)
        nodes.append(codes[held] + count)
        count += int(codes.max(initial=-1)) + 1
    ones = np.ones(sum(map(len, rows)), dtype=bool)
    graph = coo_array((ones, (np.concatenate(rows), np.concatenate(nodes))), shape=(count, count))
    return pd.factorize(connected_components(graph, directed=False)[1][: len(train)])[0]


def _cross(samples: Samples, units: np.ndarray, count: int, seed: int) -> np.ndarray:
    own = samples.train["part"].isin([TRAIN, VALIDATION]).to_numpy()
    number = len(np.unique(units[own]))
    if number < count:
        what = "training rows" if number == own.sum() else "groups of training rows"
        raise Problem(f"{number} {what} cannot make {count} folds: set data.folds lower", code="too-few-for-folds")
    of_row = np.full(len(own), NEVER)
    strata, alone = samples.target.strata(samples.targets[own]), number == own.sum()
    if alone and strata.one_each:
        of_row[own] = deal(strata.labels, count, seed)
    else:
        of_row[own] = deal_units(strata, units[own], count, seed)
    return of_row


def _host(samples: Samples) -> np.ndarray:
    held_out = (samples.train["part"] == VALIDATION).to_numpy()
    if not held_out.any():
        raise Problem(
            "the card names no validation table of the host: let data.validation be folds", code="no-validation-table"
        )
    return np.where(held_out, 0, NEVER)


def _key(samples: Samples, count: int, seed: int, host: bool) -> str:
    key = hashlib.sha256(f"{count} {seed} {host} {samples.classes}".encode())
    for column in ("id", "part", "group", "cluster"):
        key.update("\n".join(samples.train[column]).encode() + b"\0")
    key.update(np.ascontiguousarray(samples.targets).tobytes())
    return key.hexdigest()[:8]


def _notes(samples: Samples, units: np.ndarray, of_row: np.ndarray, count: int) -> list[Note]:
    notes = []
    small = [(name, n) for name, n in zip(samples.classes, samples.counts.tolist(), strict=True) if 0 < n < count]
    if small:
        shown = ", ".join(f"{name} ({n})" for name, n in small[:SHOWN])
        more = f" and {len(small) - SHOWN} more" if len(small) > SHOWN else ""
        text = (
            f"{len(small)} of {len(samples.classes)} classes are smaller than {count} folds, "
            f"so some folds hold none of them: {shown}{more}"
        )
        notes.append(Note("classes-small", text))
    # Rows of fold -1 are in no fold, and always trained on.
    whole = [(samples.counts_in(of_row == fold) == samples.counts) & (samples.counts > 0) for fold in range(count)]
    unlearned = [f"{samples.classes[k]} (fold {fold})" for fold in range(count) for k in np.flatnonzero(whole[fold])]
    if unlearned:
        more = f" and {len(unlearned) - SHOWN} more" if len(unlearned) > SHOWN else ""
        text = (
            f"{len(unlearned)} classes lie in one fold alone, and the models that are trained without it cannot know "
            f"them: {', '.join(unlearned[:SHOWN])}{more}"
        )
        notes.append(Note("classes-in-one-fold", text))
    own = of_row >= 0
    sizes = np.bincount(units[own])
    if sizes.max() > 1:
        folds = np.bincount(of_row[own], minlength=count)
        text = (
            f"{(sizes > 1).sum()} groups of 2 to {sizes.max()} rows stay together; "
            f"the folds hold {folds.min()} to {folds.max()} rows"
        )
        notes.append(Note("groups-together", text))
    return notes
