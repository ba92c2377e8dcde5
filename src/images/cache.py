"""Decoded, resized images, kept in one memory-mapped file, so that every epoch after that reads instead of decodes.

A cache is two files: `<name>.npy` with the squares, and `<name>.json`, written last, whose existence means that the
other is complete. The name holds a hash of all that the pixels depend on: a changed image makes another cache.

Behind the squares stands a CRC-32 of each, four bytes a row, which a disk or a copy that changes bytes does not get
past: a small cache is held to them when it is opened, and is made anew where it differs; of a large one each process
checks a row when it first reads it.
"""

import contextlib
import errno
import hashlib
import io
import json
import math
import mmap
import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from src.config.image_size import SizeWord
from src.core.console import log, note, silenced
from src.core.errors import Problem
from src.core.files import DamagedFile, MissingFile, damaged, read_json, write_json, written_whole
from src.core.paths import relative_paths
from src.images import decode, pixel_format
from src.images.cache_folder import GB, folder_lock, make_room, opened_shared
from src.images.decoded import DecodedImages
from src.images.fits import version_of
from src.images.local_copy import copied, own_folder
from src.images.pixel_format import STANDARD, PixelFormat
from src.images.prepare_steps import versions_of
from src.images.stream import ImageStream, each_in_threads

CHECKED_AT_OPEN = 100_000_000  # bytes up to which all of a cache is read when it is opened: 0.03 s
HEAD = 4096  # bytes that hold the header of the array
BLOCK = 256  # rows checked in one piece of work
SUM = np.dtype("<u4")  # of a checksum in the file


class ImageCache:
    """Images (height, width, channels), read from the cache. Pickles small; each process maps the file for itself.

    `faults` tells the rows whose image could not be used and why; these rows are black. `summed`: whether the file
    holds the checksums of its rows; older ones do not.
    """

    def __init__(
        self,
        file: Path,
        rows: int,
        faults: dict[int, str],
        summed: bool = True,
        dtype: np.dtype = STANDARD.dtype,
    ) -> None:
        self.file, self.rows, self.faults, self.summed, self.dtype = file, rows, faults, summed, dtype
        self._held: BinaryIO | None = None
        self._squares: np.ndarray | None = None
        self._sums: np.ndarray | None = None
        self._checked: np.ndarray | None = None

    @classmethod
    def open(
        cls,
        folder: Path,
        paths: Sequence[Path | str],
        size: SizeWord,
        fit: str,
        prepare: tuple[str, ...] = (),
        *,
        workers: int | None = None,
        bad: str = "raise",
        max_gb: float | None = None,
        local: Path | None = None,
        digests: Sequence[int] | None = None,
        build: bool = True,
        pixels: PixelFormat = STANDARD,
        decoded: DecodedImages | None = None,
    ) -> "ImageCache | ImageStream":
        """The arrays of the images `paths`, one row each, in this order; built on the first call, by all cores.

        `folder` holds the caches of one competition. `max_gb` bounds it: the caches used longest ago are deleted to
        make room, and images that need more than that alone are not cached: an ImageStream, which is used the same
        way, decodes each when it is asked for (opening it reads only the headers). `local` is a folder on a disk of
        this machine: the cache is copied there once, bounded alike, and read from there; see src/images/local_copy.py.
        `digests` are hashes of the files' bytes: the cache is theirs, however often the files are moved or touched.
        Without them it is that of the files' sizes and times. With build=False a cache that is there is read, and none
        is written: for images that are read once. `decoded` holds images that need not be decoded.

        Unusable images are gathered, never skipped: `bad="raise"` raises a Problem that lists them,
        `bad="report"` returns with their rows in `faults`, for the caller to decide about.
        Raises Problem where the disk is too small, UsageError for a wrong `size`, `fit` or `prepare`.
        """
        source = ImageStream(paths, size, fit, prepare, pixels)
        if decoded is not None and decoded.serve(source):
            source.made = decoded.get
        if not paths:
            raise Problem(f"{folder}: no images were named to be cached", code="no-images")
        needed = _size(source)
        if max_gb is not None and needed > max_gb * GB:
            note(
                "decoded-on-demand",
                f"{needed / GB:.2f} GB of images, the cache may hold {max_gb:g} GB: they are decoded on demand",
            )
            source.check(workers)
            return _judged(source, source, bad)
        file = folder / f"{source.size}px-{fit}-{_key(folder, source, digests)}.npy"
        if not build:
            cache = _found(file, source)
            if cache is None:
                source.check(workers)
            return _judged(cache or source, source, bad)
        own = own_folder(local, file) if local else None
        shared = partial(_shared, file, source, max_gb, workers)
        if own is None:
            return _judged(shared(), source, bad)
        copy = own / file.name
        cache = _found(copy, source)
        if cache is None:
            cache = shared()  # in use, and so not deleted, until it is copied
            copied_now = _copied(cache, copy, max_gb)
            cache = (_found(copy, source) if copied_now else None) or shared()
        return _judged(cache, source, bad)

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, index: int) -> np.ndarray:
        """Row `index` as (height, width, channels), a copy. Raises DamagedFile."""
        return self.batch([range(self.rows)[index]])[0]

    def batch(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Rows `indices` as (n, height, width, channels), a copy. Raises DamagedFile."""
        rows = np.asarray(indices, np.int64)
        squares = self._map()[rows]
        if self._sums is not None:
            for place in np.flatnonzero(~self._checked[rows]):
                if zlib.crc32(squares[place]) != self._sums[rows[place]]:
                    raise self._damage(f"is damaged (row {rows[place]})")
            self._checked[rows] = True
        return squares

    def whole(self) -> bool:
        """Whether every row is as it was written, on all cores; True where there are no checksums."""
        try:
            squares = self._map()
        except DamagedFile:
            return False
        if self._sums is None:
            return True
        starts = range(0, self.rows, BLOCK)

        def same(start: int) -> bool:
            return all(zlib.crc32(squares[k]) == self._sums[k] for k in range(start, min(start + BLOCK, self.rows)))

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            whole = all(pool.map(same, starts))
        self._checked[:] = whole
        return whole

    def _map(self) -> np.ndarray:
        if self._squares is None:
            try:
                self._held = self._held or opened_shared(self.file)
                self._squares, self._sums = self._mapped(self._held.fileno())
            except FileNotFoundError:  # deleted by hand, or by a process that saw no mark of it
                raise self._damage("is gone") from None
            except Exception as error:  # whatever a broken header leads to
                raise self._damage(f"is damaged ({' '.join(str(error).split())})") from None
            self._checked = np.zeros(self.rows, bool)
        return self._squares

    def _mapped(self, descriptor: int) -> tuple[np.ndarray, np.ndarray | None]:
        """The squares, and the checksums where there are any, of the open file: its name may go, or be another's.

        Forked processes share the place up to which it was read, so that this is left alone.
        """
        head = io.BytesIO(os.pread(descriptor, HEAD, 0))
        np.lib.format.read_magic(head)
        shape, _, kind = np.lib.format.read_array_header_1_0(head)
        if kind != self.dtype or len(shape) != 4 or shape[0] != self.rows:
            raise ValueError("its header")
        mapped = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
        squares = np.frombuffer(mapped, kind, math.prod(shape), head.tell()).reshape(shape)
        if not self.summed:
            return squares, None
        return squares, np.frombuffer(mapped, SUM, self.rows, len(mapped) - self.rows * SUM.itemsize)

    def _damage(self, reason: str) -> DamagedFile:
        """The error to raise. Without its mark the cache does not count any more, so the next command makes it anew.

        One that another process has made anew meanwhile keeps its mark.
        """
        with contextlib.suppress(OSError):
            if self._held is None or os.path.samestat(os.fstat(self._held.fileno()), self.file.stat()):
                self.file.with_suffix(".json").unlink()
        return damaged(self.file, reason, "give the same command again, which makes it anew")

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_held": None, "_squares": None, "_sums": None, "_checked": None}


def _key(folder: Path, source: ImageStream, digests: Sequence[int] | None) -> str:
    """A hash of all that the pixels depend on. Names count from the folder's parent, so that both can be moved."""
    recipe = [decode.VERSION, cv2.__version__, source.size.word, version_of(source.fit), versions_of(source.prepare)]
    recipe += [] if source.pixels == STANDARD else [source.pixels.to_json(), pixel_format.VERSION]
    digest = hashlib.sha256(json.dumps(recipe).encode())
    of_files = _sizes_and_times(source) if digests is None else map(str, digests)
    for name, text in zip(relative_paths(source.paths, folder.parent), of_files, strict=True):
        digest.update(os.fsencode(name) + f"\0{text}\0\0".encode())
    return digest.hexdigest()[:16]


def _sizes_and_times(source: ImageStream) -> Iterator[str]:
    for path in source.paths:
        try:
            facts = os.stat(path)
        except OSError:  # a missing image is reported by the build
            yield ""
        else:
            yield f"{facts.st_size} {facts.st_mtime_ns}"


def _shared(
    file: Path,
    source: ImageStream,
    max_gb: float | None,
    workers: int | None,
) -> ImageCache:
    """The cache in the competition's folder, built where there is none."""
    cache = _found(file, source)
    if cache is None:
        with folder_lock(file.parent):
            # Looked for again first: another process may have built it while this one waited.
            while (cache := _found_silently(file, source)) is None:
                make_room(file.parent, _size(source), max_gb)
                _build(file, source, workers)
    return cache


def _copied(cache: ImageCache, copy: Path, max_gb: float | None) -> bool:
    """Whether there is a copy now. A cache that proves damaged when its copy is read does not count any more."""

    def whole(part: Path) -> bool:
        return ImageCache(part, cache.rows, {}, cache.summed, cache.dtype).whole()

    try:
        return copied(cache.file, copy, max_gb, whole)
    except DamagedFile as damage:
        cache._damage("is damaged")
        log.info(str(damage))
        return False


def _size(source: ImageStream) -> int:
    return len(source) * (_row_bytes(source) + SUM.itemsize)


def _row_bytes(source: ImageStream) -> int:
    return source.size.pixels * source.pixels.channels * source.pixels.dtype.itemsize


def _found_silently(file: Path, source: ImageStream) -> ImageCache | None:
    with silenced():
        return _found(file, source)


def _found(file: Path, source: ImageStream) -> ImageCache | None:
    """The complete cache in `file`, held and marked as used just now; None where there is none, or it is damaged."""
    mark = file.with_suffix(".json")
    try:
        handle = opened_shared(file)
        facts = read_json(mark)
        faults = {int(row): reason for row, reason in facts["faults"].items()}
        cache = ImageCache(file, facts["images"], faults, "crc32" in facts, source.pixels.dtype)
        size = facts["bytes"]
    except (FileNotFoundError, MissingFile):
        return None
    except (DamagedFile, ValueError, AttributeError):
        size = -1
    if os.fstat(handle.fileno()).st_size != size or cache.rows != len(source):
        note("cache-remade", f"{file} is not whole: it is made anew")
        return None
    if not cache.summed and os.access(file.parent, os.W_OK):
        note("cache-remade", f"{file} was made before caches had checksums: it is made anew")
        return None
    cache._held = handle
    if size <= CHECKED_AT_OPEN and not cache.whole():
        cache._damage("is damaged")
        note("cache-remade", f"{file} is damaged: it is made anew")
        return None
    with contextlib.suppress(OSError):  # another user's cache, or one on a read-only mount, can be read
        os.utime(mark)
    if any(source.fault(row) is None for row in cache.faults):
        return None  # it was the disk or a permission that failed, not the image: such things pass
    return cache


def _build(file: Path, source: ImageStream, workers: int | None) -> None:
    note("cache-made", f"caching {len(source)} images at {source.size.height} x {source.size.width} pixels in {file}")
    shape = (len(source), *source.size.shape, source.pixels.channels)
    with written_whole(file) as part, part.open("rb+") as out:
        header = {"descr": source.pixels.dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(out, header)
        out.flush()
        start, row_bytes = out.tell(), _row_bytes(source)
        out.truncate(start + len(source) * row_bytes)  # rows never written are black
        sums = np.full(len(source), zlib.crc32(bytes(row_bytes)), SUM)

        def fill(row: int) -> None:
            square = source[row]
            sums[row] = zlib.crc32(square)
            # Written rather than mapped: a full disk is then an error, and not the end of the process.
            if os.pwrite(out.fileno(), square, start + row * row_bytes) < row_bytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))

        faults = each_in_threads(fill, len(source), workers, "caching images")
        if os.pwrite(out.fileno(), sums, start + len(source) * row_bytes) < sums.nbytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
    facts = {"images": len(source), "side": source.size.word, "fit": source.fit, "prepare": source.prepare}
    facts |= {"bytes": file.stat().st_size, "faults": faults, "crc32": zlib.crc32(sums)}
    write_json(file.with_suffix(".json"), facts)


def _judged(images: ImageCache | ImageStream, source: ImageStream, bad: str) -> ImageCache | ImageStream:
    if bad == "report" or not images.faults:
        return images
    first = [f"  {source.paths[row]}: {reason}" for row, reason in list(images.faults.items())[:10]]
    if len(images.faults) > len(first):
        first.append(f"  and {len(images.faults) - len(first)} more")
    raise Problem(
        f"{len(images.faults)} of {len(source)} images can not be used:\n" + "\n".join(first) + "\n"
        "Remedy: copy or download them again, or take their rows out of the table",
        code="bad-image",
    )
