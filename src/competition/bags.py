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
from src.competition.labels import settle_conflicts
from src.competition.metadata import PREFIX
from src.core.console import Note, note
from src.core.errors import Problem
from src.core.wording import plural
from src.images.bags import natural_order
from src.images.frames import ALL, frame_names
from src.images.regions import tile_names
from src.images.slices import by_position

FILES, ROWS, CHANNELS = "files", "rows", "channels"  # of a card's `bag`
BAG, DIGESTS = "bag", "digests"
LISTED = 5


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


def in_order(bags: list[Bag]) -> list[Bag]:
    """The bags with their images series by series, in the order of the places that the files tell, where they tell
    them; and a note of those whose order is in doubt."""
    found = by_position([bag.paths for bag in bags])
    for code, series, text in (
        ("slices-unplaced", found.unplaced, "not every file tells its place, and the order of names counts"),
        ("slices-missing", found.lacking, "the numbers in the names leave some out, and the next one is the neighbour"),
    ):
        if series:
            note(code, f"{plural(len(series), 'series', 'series')}, such as {series[0].rpartition('/')[2]}: {text}")
    return [
        Bag(tuple(bag.paths[k] for k in order), tuple(bag.digests[k] for k in order))
        for bag, order in zip(bags, found.orders, strict=True)
    ]


def _in_tiles(bag: Bag, tiles: str) -> Bag:
    parts = [tile_names(path, tiles) for path in bag.paths]
    digests = [digest for digest, names in zip(bag.digests, parts, strict=True) for _ in names]
    return Bag(tuple(name for names in parts for name in names), tuple(digests))


def image_paths(table: pd.DataFrame) -> list[str]:
    """All images of a table's rows, in order."""
    return [path for bag in table[BAG] for path in bag] if BAG in table else table["path"].tolist()


def find_bags(wanted: Iterable[str], tree: Tree) -> list[tuple[str, ...]]:
    """The images that each pattern means, in the order of the numbers in their names; * is anything within a name,
    **/ any folders, and /frame=* at the end all frames of each file."""
    images = sorted(tree.images)
    found = []
    for pattern in wanted:
        text, of_frames, _ = pattern.partition(ALL)
        head = text.partition("*")[0]
        matcher = _pattern(text)
        first = bisect.bisect_left(images, head) if text else len(images)
        last = bisect.bisect_left(images, head + "\U0010ffff")
        paths = sorted((path for path in images[first:last] if matcher.fullmatch(path)), key=natural_order)
        if of_frames:
            paths = [one for path in paths for one in frame_names(path, tree.root / path)]
        found.append(tuple(paths))
    return found


def merge_rows(
    rows: pd.DataFrame, targets: np.ndarray | None, card: Card, what: str, notes: list[Note]
) -> tuple[pd.DataFrame, np.ndarray | None]:
    """One row an id, with all its images in `bag`, in the order of the numbers in their names. A cell of metadata that
    differs within a bag, such as the view of each image, says nothing of the bag: it becomes empty.

    targets: of the rows, which must agree within a bag, or what differs goes by the card's on_conflict. what: the
    table, for a message. Raises Problem for images that are missing, unless the card lets them be left out, and where
    the images of a bag have different groups, weights or parts.
    """
    _check_alike(rows, what)
    held: dict[str, list[int]] = defaultdict(list)
    paths, absent = rows["path"].to_numpy(), rows["absent"].to_numpy(bool)
    for place in sorted(range(len(rows)), key=lambda place: natural_order(paths[place])):
        held[rows["id"].iat[place]].append(place)
    held = {one: held[one] for one in dict.fromkeys(rows["id"])}
    there = {one: [place for place in places if not absent[place]] for one, places in held.items()}
    _tell_missing([paths[at] for one in held if there[one] for at in held[one] if absent[at]], card, notes)
    bags = [tuple(dict.fromkeys(paths[there[one] or places[:1]])) for one, places in held.items()]
    if again := sum(map(len, there.values())) - sum(
        len(bag) for bag, one in zip(bags, held, strict=True) if there[one]
    ):
        notes.append(Note("images-repeated", f"{what}: {plural(again, 'image')} listed again in one bag count once"))
    merged = rows.iloc[[places[0] for places in held.values()]].reset_index(drop=True)
    for column in [column for column in rows if column.startswith(PREFIX)]:
        differs = rows.groupby("id", sort=False)[column].nunique().reindex(merged["id"]).to_numpy() > 1
        merged[column] = merged[column].where(~differs, "")
    merged = with_bags(merged.assign(absent=[not there[one] for one in held]), bags)
    if targets is None:
        return merged, None
    kept, agree = _labels_of([np.sort(places) for places in held.values()], targets, merged["id"], card, what, notes)
    return merged[agree].reset_index(drop=True), kept[agree]


def _check_alike(rows: pd.DataFrame, what: str) -> None:
    """Raises Problem where rows of one bag differ in what can not be merged: group, weight or part."""
    for column in rows.columns.drop(["id", "path", "absent"]):
        if column.startswith(PREFIX):
            continue
        counts = rows.groupby("id", sort=False)[column].nunique(dropna=False)
        if counts.max() > 1:
            raise Problem(
                f"{what}: the images of {counts.idxmax()!r} ({(counts > 1).sum()} such ids) are one bag by the card, "
                f"and have different cells of its {column}: correct the table, or the card's id, {column} or bag",
                code="bag-rows-differ",
            )


def _tell_missing(missing: list[str], card: Card, notes: list[Note]) -> None:
    """Images that are missing beside others of their bag. Raises Problem where the card wants every image."""
    if not missing:
        return
    more = f" and {len(missing) - LISTED} more" if len(missing) > LISTED else ""
    text = f"{plural(len(missing), 'image')} of bags missing: {', '.join(missing[:LISTED])}{more}"
    if card.on_bad_image == "stop":
        raise Problem(
            f"{text}. Put them below {card.data} ({card.way_back}), mend the card, or leave them out of their bags: "
            "on_bad_image: drop in the card",
            code="missing-image",
        )
    notes.append(Note("images-missing", f"{text}. They are left out of their bags"))


def _labels_of(
    bags: list[np.ndarray], targets: np.ndarray, ids: pd.Series, card: Card, what: str, notes: list[Note]
) -> tuple[np.ndarray, np.ndarray]:
    """The labels of each bag, and which bags have one, (bags,) bool. bags: the rows of each, as the table has them."""
    flat = targets.reshape(len(targets), -1)
    agree = np.array([np.array_equal(flat[one], np.repeat(flat[one[:1]], len(one), axis=0), True) for one in bags])
    kept, odd = targets[[one[0] for one in bags]], np.flatnonzero(~agree)
    if not len(odd):
        return kept, agree
    text = f"{what}: the images of {ids.iloc[odd[0]]!r} ({len(odd)} such ids) have different labels"
    if card.on_conflict == "stop":
        raise Problem(
            f"{text}, and are one bag by the card. Correct the table, or the card's id or bag. To leave such bags out: "
            "on_conflict: drop in the card; on_conflict: first or majority chooses a label",
            code="bag-labels-differ",
        )
    agree |= settle_conflicts(kept, ((bag, targets[bags[bag]]) for bag in odd), card, text, notes)
    return kept, agree


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
