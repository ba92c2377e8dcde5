"""A file is submitted once: the push with the ledger around it, and the ledger brought up to Kaggle's list."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from src.core.console import Say, say
from src.core.errors import Problem
from src.core.files import sha256_of
from src.core.locks import locked
from src.core.paths import submissions_folder
from src.submission import ledger
from src.submission.kaggle import listing, push
from src.submission.kaggle.command import NotebookVersion
from src.submission.kaggle.errors import told
from src.submission.kaggle.listing import Submission
from src.submission.kaggle.push import NotPushed, ScoringFailed
from src.submission.ledger import NOT_PUSHED, PUSHING, Entry

FRESH_SECONDS = 600  # a push that was cut off less than so long ago may still be on its way into Kaggle's list


def submit_once(
    competition: str,
    slug: str,
    file: Path | NotebookVersion,
    message: str,
    *,
    wait_minutes: float = 10,
    again: bool = False,
    say: Say = say,
) -> Submission:
    """Push `file`, or a notebook's version, to the competition `slug`, note it in the ledger, and wait for its score.

    Bytes that were submitted before are refused, unless `again`. A push that was cut off earlier is looked up first;
    where it had arrived, its score is waited for and nothing is pushed. Returns the submission, PENDING where the
    wait ended before it was scored. Raises Problem.
    """
    sha256 = sha256_of(file) if isinstance(file, Path) else file.sha256
    before = None if again else ledger.submitted_before(competition, sha256)
    if before and before.status not in (PUSHING, "PENDING"):
        raise repeated(before, file.name)
    with _only_push(competition) as lock:
        sync(competition, slug, say)
        entry = None if again else _arrived(competition, slug, sha256, say)
        if entry and not before:
            raise repeated(entry, file.name)
        if entry:
            say("an earlier push of these bytes had arrived: nothing is pushed now")
        else:
            push.ask_allowance(slug, say)
            entry = _pushed(_begun(competition, sha256, file, message), slug, file, say, lock)
    try:
        mine = push.await_score(slug, entry.token, entry.ref, wait_minutes, say)
    except ScoringFailed as failed:
        ledger.append(*_news(entry, failed.submission))
        raise
    ledger.append(*_news(entry, mine))
    return mine


def sync(competition: str, slug: str, say: Say = say) -> list[Entry]:
    """Bring the ledger up to Kaggle's list: later scores, and submissions made by hand. Returns the rows added."""
    with told(slug):
        listed = listing.submissions(slug, say, every=True)
    by_key = {key: entry for entry in ledger.read(competition)[0] for key in (entry.ref, entry.token) if key}
    rows: list[Entry] = []
    for each in reversed(listed):
        entry = by_key.get(each.ref) or by_key.get(push.token_in(each.message))
        rows += _news(entry, each) if entry else [_made_elsewhere(competition, each)]
    ledger.append(*rows)
    return rows


def _begun(competition: str, sha256: str, file: Path | NotebookVersion, message: str) -> Entry:
    """The row that stands in the ledger before the push, so that no kill can hide it."""
    token = push.new_token(sha256)
    entry = Entry(
        time=ledger.now(),
        competition=competition,
        file=file.name,
        sha256=sha256,
        token=token,
        status=PUSHING,
        message=push.marked(message, token),
        **ledger.facts(competition, sha256),
    )
    ledger.append(entry)
    return entry


def _pushed(entry: Entry, slug: str, file: Path | NotebookVersion, say: Say, lock: int) -> Entry:
    try:
        ref = push.send(slug, file, entry.message, entry.token, say=say, hold=(lock,))
    except NotPushed as problem:
        ledger.append(replace(entry, time=ledger.now(), status=NOT_PUSHED, reason=str(problem).splitlines()[0]))
        raise
    entry = replace(entry, time=ledger.now(), status="PENDING", ref=ref)
    ledger.append(entry)
    return entry


def _arrived(competition: str, slug: str, sha256: str, say: Say) -> Entry | None:
    """The submission of these bytes that Kaggle has. A push that was cut off and is not there is written off."""
    entry = ledger.submitted_before(competition, sha256)
    if entry is None or entry.status != PUSHING:
        return entry
    say("an earlier push of these bytes was cut off: looking whether it arrived")
    for wait in push.LOOKS if ledger.seconds_since(entry.time) < FRESH_SECONDS else ():
        time.sleep(wait)
        with told(slug):
            mine = push.find(slug, entry.token, "", say)
        if mine:
            return _told(entry, mine)
    say("it did not arrive")
    ledger.append(replace(entry, time=ledger.now(), status=NOT_PUSHED, reason="cut off, and not in Kaggle's list"))
    return None


def _news(entry: Entry, mine: Submission) -> list[Entry]:
    """The row that tells what the entry does not know yet; none where there is nothing new."""
    row = _told(entry, mine)
    return [row] if replace(row, time=entry.time) != entry else []


def _told(entry: Entry, mine: Submission) -> Entry:
    """The entry with what Kaggle tells of it; what Kaggle does not tell (yet) stays."""
    return replace(
        entry,
        time=ledger.now(),
        ref=mine.ref,
        status=mine.status,
        public_score=entry.public_score if mine.public_score is None else mine.public_score,
        private_score=entry.private_score if mine.private_score is None else mine.private_score,
        reason=mine.reason or ("" if mine.status == "COMPLETE" else entry.reason),
    )


def _made_elsewhere(competition: str, mine: Submission) -> Entry:
    """A row for a submission made by hand or from another machine; its file is known where its name holds its hash."""
    name = Path(mine.file).name
    local = submissions_folder(competition) / name
    sha256 = sha256_of(local) if name and local.is_file() else ""
    sha256 = sha256 if sha256 and local.stem.endswith(f"-{sha256[:8]}") else ""
    entry = Entry(
        time=f"{mine.date[:19].replace(' ', 'T')}Z",
        competition=competition,
        file=mine.file,
        sha256=sha256,
        token=push.token_in(mine.message),
        message=mine.message,
        **(ledger.facts(competition, sha256) if sha256 else {}),
    )
    return replace(_told(entry, mine), time=entry.time)


def repeated(entry: Entry, name: str) -> Problem:
    """The refusal of something that was submitted before."""
    score = "" if entry.public_score is None else f", public score {entry.public_score:g}"
    reason = f": {entry.reason}" if entry.status == "ERROR" and entry.reason else ""
    return Problem(
        f"{name} was submitted before, on {entry.time[:10]} as {entry.ref or entry.token} "
        f"({entry.status}{score}{reason}).\nThe same bytes give the same score. To push them all the same, add --again."
    )


@contextlib.contextmanager
def _only_push(competition: str) -> Iterator[int]:
    """Hold the right to push to this competition. The kaggle command inherits the lock: a push whose parent was
    killed keeps it until it ends. Raises Problem where another process holds it."""
    refusal = f"another push to {competition} is at work.\nWait until it ends, and give the same command again."
    with locked(submissions_folder(competition) / ".push.lock", lambda _: refusal) as file:
        yield file.fileno()
