"""The frames of an animated picture, the pages of a TIFF and the frames of a DICOM file, as images of their own:
`clip.gif/frame=3`, counted from 0. A card's template means all of them by `clips/{id}.gif/frame=*`."""

from collections.abc import Sequence
from pathlib import Path

from src.core.errors import UsageError
from src.images import decode
from src.images.decode import ImageFault, faults_of
from src.images.last_file import LastFile
from src.images.pixel_format import BYTE, RawImage
from src.images.readers import START, Frames, reader_by_content, reader_of, reader_of_file, split_key
from src.images.regions import FRAME, Region

ALL = f"/{FRAME}=*"
WITHOUT = "files of its kind have no frames"


def frame_names(path: str, file: Path) -> list[str]:
    """The frames of a file as images; of one that cannot be read the first, where it is told. Raises UsageError for a
    kind that has none."""
    try:
        count = frame_count(file)
    except ImageFault:
        count = 1
    if count is None:
        remedy = f"leave {ALL} out of the card's templates of images; the rows of a stack are {{id}}{file.suffix}/*"
        raise UsageError(f"{path}: {WITHOUT}: {remedy}", code="bad-card")
    return [f"{path}/{FRAME}={number}" for number in range(count)]


def frame_count(file: Path) -> int | None:
    """How many frames or pages a file holds, by its headers; None where its kind has none. Raises ImageFault."""
    if split_key(file)[1] is not None:
        return None
    with faults_of(file):
        reader = reader_of_file(file)
    if reader is None:
        return decode.frame_count(file)
    return reader.frames(file) if reader.has_frames else None


def number_of(path: Path, region: Region) -> int:
    """Raises ImageFault where it is none."""
    if not region.text.isdecimal():
        raise ImageFault(path, f"{FRAME}={region.text!r} is no number", "count frames from 0")
    return int(region.text)


def frame_of(path: Path, file: Path, number: int, channels: int, as_pictures: bool) -> RawImage:
    """One frame, before any rule, with the bytes of the whole file. as_pictures: whether pages of a TIFF are read as
    programs for photos show them, as the whole file is. Raises ImageFault."""
    try:
        with faults_of(path):
            frames = _last.of(file, (channels, as_pictures), lambda: _opened(file, channels, as_pictures))
        if number < len(frames):
            return frames[number]
    except ImageFault as fault:  # of the file
        raise ImageFault(path, fault.reason, fault.remedy) from None
    told = f"it has no frame {number}: it holds {len(frames)}"
    raise ImageFault(path, told, "correct the number in the card or its table")


_last = LastFile()  # each frame of an animated picture is drawn upon the one before


class _PictureFrames:
    """Those of what programs for photos write, of 8 bits and three colours. pages: which of the file's they are."""

    def __init__(self, file: Path, data: bytes, pages: Sequence[int] | None = None) -> None:
        self.file, self.data, self.image = file, data, decode.opened(file, data)
        self.pages = range(getattr(self.image, "n_frames", 1)) if pages is None else pages

    def __len__(self) -> int:
        return len(self.pages)

    def __getitem__(self, number: int) -> RawImage:
        return RawImage(decode.frame(self.file, self.image, self.pages[number]), self.data, 0, BYTE)


def _opened(file: Path, channels: int, as_pictures: bool) -> Frames:
    if split_key(file)[1] is not None:
        raise ImageFault(file, WITHOUT, "correct the card")
    data = file.read_bytes()
    reader = reader_of(file) or reader_by_content(data[:START])
    if reader is None:
        return _PictureFrames(file, data)
    if not reader.has_frames:
        raise ImageFault(file, WITHOUT, "correct the card")
    frames = reader.frames_of(file, data, channels)
    return _PictureFrames(file, data, frames.pages) if reader.picture and as_pictures else frames
