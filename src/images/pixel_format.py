"""How the numbers that a file holds become pixels: which range of them is black to white, and how many channels.

Files of 8 bits and up to three colours need none of this. What holds more (16 bits, floating point, several bands) is
mapped by a rule of the card, kept in 16 bits, and reaches the network as numbers from 0 to 255 with fractions.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import torch

# Raise it whenever the same numbers would become other pixels: caches made by another version then don't count.
VERSION = 2
COLOURS = 3  # channels of what is shown; a gray file has three equal ones
MOST_CHANNELS = 64
OWN_SHARES = (0.5, 99.5)  # percentiles of a file's own values that `own` takes for black and white
BYTE = 255  # the largest value of 8 bits
AT_ONCE = 4  # channels that OpenCV resizes together

WIDEST = 2**31  # a type that spans as much says nothing of its values: pixels would all be one gray

Pair = tuple[float, float]
Values = Literal["type", "window", "own"] | Pair | tuple[Pair, ...]


class RawImage(NamedTuple):
    """What a reader finds in a file, or in one image of a container.

    values: (height, width, channels) of any real type. low, high: what the type, or the bits that are in use, can hold;
    None for floating point. window: black and white by the file's own word. inverted: whether small values are bright;
    `upright` turns them. data: the bytes that tell this image from another. whole: (height, width) of an image that is
    too large to be read but reduced, of which these are the values.
    """

    values: np.ndarray
    data: bytes
    low: float | None = None
    high: float | None = None
    window: tuple[float, float] | None = None
    inverted: bool = False
    whole: tuple[int, int] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) where it is not reduced."""
        return self.whole or self.values.shape[:2]

    def upright(self) -> np.ndarray:
        """The values with the large ones bright, on the same scale: what a range in numbers speaks of."""
        if not self.inverted or self.high is None:
            return self.values
        return np.float32(self.low + self.high) - self.values.astype(np.float32)


class Unfit(Exception):
    """An image that the rule of the card does not fit. The text is a reason, for a list."""


@dataclass(frozen=True)
class PixelFormat:
    """The rule of one competition.

    channels: of the pixels, 3 also where files are gray. bits: 8 or 16, of what is kept. values: what becomes black and
    white: `type`, the range of the file's type; `window`, what a DICOM file names, and of one that names none its
    type; `own`, of each file its own range, of all its channels together; (low, high); or such a pair for each channel.
    nan: what stands for numbers that are none; without it such a file is unusable. as_pictures: whether pictures are
    read as programs for photos show them, of which PNG and TIFF may hold more; so without a rule, STANDARD, alone.
    """

    channels: int = COLOURS
    bits: Literal[8, 16] = 8
    values: Values = "type"
    nan: float | None = None
    as_pictures: bool = False

    @property
    def dtype(self) -> np.dtype:
        """Of the pixels as they are kept."""
        return np.dtype(np.uint8 if self.bits == 8 else np.uint16)

    @property
    def tensor_dtype(self) -> torch.dtype:
        """Of the images as a network gets them: uint8, or float32 from 0 to 255."""
        return torch.uint8 if self.bits == 8 else torch.float32

    @property
    def largest(self) -> int:
        return 2**self.bits - 1

    def to_json(self) -> dict[str, Any] | None:
        """None for STANDARD."""
        if self == STANDARD:
            return None
        return {"channels": self.channels, "bits": self.bits, "values": _nested(self.values, list), "nan": self.nan}

    @classmethod
    def from_json(cls, tree: dict[str, Any] | None) -> "PixelFormat":
        return STANDARD if tree is None else cls(**tree | {"values": _nested(tree["values"], tuple)})

    @property
    def in_numbers(self) -> bool:
        """Whether black and white are given, and not found in each file."""
        return not isinstance(self.values, str)

    def pixels(self, raw: RawImage) -> np.ndarray:
        """(height, width, channels) of `dtype`. Raises Unfit where the rule does not fit what the file holds."""
        repeated = self._repeats(raw.values.shape[2])
        if raw.values.dtype == np.uint8 and self.values == "type" and not raw.inverted and raw.high == BYTE:
            made = raw.values if self.bits == 8 else raw.values.astype(np.uint16) * 257
        else:
            low, high = self._range(raw)
            if raw.inverted and (not self.in_numbers or raw.high is None):
                low, high = high, low
            turned = raw.low + raw.high if raw.inverted and self.in_numbers and raw.high is not None else None
            scale = Scale(tuple(np.ravel(low).tolist()), tuple(np.ravel(high).tolist()), turned, self.bits)
            made = self._scaled(raw.values, scale)
        return cv2.cvtColor(np.ascontiguousarray(made), cv2.COLOR_GRAY2RGB) if repeated else made

    def _scaled(self, values: np.ndarray, scale: "Scale") -> np.ndarray:
        """(height, width, channels) of any type as pixels. Integers of at most 16 bits are looked up."""
        if values.dtype.kind in "ui" and values.dtype.itemsize <= 2:
            return scale.looked_up(values)
        scaled = scale.unscaled(values)
        if (odd := ~np.isfinite(scaled)).any():
            if self.nan is None:
                raise Unfit(
                    f"{odd.sum()} of {odd.size} values are no numbers; where that means something, the card may say "
                    "what they count as: image.nan"
                )
            scaled[odd] = self.nan
        return scale.levels(scaled)

    def _repeats(self, held: int) -> bool:
        """Whether an image of so many channels is gray, and shown as three equal ones."""
        if held == 1 and self.channels == COLOURS and not self._of_each_channel:
            return True
        if held != self.channels:
            raise Unfit(f"it holds {held} channels, and the card says image.channels: {self.channels}")
        return False

    @property
    def _of_each_channel(self) -> bool:
        return self.in_numbers and isinstance(self.values[0], tuple)

    def _range(self, raw: RawImage) -> tuple[np.ndarray, np.ndarray]:
        """What becomes black and white, before an inversion: two numbers, or two rows of one a channel."""
        ends = np.array(self._ends(raw), np.float64)
        return (ends[:, 0], ends[:, 1]) if ends.ndim == 2 else (ends[0], ends[1])

    def _ends(self, raw: RawImage) -> Pair | tuple[Pair, ...]:
        if self.values == "window" and raw.window is not None:
            return raw.window
        if self.values in ("type", "window"):
            if raw.high is None or raw.high - raw.low >= WIDEST:
                raise Unfit(
                    f"values of type {raw.values.dtype} have no range of their own: say one in the card, "
                    "image.values: [low, high]"
                )
            return raw.low, raw.high
        if self.values == "own":
            finite = raw.values[np.isfinite(raw.values)] if raw.values.dtype.kind == "f" else raw.values
            low, high = np.percentile(finite, OWN_SHARES) if finite.size else (0, 1)
            return (float(low), float(high)) if high > low else (float(low), float(low) + 1)
        most = np.max(self.values)
        if raw.high is not None and raw.values.dtype.kind in "ui" and raw.high <= BYTE < most:
            raise Unfit(f"it holds 8 bits, which cannot reach {most:g}, the card's image.values")
        return self.values


STANDARD = PixelFormat(as_pictures=True)


class Scale(NamedTuple):
    """How numbers become pixels of 8 or 16 bits.

    low, high: black and white, one for all channels or one for each. turned: what a number is taken from first, where
    small ones are bright.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    turned: float | None
    bits: int

    def unscaled(self, values: np.ndarray) -> np.ndarray:
        """The numbers as float32, large ones bright; a copy."""
        numbers = values.astype(np.float32)
        return numbers if self.turned is None else np.subtract(np.float32(self.turned), numbers, out=numbers)

    def levels(self, numbers: np.ndarray) -> np.ndarray:
        """Pixels of what `unscaled` gives, whose memory is used."""
        low, high = np.array(self.low), np.array(self.high)
        numbers -= low.astype(np.float32)
        numbers /= (high - low).astype(np.float32)
        np.clip(numbers, 0, 1, out=numbers)
        numbers *= 2**self.bits - 1
        return np.rint(numbers, out=numbers).astype(np.uint8 if self.bits == 8 else np.uint16)

    def looked_up(self, values: np.ndarray) -> np.ndarray:
        """The pixels of integers of at most 16 bits, (height, width, channels), by a table of all that there are."""
        kind = values.dtype.newbyteorder("=")
        codes = np.ascontiguousarray(values, kind).view(f"u{kind.itemsize}")
        tables = _tables(self, kind.str)
        if not tables:
            return codes
        if len(tables) == 1:
            return _looked_up(codes, tables[0])
        return np.stack([_looked_up(codes[..., [k]], table)[..., 0] for k, table in enumerate(tables)], axis=2)


@lru_cache(maxsize=MOST_CHANNELS)
def _tables(scale: Scale, kind: str) -> tuple[np.ndarray, ...]:
    """The pixel of every number of an integer type, in the order of its bits, a table for each range; none where each
    number is its pixel."""
    bits = np.arange(2 ** (8 * np.dtype(kind).itemsize), dtype=kind.replace("i", "u"))
    ends = zip(scale.low, scale.high, strict=True)
    parts = [scale._replace(low=(low,), high=(high,)) for low, high in ends]
    tables = tuple(part.levels(part.unscaled(bits.view(kind))) for part in parts)
    return () if all(table.dtype == bits.dtype and (table == bits).all() for table in tables) else tables


def _looked_up(codes: np.ndarray, table: np.ndarray) -> np.ndarray:
    try:
        return cv2.LUT(codes, table).reshape(codes.shape)
    except cv2.error:  # before OpenCV 5: only of 8 bits
        return table[codes]


def _nested(values: Any, kind: type) -> Any:
    """A word, a pair or pairs, as lists or tuples."""
    return values if isinstance(values, str | float | int) else kind(_nested(one, kind) for one in values)


def in_bits(value: float) -> int:
    """The largest number of as many bits as `value` needs, 8 at least and even: 4095 of 3000."""
    bits = max(8, math.ceil(math.log2(max(value, 1) + 1)))
    return 2 ** (bits + bits % 2) - 1


def to_levels(pixels: np.ndarray) -> np.ndarray:
    """Pixels on the scale of a byte: uint16 as float32 from 0 to 255; others are on it already."""
    return pixels.astype(np.float32) * np.float32(255 / 65535) if pixels.dtype == np.uint16 else pixels


def to_shown(pixels: np.ndarray) -> np.ndarray:
    """(..., height, width, channels) of any format as (..., height, width, 3) uint8, to be looked at.

    Of many channels the first three are red, green and blue; of two the third is their mean.
    """
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    elif pixels.dtype != np.uint8:
        pixels = np.rint(pixels.clip(0, 255)).astype(np.uint8)
    held = pixels.shape[-1]
    if held == COLOURS:
        return pixels
    if held == 2:
        return np.concatenate([pixels, pixels.mean(axis=-1, keepdims=True).astype(np.uint8)], axis=-1)
    return np.ascontiguousarray(pixels[..., :COLOURS]) if held > COLOURS else np.repeat(pixels, COLOURS, axis=-1)


def resize(image: np.ndarray, size: tuple[int, int], interpolation: int) -> np.ndarray:
    """cv2.resize for any number of channels. size: width and height."""
    held = image.shape[2]
    if held <= AT_ONCE:
        return cv2.resize(image, size, interpolation=interpolation).reshape(size[1], size[0], held)
    parts = [image[:, :, start : start + AT_ONCE] for start in range(0, held, AT_ONCE)]
    return np.concatenate([resize(np.ascontiguousarray(part), size, interpolation) for part in parts], axis=2)
