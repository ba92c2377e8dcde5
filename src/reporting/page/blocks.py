"""What a page is made of, as plain data: sections of charts, bars, a matrix, pictures, galleries, tables and text."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Chart:
    """A figure without class names. It is shown as vectors in the page's own colours.

    draw: makes the figure, in the colours of `charts`. alt: what it shows, in words. numbers: what was drawn.
    """

    kind: ClassVar[str] = "chart"
    name: str
    title: str
    alt: str
    draw: Callable[[], Figure]
    numbers: pd.DataFrame


@dataclass(frozen=True)
class Bar:
    """One line of Bars. share, low, high: between 0 and 1, along the bar; an interval where low is not None."""

    label: str
    share: float
    text: str
    low: float | None = None
    high: float | None = None
    more: str = ""


@dataclass(frozen=True)
class Bars:
    """A bar for each class, with its name. draw: the same as a figure."""

    kind: ClassVar[str] = "bars"
    name: str
    title: str
    alt: str
    bars: tuple[Bar, ...]
    draw: Callable[[], Figure]
    numbers: pd.DataFrame


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix that can be zoomed. counts: (classes, classes), rows the truth; names in the same order."""

    kind: ClassVar[str] = "matrix"
    name: str
    title: str
    alt: str
    names: tuple[str, ...]
    counts: np.ndarray
    draw: Callable[[], Figure]
    numbers: pd.DataFrame


@dataclass(frozen=True)
class Picture:
    """A figure that is drawn already. name: of the PNG file beside the page. png: its bytes. alt: what it shows."""

    kind: ClassVar[str] = "picture"
    name: str
    title: str
    alt: str
    png: bytes


@dataclass(frozen=True)
class Tile:
    """Images side by side with lines under them. images: each (h, w, 3) uint8. classes: by which it is found.

    alt: what the first image is, in words; the others' alt texts follow it.
    """

    images: tuple[np.ndarray, ...]
    alt: tuple[str, ...]
    lines: tuple[str, ...]
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gallery:
    """numbers: one line a tile, what is told of it."""

    kind: ClassVar[str] = "gallery"
    name: str
    title: str
    tiles: tuple[Tile, ...]
    numbers: pd.DataFrame
    scrolls: bool = False


@dataclass(frozen=True)
class Table:
    """Cells as they are shown. name: of the CSV beside the page; empty where a figure has the same numbers."""

    kind: ClassVar[str] = "table"
    name: str
    title: str
    numbers: pd.DataFrame


@dataclass(frozen=True)
class Text:
    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Code:
    """Words to be typed, or a file's."""

    kind: ClassVar[str] = "code"
    title: str
    text: str


Block = Chart | Bars | Matrix | Picture | Gallery | Table | Text | Code


@dataclass(frozen=True)
class Section:
    """key: its anchor. reading: one line that tells what is to be seen, made of the numbers."""

    key: str
    title: str
    reading: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    title: str
    subtitle: str
    sections: tuple[Section, ...]
