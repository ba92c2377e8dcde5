"""Images that are the same, or nearly: pairs of 64-bit hashes that differ in few bits, found without comparing all.

Hashes are cut into parts. Where two differ in at most RADIUS bits, at least one part differs in no more bits than are
named with it: entries are sorted by each part in turn, and compared with those whose part is so near.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from src.competition.quality.image_index import ImageIndex, let_go
from src.core.console import Note

RADIUS = 10  # bits in which two hashes may differ, of 64
# First bit, width, and bits in which the part may differ. The last and one more, summed over the parts, pass RADIUS.
FEW_PARTS = ((0, 11, 1), (11, 11, 1), (22, 11, 1), (33, 11, 1), (44, 10, 1), (54, 10, 1))
MANY_PARTS = ((0, 16, 2), (16, 16, 2), (32, 16, 2), (48, 16, 1))
MANY = 1 << 17  # entries from which longer parts, shared by fewer, are worth more ways to look
CROWD = 3000  # entries with one value of a part: a kind of image rather than duplicates
BLOCK = 1 << 19  # comparisons at a time, whose arrays stay in the processor's cache
STEP = 7.5  # levels are compared in steps of so many


@dataclass(frozen=True)
class _Sorted:
    """Entries in the order of one part of their hashes, and within it of their levels' steps.

    order: (n,) the entry in each place. hash, part, step: (n,) by place. starts: the first place of each part and step.
    steps: their number. crowd: by part, whether too many share it. radius: bits in which the part may differ.
    """

    order: np.ndarray
    hash: np.ndarray
    part: np.ndarray
    step: np.ndarray
    starts: np.ndarray
    steps: int
    crowd: np.ndarray
    width: int
    radius: int


def near(hashes: np.ndarray, levels: np.ndarray | None = None, apart: float = 255) -> tuple[np.ndarray, int]:
    """(pairs, 2) entries whose (n,) uint64 hashes differ in at most RADIUS bits, the smaller first, each pair once; and
    the number of entries that share every part with more than CROWD others, which are not compared with each other.

    levels: (n,) within 0 and 255. Where they are given, pairs whose levels lie more than `apart` from each other need
    not be found, and most are not: that is what makes a million entries quick.
    """
    steps = np.zeros(len(hashes), np.int64) if levels is None else (levels // STEP).astype(np.int64)
    reach = 0 if levels is None else math.ceil(apart / STEP)
    found, crowded = [], np.ones(len(hashes), dtype=bool)
    for start, width, radius in FEW_PARTS if len(hashes) < MANY else MANY_PARTS:
        parts = ((hashes >> np.uint64(start)) & np.uint64((1 << width) - 1)).astype(np.int64)
        crowded &= np.bincount(parts, minlength=1 << width)[parts] > CROWD
        found += _close(_sorted(hashes, parts, steps, width, radius), reach)
    pairs = np.concatenate([np.zeros((0, 2), np.int64), *found])
    once = np.unique(pairs[:, 0] * len(hashes) + pairs[:, 1])
    return np.stack(np.divmod(once, max(1, len(hashes))), axis=1), int(crowded.sum())


def _sorted(hashes: np.ndarray, parts: np.ndarray, steps: np.ndarray, width: int, radius: int) -> _Sorted:
    count = int(steps.max(initial=0)) + 1
    cells = parts * count + steps
    order = np.argsort(cells, kind="stable").astype(np.int32)
    sizes = np.bincount(cells, minlength=count << width)
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    crowd = np.bincount(parts, minlength=1 << width) > CROWD
    return _Sorted(order, hashes[order], parts[order], steps[order], starts, count, crowd, width, radius)


def _close(entries: _Sorted, reach: int) -> Iterator[np.ndarray]:
    """The close pairs of one part, (pairs, 2) of entries, perhaps some at a time."""
    lowest, highest = np.maximum(entries.step - reach, 0), np.minimum(entries.step + reach, entries.steps - 1) + 1
    places = np.arange(len(entries.order))
    for bits in range(entries.radius + 1):
        for flipped in combinations(range(entries.width), bits):
            goal = entries.part ^ sum(1 << bit for bit in flipped)
            first, last = (entries.starts[goal * entries.steps + edge] for edge in (lowest, highest))
            if not bits:
                first = places + 1  # those before have looked at this one
            seen = (goal < entries.part) | (entries.crowd[goal] & entries.crowd[entries.part])
            counts = np.where(seen, 0, last - first)
            yield from _compared(entries, first, counts)


def _compared(entries: _Sorted, firsts: np.ndarray, counts: np.ndarray) -> Iterator[np.ndarray]:
    """The entry in every place against `counts` others, which stand from the place `firsts` on."""
    done, ends = 0, np.cumsum(counts, dtype=np.int64)
    while done < len(counts) and ends[-1] > (base := ends[done - 1] if done else 0):
        stop = max(done + 1, int(np.searchsorted(ends, base + BLOCK, side="right")))
        some = counts[done:stop]
        skipped = firsts[done:stop] - (ends[done:stop] - some - base)
        other = np.arange(ends[stop - 1] - base) + np.repeat(skipped, some)
        close = np.flatnonzero(
            np.bitwise_count(np.repeat(entries.hash[done:stop], some) ^ entries.hash[other]) <= RADIUS
        )
        if len(close):
            one = done + np.searchsorted(ends[done:stop] - base, close, side="right")
            yield _outside_crowds(entries, one, other[close])
        done = stop


def _outside_crowds(entries: _Sorted, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Pairs of places as pairs of entries, without those whose later entry stands in a crowd."""
    a, b = entries.order[one].astype(np.int64), entries.order[other].astype(np.int64)
    later = np.where(a > b, entries.part[one], entries.part[other])
    return np.stack([np.minimum(a, b), np.maximum(a, b)], axis=1)[~entries.crowd[later]]


# Chosen by eye on 13,500 photos, with hamming.RADIUS: of the pairs within these bounds, about one in thirty is not the
# same photo again.
DIFFERENCE = 14.0  # mean absolute difference of two 16 x 16 thumbnails, of 255
LIKENESS = 0.85  # their correlation, which dark or flat images need besides
SMALLEST = 32  # pixels of the short side: below, different images look alike

DUPLICATES_BLOCK = (
    100  # pairs whose thumbnails are compared at a time; each may bring a megabyte of the file into memory
)
LARGEST = 0.05  # of all images: a larger cluster is a look that all share


@dataclass(frozen=True)
class Pairs:
    """rows: (pairs, 2) int64 entries of the look, the smaller first. same: (pairs,) whether the files are equal."""

    rows: np.ndarray
    same: np.ndarray
    notes: tuple[Note, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)


def find_pairs(index: ImageIndex) -> Pairs:
    """Equal files, and images that differ by no more than size, compression, a slight crop or a change of tone."""
    read = index.fault == ""
    equal = _chain(index.digest, read)
    large = read & (index.size.min(axis=1) >= SMALLEST)
    # Of equal files one stands for all.
    first = np.zeros(len(read), dtype=bool)
    first[np.unique(index.digest, return_index=True)[1]] = True
    rows = np.flatnonzero(large & first)
    # Thumbnails that differ little have means that differ no more; the slack is for rounding.
    close, crowded = near(index.hash[rows], index.levels[rows], DIFFERENCE + 0.1)
    close = rows[close]
    close = close[alike(index.thumb, close)]
    notes = []
    if crowded:
        text = (
            f"{crowded} images look much like more than {CROWD} others; near duplicates among them are not looked for"
        )
        notes.append(Note("images-alike", text))
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


def bag_clusters(bags: Sequence[np.ndarray], pairs: Pairs, count: int) -> tuple[np.ndarray, int]:
    """As `clusters`, of bags that show the same image or duplicates; bags: the entries of each, of `count` in all.

    What more than 5 % of the bags show, such as the black slices of all series, is no tie. Where near duplicates tie
    more than that together, only equal files do. The second value is the number of bags that this concerns.
    """
    owner = np.repeat(np.arange(len(bags)), [len(bag) for bag in bags])
    entries, most = np.concatenate([np.zeros(0, np.int64), *bags]), max(20, LARGEST * len(bags))
    near_ones, equal = (_own_names(of, count) for of in (clusters(pairs, count)[0], _equal(pairs, count)))
    names = near_ones[entries]
    few = _in_few_bags(names, owner, most)
    concerned = np.bincount(owner[~few], minlength=len(bags)) > 0
    of_bag = _tied(owner[few], names[few], len(bags))
    wide = np.isin(of_bag, np.flatnonzero(np.bincount(of_bag[of_bag >= 0], minlength=1) > most))
    if wide.any():
        names = np.where(wide[owner], 3 * count + equal[entries], names)
        few = _in_few_bags(names, owner, most)
        of_bag = _tied(owner[few], names[few], len(bags))
    return of_bag, int((concerned | wide).sum())


def shown_by_many(bags: Sequence[np.ndarray], pairs: Pairs, count: int) -> np.ndarray:
    """Which of `count` entries show what more than 5 % of the bags show, such as a black slice, (count,) bool."""
    owner = np.repeat(np.arange(len(bags)), [len(bag) for bag in bags])
    entries = np.concatenate([np.zeros(0, np.int64), *bags])
    names = _own_names(clusters(pairs, count)[0], count)[entries]
    return np.isin(np.arange(count), entries[~_in_few_bags(names, owner, max(20, LARGEST * len(bags)))])


def _in_few_bags(names: np.ndarray, owner: np.ndarray, most: float) -> np.ndarray:
    """Which of the names no more than `most` bags share."""
    links = np.unique(np.stack([names, owner], axis=1), axis=0)
    held, counts = np.unique(links[:, 0], return_counts=True)
    return np.isin(names, held[counts <= most])


def _equal(pairs: Pairs, count: int) -> np.ndarray:
    return _components(pairs.rows[pairs.same], count)


def _own_names(of_entry: np.ndarray, count: int) -> np.ndarray:
    """A number for every entry: that of its cluster, else one of its own beyond them."""
    return np.where(of_entry < 0, 2 * count + np.arange(count), of_entry)


def _tied(owner: np.ndarray, names: np.ndarray, bags: int) -> np.ndarray:
    """A number for each bag that shares a name with another, -1 for the others."""
    codes = np.unique(names, return_inverse=True)[1]
    total = bags + int(codes.max(initial=-1)) + 1
    of_node = _components(np.stack([owner, bags + codes], axis=1), total)[:bags]
    _, codes, sizes = np.unique(of_node, return_inverse=True, return_counts=True)
    return np.where((of_node < 0) | (sizes[codes] == 1), -1, of_node)


def alike(thumbs: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Which pairs are close in their thumbnails too, (pairs,) bool. thumbs: (n, 16, 16, 3) uint8."""
    kept = np.zeros(len(pairs), dtype=bool)
    for start in range(0, len(pairs), DUPLICATES_BLOCK):
        block = pairs[start : start + DUPLICATES_BLOCK]
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
