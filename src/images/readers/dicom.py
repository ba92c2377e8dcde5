"""DICOM: stored numbers in their own unit, the window of the file, and which end of them is bright."""

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from src.images.decode import ImageFault, faults_of
from src.images.pixel_format import RawImage
from src.images.readers import READERS, Position, Reader, check_size

CODECS = "pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"
COUNT = "NumberOfFrames"


@READERS.register("dicom")
class Dicom(Reader):
    """Rescale slope and intercept (or the modality's table) are applied; frames of gray become channels.

    MONOCHROME1 is turned so that large numbers are bright. See the DICOM standard, part 3, C.7.6.3 and C.11.
    """

    suffixes = (".dcm", ".dicom")
    packages = ("pydicom",)
    has_frames = True

    def begins(self, start: bytes) -> bool:
        return start[128:132] == b"DICM"

    def read(self, path: Path, data: bytes, channels: int) -> RawImage:
        with _faults(path):
            file = self.import_library("pydicom", path).dcmread(io.BytesIO(data))
        return self._image(path, file, data, None)

    def _image(self, path: Path, file: Any, data: bytes, number: int | None) -> RawImage:
        """All frames of an opened file as channels, or one of them. file: a pydicom Dataset."""
        pixels = self.import_library("pydicom.pixels", path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # many files break rules that change no pixel
            with _faults(path):
                shape = [int(file.get(name) or 1) for name in (COUNT, "Rows", "Columns", "SamplesPerPixel")]
                check_size(path, tuple(shape if number is None else shape[1:]))
                stored = file.pixel_array if number is None else pixels.pixel_array(file, index=number)
            colour = int(file.get("SamplesPerPixel", 1)) > 1
            kind = str(file.get("PhotometricInterpretation", "MONOCHROME2")).strip()
            if kind == "PALETTE COLOR":
                stored = pixels.apply_color_lut(stored, file)
                _check_picture(path, stored)
                return RawImage(stored, data, 0.0, float(np.iinfo(stored.dtype).max))
            slope, intercept = file.get("RescaleSlope"), file.get("RescaleIntercept")
            slope, intercept = (1.0, 0.0) if None in (slope, intercept) else (float(slope), float(intercept))
            # Whole numbers stay whole where nothing is rescaled: their bits tell black and white.
            plain = (slope, intercept) == (1, 0) and "ModalityLUTSequence" not in file
            values = stored if plain else pixels.apply_modality_lut(stored, file)
        if values.ndim == 3 and not colour:
            values = np.moveaxis(values, 0, 2)
        elif values.ndim == 2:
            values = values[:, :, None]
        _check_picture(path, values)
        bits, signed = int(file.get("BitsStored", 8 * stored.dtype.itemsize)), int(file.get("PixelRepresentation", 0))
        ends = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1], float)
        low, high = sorted(ends * slope + intercept)
        if "ModalityLUTSequence" in file:
            low, high = 0.0, float(np.iinfo(values.dtype).max)
        return RawImage(values, data, low, high, _window(file), kind == "MONOCHROME1")

    def frames(self, path: Path) -> int:
        pydicom = self.import_library("pydicom", path)
        try:
            return _count(pydicom.dcmread(path, stop_before_pixels=True, specific_tags=[COUNT]))
        except Exception as error:  # broken files raise anything
            raise ImageFault(path, f"no DICOM file ({' '.join(str(error).split())[:160]})") from None

    def frames_of(self, path: Path, data: bytes, channels: int) -> "_Frames":
        with _faults(path):
            return _Frames(self, path, self.import_library("pydicom", path).dcmread(io.BytesIO(data)), data)

    def position(self, path: Path) -> Position | None:
        pydicom = self.import_library("pydicom", path)
        wanted = ["ImagePositionPatient", "ImageOrientationPatient", "InstanceNumber"]
        try:
            return _position(pydicom.dcmread(path, stop_before_pixels=True, specific_tags=wanted))
        except Exception:  # broken files raise anything; they are told when their pixels are read
            return None

    def window(self, path: Path) -> tuple[float, float] | None:
        pydicom = self.import_library("pydicom", path)
        try:
            return _window(
                pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["WindowCenter", "WindowWidth"])
            )
        except Exception as error:  # broken files raise anything
            raise ImageFault(path, f"no DICOM file ({' '.join(str(error).split())[:160]})") from None


class _Frames:
    """The frames of an opened file."""

    def __init__(self, reader: Dicom, path: Path, file: Any, data: bytes) -> None:
        self.reader, self.path, self.file, self.data, self.pages = reader, path, file, data, range(_count(file))

    def __len__(self) -> int:
        return len(self.pages)

    def __getitem__(self, number: int) -> RawImage:
        return self.reader._image(self.path, self.file, self.data, number)


@contextlib.contextmanager
def _faults(path: Path) -> Iterator[None]:
    with faults_of(path, "no DICOM image that can be read"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # many files break rules that change no pixel
        try:
            yield
        except Exception as error:
            reason = " ".join(str(error).split())
            if "missing dependencies" not in reason and "plugins are missing" not in reason:
                raise
            raise ImageFault(path, "its compression needs further packages", f"pip install {CODECS}") from None


def _count(file: Any) -> int:
    return int(file.get(COUNT) or 1)


def _check_picture(path: Path, values: np.ndarray) -> None:
    if values.ndim != 3:
        raise ImageFault(
            path, f"it holds frames of colours, of shape {values.shape}", "read each alone: /frame=* in the card"
        )


def _position(file: object) -> Position | None:
    """The place of a slice along the line that its plane is moved on; or its number in the series."""
    place, turned = file.get("ImagePositionPatient"), file.get("ImageOrientationPatient")
    if place is not None and turned is not None and (len(place), len(turned)) == (3, 6):
        across, down = np.array(turned, float).reshape(2, 3)
        return Position("place", float(np.cross(across, down) @ np.array(place, float)))
    number = file.get("InstanceNumber")
    return None if number is None else Position("number", float(number))


def _window(file: object) -> tuple[float, float] | None:
    """The first window that the file names, as its ends."""
    centre, width = file.get("WindowCenter"), file.get("WindowWidth")
    if centre is None or width is None:
        return None
    centre, width = (float(one[0] if hasattr(one, "__getitem__") else one) for one in (centre, width))
    return (centre - width / 2, centre + width / 2) if width > 0 else None
