"""The files that the rows of a table stand for: one each, those of a bag, or the channels of one picture."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from src.competition.bags import CHANNELS, FILES, find_bags, with_bags
from src.competition.card import Card, Table
from src.competition.file_tree import Tree
from src.core.errors import Problem, UsageError
from src.images.bands import banded
from src.images.regions import FRAME, split_region, with_region


@dataclass
class Bands:
    """What tells the files of a picture's channels apart, such as B02 and B03, in their order.

    Empty until the first table is read, whose pictures say it for all tables: a network that has learned of some bands
    must not be shown others.
    """

    ends: tuple[str, ...] = ()


def with_files(rows: pd.DataFrame, source: Table, tree: Tree, card: Card, bands: Bands) -> pd.DataFrame:
    """The rows with the paths of their files, and whether these are `absent`."""
    _check_template(card, source.images)
    if card.bag != FILES:
        joined = card.bag == CHANNELS
        found = banded_files(rows["path"], tree, card, bands) if joined else find_files(rows["path"], source, tree)
        rows["path"], rows["absent"] = found
        return rows
    bags = find_bags(rows["path"], tree)
    return with_bags(rows.assign(absent=[not bag for bag in bags]), bags)


def _check_template(card: Card, images: str) -> None:
    """Raises UsageError for a template of images that cannot be with the card's `bag`."""
    if card.bag not in (FILES, CHANNELS):
        return
    whose = f"the card of {card.id}: with bag: {card.bag}"
    if "*" not in images:
        told = f"images is a template that means several files, with a *, such as train/{{id}}/*.png, not {images}"
        raise UsageError(f"{whose}, {told}", code="bad-card")
    part = split_region(images)[1]
    if part and (part.kind, part.text) != (FRAME, "*"):
        told = f"files are whole, and {images} names a part of each: leave {part.kind}= out, or take bag: rows"
        raise UsageError(f"{whose}, {told}, with a row for each image", code="bad-card")


def find_files(paths: pd.Series, source: Table, tree: Tree) -> tuple[list[str], np.ndarray]:
    """The files that paths stand for, and which of them are missing, (rows,) bool."""
    parts = [split_region(path) for path in paths]
    if any(region for _, region in parts):  # the file is looked for, and the part of it stays
        plain = source.model_copy(update={"images": split_region(source.images)[0]})
        files, absent = find_files(pd.Series([name for name, _ in parts]), plain, tree)
        return [with_region(file, part[1]) for file, part in zip(files, parts, strict=True)], absent
    likeness = ":alike}" in source.images
    if "**/" not in source.images and not source.images.endswith(".*") and not likeness:
        return paths.tolist(), np.fromiter((path not in tree.known for path in paths), bool, len(paths))
    files = [tree.resolve(path, likeness) for path in paths]
    absent = np.array([file is None for file in files], dtype=bool)
    return [file or path for file, path in zip(files, paths, strict=True)], absent


def banded_files(wanted: Iterable[str], tree: Tree, card: Card, bands: Bands) -> tuple[list[str], np.ndarray]:
    """The picture that each pattern's files are the channels of, and which have none, (rows,) bool.

    Raises Problem where a row's channels are not `bands`, unless the card lets such rows be left out.
    """
    wanted = list(wanted)
    found = find_bags(wanted, tree)
    readings = [_readings(text, paths) for text, paths in zip(wanted, found, strict=True)]
    if not bands.ends and any(readings):
        bands.ends = Counter(one for row in readings for one in row).most_common(1)[0][0]
    other = [k for k, row in enumerate(readings) if row and bands.ends not in row]
    if other and card.on_bad_image == "stop":
        told = f"{wanted[other[0]]} means {', '.join(readings[other[0]][0])}, and others {', '.join(bands.ends)}"
        raise Problem(
            f"the channels of one picture are the same files everywhere ({len(other)} rows differ): {told}. Put them "
            "there, write what is a row's own into the template (images: train/{id}/{id}_*.tif), or leave such rows "
            "out: on_bad_image: drop in the card",
            code="bands-differ",
        )
    absent = np.array([not row or bands.ends not in row for row in readings], bool)
    try:
        paths = [banded(files) if files else text for files, text in zip(found, wanted, strict=True)]
    except ValueError as error:
        raise Problem(f"{error}: mend the card's images", code="bands-differ") from None
    return paths, absent


def _readings(text: str, paths: Sequence[str]) -> list[tuple[str, ...]]:
    """What tells the files of a row apart: what * means in their names; or that without the names of their folders, one
    of which is perhaps the row's id, where these stand first or last. None where there are no files."""
    if not paths:
        return []
    before, _, after = text.rpartition("/")[2].partition("*")
    after = after.rpartition("*")[2]
    names = [path.rpartition("/")[2] for path in paths]
    meant = [name[len(before) : len(name) - len(after)] for name in names]
    if not after:
        meant = [one.rpartition(".")[0] or one for one in meant]
    folders = paths[0].split("/")[:-1]
    ways = meant, [_without(one, folders, 0) for one in meant], [_without(one, folders, -1) for one in meant]
    return list(dict.fromkeys(map(tuple, ways)))


def _without(name: str, words: Sequence[str], place: int) -> str:
    """A name without one of the places of each of these words."""
    for word in words:
        found = list(re.finditer(rf"(?<![^\W_]){re.escape(word)}(?![^\W_])", name))
        if found:
            name = name[: found[place].start()] + name[found[place].end() :]
    return name
