"""Locks between processes, also of several machines: the one place that knows flock.

The kernel frees such a lock when the last process that inherited the open file dies, however it dies. On storage that
several machines share it keeps the machines apart too, where the mount hands flock to the server: NFS does unless
mounted with nolock or local_lock, Lustre with flock. On NFS whoever holds a file alone must have it open for writing.
"""

import contextlib
import fcntl
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from src.core.console import note
from src.core.errors import Busy


def hold(file: IO[Any], shared: bool = False) -> None:
    """Wait until nobody else holds the open file, and hold it until it is closed. shared: others may share it."""
    fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)


def try_hold(file: IO[Any]) -> bool:
    """Hold the open file alone; False, at once, where somebody else holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def locked(path: Path, refusal: Callable[[str], str], tidy: bool = False) -> Iterator[IO[str]]:
    """Hold the lock file `path`. The kernel frees it when the last process that inherited it dies, however it dies.

    Raises Busy, a Problem, where another process holds it: with `refusal` of the text that the file holds.
    """

    def alone(file: IO[str]) -> None:
        if not try_hold(file):
            file.seek(0)
            raise Busy(refusal(file.read().strip()))

    with _held(path, alone, tidy) as file:
        yield file


@contextlib.contextmanager
def waiting_lock(path: Path, others: str, tidy: bool = False) -> Iterator[None]:
    """Hold the lock file `path`; where one of the `others` holds it, that is said and its end awaited."""

    def after_others(file: IO[str]) -> None:
        if not try_hold(file):
            note("waiting", f"waiting for another process that is {others}")
            hold(file)

    with _held(path, after_others, tidy):
        yield


@contextlib.contextmanager
def _held(path: Path, take: Callable[[IO[str]], None], tidy: bool) -> Iterator[IO[str]]:
    """The lock file, open and held by `take`. tidy: a folder that was made for it goes again if nothing came into it.

    Whoever waited for a file that went then makes it anew, so that all hold the same one.
    """
    while True:
        made = not path.parent.is_dir()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("a+")
        except FileNotFoundError:  # its folder has just gone
            continue
        with file:
            take(file)
            if not _is_at(path, file):
                continue
            try:
                yield file
            finally:
                if tidy and made:
                    remove_if_alone(path)
            return


def remove_if_alone(path: Path) -> None:
    """Remove a lock file that this process holds, with its folder, where nothing else is there."""
    if path.parent.is_dir() and os.listdir(path.parent) == [path.name]:
        path.unlink()
        with contextlib.suppress(OSError):  # something came into it meanwhile
            path.parent.rmdir()


def _is_at(path: Path, file: IO[Any]) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def only_one(folder: Path, what: str) -> Iterator[None]:
    """Let one process at a time work in `folder`. Raises Busy, naming that process, where it is not this one.

    On storage that several machines share, the process may be on another one.
    """

    def refusal(holder: str) -> str:
        pid, _, machine = holder.partition(" ")
        there = f" on {machine}" if machine not in ("", platform.node()) else ""
        return f"{what} is at work in another process (pid {pid or '?'}{there}): wait for it, or stop it"

    with locked(folder / "lock", refusal) as file:
        file.truncate(0)
        file.write(f"{os.getpid()} {platform.node()}")
        file.flush()
        yield
