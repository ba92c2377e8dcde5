"""A submission is made once: the upload, the search for it, the wait for its score, and the ledger around it.

A push has succeeded only when the command exits 0, says "Successfully submitted", and Kaggle's own list later shows
the submission COMPLETE with a score. Every message carries a token by which the submission is found again. A push of
which it is not known whether it arrived is looked up before anything else is pushed; its absence from Kaggle's list
proves nothing as long as the list may lag.
"""

import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from src.core.console import log, note
from src.core.errors import Problem
from src.core.files import sha256_of
from src.core.locks import locked
from src.core.paths import submissions_folder
from src.submission import ledger
from src.submission.kaggle import command
from src.submission.kaggle.command import Call, Failed, Limits, NotebookVersion, Submission
from src.submission.kaggle.errors import (
    SITE,
    NotPushed,
    Reason,
    Unsure,
    explain,
    explained,
    none_left,
    rules_not_accepted,
    until_midnight,
)
from src.submission.kaggle.sync import changes, new_token, remember, restore, sync_ledger, updated, with_token
from src.submission.ledger import NOT_PUSHED, PUSHING, Entry

LOOKS = (1.0, 3.0, 6.0)  # seconds before each look for a submission that may have arrived
POLLS = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0)  # seconds between the looks for a score; the last one repeats
RETRY_SECONDS = 300.0  # after these no new attempt is begun
UPLOAD_FAILED = "Could not submit to competition"  # 2.2.4 prints it and exits 0, 2.2.5 exits 1


class Unscored(Problem):
    """The push went through, and its score is not known."""

    code = "not-scored"


class AlreadySubmitted(Problem):
    """Kaggle has these bytes."""

    code = "already-submitted"

    def __init__(self, entry: Entry, name: str) -> None:
        score = "" if entry.public_score is None else f", public score {entry.public_score:g}"
        reason = f": {entry.reason}" if entry.status == "ERROR" and entry.reason else ""
        super().__init__(
            f"{name} was submitted before, on {entry.time[:10]} as {entry.ref or entry.token} "
            f"({entry.status}{score}{reason}).\nThe same bytes give the same score. To push them again, add --again."
        )


class ScoringFailed(Problem):
    """Kaggle took the file and could not score it."""

    code = "scoring-failed"

    def __init__(self, text: str, submission: Submission) -> None:
        super().__init__(text)
        self.submission = submission


def submit_once(
    competition: str,
    slug: str,
    file: Path | NotebookVersion,
    message: str,
    *,
    wait_minutes: float = 10,
    again: bool = False,
) -> Submission:
    """Push `file`, or a notebook's version, to the competition `slug`, note it in the ledger, and wait for its score.

    Bytes that were submitted before are refused, unless `again`. A push that was cut off earlier is looked up first;
    where it had arrived, its score is waited for and nothing is pushed. Returns the submission, PENDING where the
    wait ended before it was scored. Raises Problem.
    """
    sha256 = sha256_of(file) if isinstance(file, Path) else file.sha256
    before = None if again else ledger.submitted_before(competition, sha256)
    if before and before.status not in (PUSHING, "PENDING"):
        raise AlreadySubmitted(before, file.name)
    with _only_push(competition) as lock:
        sync_ledger(competition, slug)
        restore(competition, lock)
        entry = None if again else ledger.submitted_before(competition, sha256)
        if entry and entry.status == PUSHING:
            entry = _unsure_push(competition, slug, entry)
        if entry and not before:
            raise AlreadySubmitted(entry, file.name)
        if entry:
            note("earlier-push-arrived", "an earlier push of these bytes had arrived: nothing is pushed now")
        else:
            limits = check_allowance(slug)
            _tell_hidden(competition, limits)
            counted = limits.total if limits else None
            entry = _new_entry(competition, sha256, file, message, counted)
            remember(entry, lock)
            entry = _push(entry, slug, file, lock.fileno())
    try:
        mine = await_score(slug, entry.token, entry.ref, wait_minutes)
    except ScoringFailed as failed:
        ledger.append(*changes(entry, failed.submission))
        raise
    ledger.append(*changes(entry, mine))
    return mine


def check_allowance(slug: str) -> Limits | None:
    """Say what is left today, and return it; None where Kaggle does not tell.

    Raises NotPushed where none is left, or where the rules are not accepted.
    """
    with explained(slug):
        limits = command.limits(slug)
        # All zeros also stand for "not in a team yet"; any other cause shows when the push is tried.
        facts = command.competition(slug) if limits == Limits() else None
    if limits.left > 0:
        noun = "submission" if limits.left == 1 else "submissions"
        note(
            "submissions-left",
            f"{limits.left} {noun} left today, {limits.today} used; the day ends (UTC) in {until_midnight()}",
        )
        return limits
    if limits != Limits():
        raise none_left(limits).error(NotPushed)
    if facts is not None and not facts["entered"]:
        raise rules_not_accepted(slug).error(NotPushed)
    note("submissions-left-unknown", "Kaggle does not tell how many submissions are left")
    return None


def send(
    slug: str,
    file: Path | NotebookVersion,
    message: str,
    token: str,
    *,
    counted: float | None = None,
    hold: Sequence[int] = (),
) -> str:
    """Submit `file`, or a notebook's version, with a `message` that holds `token`.

    Returns the submission's ref, or "" where the command does not tell it. `counted`: submissions that Kaggle had
    counted before. `hold`: open locks that live as long as the kaggle command does. Raises NotPushed where Kaggle
    certainly has no such submission, else Unsure.
    """
    size = f" ({file.stat().st_size:,} bytes)" if isinstance(file, Path) else ""
    log.info(f"pushing {file.name}{size} to {slug}")
    end = time.monotonic() + RETRY_SECONDS
    for attempt, usual in enumerate((*command.PAUSES, None), 1):
        call = replace(command.submit(slug, file, message, hold, command.tell_upload), attempts=attempt)
        if call.exit == 0 and "Successfully submitted" in call.out:
            ref = re.search(r"Submission ref: (\d+)", call.out)
            return ref[1] if ref else ""
        if not _certainly_absent(call):
            return _look_up(slug, call, token, counted)
        passing = call.busy or _upload_failed(call) or (call.lost and call.exit is not None)
        pause = call.pause(usual or 0)
        if usual is None or not passing or pause > command.LONGEST_PAUSE or time.monotonic() + pause > end:
            raise _not_pushed(slug, call, file).error(NotPushed)
        trouble = f"Kaggle answered {call.status}" if call.busy else "the upload broke off"
        note("trying-again", f"{trouble} and nothing was submitted: trying again in {pause:.0f} s")
        time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def find(slug: str, token: str, ref: str) -> Submission | None:
    """Our submission among the newest, by its ref or its token. Raises Failed."""
    newest = command.submissions(slug)
    return next((each for each in newest if each.ref == ref or (token and token in each.message)), None)


def await_score(slug: str, token: str, ref: str, minutes: float) -> Submission:
    """Wait until Kaggle has scored the submission that holds `token` or is `ref`.

    Raises ScoringFailed on ERROR, and Unscored where Kaggle's list doesn't show the submission, or shows it COMPLETE
    without a score, until the time is over.
    """
    end = time.monotonic() + minutes * 60
    mine, waits, failed = None, iter(POLLS), None
    while True:
        try:
            mine, failed = find(slug, token, ref) or mine, None
        except Failed as missed:  # a lapse of the network does not end the wait
            failed = missed
        if mine and mine.status == "ERROR":
            raise ScoringFailed(_scoring_error(slug, mine), mine)
        if mine and (mine.scored or (minutes <= 0 and not failed)):
            return mine
        wait = next(waits, POLLS[-1])
        looking = mine is None and minutes <= 0 and wait != POLLS[-1]  # its arrival is waited for in any case
        if time.monotonic() + wait > end and not looking:
            break
        time.sleep(wait)
    if failed:
        raise Unscored(
            f"{explain(slug, failed.call)}\nThe push itself went through; later: python -m src.submit --sync"
        )
    if mine is None:
        raise Unscored(
            f"Kaggle said 'Successfully submitted', but its list does not show the submission {token}.\n"
            f"Look at {_page(slug)} before pushing anything else."
        )
    if mine.status == "COMPLETE":
        raise Unscored(
            f"Kaggle lists submission {mine.ref} as COMPLETE, but without a score.\n"
            "It may come later: python -m src.submit --sync"
        )
    return mine


def _tell_hidden(competition: str, limits: Limits | None) -> None:
    """A push of the same file from another machine may not be listed yet; nothing here would know of it."""
    today = ledger.now()[:10]
    listed = sum(each.ref != "" and each.time.startswith(today) for each in ledger.read(competition)[0])
    if limits and limits.today > listed:
        more = "a push from elsewhere may be on its way"
        note("counts-differ", f"Kaggle counts {limits.today} submissions of today and lists {listed}: {more}")


def _new_entry(competition: str, sha256: str, file: Path | NotebookVersion, message: str, counted: int | None) -> Entry:
    """The row that stands in the ledger before the push, so that no kill can hide it."""
    token = new_token(sha256)
    entry = Entry(
        time=ledger.now(),
        competition=competition,
        file=file.name,
        sha256=sha256,
        token=token,
        status=PUSHING,
        message=with_token(message, token),
        counted_before=counted,
        **ledger.facts(competition, sha256),
    )
    ledger.append(entry)
    return entry


def _push(entry: Entry, slug: str, file: Path | NotebookVersion, lock: int) -> Entry:
    """Send the file, and note in the ledger what came of it."""
    try:
        ref = send(slug, file, entry.message, entry.token, counted=entry.counted_before, hold=(lock,))
    except NotPushed as problem:
        ledger.append(replace(entry, time=ledger.now(), status=NOT_PUSHED, reason=str(problem).splitlines()[0]))
        raise
    entry = replace(entry, time=ledger.now(), status="PENDING", ref=ref)
    ledger.append(entry)
    return entry


def _unsure_push(competition: str, slug: str, entry: Entry) -> Entry | None:
    """The submission that an earlier push of unknown fate made; None where Kaggle has none, which is then noted.

    Raises Unsure as long as that cannot be known: within LAG_SECONDS, and where Kaggle counts more submissions than
    its list explains.
    """
    note("push-cut-off", "an earlier push of these bytes was cut off: looking whether it arrived")
    lag = command.LAG_SECONDS - ledger.seconds_since(entry.time)
    for wait in LOOKS if lag > 0 else ():
        time.sleep(wait)
        with explained(slug):
            mine = find(slug, entry.token, "")
        if mine:
            return updated(entry, mine)
    evidence = _evidence(competition, slug, entry)
    if lag > 0 or evidence.hidden > 0 or evidence.nameless:
        when = f"Kaggle's list may still lag for {lag / 60:.0f} min. " if lag > 0 else ""
        raise Unsure(
            f"it is not known whether the earlier push of {entry.file} arrived. {evidence.text} Nothing was pushed.\n"
            f"{when}Look at {_page(slug)}, or give the same command again later. To push it all the same: --again"
        )
    note("push-not-arrived", f"it did not arrive. {evidence.text}")
    ledger.append(replace(entry, time=ledger.now(), status=NOT_PUSHED, reason="cut off, and not in Kaggle's list"))
    return None


@dataclass(frozen=True)
class _Evidence:
    """What Kaggle tells of a push that its list does not show.

    hidden: submissions that Kaggle counts since the push and does not list. nameless: since then it lists one without a
    token, which may be ours under another name and without its message, or somebody's who pushed by hand.
    """

    hidden: float
    nameless: bool
    text: str


def _evidence(competition: str, slug: str, entry: Entry) -> _Evidence:
    """Raises Problem. To be called after `sync_ledger`: what is listed stands in the ledger."""
    entries = ledger.read(competition)[0]
    place = next((place for place, each in enumerate(entries) if each.token == entry.token), len(entries))
    # Both by place and by time: a submission of a teammate that was counted before and listed later explains nothing.
    newer = [each for each in entries[place + 1 :] if each.ref and each.time >= entry.time]
    nameless = next((each for each in newer if not each.token), None)
    found = f" It may be submission {nameless.ref}, {nameless.file}, which has no token." if nameless else ""
    if entry.counted_before is None:
        return _Evidence(0, bool(nameless), f"Kaggle's list does not show it.{found}")
    with explained(slug):
        counted = command.limits(slug).total
    hidden = counted - entry.counted_before - len(newer)
    return _Evidence(hidden, bool(nameless), f"{_count_told(entry.counted_before, counted)}{found}")


def _count_told(before: float, now: float) -> str:
    risen = "so it has very likely arrived" if now > before else "so it has likely not arrived"
    counted = f"Kaggle counted {before:g} submissions before it and counts {now:g} now"
    return f"Kaggle's list does not show it; {counted}, {risen}."


@contextlib.contextmanager
def _only_push(competition: str) -> Iterator[IO[str]]:
    """Hold the right to push to this competition. The kaggle command inherits the lock: a push whose parent was
    killed keeps it until it ends. Raises Problem where another process holds it."""
    refusal = f"another push to {competition} is at work.\nWait until it ends, and give the same command again."
    with locked(submissions_folder(competition) / ".push.lock", lambda _: refusal) as file:
        yield file


def _upload_failed(call: Call) -> bool:
    """The file itself did not get through; the command then stops before it submits anything."""
    return UPLOAD_FAILED in call.out + call.err and not call.asked("CreateSubmission")


def _certainly_absent(call: Call) -> bool:
    """Whether Kaggle can't hold the submission. After a 5xx, or no answer, it may have been stored all the same."""
    if call.exit == 0 or _upload_failed(call):
        return _upload_failed(call)
    asked = [call.asked(method) for method in ("CreateSubmission", "CreateCodeSubmission")]
    if asked == [False, False] or "/StartSubmissionUpload" in call.err:
        return True
    refused = call.status is not None and call.status < command.SERVER_FAULT and call.status != 408  # 429 and the 4xx
    return call.exit is not None and (refused or "Authentication required" in call.out)


def _not_pushed(slug: str, call: Call, file: Path | NotebookVersion) -> Reason:
    if not _upload_failed(call):
        return explain(slug, call, file if isinstance(file, Path) else None)
    lines = [line.strip() for line in call.out.splitlines() if line.strip() and UPLOAD_FAILED not in line]
    why = f" ({command.clean(lines[-1])[:200]})" if lines else ""
    broke_off = f"the upload of {file.name} broke off{why}."
    return Reason("upload-broke-off", broke_off, "Nothing was submitted. Give the same command again.")


def _look_up(slug: str, call: Call, token: str, counted: float | None) -> str:
    """The ref of a submission that may have arrived. Raises Unsure where it isn't seen."""
    note("answer-lost", "the answer to the push was lost: looking whether it arrived")
    text = ""
    try:
        for wait in LOOKS:
            time.sleep(wait)
            mine = find(slug, token, "")
            if mine:
                note("push-arrived", f"it arrived: submission {mine.ref}")
                return mine.ref
        text = "" if counted is None else f" {_count_told(counted, command.limits(slug).total)}"
    except Failed as failed:
        call = failed.call
    raise Unsure(
        f"it is not known whether the push arrived. {explain(slug, call).text}{text}\n"
        f"Give the same command again: it looks the submission up first. As long as Kaggle's list may lag, for "
        f"{command.LAG_SECONDS / 60:.0f} min, it pushes nothing again, unless told --again."
    )


def _scoring_error(slug: str, submission: Submission) -> str:
    reason = (
        f": {submission.reason}" if submission.reason else f", and the command does not tell why: see {_page(slug)}"
    )
    return (
        f"Kaggle took submission {submission.ref} and could not score it{reason}\n"
        "Check it against the sample submission with --dry-run, mend it, and push the new file."
    )


def _page(slug: str) -> str:
    return f"{SITE}/competitions/{slug}/submissions"
