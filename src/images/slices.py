"""Slices of a series as the channels of one picture (2.5D): neighbours, or so many that are spread over all of it."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from src.images.pixel_format import COLOURS, PixelFormat
from src.images.readers import Position, Reader, reader_of, split_key

NUMBER = re.compile(r"(\d+)(?!.*\d)")


def places_of(chosen: np.ndarray, count: int, slices: int, whole: bool) -> np.ndarray:
    """(chosen, slices) places in a series of `count`: each chosen one amid its neighbours, of which the first and the
    last stand for those beyond the ends. whole: spread evenly over the series, whatever is chosen."""
    if whole:
        spread = np.linspace(0, count - 1, slices).round().astype(np.int64)
        return np.broadcast_to(spread, (len(chosen), slices))
    around = np.arange(slices) - (slices - 1) // 2
    return (chosen[:, None] + around).clip(0, count - 1)


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


def by_position(bags: list[tuple[str, ...]]) -> list[np.ndarray]:
    """The order of each bag's images: folder by folder, in each by the place that the files tell, as DICOM does, where
    all of them tell one; else as they stand."""
    readers = {path: reader_of(path) for bag in bags for path in bag if split_key(path)[1] is None}
    asked = [path for path, one in readers.items() if one and type(one).position is not Reader.position]
    if not asked:
        return [np.arange(len(bag)) for bag in bags]
    with ThreadPoolExecutor() as pool:
        found = dict(zip(asked, pool.map(lambda path: readers[path].position(Path(path)), asked), strict=True))
    return [_order(bag, [found.get(path) for path in bag]) for bag in bags]


def _order(bag: tuple[str, ...], places: list[Position | None]) -> np.ndarray:
    if len({place and place.kind for place in places}) != 1 or places[0] is None:
        return np.arange(len(bag))
    folders = [path.rpartition("/")[0] for path in bag]
    first = {folder: rank for rank, folder in enumerate(dict.fromkeys(folders))}
    return np.lexsort([[place.number for place in places], [first[folder] for folder in folders]])


def lacks_slices(bag: tuple[str, ...]) -> bool:
    """Whether the numbers in the names of a series leave one out: 1, 2, 4."""
    found = [NUMBER.search(path.rpartition("/")[2].partition(".")[0]) for path in bag]
    numbers = np.unique([int(one[1]) for one in found if one])
    if len(numbers) < max(3, len(bag)):
        return False
    steps = np.diff(numbers)
    return bool(steps.max() > steps.min())
