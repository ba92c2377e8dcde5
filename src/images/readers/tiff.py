"""TIFF of any depth and number of bands. What programs for photos write is read without this."""

import contextlib
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from src.images import decode
from src.images.decode import ImageFault, faults_of
from src.images.pixel_format import COLOURS, RawImage
from src.images.readers import READERS, Reader, check_size, of_array

CODECS = "imagecodecs"


@READERS.register("tiff")
class Tiff(Reader):
    """Of a file that is read whole the first series counts. Where it is too large to be read and the file has smaller
    copies of it (a pyramid), the largest that can be read stands for it."""

    picture = True
    has_frames = True
    packages = ("tifffile",)

    def begins(self, start: bytes) -> bool:
        return start.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))

    def read(self, path: Path, data: bytes, channels: int) -> RawImage:
        tifffile = self.import_library("tifffile", path)
        with _faults(path), tifffile.TiffFile(io.BytesIO(data)) as file:
            series = file.series[0]
            level, axes = _readable(path, series), series.axes
            values = level.asarray()
            whole = None if level is series else tuple(series.shape[axes.index(one)] for one in "YX")
        if "Q" in axes and "Y" in axes and "X" in axes:  # an array whose axes the file does not name
            return of_array(path, values, data, channels)
        return _picture(path, values, axes, data)._replace(whole=whole)

    def frames(self, path: Path) -> int:
        tifffile = self.import_library("tifffile", path)
        with _faults(path), tifffile.TiffFile(path) as file:
            return len(_own_pages(path, file))

    def frames_of(self, path: Path, data: bytes, channels: int) -> "_Pages":
        tifffile = self.import_library("tifffile", path)
        with _faults(path):
            return _Pages(path, tifffile.TiffFile(io.BytesIO(data)), data)


class _Pages:
    """The pages of an opened TIFF, of any sizes and numbers of bands."""

    def __init__(self, path: Path, file: Any, data: bytes) -> None:
        self.path, self.file, self.data, self.pages = path, file, data, _own_pages(path, file)

    def __len__(self) -> int:
        return len(self.pages)

    def __getitem__(self, number: int) -> RawImage:
        with _faults(self.path):
            page = self.file.pages[self.pages[number]]
            check_size(self.path, page.shape)
            values = page.asarray()
        return _picture(self.path, values, page.axes, self.data)


def _own_pages(path: Path, file: Any) -> list[int]:
    """The pages that are images, and not smaller copies of others, nor masks of them."""
    series = file.series
    if len(file.pages) == 1 and math.prod(series[0].shape) > math.prod(file.pages[0].shape):
        raise ImageFault(
            path, "its images stand behind one page, as ImageJ writes large files", "write a page for each"
        )
    copies = {page.treeindex for one in series for level in one.levels[1:] for page in level.pages if page}
    return [
        number
        for number, page in enumerate(file.pages)
        if not (page.is_reduced or page.is_mask or page.treeindex in copies)
    ]


def _picture(path: Path, values: np.ndarray, axes: str, data: bytes) -> RawImage:
    if "Y" not in axes or "X" not in axes:
        raise ImageFault(path, f"a TIFF with the axes {axes}, and no picture")
    values = np.moveaxis(values, (axes.index("Y"), axes.index("X")), (0, 1))
    return of_array(path, values.reshape(*values.shape[:2], -1), data, int(np.prod(values.shape[2:])))


@contextlib.contextmanager
def _faults(path: Path) -> Iterator[None]:
    with faults_of(path, "a damaged TIFF"):
        try:
            yield
        except (ValueError, ImportError) as error:
            if CODECS not in str(error):
                raise
            raise ImageFault(path, f"its compression needs {CODECS}", f"pip install {CODECS}") from None


def _readable(path: Path, series: Any) -> Any:
    """The series, or the largest of its levels that is not too large. Raises TooLarge."""
    for level in series.levels:
        if math.prod(level.shape) <= COLOURS * decode.LARGEST and level.axes == series.axes:
            return level
    check_size(path, series.shape)
    return series
