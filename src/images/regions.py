"""A part of a picture, named below its file: `photo.jpg/box=10,20,64,48` is an image of its own.

A card's template makes such names of columns: images: "train/{file}/box={x},{y},{w},{h}". The forms are
`box=left,top,width,height`, `corners=left,top,right,bottom`, `yolo=middle x,middle y,width,height` as shares of the
picture, and `tile=row,column,rows,columns`, each counted from 0. A further `10%` adds that share of the box on each
side. A cell may hold all four numbers, as [10, 20, 64, 48].
"""

import itertools
import math
import re
from dataclasses import dataclass

from src.config.image_size import Size

REGION = re.compile(r"(.+)/(box|corners|yolo|tile)=([^/]*)", re.DOTALL)
NUMBERS = 4


@dataclass(frozen=True)
class Region:
    """kind: one of the four forms. text: its numbers as they are written."""

    kind: str
    text: str

    def ends(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, bottom, left and right pixel of the part that lies inside a picture of this size.

        Raises ValueError, with a reason, where the text is no box or none of it lies inside.
        """
        margin, a, b, c, d = self._numbers()
        if self.kind == "tile":
            if not (0 <= a < c and 0 <= b < d and all(one.is_integer() for one in (a, b, c, d))):
                raise ValueError(f"there is no tile {self.text!r}: write row,column,rows,columns, counted from 0")
            top, bottom, left, right = a * height / c, (a + 1) * height / c, b * width / d, (b + 1) * width / d
        elif self.kind == "corners":
            left, top, right, bottom = a, b, c, d
        elif self.kind == "box":
            left, top, right, bottom = a, b, a + c, b + d
        else:
            left, right = (a - c / 2) * width, (a + c / 2) * width
            top, bottom = (b - d / 2) * height, (b + d / 2) * height
        if right <= left or bottom <= top:
            raise ValueError(f"the box {self.text!r} holds nothing")
        wide, high = (right - left) * margin, (bottom - top) * margin
        top, left = max(0, math.floor(top - high)), max(0, math.floor(left - wide))
        bottom, right = min(height, math.ceil(bottom + high)), min(width, math.ceil(right + wide))
        if right <= left or bottom <= top:
            raise ValueError(f"the box {self.text!r} lies outside the picture of {width} x {height} pixels")
        return top, bottom, left, right

    def _numbers(self) -> tuple[float, ...]:
        """The margin and the four numbers."""
        words = re.split(r"[,;\s]+", re.sub(r"[\[\]()]", " ", self.text).strip())
        margin = 0.0
        try:
            if words[-1].endswith("%"):
                margin = float(words.pop().removesuffix("%")) / 100
            numbers = tuple(map(float, words))
        except ValueError:
            numbers = ()
        if len(numbers) != NUMBERS or not all(map(math.isfinite, (margin, *numbers))) or margin < 0:
            raise ValueError(f"{self.kind}={self.text!r} is no box of four numbers")
        return (margin, *numbers)


def tile_names(path: str, tiles: str) -> list[str]:
    """The tiles of a picture as images of their own, row by row. tiles: rows and columns, such as 2x4."""
    grid = Size.of(tiles)
    places = itertools.product(range(grid.height), range(grid.width))
    return [f"{path}/tile={row},{column},{grid.height},{grid.width}" for row, column in places]


def split_region(path: object) -> tuple[str, Region | None]:
    """The name of the picture, and the part of it that a path means; None for all of it."""
    text = str(path)
    found = REGION.fullmatch(text) if "=" in text else None
    return (found[1], Region(found[2], found[3])) if found else (text, None)
