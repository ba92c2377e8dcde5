"""NumPy's own files: .npy, and .npz with one array or with several under their names."""

import io
import zipfile
from collections.abc import Collection
from pathlib import Path

import numpy as np

from src.images.decode import ImageFault
from src.images.pixel_format import RawImage
from src.images.readers import READERS, Reader, of_array, rows_of


@READERS.register("npy")
class Npy(Reader):
    suffixes = (".npy",)

    def begins(self, start: bytes) -> bool:
        return start.startswith(b"\x93NUMPY")

    def read(self, path: Path, data: bytes, channels: int) -> RawImage:
        try:
            array = np.load(io.BytesIO(data), allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise ImageFault(path, f"no whole .npy file ({' '.join(str(error).split())[:100]})") from None
        return of_array(path, array, data, channels)


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
            return of_array(path, arrays[arrays.files[0]], data, channels)

    def entry(self, path: Path, key: str, channels: int) -> RawImage:
        with _opened(path, path) as arrays:
            if key in arrays.files:
                array = arrays[key]
            else:
                name, _, row = key.rpartition("/")
                if name not in arrays.files or not row.isdecimal() or int(row) >= len(arrays[name]):
                    raise self.no_key(path, key)
                array = arrays[name][int(row)]
        return of_array(path, array, array.tobytes(), channels)

    def keys(self, path: Path) -> Collection[str]:
        with _opened(path, path) as arrays:
            return frozenset(key for name in arrays.files for key in rows_of(name, arrays[name].shape))


def _opened(path: Path, source: Path | io.BytesIO) -> np.lib.npyio.NpzFile:
    try:
        return np.load(source, allow_pickle=False)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ImageFault(path, f"no whole .npz file ({' '.join(str(error).split())[:100]})") from None
