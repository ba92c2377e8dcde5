"""A look at every image, once: its size and kind, whether it can be read, and what is needed to find duplicates."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from src.images.cache_folder import turn
from src.images.decode import VERSION, decode
from src.images.stream import each_in_threads
from src.runs import written_whole

THUMB = 16  # pixels a side, RGB
READ_AT = 64  # a JPEG may come reduced, as long as its short side keeps this
RULE = f"{VERSION}-1"  # of what is computed here: another one makes older looks worthless


@dataclass(frozen=True)
class Look:
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

    def of(self, paths: list[str]) -> np.ndarray:
        """The entries of these paths, in the order asked for."""
        place = {path: k for k, path in enumerate(self.paths.tolist())}
        return np.array([place[path] for path in paths], dtype=np.int64)


def look_at(paths: list[str], folder: Path, say: Callable[[str], None] = print, alone: bool = False) -> Look:
    """Look at these images; what `folder` holds of an earlier look, of files that have not changed since, is kept.

    alone: whether no other process looks meanwhile; whoever has something to look at sees to that first.
    """
    paths = sorted(set(paths))
    stamps = np.array([_stamp(path) for path in paths], dtype=np.int64).reshape(-1, 2)
    file = folder / "look.npz"
    known = _known(file)
    names = np.array([str(Path(path).relative_to(folder.parent)) for path in paths], dtype=object)
    fresh = {
        "digest": np.zeros(len(paths), np.uint64),
        "hash": np.zeros(len(paths), np.uint64),
        "thumb": np.zeros((len(paths), THUMB, THUMB, 3), np.uint8),
        "size": np.zeros((len(paths), 2), np.int32),
        "fault": np.full(len(paths), "", dtype=object),
    }
    todo = np.arange(len(paths))
    if known is not None:
        place = {name: k for k, name in enumerate(known["name"].tolist())}
        old = np.array([place.get(name, -1) for name in names], dtype=np.int64)
        same = (old >= 0) & (known["stamp"][old] == stamps).all(axis=1)
        for key, values in fresh.items():
            values[same] = known[key][old[same]]
        todo = np.flatnonzero(~same)
    if len(todo) and not alone:
        with turn(folder, say, "look"):
            for part in folder.glob(f".{file.name}.*.part"):
                part.unlink()  # of one that was killed
            return look_at(paths, folder, say, alone=True)
    if len(todo):
        say(f"looking at {len(todo)} images")
        faults = each_in_threads(lambda k: _one(paths[todo[k]], int(todo[k]), fresh), len(todo), None, "looking")
        for k, reason in faults.items():
            fresh["fault"][todo[k]] = reason
        with written_whole(file) as part, part.open("wb") as out:
            text = {key: values.astype(str) if values.dtype == object else values for key, values in fresh.items()}
            np.savez(out, name=names.astype(str), stamp=stamps, rule=RULE, **text)
    return Look(np.array(paths, dtype=object), **fresh)


def perceptual(gray: np.ndarray) -> int:
    """A hash of 64 bits that changes little with size and compression: the signs of the 64 slowest waves.

    gray: (32, 32) float32. Known as pHash: the low 8 x 8 of a cosine transform, each against their median.
    """
    low = cv2.dct(gray)[:8, :8].ravel()
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


def _one(path: str, row: int, fresh: dict[str, np.ndarray]) -> None:
    image = decode(Path(path))
    with open(path, "rb") as file:
        fresh["digest"][row] = int.from_bytes(hashlib.file_digest(file, "md5").digest()[:8], "big")
    fresh["size"][row] = image.shape[:2]
    fresh["thumb"][row] = cv2.resize(image, (THUMB, THUMB), interpolation=cv2.INTER_AREA)
    gray = cv2.cvtColor(cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    fresh["hash"][row] = perceptual(gray.astype(np.float32))


def _stamp(path: str) -> tuple[int, int]:
    facts = Path(path).stat()
    return facts.st_size, facts.st_mtime_ns


def _known(file: Path) -> dict[str, np.ndarray] | None:
    """An earlier look; None where there is none, or it was made by another rule."""
    if not file.is_file():
        return None
    with np.load(file, allow_pickle=False) as stored:
        if str(stored["rule"]) != RULE:
            return None
        known = {key: stored[key] for key in stored.files}
    known["fault"] = known["fault"].astype(object)
    return known
