"""Samples after a look at their images: the unreadable ones dealt with, near duplicates tied together."""

import hashlib
from dataclasses import replace

import numpy as np
import pandas as pd

from src.competition.bags import BAG, DIGESTS, image_paths, with_bags
from src.competition.card import Card
from src.competition.quality.duplicates import Pairs, bag_clusters, clusters, find_pairs
from src.competition.quality.image_index import ImageIndex, index_images
from src.competition.samples import TRAIN, VALIDATION, Samples
from src.core.console import Note
from src.core.errors import Problem
from src.images.decoded import DecodedImages

LISTED = 10


def index_samples(card: Card, samples: Samples, decoded: DecodedImages | None = None) -> ImageIndex:
    """A look at every training and test image, kept in the competition's cache/ folder."""
    paths = [*image_paths(samples.train), *image_paths(samples.test)]
    return index_images(paths, card.folder / "cache", card.pixel_format, decoded=decoded)


def inspect(card: Card, samples: Samples, duplicates: bool = True, decoded: DecodedImages | None = None) -> Samples:
    """The samples that can be worked with.

    Unreadable training images stop the work, or are left out where the card says on_bad_image: drop. Test ids whose
    image is unreadable go to `test_without_image`. A column `digest` tells the hash of each file. With `duplicates`,
    `train.cluster` ties near duplicates together, and rows of extra tables are left out where they show an image that
    is held out or tested.
    """
    index = index_samples(card, samples, decoded)
    if BAG in samples.train:
        samples = _with_readable_bags(card, samples, index)
    train, test = index.of(samples.train["path"]), index.of(samples.test["path"])
    if BAG not in samples.train:
        samples = replace(
            samples,
            train=samples.train.assign(digest=index.digest[train]),
            test=samples.test.assign(digest=index.digest[test]),
        )
    samples = _without_faults(card, samples, index, train)
    samples = _without_test_faults(card, samples, index, test)
    if not duplicates:
        return samples
    pairs = find_pairs(index)
    samples = _without_leaks(samples, pairs, entries_of(index, samples.train), entries_of(index, samples.test))
    bags = entries_of(index, samples.train)
    of_row, shared = (
        bag_clusters(bags, pairs, len(index.paths)) if BAG in samples.train else _row_clusters(bags, pairs, index)
    )
    notes = list(pairs.notes)
    if shared:
        notes.append(Note("images-alike", _alike_text(shared, BAG in samples.train)))
    names = np.where(of_row < 0, "", of_row.astype(str)).astype(object)
    return replace(samples, train=samples.train.assign(cluster=names), notes=(*samples.notes, *notes))


def entries_of(index: ImageIndex, table: pd.DataFrame) -> list[np.ndarray]:
    """The entries of each row's images."""
    found = index.of(image_paths(table))
    sizes = [len(bag) for bag in table[BAG]] if BAG in table else np.ones(len(table), int)
    return np.split(found, np.cumsum(sizes)[:-1]) if len(table) else []


def _alike_text(count: int, bags: bool) -> str:
    if bags:
        return f"{count} bags hold images that so many bags share that these do not tie them together"
    return f"{count} images are so alike that only equal files among them are tied together"


def _row_clusters(rows: list[np.ndarray], pairs: Pairs, index: ImageIndex) -> tuple[np.ndarray, int]:
    of_entry, shared = clusters(pairs, len(index.paths))
    return of_entry[np.concatenate(rows)], shared


def _with_readable_bags(card: Card, samples: Samples, index: ImageIndex) -> Samples:
    """Bags without the images that cannot be read, but for those that hold nothing else. Raises Problem where the card
    wants every image."""
    tables, lost = {}, np.zeros(0, np.int64)
    for part, table in (("train", samples.train), ("test", samples.test)):
        if BAG not in table:  # an empty test part
            tables[part] = table.assign(digest=np.zeros(len(table), np.uint64))
            continue
        entries = index.of(image_paths(table))
        parts = np.split(entries, np.cumsum([len(bag) for bag in table[BAG]])[:-1])
        readable = [one[index.fault[one] == ""] for one in parts]
        whole = [good if len(good) else one[:1] for good, one in zip(readable, parts, strict=True)]
        left = [np.setdiff1d(one, held) for one, held in zip(parts, whole, strict=True)]
        lost = np.concatenate([lost, *left])
        if len(lost) and card.on_bad_image == "stop":
            bad = entries[index.fault[entries] != ""]
            raise Problem(
                f"{len(bad)} images of bags cannot be read:\n{_listed(index, bad)}\nPut whole files in their place, or "
                f"leave them out: on_bad_image: drop in {card.folder / 'card.yaml'}",
                code="bad-image",
            )
        digests = [tuple(index.digest[one].tolist()) for one in whole]
        column = pd.Series(digests, dtype=object, index=table.index)
        held = with_bags(table, [tuple(index.paths[one]) for one in whole])
        tables[part] = held.assign(digest=np.array(list(map(_digest, digests)), np.uint64), **{DIGESTS: column})
    notes = samples.notes
    if len(lost):
        lost = np.unique(lost)
        text = f"{len(lost)} images of bags cannot be read:\n{_listed(index, lost)}\n  They are left out of their bags"
        notes = (*notes, Note("images-unreadable", text))
    return replace(samples, **tables, notes=notes)


def _digest(digests: tuple[int, ...]) -> int:
    """One for all images of a bag."""
    return int.from_bytes(hashlib.md5(str(digests).encode(), usedforsecurity=False).digest()[:8], "big")


def _without_faults(card: Card, samples: Samples, index: ImageIndex, entries: np.ndarray) -> Samples:
    bad = index.fault[entries] != ""
    if not bad.any():
        return samples
    text = f"{bad.sum()} of {len(bad)} training images cannot be read:\n{_listed(index, entries[bad])}"
    if card.on_bad_image == "stop" or bad.all():
        raise Problem(
            f"{text}\nPut whole files in their place, or leave them out: "
            f"on_bad_image: drop in {card.folder / 'card.yaml'}",
            code="bad-image",
        )
    return samples.keeping(~bad, Note("images-unreadable", f"{text}\n  Their rows are left out"))


def _without_test_faults(card: Card, samples: Samples, index: ImageIndex, entries: np.ndarray) -> Samples:
    bad = index.fault[entries] != ""
    if not bad.any():
        return samples
    text = f"{bad.sum()} of {len(bad)} test images cannot be read:\n{_listed(index, entries[bad])}"
    if card.on_bad_image == "stop":
        raise Problem(
            f"{text}\nPut whole files in their place, or let their rows be answered from the classes' shares: "
            f"on_bad_image: drop in {card.folder / 'card.yaml'}",
            code="bad-image",
        )
    return replace(
        samples,
        test=samples.test[~bad].reset_index(drop=True),
        test_without_image=(*samples.test_without_image, *samples.test["id"][bad]),
        notes=(*samples.notes, Note("test-images-unreadable", f"{text}\n  They are answered from the classes' shares")),
    )


def _listed(index: ImageIndex, entries: np.ndarray) -> str:
    lines = [f"  {path}: {reason}" for path, reason in zip(index.paths[entries], index.fault[entries], strict=True)]
    more = [f"  and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
    return "\n".join([*lines[:LISTED], *more])


def _without_leaks(samples: Samples, pairs: Pairs, train: list[np.ndarray], test: list[np.ndarray]) -> Samples:
    """Extra rows must not show what is held out or tested. train, test: the entries of each row."""
    own = samples.train["part"].isin([TRAIN, VALIDATION]).to_numpy()
    if own.all():
        return samples
    held = [entries for entries, mine in zip(train, own, strict=True) if mine]
    guarded = pd.Index(np.unique(np.concatenate([*held, *test])))
    others = np.concatenate([pairs.rows, pairs.rows[:, ::-1]])
    leaks = others[guarded.get_indexer(others[:, 1]) >= 0, 0]
    shown = np.concatenate([leaks, guarded])
    bad = ~own & np.array([np.isin(entries, shown).any() for entries in train])
    if not bad.any():
        return samples
    return samples.keeping(
        ~bad,
        Note("extra-rows-left-out", f"{bad.sum()} extra rows show a held-out or test image again and are left out"),
    )
