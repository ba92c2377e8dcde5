"""Files that are more than pictures of 8 bits: arrays, many bands, medical images, and containers of many images.

Each kind is one class in one file. A new one: a file with a class under `@READERS.register("name")`, here or in
PODIUM_HOME/extensions. What photo programs write (JPEG, PNG and so on) is read by src/images/decode.py.

A container is named like a folder, one of its images by its key: `train.h5/ISIC_0015670`.
"""

import importlib
import math
import os
import re
import threading
from collections.abc import Callable, Collection, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import ClassVar, NamedTuple, Protocol

import numpy as np

from src.core.registry import Registry, extensions_folder
from src.images import decode
from src.images.decode import SUFFIXES, ImageFault, TooLarge
from src.images.pixel_format import COLOURS, MOST_CHANNELS, RawImage
from src.images.regions import split_region

START = 132  # bytes that tell a kind


class Position(NamedTuple):
    """Of numbers of one kind the order counts."""

    kind: str
    number: float


class Frames(Protocol):
    """The images of one file, each read when it is asked for. pages: which pages of the file they are."""

    pages: Sequence[int]

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> RawImage:
        """With the bytes of the whole file. Raises ImageFault."""
        ...


class Reader:
    """One kind of file. suffixes: in small letters, with their dots. packages: what pip must have installed.

    container: whether a file may hold many images, each under a key. picture: whether such files are pictures, unless a
    card says how their numbers become pixels. has_frames: whether a file may hold several images, counted from 0,
    which are channels where it is read whole.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()
    packages: ClassVar[tuple[str, ...]] = ()
    container: ClassVar[bool] = False
    picture: ClassVar[bool] = False
    has_frames: ClassVar[bool] = False

    def begins(self, start: bytes) -> bool:
        """Whether a file that begins so (its first 132 bytes) is of this kind, whatever it is called."""
        return False

    def read(self, path: Path, data: bytes, channels: int) -> RawImage:
        """The image of a file with these bytes; of `channels` channels where its axes allow several readings.

        Raises ImageFault.
        """
        raise NotImplementedError

    def entry(self, path: Path, key: str, channels: int) -> RawImage | bytes:
        """One image of a container, or the bytes of an encoded one. Raises ImageFault."""
        raise NotImplementedError

    def keys(self, path: Path) -> Collection[str]:
        """The keys of a container's images."""
        raise NotImplementedError

    def holds_many(self, path: Path) -> bool:
        """Whether this file is a container, and no image itself."""
        return self.container

    def window(self, path: Path) -> tuple[float, float] | None:
        """Black and white by the word of a file's header, which alone is read. Raises ImageFault."""
        return None

    def position(self, path: Path) -> Position | None:
        """Where an image lies in its series by a file's header, which alone is read. None where it tells nothing, or
        cannot be read."""
        return None

    def frames(self, path: Path) -> int:
        """How many frames a file holds, by its headers. Raises ImageFault."""
        raise NotImplementedError

    def frames_of(self, path: Path, data: bytes, channels: int) -> Frames:
        """The frames of a file with these bytes. Raises ImageFault."""
        raise NotImplementedError

    def no_key(self, path: Path, key: str) -> ImageFault:
        """The error to raise where a container has no such key."""
        return ImageFault(path, f"it holds no {key!r}", "correct the key, or take its row out of the table")

    def import_library(self, name: str, path: Path) -> ModuleType:
        """Import what the reader needs for a file. Raises ImageFault, with what to install."""
        try:
            return importlib.import_module(name)
        except ImportError:
            packages = " ".join(self.packages)
            raise ImageFault(path, f"{packages} is not installed, which reads it", f"pip install {packages}") from None


READERS: Registry[type[Reader]] = Registry("reader", "src.images.readers")


def image_suffixes() -> frozenset[str]:
    """The endings of all kinds of images, pictures among them."""
    return _suffixes(extensions_folder())


def reader_of(path: str | Path) -> Reader | None:
    """What reads a file, by its name; None for a picture, and for a name that tells nothing."""
    name = str(path).rpartition("/")[2].lower()
    if "." not in name:
        return None
    known = _by_suffix(extensions_folder())
    first, _, last = name.rpartition(".")
    double = f".{first.rpartition('.')[2]}.{last}"  # .nii.gz
    return known.get(double) or known.get(f".{last}")


def reader_by_content(start: bytes) -> Reader | None:
    """What reads a file that begins so; None where no kind does."""
    return next((kind for kind in _kinds(extensions_folder()) if kind.begins(start)), None)


def reader_of_file(file: Path) -> Reader | None:
    """What reads a file, by its name, or where that tells nothing by its first bytes. Raises OSError."""
    found = reader_of(file)
    if found is None:
        with file.open("rb") as part:
            found = reader_by_content(part.read(START))
    return found


def split_key(path: str | Path) -> tuple[str, str | None]:
    """The file and the key of one image in a container, of which the path may mean a part; None for the key of an
    ordinary file."""
    text, _ = split_region(path)
    for found in _containers(extensions_folder()).finditer(text):
        if not os.path.isdir(text[: found.end()]):  # a folder of parts may be named like a container
            return text[: found.end()], text[found.end() + 1 :]
    return text, None


def keys_of(file: str | Path) -> Collection[str]:
    """The keys of a container. Raises ImageFault where it cannot be read."""
    facts = Path(file).stat()
    return _keys(str(file), facts.st_size, facts.st_mtime_ns)


@cache
def _keys(file: str, size: int, changed: int) -> Collection[str]:
    return reader_of(file).keys(Path(file))


@cache
def _suffixes(own: Path) -> frozenset[str]:
    return frozenset([*SUFFIXES, *_by_suffix(own)])


@cache
def _containers(own: Path) -> re.Pattern[str]:
    endings = [re.escape(suffix) for suffix, reader in _by_suffix(own).items() if reader.container]
    return re.compile(rf"(?<=.)(?:{'|'.join(endings)})(?=/.)", re.IGNORECASE | re.DOTALL)


@cache
def _by_suffix(own: Path) -> dict[str, Reader]:
    """The readers by their endings."""
    return {suffix: kind for kind in _kinds(own) for suffix in kind.suffixes}


@cache
def _kinds(_own: Path) -> list[Reader]:
    """The readers; those of the user's folder too."""
    return [kind() for _, kind in READERS.items()]


def in_channels(path: Path, array: np.ndarray, channels: int) -> np.ndarray:
    """An array of two or three dimensions as (height, width, channels).

    Of three axes the last holds the channels, or the first where that alone has as many as the card says.
    Raises ImageFault for other arrays.
    """
    while array.ndim > 3 and 1 in array.shape:
        array = array.squeeze(array.shape.index(1))
    if array.ndim == 2:
        return array[:, :, None]
    if array.ndim != 3 or 0 in array.shape:
        raise ImageFault(path, f"an array of shape {array.shape}, and no picture")
    ends = array.shape[0], array.shape[2]
    if ends[1] != channels and (ends[0] == channels or (ends[1] not in (1, 3, 4) and ends[0] < ends[1])):
        return np.moveaxis(array, 0, 2)
    return array


def rows_of(name: str, shape: tuple[int, ...], texts: bool = False) -> list[str]:
    """The keys of the images in an array of a container: itself, or its rows where it is a stack of images.

    texts: whether its cells are encoded images.
    """
    rows = is_stack(shape) or (texts and len(shape) == 1)
    return [f"{name}/{row}" for row in range(shape[0])] if rows else [name]


def is_stack(shape: tuple[int, ...]) -> bool:
    """Whether an array of this shape holds images in its rows: of four axes, or of three where it is neither a picture
    in colours nor, nearly square, one of many bands."""
    if len(shape) != 3:
        return len(shape) == 4
    rows, height, last = shape
    bands = last <= MOST_CHANNELS and max(rows, height) <= 2 * min(rows, height)
    return rows > MOST_CHANNELS and last > 4 and not bands


class LastArray:
    """The stack that rows were asked of last, whole, where a row cannot be read alone. One for all threads, as large as
    the stack is."""

    def __init__(self) -> None:
        self._forget()
        os.register_at_fork(after_in_child=self._forget)  # a lock that is held stays so in the child

    def of(self, path: Path, name: str, load: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of this name in a file; `load` is called where it is not the last one."""
        facts = os.stat(path)
        key = str(path), name, facts.st_size, facts.st_mtime_ns
        with self._lock:
            if self._key != key:
                self._array, self._key = load(), key
            return self._array

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._key: tuple[object, ...] = ()
        self._array = np.zeros(0)


last_array = LastArray()


def check_size(path: Path, shape: tuple[int, ...]) -> None:
    """Raises TooLarge for an array of more numbers than a picture in colours may have; before it is read."""
    if math.prod(shape) > COLOURS * decode.LARGEST:
        raise TooLarge(path, f"an array of shape {tuple(shape)} is more than {COLOURS} x {decode.LARGEST} numbers")


def of_array(path: Path, array: np.ndarray, data: bytes, channels: int) -> RawImage:
    """A plain array as an image: what whole numbers can hold is their range. Raises ImageFault."""
    kind = array.dtype.kind
    if kind not in "buif":
        raise ImageFault(path, f"an array of {array.dtype}, and not of numbers")
    values = in_channels(path, array, channels)
    if kind == "b":
        return RawImage(values.astype(np.uint8), data, 0, 1)
    if kind == "f":
        return RawImage(values, data)
    limits = np.iinfo(array.dtype)
    return RawImage(values, data, float(limits.min), float(limits.max))
