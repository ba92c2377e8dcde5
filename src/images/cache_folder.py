"""The folder that holds the image caches of a competition: whose turn it is, what is in use, what may go.

One builder at a time holds `lock` in the folder, whoever reads a cache shares its .npy, and whoever deletes one must
have it alone; see core/locks.py. Files made with O_EXCL would do it too, but outlive a killed builder, and no other
machine could tell.
"""

import contextlib
import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from src.core.errors import Problem
from src.core.files import needed_and_free
from src.core.locks import hold, try_hold, waiting_lock

GB = 1e9


class NoRoom(Problem):
    """The disk is too small for a cache."""

    code = "no-room-for-cache"


def opened_shared(file: Path) -> BinaryIO:
    """`file`, open and locked against deletion for as long as the handle, or a forked copy of it, lives."""
    handle = file.open("rb")
    hold(handle, shared=True)
    return handle


def folder_lock(folder: Path, what: str = "") -> AbstractContextManager[None]:
    """Wait until no other process builds in `folder`. what: looks at the images, beside whoever builds a cache."""
    at_work = "looking at the images for" if what else "building an image cache in"
    return waiting_lock(folder / (f"{what}.lock" if what else "lock"), f"{at_work} {folder}")


def make_room(folder: Path, size: int, max_gb: float | None) -> None:
    """Delete what dead builds left, then the caches used longest ago until `size` bytes more fit into `max_gb`.

    To be called in one's turn: any half-made cache here is then nobody's. Raises NoRoom where the disk is too small.
    """
    for kind in ("npy", "json"):
        for part in folder.glob(f".*.{kind}.*.part"):
            part.unlink(missing_ok=True)
    for one, other in ((".npy", ".json"), (".json", ".npy")):
        for file in folder.glob("*" + one):
            if not file.with_suffix(other).exists():
                file.unlink(missing_ok=True)
    used: list[tuple[float, int, Path]] = []
    for mark in folder.glob("*.json"):
        with contextlib.suppress(FileNotFoundError):  # one that proves damaged loses its mark meanwhile
            used.append((mark.stat().st_mtime, mark.with_suffix(".npy").stat().st_size, mark))
    total = size + sum(bytes_ for _, bytes_, _ in used)
    for _, bytes_, mark in sorted(used):
        if max_gb is None or total <= max_gb * GB:
            break
        file = mark.with_suffix(".npy")
        # Another user's cache cannot be opened so; it is his to delete.
        with contextlib.suppress(PermissionError, FileNotFoundError), file.open("rb+") as handle:
            if not try_hold(handle):  # a process reads it
                continue
            total -= bytes_
            mark.unlink(missing_ok=True)
            file.unlink()
    free = shutil.disk_usage(folder).free
    if size > free:
        raise NoRoom(
            f"{folder}: for the image cache {needed_and_free(size, free)}. Remedy: free some "
            "space (the caches in this folder may be deleted), choose a smaller images.load_size, or lower "
            "machine.cache_max_gb, beyond which images are decoded on demand"
        )
