"""Bags: several images that have one answer, such as those of a patient, a folder or an animal.

A table of samples then has a column `bag`, all paths of a row, of which `path` is the first; once the files were looked
at, `digests` are hashes of their bytes.
"""

import bisect
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from src.competition.card import Card
from src.competition.file_tree import Tree
from src.competition.metadata import PREFIX
from src.core.console import Note
from src.core.errors import Problem
from src.core.wording import plural
from src.images.bags import natural_order
from src.images.regions import tile_names

FILES, ROWS = "files", "rows"  # of a card's `bag`
BAG, DIGESTS = "bag", "digests"


class Bag(NamedTuple):
    paths: tuple[str, ...]
    digests: tuple[int, ...]


def bags_of(train: pd.DataFrame, test: pd.DataFrame, tiles: str | None = None) -> list[Bag] | None:
    """Of the training rows, then of the test rows; None where each has one image. tiles: rows and columns, such as 2x4,
    into which every picture is cut: they stand in its place."""
    tables = [train, test] if len(test) else [train]
    if BAG in train:
        bags = [Bag(*one) for table in tables for one in zip(table[BAG], table[DIGESTS], strict=True)]
    elif tiles is None:
        return None
    else:
        rows = (one for table in tables for one in zip(table["path"], table["digest"], strict=True))
        bags = [Bag((path,), (digest,)) for path, digest in rows]
    return bags if tiles is None else [_in_tiles(bag, tiles) for bag in bags]


def _in_tiles(bag: Bag, tiles: str) -> Bag:
    parts = [tile_names(path, tiles) for path in bag.paths]
    digests = [digest for digest, names in zip(bag.digests, parts, strict=True) for _ in names]
    return Bag(tuple(name for names in parts for name in names), tuple(digests))


def image_paths(table: pd.DataFrame) -> list[str]:
    """All images of a table's rows, in order."""
    return [path for bag in table[BAG] for path in bag] if BAG in table else table["path"].tolist()


def find_bags(wanted: Iterable[str], tree: Tree) -> list[tuple[str, ...]]:
    """The images that each pattern means, in the order of the numbers in their names; * is anything within a name,
    **/ any folders."""
    images = sorted(tree.images)
    found = []
    for text in wanted:
        head = text.partition("*")[0]
        pattern = _pattern(text)
        first = bisect.bisect_left(images, head)
        last = bisect.bisect_left(images, head + "\U0010ffff")
        found.append(tuple(sorted((path for path in images[first:last] if pattern.fullmatch(path)), key=natural_order)))
    return found


def merge_rows(rows: pd.DataFrame, targets: np.ndarray | None, what: str) -> tuple[pd.DataFrame, np.ndarray | None]:
    """One row an id, with all its images in `bag`; those that are missing are left out where another is there. A cell
    of metadata that differs within a bag, such as the view of each image, says nothing of the bag: it becomes empty.

    targets: of the rows, which must agree within a bag. what: the table, for a message. Raises Problem.
    """
    held: dict[str, list[int]] = defaultdict(list)
    for place, one in enumerate(rows["id"]):
        held[one].append(place)
    if targets is not None:
        flat = targets.reshape(len(targets), -1)
        for one, places in held.items():
            if not np.array_equal(flat[places], np.repeat(flat[places[:1]], len(places), axis=0), equal_nan=True):
                raise Problem(
                    f"{what}: the images of {one!r} have different labels, and are one bag by the card. Correct the "
                    "table, or the card's id or bag",
                    code="bag-labels-differ",
                )
    first = [places[0] for places in held.values()]
    paths, absent = rows["path"].to_numpy(), rows["absent"].to_numpy(bool)
    bags = []
    for places in held.values():
        there = [place for place in places if not absent[place]] or places[:1]
        bags.append(tuple(dict.fromkeys(paths[there])))
    merged = rows.iloc[first].reset_index(drop=True)
    for column in [column for column in rows if column.startswith(PREFIX)]:
        differs = rows.groupby("id", sort=False)[column].nunique().reindex(merged["id"]).to_numpy() > 1
        merged[column] = merged[column].where(~differs, "")
    missing = np.array([absent[places].all() for places in held.values()], dtype=bool)
    merged = with_bags(merged.assign(absent=missing), bags)
    return merged, None if targets is None else targets[first]


def with_bags(rows: pd.DataFrame, bags: Sequence[tuple[str, ...]]) -> pd.DataFrame:
    """The rows with these images each; of one without images the path stays."""
    firsts = [bag[0] if bag else path for bag, path in zip(bags, rows["path"], strict=True)]
    column = pd.Series([bag or (path,) for bag, path in zip(bags, firsts, strict=True)], dtype=object, index=rows.index)
    return rows.assign(path=np.array(firsts, dtype=object), **{BAG: column})


def note_sizes(card: Card, train: pd.DataFrame, notes: list[Note]) -> None:
    """How many images an answer has."""
    sizes = [len(bag) for bag in train[BAG]]
    text = f"{plural(len(sizes), 'answer')} of {plural(sum(sizes), 'image')}, {min(sizes)} to {max(sizes)} each"
    notes.append(Note("bags", f"{text} (bag: {card.bag})"))


def _pattern(text: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*/|\*)", text)
    return re.compile("".join({"**/": "(?:.*/)?", "*": "[^/]*"}.get(one, re.escape(one)) for one in parts))
