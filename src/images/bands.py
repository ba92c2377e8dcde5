"""Files that are the channels of one picture: `scene/B02.tif/with=B03.tif,B04.tif`, all in one folder. A card says
so by `bag: channels` and a template with a *."""

import math
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from src.core.console import note
from src.images.decode import ImageFault
from src.images.masks import ALIKE
from src.images.pixel_format import COLOURS, RawImage
from src.images.regions import BANDS, split_region

BETWEEN = ","
REMEDY = "correct the file, or take its row out of the table"


def banded(paths: Sequence[str]) -> str:
    """The picture of these files of one folder, in this order. Raises ValueError where they cannot be named so."""
    first, *others = paths
    names = [path.rpartition("/")[2] for path in others]
    if len({path.rpartition("/")[0] for path in paths}) > 1 or any(BETWEEN in name for name in names):
        raise ValueError(f"{paths[0]} and {paths[-1]}: the channels of one picture lie in one folder, without commas")
    return f"{first}/{BANDS}={BETWEEN.join(names)}" if names else first


def band_files(path: Path | str) -> list[Path]:
    """All files of a picture that is made of several, the first among them."""
    name, region = split_region(path)
    if region is None or region.kind != BANDS:
        return []
    first = Path(name)
    return [first, *(first.parent / other for other in region.text.split(BETWEEN))]


def bands_among(names: Sequence[str], ends: Sequence[str]) -> list[str]:
    """Of the names of a folder's files those that are one text with each of these endings in it, in the endings' order:
    x_B02.tif and x_B03.tif of B02 and B03. Raises ValueError where there are none, or several such texts."""
    found = set()
    for name in names:
        for at in (one.start() for one in re.finditer(f"(?={re.escape(ends[0])})", name)):
            head, tail = name[:at], name[at + len(ends[0]) :]
            # 2 and 3 are not the bands of 12 and 13.
            torn = any((head[-1:] + end[:1]).isdigit() and head and end for end in ends)
            torn |= any((end[-1:] + tail[:1]).isdigit() and tail and end for end in ends)
            if not torn and {head + end + tail for end in ends} <= set(names):
                found.add(tuple(head + end + tail for end in ends))
    if len(found) != 1:
        told = "several pictures" if found else "no picture"
        raise ValueError(f"{', '.join(names)} hold {told} of the channels {', '.join(ends)}")
    return list(found.pop())


def joined_bands(path: Path, files: Sequence[Path], read: Callable[[Path], RawImage]) -> RawImage:
    """The channels of all files, one after the other; those of fewer pixels are brought to the largest, which is told.

    Raises ImageFault where one is of other proportions or of another type.
    """
    found = [_gray(read(file)) for file in files]
    first, most = found[0], max(range(len(found)), key=lambda k: math.prod(found[k].size))
    (height, width), shape = found[most].size, found[most].values.shape[:2]
    for file, band in zip(files, found, strict=True):
        rows, columns = band.size
        if abs(width * rows - height * columns) > ALIKE * height * columns:
            told = f"{file.name} has {columns} x {rows} pixels, and {files[most].name} {width} x {height}"
            raise ImageFault(path, f"the channels of one picture have the same proportions: {told}", REMEDY)
        if band.size != found[most].size:
            _tell_size(f"{columns} x {rows}", f"{width} x {height}")
        if (band.low, band.high, band.inverted) != (first.low, first.high, first.inverted):
            told = f"{file.name} holds {band.values.dtype}, and {files[0].name} {first.values.dtype}"
            raise ImageFault(path, f"the channels of one picture are of one type: {told}", REMEDY)
    data = b"".join(band.data for band in found)
    values = np.concatenate([_repeated(band.values, shape) for band in found], axis=2)
    return found[most]._replace(values=values, data=data, window=None)


@cache
def _tell_size(held: str, largest: str) -> None:
    """Once, and not of each picture."""
    note("bands-resized", f"channels of {held} pixels are brought to the {largest} of others: their pixels repeat")


def _repeated(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(height, width, channels) of any type as so many rows and columns, with no number that the file does not hold."""
    if values.shape[:2] == shape:
        return values
    down, across = (np.arange(wanted) * held // wanted for wanted, held in zip(shape, values.shape, strict=False))
    return values[down][:, across]


def _gray(raw: RawImage) -> RawImage:
    """Of three equal channels, as gray pictures are read, the first."""
    values = raw.values
    if values.shape[2] != COLOURS or cv2.absdiff(values[..., 0], values[..., 1]).any():
        return raw
    return raw._replace(values=values[..., :1]) if (values[..., 1] == values[..., 2]).all() else raw
