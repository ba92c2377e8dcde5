"""HDF5: a container whose keys are images, encoded (as JPEG bytes) or as arrays."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from src.images.decode import ImageFault
from src.images.pixel_format import RawImage
from src.images.readers import READERS, Reader, check_size, of_array, rows_of

ENCODED = 1  # dimensions of an array of bytes


@READERS.register("hdf5")
class Hdf5(Reader):
    """`train.h5/ISIC_0015670` is the dataset of that name, `train.h5/images/12` the row 12 of `images`."""

    suffixes = (".h5", ".hdf5", ".hdf")
    packages = ("h5py",)
    container = True

    def begins(self, start: bytes) -> bool:
        return start.startswith(b"\x89HDF\r\n\x1a\n")

    def read(self, path: Path, data: bytes, channels: int) -> RawImage:
        raise ImageFault(path, "a container of many images", f"name one in the card: {path.name}/{{column}}")

    def entry(self, path: Path, key: str, channels: int) -> RawImage | bytes:
        with self._opened(path) as file:
            whole = self._dataset(path, file, key)
            if whole is not None:
                check_size(path, whole.shape)
                value = whole[()]
            else:
                name, _, row = key.rpartition("/")
                stack = self._dataset(path, file, name)
                if stack is None or not stack.ndim or not row.isdecimal() or int(row) >= len(stack):
                    raise self.no_key(path, key)
                check_size(path, stack.shape[1:])
                value = stack[int(row)]
        if isinstance(value, bytes | np.void):
            return bytes(value)
        array = np.asarray(value)
        if array.ndim == ENCODED and array.dtype == np.uint8:
            return array.tobytes()
        return of_array(path, array, array.tobytes(), channels)

    def keys(self, path: Path) -> Collection[str]:
        h5py = self.import_library("h5py", path)
        found: list[str] = []

        def note(name: str, node: Any) -> None:
            if not isinstance(node, h5py.Dataset):
                return
            found.extend(rows_of(name, node.shape, node.dtype.kind == "O"))

        with self._opened(path) as file:
            file.visititems(note)
        return frozenset(found)

    def _dataset(self, path: Path, file: Any, name: str) -> Any:
        """The dataset of this name, None where there is none. Raises ImageFault for one that lies in another file: a
        download may not name files of this machine."""
        if name not in file or not isinstance(file[name], self.import_library("h5py", path).Dataset):
            return None
        found = file[name]
        if found.file.filename != file.filename or found.external or found.is_virtual:
            raise ImageFault(path, f"{name!r} points to another file", "copy its images into this one")
        return found

    def _opened(self, path: Path) -> Any:
        """Opened anew each time (0.2 ms): an open file cannot be used by a forked process."""
        try:
            return self.import_library("h5py", path).File(path, "r")
        except OSError as error:
            raise ImageFault(path, f"no whole HDF5 file ({' '.join(str(error).split())[:100]})") from None
