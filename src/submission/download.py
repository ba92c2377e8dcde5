"""A competition's files, fetched whole by the kaggle command: watched, resumed where it stopped, and checked.

The command writes into SLUG.zip itself and keeps SLUG.zip.kaggle-partial beside it, which tells the size on the
server, for as long as the file is not whole. It takes an answer to its own retries for data whatever its status, so
an error page may stand in the file; hence the zip is read through at the end, every checksum of it.
"""

import contextlib
import difflib
import fcntl
import json
import shutil
import signal
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from src.errors import Problem
from src.submission import kaggle, listing
from src.submission.kaggle import Call, Failed, ask, checked_slug
from src.submission.reasons import SITE, explain, rules_not_accepted

LOOK_SECONDS = 0.25
TELL_SECONDS = 5.0  # between the first lines about progress; later they come less often
QUIET_SECONDS = 300.0  # without a new byte, after which the command is stopped and started again
MOST_SECONDS = 7 * 86400.0

Say = Callable[[str], None]


class Stalled(Exception):
    """No byte came for QUIET_SECONDS: the command itself would wait for ever."""


def download(slug: str, folder: Path, say: Say = print) -> Path:
    """Fetch all files of the competition `slug` to `folder`/SLUG.zip and return that path; the zip is whole.

    Bytes that an earlier start left are gone on from. Call it from the main thread. Raises UsageError where `slug`
    is none, and Problem with the reason where Kaggle gives no files, where the disk is too full, or where what came
    is no whole zip (which is then removed).
    """
    archive = folder / f"{checked_slug(slug)}.zip"
    with _only_download(folder, slug) as lock:
        begun_earlier = archive.exists()
        fault = _fetched(slug, archive, lock, say)
        if fault and begun_earlier:
            say(f"{archive.name}, of which an earlier start left a part, is no whole zip: fetching it anew")
            fault = _fetched(slug, archive, lock, say)
    if fault:
        raise Problem(
            f"Kaggle sent {archive.name}, but it is no whole zip ({fault}), and it was removed.\n"
            f"Give the same command again; or fetch it by hand from {SITE}/competitions/{slug}/data and give its path."
        )
    say(f"{archive} is here and whole: {_size(archive) / 1e6:.1f} MB")
    return archive


def _fetched(slug: str, archive: Path, lock: int, say: Say) -> str:
    """Fetch the archive; returns what is wrong with it and removes it then, "" where it is whole."""
    try:
        _fetch(slug, archive, lock, say)
    except Failed as failed:
        raise Problem(_reason(slug, failed.call)) from None
    fault = _fault(archive)
    if fault:
        _remove(archive)
    return fault


def _fetch(slug: str, archive: Path, lock: int, say: Say) -> None:
    """Give the command again until it ends well. Five times without a new byte are enough. Raises Failed."""
    best, pauses = _size(archive), iter(kaggle.PAUSES)
    reached = False
    while True:
        _drop_error_page(archive)
        before = _size(archive)
        call = _run_watched(slug, archive, lock, say)
        if call.exit == 0:
            return
        have = _size(archive)
        wrote = have != before
        if have > best:
            best, pauses = have, iter(kaggle.PAUSES)
        usual = next(pauses, None)
        # Where nothing ever answered there is likely no network, which is told soon.
        again = call.busy or (call.lost and (reached or wrote or usual == kaggle.PAUSES[0])) or _broke_off(call, wrote)
        reached = reached or wrote or call.busy
        if usual is None or not again or call.pause(usual) > kaggle.LONGEST_PAUSE:
            raise Failed(call)
        what = f"Kaggle answers {call.status}" if call.busy else "the download broke off"
        say(f"{what}: going on from {have / 1e6:.1f} MB in {call.pause(usual):.0f} s")
        time.sleep(call.pause(usual))


def _broke_off(call: Call, wrote: bool) -> bool:
    return wrote and call.status is None


def _run_watched(slug: str, archive: Path, lock: int, say: Say) -> Call:
    words = ("competitions", "download", slug, f"--path={archive.parent}")
    try:
        with _ringing(_Watch(archive, say).look):
            return kaggle.run(*words, seconds=MOST_SECONDS, hold=(lock,))
    except Stalled:
        return Call(words, None, "", "", ())


@contextlib.contextmanager
def _ringing(look: Callable[[], None]) -> Iterator[None]:
    """Call `look` every LOOK_SECONDS while the command runs. What it raises stops the command."""
    before = signal.signal(signal.SIGALRM, lambda *_: look())
    signal.setitimer(signal.ITIMER_REAL, LOOK_SECONDS, LOOK_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class _Watch:
    """Looks at the growing file: tells how far it is, that the disk is too small, and that nothing comes any more."""

    def __init__(self, archive: Path, say: Say) -> None:
        self.archive, self.say = archive, say
        self.have = self.first = _size(archive)
        self.began = self.moved = time.monotonic()
        self.due = self.began + TELL_SECONDS

    def look(self) -> None:
        """Raises Problem where the rest does not fit on the disk, Stalled where no byte came for long."""
        now, have = time.monotonic(), _size(self.archive)
        if have < self.have:  # begun anew
            self.first, self.began = have, now
        if have != self.have:
            self.have, self.moved = have, now
            self._check_space()
        if now - self.moved > QUIET_SECONDS:
            raise Stalled
        if now >= self.due and self.moved > self.began:
            total = _total(self.archive)
            whole = f" of {total / 1e6:.1f}" if total else ""
            speed = (have - self.first) / max(now - self.began, 0.1)
            self.say(f"{self.archive.name}: {have / 1e6:.1f}{whole} MB, {speed / 1e6:.1f} MB/s")
            self.due = now + max(TELL_SECONDS, (now - self.began) / 20)

    def _check_space(self) -> None:
        missing, free = _total(self.archive) - self.have, shutil.disk_usage(self.archive.parent).free
        if missing > free:
            raise Problem(
                f"{self.archive.name} needs {missing / 1e9:.2f} GB more, but only {free / 1e9:.2f} GB are free in "
                f"{self.archive.parent}.\nMake room (as much again to unpack it) and give the same command again: "
                "it goes on from what is there."
            )


def _marker(archive: Path) -> Path:
    return archive.with_name(f"{archive.name}.kaggle-partial")


def _total(archive: Path) -> int:
    """Bytes of the whole file as the server told them to the command; 0 where unknown."""
    try:
        size = json.loads(_marker(archive).read_text(encoding="utf-8")).get("size")
    except (OSError, ValueError, AttributeError):  # not there, or only just being written
        return 0
    return size if isinstance(size, int) else 0


def _size(archive: Path) -> int:
    try:
        return archive.stat().st_size
    except FileNotFoundError:
        return 0


def _drop_error_page(archive: Path) -> None:
    """What the command would go on from must begin like a zip."""
    if _marker(archive).exists() and archive.exists():
        with archive.open("rb") as file:
            begins = file.read(2)
        if begins != b"PK":
            _remove(archive)


def _remove(archive: Path) -> None:
    archive.unlink(missing_ok=True)
    _marker(archive).unlink(missing_ok=True)


def _fault(archive: Path) -> str:
    """Why the archive is no whole zip; "" where every checksum in it is right."""
    if _marker(archive).exists():
        return "its end is missing"
    try:
        with zipfile.ZipFile(archive) as file:
            bad = file.testzip()
    except FileNotFoundError:
        return f"nothing came under the name {archive.name}"
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        return str(error) or type(error).__name__
    except (RuntimeError, NotImplementedError):  # behind a password, or packed in a way that Python does not know:
        return ""  # unpacking tells what to do about it
    return f"{bad} is damaged" if bad else ""


def _reason(slug: str, call: Call) -> str:
    """Why Kaggle gave no files, and what to do, in two lines."""
    if call.status not in (403, 404):
        return explain(slug, call)
    try:
        facts = listing.competition(slug, say=_silent)
        near = [] if facts else _near(slug)
    except Failed:
        return explain(slug, call)
    if facts and not facts["entered"]:
        return rules_not_accepted(slug)
    if facts:
        return (
            f"Kaggle refuses the files of {slug} ({call.status}), though you have joined it.\n"
            f"Look at {SITE}/competitions/{slug}/data whether it offers them, or asks you for something first."
        )
    mean = f"Did you mean {' or '.join(near)}? " if near else ""
    rules = f" If the name is right, accept the rules: {SITE}/competitions/{slug}/rules" if call.status == 403 else ""
    return (
        f"Kaggle knows no competition {slug!r} ({call.status}).\n"
        f"{mean}The name is what follows {SITE}/competitions/ in your browser's address.{rules}"
    )


def _near(slug: str) -> list[str]:
    """Competitions of a similar name, among those the user has joined and those that Kaggle finds. Raises Failed."""
    word = max(slug.replace("_", "-").split("-"), key=len)
    found = []
    for choice in (("--group", "entered"), ("--search", word)):
        call = ask("competitions", "list", *choice, "-v", say=_silent)
        found += listing.parse_table(call.out, ("ref",)) or []
    slugs = {row["ref"].rstrip("/").split("/")[-1] for row in found}
    return difflib.get_close_matches(slug, sorted(slugs), 3)


def _silent(_: str) -> None:
    pass


@contextlib.contextmanager
def _only_download(folder: Path, slug: str) -> Iterator[int]:
    """Hold the right to write the archive. The command inherits the lock: one whose parent was killed keeps it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".download.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Problem(
                f"another download of {slug} is at work.\nWait until it ends, and give the same command again."
            ) from None
        yield file.fileno()
