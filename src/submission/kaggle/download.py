"""A competition's files, fetched whole by the kaggle command: resumed where they stopped, and checked.

The command's own retries take whatever the server answers for data, so an error page may stand in the file, and a
later start would go on from it. Hence the zip is read through at the end, every checksum of it.
"""

import contextlib
import difflib
import re
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from src.core.console import Say, say
from src.core.errors import Problem
from src.core.locks import locked
from src.submission.kaggle import command, listing
from src.submission.kaggle.command import Call, Failed, ask, checked_slug
from src.submission.kaggle.errors import SITE, explain, rules_not_accepted
from src.submission.kaggle.partial_download import Partial, Stalled, watched

MOST_SECONDS = 7 * 86400.0  # of one run of the command


def download(slug: str, folder: Path, say: Say = say) -> Path:
    """Fetch all files of the competition `slug` to `folder`/SLUG.zip and return that path; the zip is whole.

    Bytes that an earlier start left are gone on from. Call it from the main thread. Raises UsageError where `slug`
    is none, and Problem with the reason where Kaggle gives no files, where the disk is too full, or where what came
    is no whole zip (which is then removed).
    """
    archive = Partial(folder / f"{checked_slug(slug)}.zip")
    with _only_download(folder, slug) as lock:
        begun_earlier = archive.path.exists()
        fault = _fetched(slug, archive, lock, say)
        if fault and begun_earlier:
            say(f"{archive.path.name}, which an earlier start left, does not become a whole zip: fetching it anew")
            fault = _fetched(slug, archive, lock, say)
    if fault:
        raise Problem(
            f"Kaggle sent {archive.path.name}, but it is no whole zip ({fault}), and it was removed.\n"
            f"Give the same command again; or fetch it by hand from {SITE}/competitions/{slug}/data and give its path."
        )
    say(f"{archive.path} is here and whole: {archive.size / 1e6:.1f} MB")
    return archive.path


def _fetched(slug: str, archive: Partial, lock: int, say: Say) -> str:
    """Fetch the archive; returns what is wrong with it and removes it then, "" where it is whole."""
    try:
        _fetch(slug, archive, lock, say)
    except Failed as failed:
        raise Problem(_reason(slug, failed.call)) from None
    fault = _fault(archive)
    if fault:
        archive.remove()
    return fault


def _fetch(slug: str, archive: Partial, lock: int, say: Say) -> None:
    """Give the command again until it ends well; every new byte starts the count of tries anew. Raises Failed."""
    best, pauses = archive.size, list(command.PAUSES)
    while True:
        archive.drop_error_page()
        before = archive.size
        call = _run(slug, archive, lock, say)
        if call.exit == 0:
            return
        have = archive.size
        if have > best:
            best, pauses = have, list(command.PAUSES)
        broke_off = call.status is None and have != before
        # With nothing here yet there is likely no network at all: one more try is enough.
        silent = call.lost and (best > 0 or len(pauses) == len(command.PAUSES))
        if not pauses or not (call.busy or broke_off or silent):
            raise Failed(call)
        pause = call.pause(pauses.pop(0))
        what = f"Kaggle answers {call.status}" if call.busy else "the download broke off" if have else "no answer"
        say(f"{what}: going on from {have / 1e6:.1f} MB in {pause:.0f} s")
        time.sleep(pause)


def _run(slug: str, archive: Partial, lock: int, say: Say) -> Call:
    words = ("competitions", "download", slug, "-p", str(archive.path.parent))
    try:
        with watched(archive, say):
            return command.run(*words, seconds=MOST_SECONDS, hold=(lock,))
    except Stalled:
        return Call(words, None, "", "", ())


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


def _reason(slug: str, call: Call) -> str:
    """Why Kaggle gave no files, and what to do, in two lines."""
    if call.status is None and re.search(r"accept\b.*\brules\b", call.out + call.err):
        return rules_not_accepted(slug)
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
    refusal = f"another download of {slug} is at work.\nWait until it ends, and give the same command again."
    with locked(folder / ".download.lock", lambda _: refusal) as file:
        yield file.fileno()
