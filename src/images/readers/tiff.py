"""TIFF of any depth and number of bands. What programs for photos write is read without this."""

import io
from pathlib import Path

import numpy as np

from src.images.decode import ImageFault
from src.images.pixel_format import RawImage
from src.images.readers import READERS, Reader, of_array

CODECS = "imagecodecs"


@READERS.register("tiff")
class Tiff(Reader):
    """The first series of the file counts."""

    picture = True
    packages = ("tifffile",)

    def begins(self, start: bytes) -> bool:
        return start.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))

    def read(self, path: Path, data: bytes, channels: int) -> RawImage:
        tifffile = self.import_library("tifffile", path)
        try:
            with tifffile.TiffFile(io.BytesIO(data)) as file:
                series = file.series[0]
                values, axes = series.asarray(), series.axes
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
        return of_array(path, values.reshape(*values.shape[:2], -1), data, int(np.prod(values.shape[2:])))
