"""NIfTI: a volume whose slices become channels."""

import gzip
import io
from pathlib import Path

import numpy as np

from src.images.decode import ImageFault
from src.images.pixel_format import RawImage
from src.images.readers import READERS, Reader, check_size, in_channels


@READERS.register("nifti")
class Nifti(Reader):
    """Values are scaled as the header says, and so have no range of their own."""

    suffixes = (".nii", ".nii.gz")
    packages = ("nibabel",)

    def begins(self, start: bytes) -> bool:
        return start[4:8] == b"\x00\x00\x00\x00" and start[:4] in (b"\x5c\x01\x00\x00", b"\x00\x00\x01\x5c")

    def read(self, path: Path, data: bytes, channels: int) -> RawImage:
        nibabel = self.import_library("nibabel", path)
        try:
            plain = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
            volume = nibabel.Nifti1Image.from_stream(io.BytesIO(plain))
            check_size(path, volume.shape)
            values = np.asarray(volume.dataobj, np.float32)
        except (ImageFault, MemoryError):
            raise
        except Exception as error:  # broken files raise anything
            raise ImageFault(path, f"no NIfTI file that can be read ({' '.join(str(error).split())[:120]})") from None
        return RawImage(in_channels(path, values, channels), data)
