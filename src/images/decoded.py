"""Images that were decoded when files were looked at for the first time: a cache need not decode them again."""

import os
import tempfile
import threading
from typing import BinaryIO

import numpy as np

from src.images.stream import ImageStream

MOST = 1_000_000_000  # bytes that may lie on the disk twice until the cache is written


class DecodedImages:
    """The images of one stream at its size, by path, in a nameless file in the system's folder for temporary ones,
    made when the first one comes: what the competition's own disk has room for is not touched.

    Of an image that it does not hold `get` returns None: beyond MOST none is kept, and none at all where that disk is
    full. Forked processes share the file; a pickled copy is empty.
    """

    def __init__(self, stream: ImageStream) -> None:
        self.stream = stream
        self._shape = stream.blank(1)[0].shape
        self._bytes = stream.blank(1).nbytes
        self.clear()

    def clear(self) -> None:
        """Forgets all; the disk has its room back."""
        self._rows: dict[str, int] = {}
        self._most = MOST
        self._file: BinaryIO | None = None
        self._lock = threading.Lock()

    def put(self, path: str, image: np.ndarray) -> None:
        """An image that was read for the stream's `at_least`."""
        made = self.stream.made_of(image)
        with self._lock:
            row = len(self._rows)
            if (row + 1) * self._bytes > self._most:
                return
            try:
                if self._file is None:
                    self._file = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as this object
                written = os.pwrite(self._file.fileno(), made, row * self._bytes)
            except OSError:
                written = 0
            if written == self._bytes:
                self._rows[path] = row
            else:
                self._rows, self._file, self._most = {}, None, 0

    def get(self, path: str) -> np.ndarray | None:
        """(height, width, channels), or None."""
        row = self._rows.get(path)
        if row is None:
            return None
        data = os.pread(self._file.fileno(), self._bytes, row * self._bytes)
        return np.frombuffer(data, self.stream.pixels.dtype).reshape(self._shape)

    def serve(self, other: ImageStream) -> bool:
        """Whether the other stream has the same images."""
        mine, theirs = ((one.size, one.fit, one.prepare, one.pixels) for one in (self.stream, other))
        return mine == theirs

    def __reduce__(self) -> tuple:
        return DecodedImages, (self.stream,)
