"""The size of images: 64, a square of so many pixels, or 256x512, height and width.

Configurations, messages, file names and stored facts hold it as it is written: the number of a square, else the text.
Whoever counts pixels reads that with `Size.of`.
"""

import re
from dataclasses import dataclass
from typing import Any

LEAST = 8  # pixels a side that a network may be given
MOST_TILES = 64
WRITTEN = re.compile(r"(\d+)x(\d+)")

SizeWord = int | str  # 64, or "256x512"


@dataclass(frozen=True)
class Size:
    """In pixels."""

    height: int
    width: int

    @classmethod
    def of(cls, word: "SizeWord | Size") -> "Size":
        """Of a side's number, of a text such as 256x512, or of a Size. Raises ValueError for anything else."""
        if isinstance(word, Size):
            return word
        if isinstance(word, str):
            found = WRITTEN.fullmatch(word)
            if found is None:
                raise ValueError(f"{word!r} is no size: write the side of a square, or heightxwidth, such as 256x512")
            return cls(int(found[1]), int(found[2]))
        return cls(word, word)

    @property
    def word(self) -> SizeWord:
        """As it is written: a number where it is a square."""
        return self.height if self.is_square else f"{self.height}x{self.width}"

    @property
    def is_square(self) -> bool:
        return self.height == self.width

    @property
    def pixels(self) -> int:
        return self.height * self.width

    @property
    def short(self) -> int:
        """The shorter side."""
        return min(self.height, self.width)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width), as of an array."""
        return self.height, self.width

    def is_like(self, other: "Size") -> bool:
        """Whether the proportions are the same, but for what is rounded to whole pixels."""
        return abs(self.height * other.width - self.width * other.height) <= max(*self.shape, *other.shape)

    def __str__(self) -> str:
        return str(self.word)


def size_word(value: Any) -> SizeWord:
    """What a configuration says of a size, as it is kept: 64, "256x512" or [256, 512] -> 64 or "256x512".

    Raises ValueError for what is no size, or one with a side below `LEAST`.
    """
    if isinstance(value, list) and len(value) == 2 and all(type(one) is int for one in value):
        value = f"{value[0]}x{value[1]}"
    if not isinstance(value, str) and type(value) is not int:
        raise ValueError("must be the side of a square in pixels, or height and width, such as 256x512")
    size = Size.of(value)
    if size.short < LEAST:
        raise ValueError(f"must be at least {LEAST} pixels each way")
    return size.word


def tiles_word(value: Any) -> str:
    """What a configuration says of tiles, as it is kept: "2x4" or [2, 4] -> "2x4", rows and columns.

    Raises ValueError for anything else, and for one tile or more than `MOST_TILES`.
    """
    if isinstance(value, list) and len(value) == 2 and all(type(one) is int for one in value):
        value = f"{value[0]}x{value[1]}"
    found = WRITTEN.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("must be rows and columns, such as 2x4")
    if not 1 < int(found[1]) * int(found[2]) <= MOST_TILES:
        raise ValueError(f"must be 2 to {MOST_TILES} tiles")
    return f"{int(found[1])}x{int(found[2])}"
