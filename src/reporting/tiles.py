"""Rows of a competition as pictures for a gallery."""

import unicodedata
from collections.abc import Sequence
from math import ceil, sqrt

import numpy as np

from src.config.image_size import Size
from src.config.schema import Config
from src.images.bags import apart, montage
from src.images.pixel_format import COLOURS, to_shown
from src.reporting.page.pictures import shown
from src.reporting.run_results import RunResults

TURNING = {"R", "AL", "AN", "RLE", "RLO", "LRE", "LRO", "RLI", "LRI", "FSI", "PDF", "PDI"}
SIDE = 112  # pixels of a picture in the page, at most
BAG_SIDE = 2 * SIDE  # and of a bag


def pictures(results: RunResults, rows: Sequence[int] | np.ndarray, side: int = SIDE) -> list[np.ndarray]:
    """(h, w, 3) uint8 of each row: of samples.train, or, counted on from there, of samples.test. Those of a bag stand
    beside each other, tiles in their places."""
    images, config = results.images.batch(np.asarray(rows, dtype=np.int64)), results.competition.config
    if not config.images.bag_size:
        return [shown(to_shown(image), side) for image in images]
    slots, across = config.images.bag_size, images_across(config)
    bags = to_shown(apart(images, slots)).reshape(len(images), slots, *images.shape[1:3], COLOURS)
    return [shown(montage(bag, across), BAG_SIDE) for bag in bags]


def images_across(config: Config) -> int:
    """Images of a bag in one line of its picture."""
    if config.images.tiles and Size.of(config.images.tiles).pixels == config.images.bag_size:
        return Size.of(config.images.tiles).width
    return ceil(sqrt(config.images.bag_size))


def names_of(results: RunResults, row: int) -> tuple[str, ...]:
    """The classes of a training row by the table."""
    return results.competition.target.cells(results.competition.samples.targets[[row]], results.classes)[0]


def id_of(results: RunResults, row: int) -> str:
    samples = results.competition.samples
    count = len(samples.train)
    return str(samples.train["id"].iloc[row] if row < count else samples.test["id"].iloc[row - count])


def in_words(names: Sequence[str]) -> str:
    """Names within a sentence."""
    return joined([isolated(name) for name in names])


def isolated(name: str) -> str:
    """A name that does not turn the words around it: one with letters from right to left is set apart."""
    turns = any(unicodedata.bidirectional(letter) in TURNING for letter in name)
    return f"\u2068{name}\u2069" if turns else name


def joined(names: Sequence[str]) -> str:
    return ", ".join(names) or "no class"
