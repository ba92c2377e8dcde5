"""An archive while the kaggle command writes it: how far it is, whether the rest fits, and whether it still grows.

The command writes into SLUG.zip itself and keeps SLUG.zip.kaggle-partial beside it, which tells the size on the
server, for as long as the file is not whole.
"""

import contextlib
import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from src.core.errors import Problem

LOOK_SECONDS = 0.25
TELL_SECONDS = 5.0  # between the first lines about progress; later they come less often
QUIET_SECONDS = 300.0  # without a new byte, after which the command is stopped: itself it would wait for ever


class Stalled(Exception):
    """No byte came for QUIET_SECONDS."""


@dataclass(frozen=True)
class Partial:
    """The file `path`, whole or not."""

    path: Path

    @property
    def marker(self) -> Path:
        return self.path.with_name(f"{self.path.name}.kaggle-partial")

    @property
    def size(self) -> int:
        """Bytes that are here; 0 where there is no file."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    @property
    def total(self) -> int:
        """Bytes of the whole file as the server told them to the command; 0 where unknown."""
        try:
            size = json.loads(self.marker.read_text(encoding="utf-8")).get("size")
        except (OSError, ValueError, AttributeError):  # not there, or only just being written
            return 0
        return size if isinstance(size, int) else 0

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.marker.unlink(missing_ok=True)

    def drop_error_page(self) -> None:
        """Remove an unfinished file that does not begin like a zip: the command would go on from it."""
        if self.marker.exists() and self.path.exists():
            with self.path.open("rb") as file:
                begins = file.read(2)
            if begins != b"PK":
                self.remove()


@contextlib.contextmanager
def watched(partial: Partial, say: Callable[[str], None]) -> Iterator[None]:
    """Look at the growing file every LOOK_SECONDS while the block runs, and tell its progress.

    A timer's signal does it, so the block must run in the main thread. Into the block it raises Problem where the rest
    does not fit on the disk, and Stalled where no byte came for QUIET_SECONDS.
    """
    watch = _Watch(partial, say)
    before = signal.signal(signal.SIGALRM, lambda *_: watch.look())
    signal.setitimer(signal.ITIMER_REAL, LOOK_SECONDS, LOOK_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class _Watch:
    def __init__(self, partial: Partial, say: Callable[[str], None]) -> None:
        self.partial, self.say = partial, say
        self.have = self.first = partial.size
        self.began = self.moved = time.monotonic()
        self.due = self.began + TELL_SECONDS

    def look(self) -> None:
        now, have = time.monotonic(), self.partial.size
        if have < self.have:  # begun anew
            self.first, self.began = have, now
        if have != self.have:
            self.have, self.moved = have, now
            self._check_space()
        if now - self.moved > QUIET_SECONDS:
            raise Stalled
        if now >= self.due and have != self.first:
            self._tell(now)

    def _check_space(self) -> None:
        folder = self.partial.path.parent
        missing, free = self.partial.total - self.have, shutil.disk_usage(folder).free
        if missing > free:
            raise Problem(
                f"{self.partial.path.name} needs {missing / 1e9:.2f} GB more, but only {free / 1e9:.2f} GB are free "
                f"in {folder}.\nMake room (as much again to unpack it), and give the same command again: it goes on "
                "from what is there."
            )

    def _tell(self, now: float) -> None:
        total, seconds = self.partial.total, now - self.began
        whole = f" of {total / 1e6:.1f}" if total else ""
        speed = (self.have - self.first) / seconds / 1e6
        self.say(f"{self.partial.path.name}: {self.have / 1e6:.1f}{whole} MB, {speed:.1f} MB/s")
        self.due = now + max(TELL_SECONDS, seconds / 20)
