"""NumPy's own files: .npy, and .npz with one array or with several under their names."""

import io
import math
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO

import numpy as np

from src.images.decode import ImageFault
from src.images.pixel_format import RawImage
from src.images.readers import READERS, Reader, check_size, is_stack, last_array, of_array, rows_of


@READERS.register("npy")
class Npy(Reader):
    """One picture, or a stack of them: `X_train.npy/12` is its row 12, read alone."""

    suffixes = (".npy",)
    container = True

    def begins(self, start: bytes) -> bool:
        return start.startswith(b"\x93NUMPY")

    def holds_many(self, path: Path) -> bool:
        return bool(self._rows(path))

    def read(self, path: Path, data: bytes, channels: int) -> RawImage:
        return of_array(path, _of_bytes(path, data), data, channels)

    def entry(self, path: Path, key: str, channels: int) -> RawImage:
        stack = _loaded(path, path, "r")
        if not key.isdecimal() or not stack.ndim or int(key) >= len(stack):
            raise self.no_key(path, key)
        check_size(path, stack.shape[1:])
        row = np.array(stack[int(key)])
        return of_array(path, row, row.tobytes(), channels)

    def keys(self, path: Path) -> Collection[str]:
        return [str(row) for row in range(self._rows(path))]

    def _rows(self, path: Path) -> int:
        """How many images the file holds in rows; 0 for one that is an image itself, or is damaged."""
        try:
            with path.open("rb") as file:
                shape = _shape(file)
        except (ValueError, EOFError, OSError):
            return 0
        return shape[0] if is_stack(shape) else 0


@READERS.register("npz")
class Npz(Reader):
    """`scans.npz/a17` is one array of several; `scans.npz/images/3` is the row 3 of the array `images`."""

    suffixes = (".npz",)
    container = True

    def read(self, path: Path, data: bytes, channels: int) -> RawImage:
        with _opened(path, io.BytesIO(data)) as arrays:
            if len(arrays.files) != 1:
                names = ", ".join(arrays.files[:3])
                raise ImageFault(
                    path,
                    f"it holds {len(arrays.files)} arrays ({names})",
                    f"name one in the card: {path.name}/{{column}}",
                )
            return of_array(path, _whole(path, arrays.files[0], arrays), data, channels)

    def entry(self, path: Path, key: str, channels: int) -> RawImage:
        with _opened(path, path) as arrays:
            if key in arrays.files:
                array = _whole(path, key, arrays)
            else:
                name, _, row = key.rpartition("/")
                if name not in arrays.files or not row.isdecimal():
                    raise self.no_key(path, key)
                stack = last_array.of(path, name, lambda: arrays[name])  # each row alone would unpack it anew
                if not stack.ndim or int(row) >= len(stack):
                    raise self.no_key(path, key)
                array = stack[int(row)]
                check_size(path, array.shape)
        return of_array(path, array, array.tobytes(), channels)

    def keys(self, path: Path) -> Collection[str]:
        found: list[str] = []
        try:
            with zipfile.ZipFile(path) as file:
                for name in filter(lambda one: one.endswith(".npy"), file.namelist()):
                    with file.open(name) as part:
                        found += rows_of(name.removesuffix(".npy"), _shape(part))
        except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise _broken(path, ".npz", error) from None
        return frozenset(found)


def _whole(path: Path, name: str, arrays: np.lib.npyio.NpzFile) -> np.ndarray:
    """An array of several. Small files unfold into huge ones: its header tells before it is unpacked."""
    with arrays.zip.open(f"{name}.npy") as part:
        check_size(path, _shape(part))
    return arrays[name]


def _shape(file: BinaryIO) -> tuple[int, ...]:
    """Of an array in NumPy's format, from its header."""
    return _header(file)[0]


def _header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether columns come first, and type, of an array in NumPy's format. Raises ValueError."""
    read = (
        np.lib.format.read_array_header_1_0
        if np.lib.format.read_magic(file) == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    return read(file)


def _loaded(path: Path, source: Path | io.BytesIO, mode: str | None = None) -> np.ndarray:
    try:
        return np.load(source, mmap_mode=mode, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise _broken(path, ".npy", error) from None


def _of_bytes(path: Path, data: bytes) -> np.ndarray:
    """The array of a whole file, which shares the memory of its bytes. Raises ImageFault."""
    file = io.BytesIO(data)
    try:
        shape, by_columns, kind = _header(file)
        check_size(path, shape)
        if kind.hasobject:
            raise ValueError("it holds objects, and not numbers")
        array = np.frombuffer(data, kind, math.prod(shape), file.tell())
    except (ValueError, EOFError) as error:
        raise _broken(path, ".npy", error) from None
    return array.reshape(shape, order="F" if by_columns else "C")


def _broken(path: Path, kind: str, error: Exception) -> ImageFault:
    return ImageFault(path, f"no whole {kind} file ({' '.join(str(error).split())[:100]})")


def _opened(path: Path, source: Path | io.BytesIO) -> np.lib.npyio.NpzFile:
    try:
        return np.load(source, allow_pickle=False)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise _broken(path, ".npz", error) from None
