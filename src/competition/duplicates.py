"""Images that are the same, or nearly, found without comparing all with all."""

from dataclasses import dataclass

import numpy as np

from src.competition.hamming import CROWD, near
from src.competition.look import Look
from src.competition.look_file import let_go

# Chosen by eye on 13,500 photos, with hamming.RADIUS: of the pairs within these bounds, about one in thirty is not the
# same photo again.
DIFFERENCE = 14.0  # mean absolute difference of two 16 x 16 thumbnails, of 255
LIKENESS = 0.85  # their correlation, which dark or flat images need besides
SMALLEST = 32  # pixels of the short side: below, different images look alike

BLOCK = 100  # pairs whose thumbnails are compared at a time; each may bring a megabyte of the file into memory
LARGEST = 0.05  # of all images: a larger cluster is a look that all share


@dataclass(frozen=True)
class Pairs:
    """rows: (pairs, 2) int64 entries of the look, the smaller first. same: (pairs,) whether the files are equal."""

    rows: np.ndarray
    same: np.ndarray
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)


def find_pairs(look: Look) -> Pairs:
    """Equal files, and images that differ by no more than size, compression, a slight crop or a change of tone."""
    read = look.fault == ""
    equal = _chain(look.digest, read)
    large = read & (look.size.min(axis=1) >= SMALLEST)
    # Of equal files one stands for all.
    first = np.zeros(len(read), dtype=bool)
    first[np.unique(look.digest, return_index=True)[1]] = True
    rows = np.flatnonzero(large & first)
    # Thumbnails that differ little have means that differ no more; the slack is for rounding.
    close, crowded = near(look.hash[rows], look.levels[rows], DIFFERENCE + 0.1)
    close = rows[close]
    close = close[alike(look.thumb, close)]
    notes = []
    if crowded:
        notes.append(
            f"{crowded} images look much like more than {CROWD} others; near duplicates among them are not looked for"
        )
    pairs = np.concatenate([equal, close]).reshape(-1, 2)
    return Pairs(np.sort(pairs, axis=1), np.arange(len(pairs)) < len(equal), tuple(notes))


def clusters(pairs: Pairs, count: int) -> tuple[np.ndarray, int]:
    """A number for each of `count` entries, the same for duplicates, also through others; -1 for those without.

    A cluster that holds more than 5 % of all is a look that they share: there only equal files stay together.
    The second value is the number of entries in such clusters.
    """
    of_entry = _components(pairs.rows, count)
    sizes = np.bincount(of_entry[of_entry >= 0], minlength=1)
    too_large = np.flatnonzero(sizes > max(20, LARGEST * count))
    if len(too_large):
        inside = np.isin(of_entry[pairs.rows[:, 0]], too_large) & ~pairs.same
        of_entry = _components(pairs.rows[~inside], count)
    return of_entry, int(sizes[too_large].sum())


def alike(thumbs: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Which pairs are close in their thumbnails too, (pairs,) bool. thumbs: (n, 16, 16, 3) uint8."""
    kept = np.zeros(len(pairs), dtype=bool)
    for start in range(0, len(pairs), BLOCK):
        block = pairs[start : start + BLOCK]
        a, b = (thumbs[block[:, k]].reshape(len(block), -1).astype(np.float32) for k in (0, 1))
        close = np.abs(a - b).mean(axis=1) <= DIFFERENCE
        a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
        scale = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
        let_go(thumbs)  # each that is looked at brings its neighbours into memory
        kept[start : start + len(block)] = close & ((a * b).sum(axis=1) >= LIKENESS * scale) & (scale > 0)
    return kept


def _chain(digests: np.ndarray, read: np.ndarray) -> np.ndarray:
    """Entries with one digest, each paired with the next."""
    order = np.argsort(digests, kind="stable")
    order = order[read[order]]
    same = digests[order[1:]] == digests[order[:-1]]
    return np.stack([order[:-1][same], order[1:][same]], axis=1)


def _components(pairs: np.ndarray, count: int) -> np.ndarray:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    of_entry = connected_components(graph, directed=False)[1].astype(np.int64)
    of_entry[np.bincount(of_entry)[of_entry] == 1] = -1
    return of_entry
