"""The ledger brought up to what Kaggle lists, and to the pushes that were begun here.

Every push carries a token in its message, by which its row is found again in Kaggle's list. It is noted in the lock
file too, so that a ledger that was deleted or spoilt hides none.
"""

import json
import os
import re
import secrets
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO

from src.core.console import note
from src.core.files import sha256_of
from src.core.paths import submissions_folder
from src.submission import ledger
from src.submission.kaggle import command
from src.submission.kaggle.command import Submission
from src.submission.kaggle.errors import explained
from src.submission.ledger import Entry

LONGEST_MESSAGE = 250


def sync_ledger(competition: str, slug: str) -> list[Entry]:
    """Bring the ledger up to Kaggle's list: later scores, and submissions made by hand. Returns the rows added."""
    with explained(slug):
        listed = command.submissions(slug, every=True)
    by_key = {key: entry for entry in ledger.read(competition)[0] for key in (entry.ref, entry.token) if key}
    rows: list[Entry] = []
    for each in reversed(listed):
        entry = by_key.get(each.ref) or by_key.get(token_in(each.message))
        rows += changes(entry, each) if entry else [_made_elsewhere(competition, each)]
    ledger.append(*rows)
    return rows


def changes(entry: Entry, mine: Submission) -> list[Entry]:
    """The row that tells what the entry does not know yet; none where there is nothing new."""
    row = updated(entry, mine)
    return [row] if replace(row, time=entry.time) != entry else []


def updated(entry: Entry, mine: Submission) -> Entry:
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
        token=token_in(mine.message),
        message=mine.message,
        **(ledger.facts(competition, sha256) if sha256 else {}),
    )
    return replace(updated(entry, mine), time=entry.time)


def new_token(sha256: str) -> str:
    """A mark for the message: the file's hash, by which any push of these bytes is known, and a part of its own."""
    return f"[podium {sha256[:12]}-{secrets.token_hex(2)}]"


def token_in(message: str) -> str:
    """The token in a submission's message; empty where it was not pushed from here."""
    found = re.search(r"\[podium [0-9a-f]{12}-[0-9a-f]{4}\]", message)
    return found[0] if found else ""


def with_token(message: str, token: str) -> str:
    """The message in one line with the token at its end."""
    return f"{' '.join(message.split())[:LONGEST_MESSAGE]} {token}".strip()


def remember(entry: Entry, lock: IO[str]) -> None:
    """Note the push in the lock file too, a line each: whoever deletes or spoils the ledger does not undo it."""
    lock.write(f"{json.dumps(asdict(entry))}\n")
    lock.flush()
    os.fsync(lock.fileno())


def restore(competition: str, lock: IO[str]) -> None:
    """Put back what the ledger does not tell any more of pushes that were begun here."""
    lock.seek(0)
    known = {entry.token for entry in ledger.read(competition)[0]}
    for line in lock.read().splitlines():
        try:
            entry = Entry(**json.loads(line))
        except (ValueError, TypeError):
            continue
        if entry.token and entry.token not in known:
            note(
                "ledger-mended",
                f"the ledger does not tell the push of {entry.file} on {entry.time[:10]} any more: it is put back",
            )
            ledger.append(entry)
