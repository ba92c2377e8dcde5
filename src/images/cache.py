"""Decoded, resized images, kept in one memory-mapped file, so that every epoch after that reads instead of decodes.

A cache is two files: `<name>.npy` with the squares, and `<name>.json`, written last, whose existence means that the
other is complete. The name holds a hash of all that the pixels depend on: a changed image makes another cache.
"""

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from src.core.errors import Problem
from src.core.files import read_json, sha256_of, write_json, written_whole
from src.core.paths import relative_paths
from src.images import decode
from src.images.cache_folder import GB, held, make_room, turn
from src.images.local_copy import copied, own_folder
from src.images.stream import ImageStream, each_in_threads


class ImageCache:
    """Squares (side, side, 3) uint8, read from the cache. Pickles small; each process maps the file for itself.

    `faults` tells the rows whose image could not be used and why; these rows are black.
    """

    def __init__(self, file: Path, rows: int, faults: dict[int, str]) -> None:
        self.file, self.rows, self.faults = file, rows, faults
        self._held: BinaryIO | None = None
        self._squares: np.ndarray | None = None

    @classmethod
    def open(
        cls,
        folder: Path,
        paths: Sequence[Path | str],
        side: int,
        fit: str,
        prepare: tuple[str, ...] = (),
        *,
        workers: int | None = None,
        say: Callable[[str], object] = print,
        bad: str = "raise",
        max_gb: float | None = None,
        local: Path | None = None,
    ) -> "ImageCache | ImageStream":
        """The squares of the images `paths`, one row each, in this order; built on the first call, by all cores.

        `folder` holds the caches of one competition. `max_gb` bounds it: the caches used longest ago are deleted to
        make room, and images that need more than that alone are not cached: an ImageStream, which is used the same
        way, decodes each when it is asked for (opening it reads only the headers). `local` is a folder on a disk of
        this machine: the cache is copied there once, bounded alike, and read from there; see src/images/local_copy.py.

        Unusable images are gathered, never skipped: `bad="raise"` raises a Problem that lists them,
        `bad="report"` returns with their rows in `faults`, for the caller to decide about.
        Raises Problem where the disk is too small, UsageError for a wrong `side`, `fit` or `prepare`.
        """
        source = ImageStream(paths, side, fit, prepare)
        if not paths:
            raise Problem(f"{folder}: no images were named to be cached")
        size = len(source) * side * side * 3
        if max_gb is not None and size > max_gb * GB:
            say(f"{size / GB:.2f} GB of images, the cache may hold {max_gb:g} GB: they are decoded on demand")
            source.check(workers)
            return _judged(source, source, bad)
        file = folder / f"{side}px-{fit}-{_key(folder, source)}.npy"
        own = own_folder(local, file, say) if local else None
        copy = own / file.name if own else file
        cache = _found(copy, source)
        if cache is None:
            cache = _shared(file, source, max_gb, workers, say, noted=local is not None)
            # In use, and so not deleted, until it is copied.
            if own and copied(file, copy, max_gb, say):
                cache = _found(copy, source) or cache
        return _judged(cache, source, bad)

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, index: int) -> np.ndarray:
        """Row `index` as (side, side, 3) uint8 RGB, a copy."""
        return self._map()[index].copy()

    def batch(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Rows `indices` as (n, side, side, 3) uint8 RGB, a copy."""
        return self._map()[np.asarray(indices, np.int64)]

    def _map(self) -> np.ndarray:
        if self._squares is None:
            self._held = held(self.file)
            self._squares = np.asarray(np.load(self.file, mmap_mode="r"))
        return self._squares

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_held": None, "_squares": None}


def _key(folder: Path, source: ImageStream) -> str:
    """A hash of all that the pixels depend on. Names count from the folder's parent, so that both can be moved."""
    recipe = [decode.VERSION, cv2.__version__, source.side, source.fit, source.prepare]
    digest = hashlib.sha256(json.dumps(recipe).encode())
    for path, name in zip(source.paths, relative_paths(source.paths, folder.parent), strict=True):
        digest.update(os.fsencode(name))
        with contextlib.suppress(OSError):  # a missing image is reported by the build
            facts = os.stat(path)
            digest.update(f"\0{facts.st_size} {facts.st_mtime_ns}".encode())
        digest.update(b"\0\0")
    return digest.hexdigest()[:16]


def _shared(
    file: Path,
    source: ImageStream,
    max_gb: float | None,
    workers: int | None,
    say: Callable[[str], object],
    noted: bool,
) -> ImageCache:
    """The cache in the competition's folder, built where there is none."""
    cache = _found(file, source)
    if cache is None:
        with turn(file.parent, say):
            # Looked for again first: another process may have built it while this one waited.
            while (cache := _found(file, source)) is None:
                make_room(file.parent, len(source) * source.side**2 * 3, max_gb)
                _build(file, source, workers, say, noted)
    return cache


def _found(file: Path, source: ImageStream) -> ImageCache | None:
    """The complete cache in `file`, held and marked as used just now; None where there is none."""
    mark = file.with_suffix(".json")
    try:
        handle = held(file)
        facts = read_json(mark)
    except FileNotFoundError:
        return None
    if os.fstat(handle.fileno()).st_size != facts["bytes"]:
        return None
    with contextlib.suppress(PermissionError):  # another user's cache can be read, though not marked
        os.utime(mark)
    cache = ImageCache(file, facts["images"], {int(row): reason for row, reason in facts["faults"].items()})
    cache._held = handle
    if any(source.fault(row) is None for row in cache.faults):
        return None  # it was the disk or a permission that failed, not the image: such things pass
    return cache


def _build(file: Path, source: ImageStream, workers: int | None, say: Callable[[str], object], noted: bool) -> None:
    """noted: note its hash, which all copies are held to; that reads it all back, so only where copies are made."""
    say(f"caching {len(source)} images at {source.side} x {source.side} pixels in {file}")
    shape = (len(source), source.side, source.side, 3)
    with written_whole(file) as part, part.open("rb+") as out:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(out, header)
        out.flush()
        start, row_bytes = out.tell(), source.side * source.side * 3
        out.truncate(start + len(source) * row_bytes)  # rows never written are black

        def fill(row: int) -> None:
            # Written rather than mapped: a full disk is then an error, and not the end of the process.
            if os.pwrite(out.fileno(), source[row], start + row * row_bytes) < row_bytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))

        faults = each_in_threads(fill, len(source), workers, "caching images")
        noted_hash = {"sha256": sha256_of(part)} if noted else {}
    facts = {"images": len(source), "side": source.side, "fit": source.fit, "prepare": source.prepare}
    write_json(file.with_suffix(".json"), facts | {"bytes": file.stat().st_size, "faults": faults} | noted_hash)


def _judged(images: ImageCache | ImageStream, source: ImageStream, bad: str) -> ImageCache | ImageStream:
    if bad == "report" or not images.faults:
        return images
    first = [f"  {source.paths[row]}: {reason}" for row, reason in list(images.faults.items())[:10]]
    if len(images.faults) > len(first):
        first.append(f"  and {len(images.faults) - len(first)} more")
    raise Problem(
        f"{len(images.faults)} of {len(source)} images can not be used:\n" + "\n".join(first) + "\n"
        "Remedy: copy or download them again, or take their rows out of the table"
    )
