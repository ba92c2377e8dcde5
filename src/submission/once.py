"""A file is submitted once: the push with the ledger around it, and the ledger brought up to Kaggle's list."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from src.errors import Problem
from src.runs import sha256_of, submissions_folder
from src.submission import ledger, listing
from src.submission.ledger import NOT_PUSHED, PUSHING, Entry
from src.submission.listing import Submission
from src.submission.push import NotPushed, Say, ScoringFailed, await_score, new_token, push, token_in
from src.submission.reasons import told


def submit_once(
    competition: str,
    slug: str,
    file: Path,
    message: str,
    *,
    wait_minutes: float = 10,
    again: bool = False,
    say: Say = print,
) -> Submission:
    """Push `file` to the competition at Kaggle's address `slug`, note it in the ledger, and wait for its score.

    Bytes that were submitted before are refused, unless `again`. A push that was cut off earlier is looked up first,
    and its score is waited for where it had arrived. Raises Problem.
    """
    sha256 = sha256_of(file)
    if not again:
        _refuse_repeated(competition, sha256, file, settled=True)
    with _pushing(competition) as lock:
        sync(competition, slug, say)
        earlier = ledger.submitted_before(competition, sha256)
        if not again and earlier and not earlier.ref:
            earlier = _look_again(competition, slug, earlier, say)
        if not again and earlier and earlier.status == "PENDING":
            say(f"an earlier push of these bytes had arrived, as submission {earlier.ref}: waiting for its score")
            return _scored(earlier, slug, wait_minutes, say)
        if not again:
            _refuse_repeated(competition, sha256, file)
        return _push(_begun(competition, sha256, file, message), slug, file, wait_minutes, say=say, lock=lock)


def sync(competition: str, slug: str, say: Say = print) -> list[Entry]:
    """Bring the ledger up to Kaggle's list: later scores, and submissions made by hand. Returns the rows added."""
    with told(slug):
        listed = listing.submissions(slug, say, every=True)
    known = ledger.read(competition)[0]
    by_key = {key: entry for entry in known for key in (entry.ref, entry.token) if key}
    rows = []
    for each in reversed(listed):
        entry = by_key.get(each.ref) or by_key.get(token_in(each.message))
        news = _news(entry, each) if entry else _made_elsewhere(competition, each)
        rows += [news] if news else []
    if rows:
        ledger.append(*rows)
    return rows


def _push(entry: Entry, slug: str, file: Path, wait_minutes: float, *, say: Say, lock: int) -> Submission:
    try:
        mine = push(slug, file, entry.message, wait_minutes=0, say=say, token=entry.token, hold=(lock,))
    except NotPushed:
        ledger.append(_row(entry, NOT_PUSHED))
        raise
    except ScoringFailed as failed:
        ledger.append(_row(entry, "ERROR", failed.submission))
        raise
    ledger.append(_row(entry, mine.status, mine))
    return mine if wait_minutes <= 0 else _scored(_row(entry, mine.status, mine), slug, wait_minutes, say)
