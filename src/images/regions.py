"""A part of a picture, named below its file: `photo.jpg/box=10,20,64,48` is an image of its own.

A card's template makes such names of columns: images: "train/{file}/box={x},{y},{w},{h}". The forms are
`box=left,top,width,height`, `corners=left,top,right,bottom` and `center=middle x,middle y,width,height`, in pixels or,
with a further word, as shares of the picture: `box=0.1,0.2,0.5,0.5,shares`; `yolo=` is `center=` in shares; and
`tile=row,column,rows,columns`, each counted from 0. `mask=` names the file of a mask, see masks.py, and
`frame=` counts frames, see frames.py; `with=` names further channels, see bands.py. A further `10%`
adds that share of the box on each side. A cell may hold all four numbers, as [10, 20, 64, 48].
"""

import itertools
import math
import os
import re
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from src.config.image_size import Size

FRAME, BANDS = "frame", "with"
REGION = re.compile(rf"(.+)/(box|corners|center|yolo|tile|{FRAME}|{BANDS})=([^/]*)", re.DOTALL)
MASK = "mask"
OF_MASK = re.compile(rf"(.+?)/{MASK}=(.+)", re.DOTALL)
NUMBERS = 4
SHARES = "shares"
MOST_SHARE = 2  # a larger one is a number of pixels

Side = TypeVar("Side", float, np.ndarray)
Sides = tuple[float, float, float, float]


@dataclass(frozen=True)
class Region:
    """kind: one of the five forms, or mask, frame or with. text: its numbers, or names, as they are written."""

    kind: str
    text: str

    @property
    def is_box(self) -> bool:
        """Whether a picture may have several of them, each with an answer of its own."""
        return self.kind not in (MASK, FRAME, BANDS)

    def ends(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, bottom, left and right pixel of the part that lies inside a picture of this size.

        Raises ValueError, with a reason, where the text is no box or none of it lies inside.
        """
        margin, shares, numbers = self._numbers()
        if self.kind == "tile":
            left, top, right, bottom = self._tile(*numbers, height, width)
        else:
            left, top, right, bottom = sides(self.kind, *numbers)
        if shares:
            left, right, top, bottom = left * width, right * width, top * height, bottom * height
        if right <= left or bottom <= top:
            raise ValueError(f"the box {self.text!r} holds nothing")
        if self.kind != "tile" and right - left < 1 and bottom - top < 1:
            remedy = "" if shares else f": as shares of the picture it is written {self.kind}={self.text},{SHARES}"
            raise ValueError(f"the box {self.text!r} is smaller than a pixel{remedy}")
        wide, high = (right - left) * margin, (bottom - top) * margin
        top, left = max(0, math.floor(top - high)), max(0, math.floor(left - wide))
        bottom, right = min(height, math.ceil(bottom + high)), min(width, math.ceil(right + wide))
        if right <= left or bottom <= top:
            raise ValueError(f"the box {self.text!r} lies outside the picture of {width} x {height} pixels")
        return top, bottom, left, right

    def _tile(self, row: float, column: float, rows: float, columns: float, height: int, width: int) -> Sides:
        whole = all(one.is_integer() for one in (row, column, rows, columns))
        if not (whole and 0 <= row < rows and 0 <= column < columns):
            raise ValueError(f"there is no tile {self.text!r}: write row,column,rows,columns, counted from 0")
        return column * width / columns, row * height / rows, (column + 1) * width / columns, (row + 1) * height / rows

    def _numbers(self) -> tuple[float, bool, Sides]:
        """The margin, whether the sides are shares of the picture, and the four numbers."""
        words = re.split(r"[,;\s]+", re.sub(r"[\[\]()]", " ", self.text).strip(" ,;"))
        margin, shares = 0.0, self.kind == "yolo"
        try:
            if words[-1].endswith("%"):
                margin = float(words.pop().removesuffix("%")) / 100
            if words[-1:] == [SHARES]:
                shares = bool(words.pop())
            numbers = tuple(map(float, filter(None, words)))
        except ValueError:
            numbers = (math.nan,)
        if not numbers:
            raise ValueError("its row tells no box")
        if len(numbers) != NUMBERS or not all(map(math.isfinite, (margin, *numbers))) or margin < 0:
            raise ValueError(f"{self.kind}={self.text!r} is no box of four numbers")
        if shares and max(map(abs, numbers)) > MOST_SHARE:
            raise ValueError(f"{self.kind}={self.text!r} is no box in shares of the picture")
        return margin, shares, numbers


def sides(kind: str, a: Side, b: Side, c: Side, d: Side) -> tuple[Side, Side, Side, Side]:
    """Left, top, right and bottom of a box of this form, in the unit of its numbers; or of many, (n,) each."""
    if kind == "corners":
        return a, b, c, d
    if kind == "box":
        return a, b, a + c, b + d
    return a - c / 2, b - d / 2, a + c / 2, b + d / 2


def tile_names(path: str, tiles: str) -> list[str]:
    """The tiles of a picture as images of their own, row by row. tiles: rows and columns, such as 2x4."""
    grid = Size.of(tiles)
    places = itertools.product(range(grid.height), range(grid.width))
    return [f"{path}/tile={row},{column},{grid.height},{grid.width}" for row, column in places]


def split_region(path: object) -> tuple[str, Region | None]:
    """The name of the picture, and the part of it that a path means; None for all of it."""
    text = str(path)
    found = REGION.fullmatch(text) if "=" in text else None
    if found:
        return found[1], Region(found[2], found[3])
    masked = OF_MASK.fullmatch(text) if f"/{MASK}=" in text else None
    return (masked[1], Region(MASK, masked[2])) if masked else (text, None)


def with_region(file: str, region: Region | None) -> str:
    """The path of a part of a file. A mask, which a card names from data/, is named from the file's folder."""
    if region is None:
        return file
    text = os.path.relpath(region.text, os.path.dirname(file) or ".") if region.kind == MASK else region.text
    return f"{file}/{region.kind}={text}"
