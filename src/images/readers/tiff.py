"""TIFF of any depth and number of bands. What programs for photos write is read without this."""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np

from src.images import decode
from src.images.decode import ImageFault
from src.images.pixel_format import COLOURS, RawImage
from src.images.readers import READERS, Reader, check_size, of_array

CODECS = "imagecodecs"


@READERS.register("tiff")
class Tiff(Reader):
    """The first series of the file counts. Where it is too large to be read and the file has smaller copies of it (a
    pyramid), the largest that can be read stands for it."""

    picture = True
    packages = ("tifffile",)

    def begins(self, start: bytes) -> bool:
        return start.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))

    def read(self, path: Path, data: bytes, channels: int) -> RawImage:
        tifffile = self.import_library("tifffile", path)
        try:
            with tifffile.TiffFile(io.BytesIO(data)) as file:
                series = file.series[0]
                level, axes = _readable(path, series), series.axes
                values = level.asarray()
                whole = None if level is series else tuple(series.shape[axes.index(one)] for one in "YX")
        except (ImageFault, MemoryError):
            raise
        except (ValueError, ImportError) as error:  # a compression that needs more
            if CODECS in str(error):
                raise ImageFault(path, f"its compression needs {CODECS}", f"pip install {CODECS}") from None
            raise ImageFault(path, f"a damaged TIFF ({' '.join(str(error).split())[:100]})") from None
        except Exception as error:  # the library has kinds of its own, and raises others for broken files
            raise ImageFault(path, f"a damaged TIFF ({' '.join(str(error).split())[:100]})") from None
        if "Y" not in axes or "X" not in axes:
            raise ImageFault(path, f"a TIFF with the axes {axes}, and no picture")
        if "Q" in axes:  # an array whose axes the file does not name
            return of_array(path, values, data, channels)
        values = np.moveaxis(values, (axes.index("Y"), axes.index("X")), (0, 1))
        found = of_array(path, values.reshape(*values.shape[:2], -1), data, int(np.prod(values.shape[2:])))
        return found._replace(whole=whole)


def _readable(path: Path, series: Any) -> Any:
    """The series, or the largest of its levels that is not too large. Raises TooLarge."""
    for level in series.levels:
        if math.prod(level.shape) <= COLOURS * decode.LARGEST and level.axes == series.axes:
            return level
    check_size(path, series.shape)
    return series
