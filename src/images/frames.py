"""The frames of an animated picture, the pages of a TIFF and the frames of a DICOM file, as images of their own:
`clip.gif/frame=3`, counted from 0. A card's template means all of them by `clips/{id}.gif/frame=*`."""

import os
import threading
from pathlib import Path

import numpy as np

from src.images import decode
from src.images.decode import ImageFault
from src.images.pixel_format import RawImage
from src.images.readers import reader_of
from src.images.regions import FRAME, Region

ALL = f"/{FRAME}=*"


def frame_names(path: str, file: Path) -> list[str]:
    """The frames of a file as images; none where it cannot be read, which is told when an image of it is."""
    reader = reader_of(file)
    try:
        count = decode.frame_count(file) if reader is None else reader.frames(file)
    except ImageFault:
        count = 1
    return [f"{path}/{FRAME}={number}" for number in range(count)]


def number_of(path: Path, region: Region) -> int:
    """Raises ImageFault where it is none."""
    if not region.text.isdecimal():
        raise ImageFault(path, f"{FRAME}={region.text!r} is no number", "count frames from 0")
    return int(region.text)


def frame_of_raw(path: Path, raw: RawImage, number: int, count: int) -> RawImage:
    """A frame of an image that holds all of them as channels. Raises ImageFault."""
    held = raw.values.shape[2]
    count = count if count > 1 and held % count == 0 else held
    if number >= count:
        raise no_frame(path, number, count)
    each = held // count
    return raw._replace(values=np.ascontiguousarray(raw.values[:, :, number * each : (number + 1) * each]))


def no_frame(path: Path, number: int, count: int) -> ImageFault:
    return ImageFault(
        path, f"it has no frame {number}: it holds {count}", "correct the number in the card or its table"
    )


_last = threading.local()  # the animated picture that was read last: each frame is drawn upon the one before


def frame_of_picture(path: Path, file: Path, number: int) -> tuple[np.ndarray, bytes]:
    """(height, width, 3) uint8 of one frame, and the file's bytes. Raises ImageFault."""
    facts = os.stat(file)
    key = str(file), facts.st_size, facts.st_mtime_ns
    if getattr(_last, "key", None) != key:
        _last.key = None
        _last.data = file.read_bytes()
        _last.frames = decode.opened(file, _last.data)
        _last.key = key
    if number >= getattr(_last.frames, "n_frames", 1):
        raise no_frame(path, number, getattr(_last.frames, "n_frames", 1))
    return decode.frame(file, _last.frames, number), _last.data
