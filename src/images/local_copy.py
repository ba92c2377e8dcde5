"""A copy of an image cache on a disk of this machine, for where the competition's own folder is slow to read.

Made once by the first process here that wants it, while the others wait, and used by all. It is a cache like the one it
was copied from: it appears whole, is bounded alike, and is never deleted while a process reads it.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from src.core.console import Bar, note
from src.core.errors import UsageError
from src.core.files import DamagedFile, damaged, read_json, write_json, written_whole
from src.images.cache_folder import NoRoom, folder_lock, make_room

OURS = "podium-cache"  # and the number of the user; whatever else the user keeps in his folder is not ours to tidy
CHUNK = 16_000_000  # bytes read at once
# With these the shared cache is read instead.
BEARABLE = dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "has no room for")
BEARABLE |= dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "may not be used for")


def local_folder(word: str | None) -> Path | None:
    """machine.cache_local as a folder of this machine, which may be named by a variable of its environment."""
    if word is None:
        return None
    path = Path(os.path.expandvars(word)).expanduser()
    if "$" in str(path) or not path.is_absolute():
        raise UsageError(
            f"machine.cache_local={word}: write a whole path, with variables that every machine sets", code="bad-value"
        )
    return path


def own_folder(local: Path, file: Path) -> Path | None:
    """This user's folder under `local` for copies of the caches of a competition, of which `file` is one.

    None, and said, where it can not be made or is not his: on a disk that all may write, as /tmp, another user could
    make it first, and put other pixels there.
    """
    folder = local / f"{OURS}-{os.geteuid()}"
    try:
        local.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        facts = folder.lstat()
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "a link, or another user's", str(folder))
    except OSError as error:
        _bear(error, folder, file)
        return None
    return folder / file.parent.parent.name


def _bear(error: NoRoom | OSError, folder: Path, file: Path) -> None:
    """Say why there is no copy in `folder`; what is neither a full disk nor a permission is raised."""
    if isinstance(error, OSError) and error.errno not in BEARABLE:
        raise error
    why = BEARABLE[error.errno if isinstance(error, OSError) else errno.ENOSPC]
    text = f" ({error.strerror})" if isinstance(error, PermissionError) or _is_read_only(error) else ""
    note("no-local-copy", f"{folder} {why} a copy of the image cache{text}: the images are read from {file.parent}")


def _is_read_only(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno == errno.EROFS


def copied(file: Path, copy: Path, max_gb: float | None, whole: Callable[[Path], bool]) -> bool:
    """Make the copy of the complete cache `file`, unless another process of this machine just did.

    False, and said, where the disk has no room for it or a permission lacks. whole: whether a copy is, by the checksums
    that came with it; DamagedFile is raised where it is not.
    """
    facts = read_json(file.with_suffix(".json"))
    try:
        with folder_lock(copy.parent):
            if not _is_copy(copy, facts):
                make_room(copy.parent, facts["bytes"], max_gb)
                note("cache-copied", f"copying the image cache to {copy}")
                _copy(file, copy, whole)
                write_json(copy.with_suffix(".json"), facts)
    except (NoRoom, OSError) as error:
        _bear(error, copy.parent, file)
        return False
    return True


def _is_copy(copy: Path, facts: dict[str, Any]) -> bool:
    """Whether all of it is there: the mark is written last, and tells the same checksum of all checksums."""
    try:
        return read_json(copy.with_suffix(".json")) == facts and copy.stat().st_size == facts["bytes"]
    except (DamagedFile, FileNotFoundError):
        return False


def _copy(file: Path, copy: Path, whole: Callable[[Path], bool]) -> None:
    size = file.stat().st_size
    with (
        written_whole(copy) as part,
        file.open("rb") as source,
        part.open("wb") as out,
        Bar(round(size / 1e6), "copying the image cache", "megabyte") as bar,
    ):
        while chunk := source.read(CHUNK):
            out.write(chunk)
            bar.update(len(chunk) / 1e6)
        out.flush()
        if not whole(part):
            raise damaged(file, "is damaged", "it is made anew")
