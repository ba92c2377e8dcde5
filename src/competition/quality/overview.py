"""A look before training: what there is, and what is wrong with it, as one dictionary and as a short table."""

from pathlib import Path
from typing import Any

import numpy as np

from src.competition.card import Card
from src.competition.folds import units_of
from src.competition.quality.cleaning import entries_of, index_samples
from src.competition.quality.duplicates import SMALLEST, Pairs, clusters, find_pairs
from src.competition.quality.image_index import ImageIndex
from src.competition.samples import Samples
from src.core.console import Note, log, note
from src.core.wording import plural
from src.images.decode import stored_pixels
from src.images.readers import reader_of, split_key
from src.images.regions import split_region

SHOWN = 5
FAINT = 32  # of 255: the mean level of an image that is nearly black, or so far below white
BLANK = 2.0  # the standard deviation of a thumbnail, of 255, below which there is nothing to see


def overview(card: Card, samples: Samples) -> dict[str, Any]:
    """Look at every image and sum up; prints the table. The dictionary holds plain values for a JSON file."""
    index = index_samples(card, samples)
    train, test = entries_of(index, samples.train), entries_of(index, samples.test)
    pairs = find_pairs(index)
    notes = [*samples.notes, *pairs.notes, *_warnings(card, index, np.concatenate(train))]
    names, strata = samples.target.parted(samples.targets, samples.classes)
    facts = {
        "competition": card.id,
        "target": card.target,
        "metric": card.metric,
        "images": {"train": len(train), "test": len(test), "test_without_image": list(samples.test_without_image)},
        "parts": samples.target.parts,
        "classes": dict(zip(names, np.bincount(strata.labels, minlength=len(names)).tolist(), strict=True)),
        "sizes": _sizes(index),
        "kinds": _kinds(index),
        "unreadable": {str(path): str(why) for path, why in zip(index.paths, index.fault, strict=True) if why},
        "blank": [str(path) for path in index.paths[_blank(index)]],
        "duplicates": _duplicates(samples, index, pairs, train, test),
        "groups": _groups(samples),
        "notes": [one.text for one in notes],
    }
    _print(facts, notes)
    return facts


def _warnings(card: Card, index: ImageIndex, train: np.ndarray) -> list[Note]:
    warnings, read = [], index.fault == ""
    if read.any() and (index.size[read].min(axis=1) < SMALLEST).all():
        warnings.append(
            Note("images-small", f"images below {SMALLEST} pixels: of duplicates only equal files are looked for")
        )
    warnings += [Note("images-faint", text) for text in _faint(index)]
    bad = int((~read[train]).sum())
    if bad and card.on_bad_image != "drop":
        text = f"training will stop at {plural(bad, 'unreadable image')}, unless the card says on_bad_image: drop"
        warnings.append(Note("images-unreadable", text))
    return warnings


def _faint(index: ImageIndex) -> list[str]:
    """Where most images are nearly black or white, that, and what their files hold."""
    read = np.flatnonzero(index.fault == "")
    dark, light = index.levels[read] < FAINT, index.levels[read] > 255 - FAINT
    flat = index.contrast[read] < FAINT / 2
    for which, name in ((dark & flat, "black"), (light & flat, "white")):
        if len(read) and which.mean() > 0.5:
            first = Path(index.paths[read[int(which.argmax())]])
            plain = reader_of(first) is None and split_key(first)[1] is None and split_region(first)[1] is None
            held = stored_pixels(first) if plain else None
            text = f"{which.sum()} of {len(read)} images are nearly {name}"
            if held is None:
                return [text]
            channels, bits, largest = held
            warning = f"{text}: {first.name} holds {channels} x {bits} bits, in channels that end at {largest}"
            if bits > 8 and name == "black":
                warning += f". Of {bits} bits the upper 8 are kept: write values that end at {largest} as 8 bits"
            if channels == 4 and name == "white":
                warning += ". The fourth is taken for transparency: if it is another band, write the others alone"
            return [warning]
    return []


def _sizes(index: ImageIndex) -> dict[str, Any]:
    """Height and width over all readable images, and the most frequent sizes."""
    sizes = index.size[index.fault == ""]
    if not len(sizes):
        return {}
    different, counts = np.unique(sizes, axis=0, return_counts=True)
    order = np.argsort(-counts)[:SHOWN]
    return {
        "height": [int(x) for x in np.percentile(sizes[:, 0], [0, 50, 100])],
        "width": [int(x) for x in np.percentile(sizes[:, 1], [0, 50, 100])],
        "different": len(different),
        "most_frequent": {f"{different[k][1]} x {different[k][0]}": int(counts[k]) for k in order},
    }


def _kinds(index: ImageIndex) -> dict[str, int]:
    files = [split_key(path)[0] for path in index.paths]
    kinds, counts = np.unique([Path(file).suffix.lower() or "none" for file in files], return_counts=True)
    return dict(zip(kinds.tolist(), counts.tolist(), strict=True))


def _blank(index: ImageIndex) -> np.ndarray:
    return (index.fault == "") & (index.contrast < BLANK)


def _duplicates(
    samples: Samples, index: ImageIndex, pairs: Pairs, train: list[np.ndarray], test: list[np.ndarray]
) -> dict[str, Any]:
    """Pairs within train, across labels, and between train and test; each list shows some. train, test: the entries of
    each row."""
    row_of = np.full(len(index.paths), -1)
    row_of[np.concatenate(train)] = np.repeat(np.arange(len(train)), [len(row) for row in train])
    tested = np.isin(np.arange(len(index.paths)), np.concatenate(test) if test else [])
    rows = row_of[pairs.rows]
    both = (rows >= 0).all(axis=1) & (rows[:, 0] != rows[:, 1])  # images of one bag may be alike
    targets = samples.targets.reshape(len(samples.targets), -1)
    across = both.copy()
    across[both] = (targets[rows[both, 0]] != targets[rows[both, 1]]).any(axis=1)
    between = (rows >= 0).any(axis=1) & tested[pairs.rows].any(axis=1)
    of_entry, shared = clusters(pairs, len(index.paths))

    def some(which: np.ndarray) -> list[list[str]]:
        return [[str(index.paths[a]), str(index.paths[b])] for a, b in pairs.rows[which][: 4 * SHOWN]]

    return {
        "equal_files": int(pairs.same.sum()),
        "near": int((~pairs.same).sum()),
        "within_train": int(both.sum()),
        "across_labels": int(across.sum()),
        "between_train_and_test": int(between.sum()),
        "clusters": len(np.unique(of_entry[of_entry >= 0])),
        "too_alike_to_tell": shared,
        "examples_across_labels": some(across),
        "examples_between_train_and_test": some(between),
        "examples": some(np.ones(len(pairs), dtype=bool)),
    }


def _groups(samples: Samples) -> dict[str, int] | None:
    if (samples.train["group"] == "").all():
        return None
    sizes = np.bincount(units_of(samples.train.assign(cluster="")))
    return {"groups": len(sizes), "smallest": int(sizes.min()), "largest": int(sizes.max())}


def _print(facts: dict[str, Any], notes: list[Note]) -> None:
    images, sizes, doubles = facts["images"], facts["sizes"], facts["duplicates"]
    counts = sorted(facts["classes"].items(), key=lambda item: -item[1])
    shown = [
        f"{name} {count}"
        for name, count in (counts if len(counts) <= 2 * SHOWN else [*counts[:SHOWN], *counts[-SHOWN:]])
    ]
    if len(counts) > 2 * SHOWN:
        shown.insert(SHOWN, "...")
    absent = len(images["test_without_image"])
    rows = [
        (
            "images",
            f"{images['train']} training, {images['test']} test"
            + (f", {plural(absent, 'test id')} without one" if absent else ""),
        ),
        ("target", f"{facts['target']}, {plural(len(counts), *facts['parts'])}; metric {facts['metric']}"),
        (facts["parts"][1], ", ".join(shown)),
        ("kinds", ", ".join(f"{kind} {count}" for kind, count in facts["kinds"].items())),
        ("unreadable", _some(list(facts["unreadable"]))),
        ("blank", _some(facts["blank"])),
        (
            "duplicates",
            f"{plural(doubles['equal_files'], 'pair')} of equal files, {doubles['near']} of near duplicates, "
            f"in {plural(doubles['clusters'], 'cluster')}",
        ),
        (
            "",
            f"{doubles['across_labels']} across labels, {doubles['between_train_and_test']} between training and test",
        ),
    ]
    if sizes:
        many = f", {sizes['different']} different" if sizes["different"] > 1 else ""
        rows.insert(3, ("sizes", f"width {_span(sizes['width'])}, height {_span(sizes['height'])} pixels{many}"))
    if facts["groups"]:
        groups, least, most = facts["groups"].values()
        rows.append(
            (
                "groups",
                f"{groups} of {plural(least, 'image')}" if least == most else f"{groups} of {least} to {most} images",
            )
        )
    for name, text in rows:
        log.info(f"  {name:<11} {text}")
    for one in notes:
        note(one.code, f"  note: {one.text}")


def _span(three: list[int]) -> str:
    low, middle, high = three
    return str(low) if low == high else f"{low} to {high} (median {middle})"


def _some(paths: list[str]) -> str:
    if not paths:
        return "none"
    names = ", ".join(Path(path).name for path in paths[:SHOWN])
    return f"{len(paths)}: {names}" + (" ..." if len(paths) > SHOWN else "")
