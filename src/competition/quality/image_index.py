"""What every image is, read once and kept in cache/look.npz: size, kind, readable or not, hash, and a thumbnail.

A file counts as the one that was looked at while its size and times are as they were. Where only the time of its last
change of any kind (ctime) is another, as after a copy, a chmod, or an exchange for a file of the same size and time, it
is read again and held to the hash that was kept.
"""

import contextlib
import errno
import hashlib
import mmap
import os
import threading
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from src.core.console import note
from src.core.files import DamagedFile, check_zip, read_npz, written_whole
from src.core.wording import plural
from src.images.bands import band_files
from src.images.cache_folder import folder_lock
from src.images.decode import VERSION
from src.images.decoded import DecodedImages
from src.images.masks import mask_files
from src.images.pixel_format import STANDARD, PixelFormat, to_shown
from src.images.read import identifying_bytes, read_for_both, read_image
from src.images.readers import split_key
from src.images.regions import split_region
from src.images.stream import each_in_threads

INDEX = "look.npz"
READ = ("stamp", "digest", "hash", "size", "fault")
THUMB, NAME = "thumb", "name"
BLOCK = 1 << 16  # names compared at a time
CHECKED = 256_000_000  # bytes up to which the mapped part is held to its checksum too, 0.1 s; beyond, what is read is


class StoredIndex:
    """An earlier index. Its thumbnails, most of it, stay on the disk until they are asked for.

    facts: the arrays of READ and the mapped `thumb`, a row an image each.
    """

    def __init__(self, file: Path) -> None:
        self.facts = read_npz(file, READ)
        self.facts["fault"] = self.facts["fault"].astype(object)
        self.facts[THUMB] = _mapped(file, THUMB)
        self._names = _mapped(file, NAME)

    def places(self, names: list[str]) -> np.ndarray:
        """The row of each name, (len(names),) int64, -1 where there is none."""
        if len(names) == len(self._names) and all(
            self._holds(names[start : start + BLOCK], start) for start in range(0, len(names), BLOCK)
        ):
            return np.arange(len(names))
        return pd.Index(self._names.tolist(), dtype=object).get_indexer(names)

    def _holds(self, names: list[str], start: int) -> bool:
        """Whether these names stand in the file from the row `start` on."""
        same = np.array_equal(self._names[start : start + len(names)], np.array(names))
        let_go(self._names)
        return same


def let_go(mapped: np.ndarray) -> None:
    """Free the memory of an array that is mapped; what is asked for again is read anew. Others stay as they are."""
    if isinstance(mapped.base, mmap.mmap):
        mapped.base.madvise(mmap.MADV_DONTNEED)


def read_index(file: Path, rule: str) -> StoredIndex | None:
    """An earlier index; None where there is none, or it was made by another rule."""
    try:
        if str(read_npz(file, ("rule",))["rule"]) != rule:
            return None
        if file.stat().st_size <= CHECKED:
            check_zip(file)
        return StoredIndex(file)
    except (DamagedFile, ValueError, OSError, KeyError):  # or missing: it is only a copy of what can be made again
        return None


def write_index(file: Path, rule: str, names: list[str], facts: dict[str, np.ndarray]) -> None:
    """facts: those of READ and `thumb`. Uncompressed, as it must be to be mapped."""
    text = {key: values.astype(str) if values.dtype == object else values for key, values in facts.items()}
    with written_whole(file) as part, part.open("wb") as out:
        np.savez(out, name=np.array(names, dtype=str), rule=rule, **text)


def _mapped(file: Path, key: str) -> np.ndarray:
    """An array of an uncompressed npz, read-only, of which only what is looked at comes into memory."""
    with file.open("rb") as raw:
        with zipfile.ZipFile(raw) as archive:
            entry = archive.getinfo(f"{key}.npy")
        raw.seek(entry.header_offset + 26)  # the local header's two lengths; its name and extra field follow
        lengths = raw.read(4)
        raw.seek(int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little"), 1)
        np.lib.format.read_magic(raw)
        shape, _, dtype = np.lib.format.read_array_header_1_0(raw)
        return np.memmap(raw, dtype, "r", offset=raw.tell(), shape=shape) if 0 not in shape else np.zeros(shape, dtype)


THUMB_SIDE = 16  # pixels a side, RGB
GRAY_SIDE = 32  # of what is hashed
DECODED_SIDE = 128  # pixels that the short side has at least: a large JPEG is decoded reduced, two to four times faster
THUMB_BLOCK = 1 << 15  # thumbnails at a time
FACTS = ("digest", "hash", "thumb", "size", "fault")  # of an ImageIndex, beside its paths
READ_AGAIN = 2_000_000_000  # bytes of files of which only the ctime is another that are read again: some 2 s
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
RULE = f"{VERSION}-2"  # of what is computed here: another one makes older indices worthless


@dataclass(frozen=True)
class ImageIndex:
    """One entry an image, in the order of `paths`, which are absolute.

    digest: (n,) uint64 of the file's bytes. hash: (n,) uint64, see `perceptual`. thumb: (n, 16, 16, 3) uint8.
    size: (n, 2) int32, height and width as decoded. fault: why it cannot be read, empty where it can.
    """

    paths: np.ndarray
    digest: np.ndarray
    hash: np.ndarray
    thumb: np.ndarray
    size: np.ndarray
    fault: np.ndarray

    def of(self, paths: Iterable[str]) -> np.ndarray:
        """The entries of these paths, in the order asked for. Raises KeyError for one that was not looked at."""
        paths = list(paths)
        entries = pd.Index(self.paths, dtype=object).get_indexer(paths)
        if (entries < 0).any():
            raise KeyError(paths[int((entries < 0).argmax())])
        return entries

    @cached_property
    def levels(self) -> np.ndarray:
        """(n,) how bright each image is, the mean of its thumbnail, of 255."""
        return self._of_thumbs(lambda flat: flat.mean(axis=1))

    @cached_property
    def contrast(self) -> np.ndarray:
        """(n,) the standard deviation of each thumbnail, of 255."""
        return self._of_thumbs(lambda flat: flat.astype(np.float32).std(axis=1))

    def _of_thumbs(self, fact: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """A fact of each thumbnail, some at a time: there may be more of them than fit into memory."""
        facts = [np.zeros(0)]
        for start in range(0, len(self.thumb), THUMB_BLOCK):
            block = self.thumb[start : start + THUMB_BLOCK]
            facts.append(fact(block.reshape(len(block), -1)))
            let_go(self.thumb)
        return np.concatenate(facts)


def index_images(
    paths: Iterable[str],
    folder: Path,
    pixels: PixelFormat = STANDARD,
    alone: bool = False,
    decoded: DecodedImages | None = None,
) -> ImageIndex:
    """Look at these images; what `folder` holds of an earlier index, of files that have not changed since, is kept.

    alone: whether no other process looks meanwhile; whoever has something to look at sees to that first. decoded: gets
    those of all images that are looked at.
    """
    paths = sorted(set(paths))
    stamps = np.fromiter((fact for path in paths for fact in stamp_of(path)), np.int64, 3 * len(paths)).reshape(-1, 3)
    file, beside = folder / INDEX, f"{folder.parent}/"
    names = [path.removeprefix(beside) for path in paths]
    rule = RULE if pixels == STANDARD else f"{RULE} {pixels.to_json()}"
    known = read_index(file, rule)
    old = np.full(len(paths), -1) if known is None else known.places(names)
    same, touched = old >= 0, np.zeros(len(paths), bool)
    if known is not None:
        kept = known.facts["stamp"]
        same[same] = (kept[old[same], :2] == stamps[same, :2]).all(axis=1)
        # Looks made before the third time was kept are held to their hashes once.
        touched[same] = kept[old[same], 2] != stamps[same, 2] if kept.shape[1] == 3 else True
        if (same & ~touched).all() and len(paths) == len(kept) and (np.diff(old) == 1).all():
            return ImageIndex(np.array(paths, dtype=object), **{key: known.facts[key] for key in FACTS})
    if (touched | ~same).any() and not alone:
        try:
            with folder_lock(folder, "look"):
                for part in folder.glob(f".{file.name}.*.part"):
                    part.unlink()  # of one that was killed
                return index_images(paths, folder, pixels, alone=True, decoded=decoded)
        except OSError as error:
            if not same.all() or error.errno not in READ_ONLY:
                raise
    if touched.any():
        same[touched] = _as_kept(
            paths, np.flatnonzero(touched), stamps[touched, 0], known.facts["digest"][old[touched]]
        )
    fresh = _nothing_seen(len(paths))
    for key, values in fresh.items():
        if same.any():
            values[same] = known.facts[key][old[same]]
    todo = np.flatnonzero(~same)
    if len(todo):
        note("images-looked-at", f"looking at {plural(len(todo), 'image')}")
        faults = each_in_threads(
            lambda k: _one(paths[todo[k]], int(todo[k]), fresh, pixels, decoded), len(todo), None, "looking"
        )
        for k, reason in faults.items():
            fresh["fault"][todo[k]] = reason
    if alone and (len(todo) or touched.any()):
        write_index(file, rule, names, fresh | {"stamp": stamps})
    return ImageIndex(np.array(paths, dtype=object), **fresh)


def _as_kept(paths: list[str], rows: np.ndarray, sizes: np.ndarray, digests: np.ndarray) -> np.ndarray:
    """(rows,) whether these files have the hashes that were kept of them.

    Beyond READ_AGAIN bytes of them, as where all of a large competition was moved, their sizes and times count.
    """
    if sizes.sum() > READ_AGAIN:
        return np.ones(len(rows), bool)
    found = np.zeros(len(rows), np.uint64)

    def read(k: int) -> None:
        with contextlib.suppress(OSError):  # then it is looked at again, and what is wrong with it is told
            found[k] = _digest(paths[rows[k]])

    each_in_threads(read, len(rows), None, "reading again")
    return found == digests


def _nothing_seen(images: int) -> dict[str, np.ndarray]:
    return {
        "digest": np.zeros(images, np.uint64),
        "hash": np.zeros(images, np.uint64),
        "thumb": np.zeros((images, THUMB_SIDE, THUMB_SIDE, 3), np.uint8),
        "size": np.zeros((images, 2), np.int32),
        "fault": np.full(images, "", dtype=object),
    }


def perceptual(gray: np.ndarray) -> int:
    """A hash of 64 bits that changes little with size and compression: the signs of the 64 slowest waves.

    gray: (32, 32) float32. Known as pHash: the low 8 x 8 of a cosine transform, each against their median.
    """
    low = cv2.dct(gray)[:8, :8].ravel()
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


def _one(
    path: str, row: int, fresh: dict[str, np.ndarray], pixels: PixelFormat, decoded: DecodedImages | None = None
) -> None:
    if decoded is None:
        image, size, data = read_image(Path(path), pixels, DECODED_SIDE)
    else:
        (image, size, data), other = read_for_both(Path(path), pixels, DECODED_SIDE, decoded.stream.at_least)
        decoded.put(path, other)
    image = to_shown(image)
    fresh["digest"][row] = _digest_of(data, path)
    fresh["size"][row] = size
    fresh["thumb"][row] = cv2.resize(image, (THUMB_SIDE, THUMB_SIDE), interpolation=cv2.INTER_AREA)
    gray = cv2.cvtColor(cv2.resize(image, (GRAY_SIDE, GRAY_SIDE), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    fresh["hash"][row] = perceptual(gray.astype(np.float32))


def _digest(path: str) -> int:
    return _digest_of(identifying_bytes(Path(path)), path)


_last = threading.local()  # the picture of which a part was hashed last: its parts stand in rows one after the other


def _digest_of(data: bytes, path: str) -> int:
    """Of the bytes of an image. Those of a part begin with its picture's, which are hashed once for all its parts."""
    picture = split_region(path)[0]
    whole = len(data) - len(str(path)) + len(picture)  # wherever it cuts, the hash is that of all
    if whole == len(data):
        found = hashlib.md5(data, usedforsecurity=False)
    else:
        held = getattr(_last, "picture", None)
        if held is None or len(held) != whole or not data.startswith(held):
            _last.picture = data[:whole]
            _last.hash = hashlib.md5(_last.picture, usedforsecurity=False)
        found = _last.hash.copy()
        found.update(data[whole:])
    return int.from_bytes(found.digest()[:8], "big")


def stamp_of(path: str) -> tuple[int, int, int]:
    held = [os.stat(split_key(path)[0])]
    # A changed mask shows another part, a changed band another picture.
    held += [file.stat() for file in (*mask_files(path), *band_files(path)) if file.is_file()]
    return sum(one.st_size for one in held), max(one.st_mtime_ns for one in held), max(one.st_ctime_ns for one in held)
