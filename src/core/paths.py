"""Where things lie on the disk, and which run folder one command holds."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CHECKPOINT = "checkpoint.pt"
DONE = "done.json"  # written last in a member's folder, so its existence means that all else is there


def home() -> Path:
    """The folder that holds competition/, runs/ and submissions/: the repository, or $PODIUM_HOME."""
    named = os.environ.get("PODIUM_HOME")
    return _resolved(os.path.abspath(named)) if named else REPOSITORY


@cache
def _resolved(path: str) -> Path:
    """Kept, for it is asked for each of a million names, and to follow links takes longer than all else there."""
    return Path(path).resolve()


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


def has_learned(folder: Path) -> bool:
    """Whether a fold of the run in `folder` has a checkpoint or is done: then it belongs to its configuration."""
    return any(folder.glob(f"seed*/*/{CHECKPOINT}")) or any(folder.glob(f"seed*/*/{DONE}"))


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
