"""Where things lie on the disk, and the locks that keep processes apart there."""

import contextlib
import fcntl
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from src.core.errors import Busy

# Until every open branch has landed: these live in src.core.files.
from src.core.files import read_json, sha256_of, write_json, write_text, written_whole  # noqa: F401

REPOSITORY = Path(__file__).resolve().parents[2]
DONE = "done.json"  # written last in a member's folder, so its existence means that all else is there


def home() -> Path:
    """The folder that holds competition/, runs/ and submissions/: the repository, or $PODIUM_HOME."""
    return Path(os.environ.get("PODIUM_HOME") or REPOSITORY).resolve()


def competition_folder(competition: str) -> Path:
    return home() / "competition" / competition


def runs_folder(competition: str) -> Path:
    return home() / "runs" / competition


def submissions_folder(competition: str) -> Path:
    return home() / "submissions" / competition


def relative_paths(paths: Iterable[str | Path], folder: Path) -> Iterator[str]:
    """os.path.relpath of each of many files, which asks for each of their folders once: a hundred times as fast."""
    known: dict[str, str] = {}
    for path in map(os.fspath, paths):
        head, slash, name = path.rpartition("/")
        if not slash or name in ("", ".", ".."):
            yield os.path.relpath(path, folder)
            continue
        if head not in known:
            found = os.path.relpath(head or "/", folder)
            known[head] = "" if found == "." else f"{found}/"
        yield known[head] + name


@contextlib.contextmanager
def locked(path: Path, refusal: Callable[[str], str]) -> Iterator[IO[str]]:
    """Hold the lock file `path`. The kernel frees it when the last process that inherited it dies, however it dies.

    Raises Busy, a Problem, where another process holds it: with `refusal` of the text that the file holds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise Busy(refusal(file.read().strip())) from None
        yield file


@contextlib.contextmanager
def in_turn(path: Path, others: str, say: Callable[[str], object] = print) -> Iterator[None]:
    """Hold the lock file `path`; where one of the `others` holds it, that is said and its end awaited."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that is {others}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


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


def has_learned(folder: Path) -> bool:
    """Whether a fold of the run in `folder` has a checkpoint or is done: then it belongs to its configuration."""
    return any(folder.glob("seed*/*/checkpoint.pt")) or any(folder.glob(f"seed*/*/{DONE}"))


@dataclass(frozen=True)
class Run:
    """A run folder: runs/<competition>/<name>, with one folder per seed and fold in it."""

    competition: str
    name: str

    @property
    def folder(self) -> Path:
        return runs_folder(self.competition) / self.name

    def member(self, seed: int, fold: int | str) -> Path:
        return self.folder / f"seed{seed}" / (fold if isinstance(fold, str) else f"fold{fold}")

    def finished(self, seed: int, fold: int | str) -> bool:
        return (self.member(seed, fold) / DONE).exists()

    def finished_folds(self, seed: int, count: int) -> tuple[int, ...]:
        return tuple(fold for fold in range(count) if self.finished(seed, fold))
