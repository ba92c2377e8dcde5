"""Rows of a competition as pictures for a gallery."""

import unicodedata
from collections.abc import Sequence

import numpy as np

from src.images.pixel_format import to_shown
from src.reporting.page.pictures import shown
from src.reporting.run_results import RunResults

TURNING = {"R", "AL", "AN", "RLE", "RLO", "LRE", "LRO", "RLI", "LRI", "FSI", "PDF", "PDI"}
SIDE = 112  # pixels of a picture in the page, at most


def pictures(results: RunResults, rows: Sequence[int] | np.ndarray, side: int = SIDE) -> list[np.ndarray]:
    """(h, w, 3) uint8 of each row: of samples.train, or, counted on from there, of samples.test."""
    return [shown(to_shown(image), side) for image in results.images.batch(np.asarray(rows, dtype=np.int64))]


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
