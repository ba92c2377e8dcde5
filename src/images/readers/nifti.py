"""NIfTI: a volume, whose slices are channels where they are few, and images of their own where they are many."""

import contextlib
import gzip
import io
from collections.abc import Collection
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from src.images.decode import ImageFault, faults_of
from src.images.pixel_format import MOST_CHANNELS, RawImage
from src.images.readers import READERS, Reader, check_size, in_channels, last_array

GZIP = b"\x1f\x8b"
BROKEN = "no NIfTI file that can be read"


@READERS.register("nifti")
class Nifti(Reader):
    """`scan.nii.gz/12` is the slice 12 of the last of three axes. Values are scaled as the header says, and so have no
    range of their own."""

    suffixes = (".nii", ".nii.gz")
    packages = ("nibabel",)
    container = True

    def begins(self, start: bytes) -> bool:
        return start[4:8] == b"\x00\x00\x00\x00" and start[:4] in (b"\x5c\x01\x00\x00", b"\x00\x00\x01\x5c")

    def holds_many(self, path: Path) -> bool:
        return bool(self._slices(path))

    def read(self, path: Path, data: bytes, channels: int) -> RawImage:
        return RawImage(in_channels(path, self._values(path, io.BytesIO(data)), channels), data)

    def entry(self, path: Path, key: str, channels: int) -> RawImage:
        volume = last_array.of(path, "", lambda: self._values(path, path.open("rb")))
        if volume.ndim != 3 or not key.isdecimal() or int(key) >= volume.shape[2]:
            raise self.no_key(path, key)
        image = np.ascontiguousarray(volume[:, :, int(key)])
        return RawImage(image[:, :, None], image.tobytes())

    def keys(self, path: Path) -> Collection[str]:
        return [str(row) for row in range(self._slices(path))]

    def _slices(self, path: Path) -> int:
        """How many slices are images of their own; 0 where they are channels, and for a file that is damaged."""
        with contextlib.suppress(ImageFault, OSError), path.open("rb") as file:
            shape = self._volume(path, file).shape
            return shape[2] if len(shape) == 3 and shape[2] > MOST_CHANNELS else 0
        return 0

    def _values(self, path: Path, file: BinaryIO) -> np.ndarray:
        with file:
            volume = self._volume(path, file)
            check_size(path, volume.shape)
            with faults_of(path, BROKEN):
                values = np.asarray(volume.dataobj, np.float32)
        while values.ndim > 3 and values.shape[-1] == 1:
            values = values[..., 0]
        return values

    def _volume(self, path: Path, file: BinaryIO) -> Any:
        """What its header tells; the numbers are read when they are asked for."""
        nibabel = self.import_library("nibabel", path)
        packed = file.read(len(GZIP)) == GZIP
        file.seek(0)
        with faults_of(path, BROKEN):
            return nibabel.Nifti1Image.from_stream(gzip.GzipFile(fileobj=file) if packed else file)
