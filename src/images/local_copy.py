"""A copy of an image cache on a disk of this machine, for where the competition's own folder is slow to read.

Made once by the first process here that wants it, while the others wait, and used by all. It is a cache like the one it
was copied from: it appears whole, is bounded alike, and is never deleted while a process reads it.
"""

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from src.errors import Problem, UsageError
from src.images.cache_folder import NoRoom, make_room, turn
from src.progress import progress
from src.runs import read_json, sha256_of, write_json, written_whole

OURS = "podium-cache"  # whatever else the user keeps in his folder is not ours to tidy
CHUNK = 16_000_000  # bytes read at once
FULL = (errno.ENOSPC, errno.EDQUOT)


def local_folder(word: str | None) -> Path | None:
    """machine.cache_local as a folder of this machine, which may be named by a variable of its environment."""
    if word is None:
        return None
    path = Path(os.path.expandvars(word)).expanduser()
    if "$" in str(path) or not path.is_absolute():
        raise UsageError(f"machine.cache_local={word}: write a whole path, with variables that every machine sets")
    return path


def place_of(file: Path, local: Path) -> Path:
    """Where under `local` the copy of the cache `file` of a competition lies."""
    return local / OURS / file.parent.parent.name / file.name


def copied(file: Path, copy: Path, max_gb: float | None, say: Callable[[str], object]) -> bool:
    """Make the copy of the complete cache `file`, unless another process of this machine just did.

    False, and said, where the disk has no room for it. Raises Problem where the bytes are not those that were built.
    """
    facts = read_json(file.with_suffix(".json"))
    try:
        with turn(copy.parent, say):
            if not _is_copy(copy, facts):
                make_room(copy.parent, facts["bytes"], max_gb)
                say(f"copying the image cache to {copy}")
                _copy(file, copy, facts.get("sha256") or sha256_of(file))
                write_json(copy.with_suffix(".json"), facts)
    except (NoRoom, OSError) as error:
        if isinstance(error, OSError) and error.errno not in FULL:
            raise
        say(f"{copy.parent} has no room for a copy of the image cache: the images are read from {file.parent}")
        return False
    return True


def _is_copy(copy: Path, facts: dict[str, Any]) -> bool:
    """Whether all of it is there: the mark is written last, and tells the same hash."""
    mark = copy.with_suffix(".json")
    whole = mark.exists() and copy.exists() and copy.stat().st_size == facts["bytes"]
    return whole and read_json(mark) == facts


def _copy(file: Path, copy: Path, expected: str) -> None:
    digest, size = hashlib.sha256(), file.stat().st_size
    with (
        written_whole(copy) as part,
        file.open("rb") as source,
        part.open("wb") as out,
        progress(round(size / 1e6), "copying the image cache", "megabyte") as bar,
    ):
        while chunk := source.read(CHUNK):
            digest.update(chunk)
            out.write(chunk)
            bar.update(len(chunk) / 1e6)
        if digest.hexdigest() != expected:
            raise Problem(f"{file} is damaged: delete it, and the same command builds it anew")
