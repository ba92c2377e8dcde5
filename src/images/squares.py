"""Squares that were made while files were looked at for the first time, so that a cache need not decode them again."""

import os
import tempfile
import threading
from pathlib import Path

import numpy as np

from src.images.stream import ImageStream

MOST = 1_000_000_000  # bytes that may lie on the disk twice until the cache is written


class Squares:
    """The squares of one stream, by path, in a file without a name. Of an image without one `get` returns None."""

    def __init__(self, folder: Path, stream: ImageStream) -> None:
        self.stream = stream
        self.shape = stream.blank(1)[0].shape
        self.bytes = int(np.prod(self.shape)) * stream.pixels.dtype.itemsize
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  it lives as long as this object
        self._rows: dict[str, int] = {}
        self._lock = threading.Lock()

    def put(self, path: str, image: np.ndarray) -> None:
        """The square of an image that was read for the stream's `at_least`. Beyond MOST none is kept."""
        if len(self._rows) * self.bytes >= MOST:
            return
        square = self.stream.square(image)
        with self._lock:
            row = len(self._rows)
            self._rows[path] = row
        os.pwrite(self._file.fileno(), square, row * self.bytes)

    def get(self, path: str) -> np.ndarray | None:
        row = self._rows.get(path)
        if row is None:
            return None
        data = os.pread(self._file.fileno(), self.bytes, row * self.bytes)
        return np.frombuffer(data, self.stream.pixels.dtype).reshape(self.shape)

    def serve(self, other: ImageStream) -> bool:
        """Whether the other stream's squares are these."""
        mine, theirs = ((one.side, one.fit, one.prepare, one.pixels) for one in (self.stream, other))
        return mine == theirs
