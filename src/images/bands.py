"""Files that are the channels of one picture: `scene/B02.tif/with=B03.tif,B04.tif`, all in one folder. A card says
so by `bag: channels` and a template with a *."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from src.images.decode import ImageFault
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


def joined_bands(path: Path, files: Sequence[Path], read: Callable[[Path], RawImage]) -> RawImage:
    """The channels of all files, one after the other. Raises ImageFault where one is of another size or type."""
    found = [_gray(read(file)) for file in files]
    first = found[0]
    for file, band in zip(files, found, strict=True):
        if band.size != first.size or band.values.shape[:2] != first.values.shape[:2]:
            (height, width), (rows, columns) = first.size, band.size
            told = f"{file.name} has {columns} x {rows} pixels, and {files[0].name} {width} x {height}"
            raise ImageFault(path, f"the channels of one picture have one size: {told}", REMEDY)
        if (band.low, band.high, band.inverted) != (first.low, first.high, first.inverted):
            told = f"{file.name} holds {band.values.dtype}, and {files[0].name} {first.values.dtype}"
            raise ImageFault(path, f"the channels of one picture are of one type: {told}", REMEDY)
    data = b"".join(band.data for band in found)
    return first._replace(values=np.concatenate([band.values for band in found], axis=2), data=data, window=None)


def _gray(raw: RawImage) -> RawImage:
    """Of three equal channels, as gray pictures are read, the first."""
    values = raw.values
    if values.shape[2] != COLOURS or cv2.absdiff(values[..., 0], values[..., 1]).any():
        return raw
    return raw._replace(values=values[..., :1]) if (values[..., 1] == values[..., 2]).all() else raw
