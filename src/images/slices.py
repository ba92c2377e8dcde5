"""Slices of a series as the channels of one picture (2.5D): neighbours, or so many that are spread over all of it.

The images of one folder are a series, and so are the frames of one file, and the images of one container.
"""

import itertools
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from src.images.decode import SUFFIXES, suffix_of
from src.images.pixel_format import COLOURS, PixelFormat
from src.images.readers import Position, Reader, reader_of_file, split_key
from src.images.regions import FRAME, split_region

# Raise it whenever the same images would be joined otherwise: what was computed of other pictures is stale then.
VERSION = 2
NUMBER = re.compile(r"(\d+)(?!.*\d)")
FEW = 3  # numbers, of which a missing one is seen


def places_of(chosen: np.ndarray, series: np.ndarray, slices: int, whole: bool) -> np.ndarray:
    """(chosen, slices) places in a bag: each chosen one amid its neighbours, of which the first and the last of its
    series stand for those beyond the ends. whole: spread evenly over the series of each chosen one.

    series: (images of the bag,), the series of each, in ascending numbers.
    """
    first = np.searchsorted(series, series[chosen])[:, None]
    last = np.searchsorted(series, series[chosen], "right")[:, None] - 1
    if whole:
        return first + np.linspace(0, (last - first)[:, 0], slices, axis=1).round().astype(np.int64)
    around = np.arange(slices) - (slices - 1) // 2
    return (chosen[:, None] + around).clip(first, last)


def series_of(bags: Sequence[Sequence[str]]) -> np.ndarray:
    """(images of all bags,) int32, the series of each: a number that grows wherever another series begins."""
    folders = [folder_of(path) for bag in bags for path in bag]
    begins = [False, *(one != other for one, other in itertools.pairwise(folders))]
    return np.cumsum(begins[: len(folders)], dtype=np.int32)


def folder_of(path: str) -> str:
    """What tells the series of an image: its folder, or the file of which it is a frame."""
    name, frame = _undivided(path)
    return name if frame else name.rpartition("/")[0]


def _undivided(path: str) -> tuple[str, bool]:
    """The file of which a path means a part, and whether that is a frame."""
    name, region = split_region(path)
    while region and region.kind != FRAME:
        name, region = split_region(name)
    return name, region is not None


def together(images: np.ndarray) -> np.ndarray:
    """(n, slices, h, w, channels) -> (n, h, w, slices * channels); colours count as their gray, one channel."""
    count, slices, height, width, channels = images.shape
    if channels == COLOURS:
        flat = np.ascontiguousarray(images).reshape(-1, width, COLOURS)
        images = cv2.cvtColor(flat, cv2.COLOR_RGB2GRAY) if flat.size else flat[..., 0]
        channels = 1
    parts = images.reshape(count, slices, height, width, channels)
    return parts.transpose(0, 2, 3, 1, 4).reshape(count, height, width, slices * channels)


def seen_format(pixels: PixelFormat, slices: int | None) -> PixelFormat:
    """Of the pictures that are seen, where the files are of `pixels`."""
    if slices is None:
        return pixels
    return replace(pixels, channels=slices * (1 if pixels.channels == COLOURS else pixels.channels))


class InOrder(NamedTuple):
    """orders: of each bag's images. unplaced: series of which files tell their places, and not all alike. lacking:
    series whose order the names tell, and these leave a number out."""

    orders: list[np.ndarray]
    unplaced: list[str]
    lacking: list[str]


def by_position(bags: Sequence[Sequence[str]]) -> InOrder:
    """The images of each bag series by series, in each by the places that the files tell, as DICOM does, where all of
    it tell one; else as they stand."""
    places = _places({path for bag in bags for path in bag})
    found = InOrder([], [], [])
    for bag in bags:
        held: dict[str, list[int]] = {}
        for at, path in enumerate(bag):
            held.setdefault(folder_of(path), []).append(at)
        order = []
        for folder, series in held.items():
            told = [places[bag[at]] for at in series if bag[at] in places]
            placed = len(told) == len(series) and None not in told and len({place.kind for place in told}) == 1
            if placed:
                order += [series[k] for k in np.argsort([place.number for place in told], kind="stable")]
                continue
            order += series
            if told and len(series) > 1:
                found.unplaced.append(folder)
            if lacks_slices([bag[at] for at in series]):
                found.lacking.append(folder)
        found.orders.append(np.array(order, np.int64))
    return found


def _places(paths: set[str]) -> dict[str, Position | None]:
    """Of the images in files of a kind that may tell where they lie. The frames of one file lie as they are counted."""
    files = {path: name for path, (name, frame) in ((path, _undivided(path)) for path in paths) if not frame}
    asked = [path for path, name in files.items() if suffix_of(name) not in SUFFIXES and split_key(name)[1] is None]
    if not asked:
        return {}
    with ThreadPoolExecutor() as pool:
        found = dict(zip(asked, pool.map(lambda path: _place(Path(files[path])), asked), strict=True))
    return {path: place for path, (tells, place) in found.items() if tells}


def _place(file: Path) -> tuple[bool, Position | None]:
    """Whether files of this kind tell places, and that of this one."""
    try:
        reader = reader_of_file(file)
    except OSError:  # it is told when the image is read
        return False, None
    tells = reader is not None and type(reader).position is not Reader.position
    return tells, reader.position(file) if tells else None


def lacks_slices(series: Sequence[str]) -> bool:
    """Whether the numbers in the names of a series, alike but for these, leave one out: 1, 2, 4."""
    names = [_undivided(path)[0].rpartition("/")[2] for path in series]
    found = [NUMBER.search(name.rpartition(".")[0] or name) for name in names]
    if None in found or len({(one.string[: one.start()], one.string[one.end() :]) for one in found}) > 1:
        return False
    numbers = np.unique([float(one[1]) for one in found])  # some have more digits than an integer
    if len(numbers) < max(FEW, len(series)):
        return False
    steps = np.diff(numbers)
    count = 1 + (numbers[-1] - numbers[0]) / steps.min()
    return bool(steps.max() > steps.min()) and count <= 2 * len(numbers)  # of more they are names, and count nothing
