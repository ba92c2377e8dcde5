"""A competition's files, fetched whole by the kaggle command: resumed where they stopped, and checked.

The command writes into SLUG.zip itself and keeps SLUG.zip.kaggle-partial beside it, which tells the size on the
server, for as long as the file is not whole. Its own retries may take what the server answers for data, so an error
page may stand in the file, and a later start would go on from it. Hence the zip is read through at the end, every
checksum of it.
"""

import contextlib
import difflib
import json
import re
import shutil
import signal
import time
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from src.core.console import log, note, silenced
from src.core.errors import Problem
from src.core.files import needed_and_free
from src.core.locks import locked
from src.submission.kaggle import command
from src.submission.kaggle.command import Call, Exchange, Failed, ask, checked_slug
from src.submission.kaggle.errors import SITE, Reason, explain, rules_not_accepted

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
def watched(partial: Partial) -> Iterator[None]:
    """Look at the growing file every LOOK_SECONDS while the block runs, and tell its progress.

    A timer's signal does it, so the block must run in the main thread. Into the block it raises Problem where the rest
    does not fit on the disk, and Stalled where no byte came for QUIET_SECONDS.
    """
    watch = _Watch(partial)
    before = signal.signal(signal.SIGALRM, lambda *_: watch.observe())
    signal.setitimer(signal.ITIMER_REAL, LOOK_SECONDS, LOOK_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class _Watch:
    def __init__(self, partial: Partial) -> None:
        self.partial = partial
        self.have = self.first = partial.size
        self.began = self.moved = time.monotonic()
        self.due = self.began + TELL_SECONDS

    def observe(self) -> None:
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
                f"{self.partial.path}: for the rest of it {needed_and_free(missing, free)}.\n"
                "Make room (as much again to unpack it), and give the same command again: it goes on from what is "
                "there.",
                code="disk-full",
            )

    def _tell(self, now: float) -> None:
        total, seconds = self.partial.total, now - self.began
        whole = f" of {total / 1e6:.1f}" if total else ""
        speed = (self.have - self.first) / seconds / 1e6
        log.info(f"{self.partial.path.name}: {self.have / 1e6:.1f}{whole} MB, {speed:.1f} MB/s")
        self.due = now + max(TELL_SECONDS, seconds / 20)


BROKE_OFF = re.compile(r"IncompleteRead|Connection broken|ChunkedEncodingError")
MOST_SECONDS = 7 * 86400.0  # of one run of the command


def download(slug: str, folder: Path) -> Path:
    """Fetch all files of the competition `slug` to `folder`/SLUG.zip and return that path; the zip is whole.

    Bytes that an earlier start left are gone on from. Call it from the main thread. Raises UsageError where `slug`
    is none, and Problem with the reason where Kaggle gives no files, where the disk is too full, or where what came
    is no whole zip (which is then removed).
    """
    archive = Partial(folder / f"{checked_slug(slug)}.zip")
    with _only_download(folder, slug) as lock:
        begun_earlier = archive.path.exists()
        fault = _fetched(slug, archive, lock)
        if fault and begun_earlier:
            note(
                "fetched-anew",
                f"{archive.path.name}, which an earlier start left, does not become a whole zip: fetching it anew",
            )
            fault = _fetched(slug, archive, lock)
    if fault:
        raise Problem(
            f"Kaggle sent {archive.path.name}, but it is no whole zip ({fault}), and it was removed.\n"
            f"Give the same command again; or fetch it by hand from {SITE}/competitions/{slug}/data and give its path.",
            code="damaged-archive",
        )
    note("downloaded", f"{archive.path} is here and whole: {archive.size / 1e6:.1f} MB")
    return archive.path


def _fetched(slug: str, archive: Partial, lock: int) -> str:
    """Fetch the archive; returns what is wrong with it and removes it then, "" where it is whole."""
    try:
        _fetch(slug, archive, lock)
    except Failed as failed:
        raise _reason(slug, failed.call).error() from None
    fault = _fault(archive)
    if fault:
        archive.remove()
    return fault


def _fetch(slug: str, archive: Partial, lock: int) -> None:
    """Give the command again until it ends well; every new byte starts the count of tries anew. Raises Failed."""
    best, pauses = archive.size, list(command.PAUSES)
    while True:
        archive.drop_error_page()
        before = archive.size
        call = _run(slug, archive, lock)
        if call.exit == 0:
            return
        have = archive.size
        if have > best:
            best, pauses = have, list(command.PAUSES)
        # The command writes whole megabytes: a connection that broke before the first one left nothing here.
        begun = have != before or BROKE_OFF.search(call.out + call.err)
        broke_off = call.status is None and begun
        # With nothing here and nothing begun there is likely no network at all: one more try is enough.
        silent = call.lost and (best > 0 or len(pauses) == len(command.PAUSES))
        pause = call.pause(pauses[0]) if pauses else 0.0
        if not pauses or not (call.busy or broke_off or silent) or pause > command.LONGEST_PAUSE:
            raise Failed(replace(call, attempts=len(command.PAUSES) - len(pauses) + 1))
        pauses.pop(0)
        broken = "the download broke off" if have or begun else "no answer"
        what = f"Kaggle answers {call.status}" if call.busy else broken
        note("download-resumed", f"{what}: going on from {have / 1e6:.1f} MB in {pause:.0f} s")
        time.sleep(pause)


def _run(slug: str, archive: Partial, lock: int) -> Call:
    words = ("competitions", "download", slug, "-p", str(archive.path.parent))
    try:
        with watched(archive):
            return command.run(*words, seconds=MOST_SECONDS, hold=(lock,), heard=_check_pause)
    except Stalled:
        return Call(words, None, "", "", ())
    except _LongPause as long:
        return Call(words, 1, "", "", (long.exchange,))


class _LongPause(Exception):
    """The server asks for a pause that is not waited for."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__("a long pause")
        self.exchange = exchange


def _check_pause(exchange: Exchange) -> None:
    """Raises _LongPause: the command itself would wait as long as the server asks, without a word."""
    if command.retry_after(exchange) > command.LONGEST_PAUSE:
        raise _LongPause(exchange)


def _fault(archive: Partial) -> str:
    """Why the archive is no whole zip; "" where every checksum in it is right."""
    if archive.marker.exists():
        return "its end is missing"
    try:
        with zipfile.ZipFile(archive.path) as file:
            bad = file.testzip()
    except FileNotFoundError:
        return f"nothing came under the name {archive.path.name}"
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        return str(error) or type(error).__name__
    except (RuntimeError, NotImplementedError):  # behind a password, or packed in a way that Python does not know:
        return ""  # unpacking tells what to do about it
    return f"{bad} is damaged" if bad else ""


def _reason(slug: str, call: Call) -> Reason:
    """Why Kaggle gave no files."""
    # 2.2.5 advises on the rules after every 403: only what the server said counts.
    said = call.message or (call.out + call.err if call.status is None else "")
    if re.search(r"accept\b.*\brules\b", said):
        return rules_not_accepted(slug)
    if call.status not in (403, 404):
        return explain(slug, call)
    try:
        with silenced():
            facts = command.competition(slug)
            near = [] if facts else _near(slug)
    except Failed:
        return explain(slug, call)
    if facts and not facts["entered"]:
        return rules_not_accepted(slug)
    if facts:
        return Reason(
            "files-refused",
            f"Kaggle refuses the files of {slug} ({call.status}), though you have joined it.",
            f"Look at {SITE}/competitions/{slug}/data whether it offers them, or asks you for something first.",
        )
    mean = f"Did you mean {' or '.join(near)}? " if near else ""
    rules = f" If the name is right, accept the rules: {SITE}/competitions/{slug}/rules" if call.status == 403 else ""
    return Reason(
        "unknown-competition",
        f"Kaggle knows no competition {slug!r} ({call.status}).",
        f"{mean}The name is what follows {SITE}/competitions/ in your browser's address.{rules}",
    )


def _near(slug: str) -> list[str]:
    """Competitions of a similar name, among those the user has joined and those that Kaggle finds. Raises Failed."""
    word = max(slug.replace("_", "-").split("-"), key=len)
    found = []
    for choice in (("--group", "entered"), ("--search", word)):
        call = ask("competitions", "list", *choice, "-v")
        found += command.parse_table(call.out, ("ref",)) or []
    slugs = {row["ref"].rstrip("/").split("/")[-1] for row in found}
    return difflib.get_close_matches(slug, sorted(slugs), 3)


@contextlib.contextmanager
def _only_download(folder: Path, slug: str) -> Iterator[int]:
    """Hold the right to write the archive. The command inherits the lock: one whose parent was killed keeps it."""
    refusal = f"another download of {slug} is at work.\nWait until it ends, and give the same command again."
    with locked(folder / ".download.lock", lambda _: refusal, tidy=True) as file:
        yield file.fileno()
