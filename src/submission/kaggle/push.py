"""A push: what is left today, the upload, the search for our own submission, and the wait for its score.

A push has succeeded only when the command exits 0, says "Successfully submitted", and Kaggle's own list later shows
the submission COMPLETE with a score. Every message carries a token by which the submission is found again, so that a
push that may or may not have arrived is looked up, and never made twice.
"""

import re
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

from src.core.console import Say, say
from src.core.errors import Problem
from src.submission.kaggle import command, listing
from src.submission.kaggle.command import Call, Failed, NotebookVersion
from src.submission.kaggle.errors import explain, none_left, rules_not_accepted, told, until_midnight
from src.submission.kaggle.listing import Limits, Submission

LOOKS = (1.0, 3.0, 6.0)  # seconds before each look for a submission that may have arrived
POLLS = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0)  # seconds between the looks for a score; the last one repeats
RETRY_SECONDS = 300.0  # after these no new attempt is begun
LONGEST_MESSAGE = 250


class NotPushed(Problem):
    """Kaggle holds no such submission: the same file may be pushed again."""

    code = "not-pushed"


class Unsure(Problem):
    """The push may have arrived: look the submission up before pushing again."""

    code = "push-unsure"


class ScoringFailed(Problem):
    """Kaggle took the file and could not score it."""

    code = "scoring-failed"

    def __init__(self, text: str, submission: Submission) -> None:
        super().__init__(text)
        self.submission = submission


def new_token(sha256: str) -> str:
    """A mark for the message: the file's hash, by which any push of these bytes is known, and a part of its own."""
    return f"[podium {sha256[:12]}-{secrets.token_hex(2)}]"


def token_in(message: str) -> str:
    """The token in a submission's message; empty where it was not pushed from here."""
    found = re.search(r"\[podium [0-9a-f]{12}-[0-9a-f]{4}\]", message)
    return found[0] if found else ""


def marked(message: str, token: str) -> str:
    """The message in one line with the token at its end."""
    return f"{' '.join(message.split())[:LONGEST_MESSAGE]} {token}".strip()


def send(
    slug: str,
    file: Path | NotebookVersion,
    message: str,
    token: str,
    *,
    say: Say = say,
    hold: Sequence[int] = (),
) -> str:
    """Submit `file`, or a notebook's version, with a `message` that holds `token`.

    Returns the submission's ref, or "" where the command does not tell it. `hold`: open locks that live as long as
    the kaggle command does. Raises NotPushed where Kaggle certainly has no such submission, else Unsure.
    """
    size = f" ({file.stat().st_size:,} bytes)" if isinstance(file, Path) else ""
    say(f"pushing {file.name}{size} to {slug}")
    end = time.monotonic() + RETRY_SECONDS
    for usual in (*command.PAUSES, None):
        call = command.submit(slug, file, message, hold)
        if call.exit == 0 and "Successfully submitted" in call.out:
            told_ref = re.search(r"Submission ref: (\d+)", call.out)
            return told_ref[1] if told_ref else ""
        if not _certainly_absent(call):
            return _look_up(slug, call, token, say)
        passing = call.busy or _upload_failed(call) or (call.lost and call.exit is not None)
        pause = call.pause(usual or 0)
        if usual is None or not passing or pause > command.LONGEST_PAUSE or time.monotonic() + pause > end:
            raise NotPushed(_not_pushed(slug, call, file))
        trouble = f"Kaggle answered {call.status}" if call.busy else "the upload broke off"
        say(f"{trouble} and nothing was submitted: trying again in {pause:.0f} s")
        time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def ask_allowance(slug: str, say: Say = say) -> None:
    """Say what is left today. Raises NotPushed where nothing is, or where the rules are not accepted."""
    with told(slug):
        limits = listing.limits(slug, say)
        # All zeros also stand for "not in a team yet"; any other cause shows when the push is tried.
        facts = listing.competition(slug, say) if limits == Limits() else None
    if limits.left > 0:
        noun = "submission" if limits.left == 1 else "submissions"
        say(f"{limits.left} {noun} left today, {limits.today} used; the day ends (UTC) in {until_midnight()}")
    elif limits != Limits():
        raise NotPushed(none_left(limits))
    elif facts is not None and not facts["entered"]:
        raise NotPushed(rules_not_accepted(slug))
    else:
        say("Kaggle does not tell how many submissions are left")


def find(slug: str, token: str, ref: str, say: Say = say) -> Submission | None:
    """Our submission among the newest, by its ref or its token. Raises Failed."""
    newest = listing.submissions(slug, say)
    return next((each for each in newest if each.ref == ref or (token and token in each.message)), None)


def await_score(slug: str, token: str, ref: str, minutes: float, say: Say = say) -> Submission:
    """Wait until Kaggle has scored the submission that holds `token` or is `ref`.

    Raises ScoringFailed on ERROR, and Problem where Kaggle's list doesn't show the submission, or shows it COMPLETE
    without a score, until the time is over.
    """
    end = time.monotonic() + minutes * 60
    mine, waits, failed = None, iter(POLLS), None
    while True:
        try:
            mine, failed = find(slug, token, ref, say) or mine, None
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
        raise Problem(f"{explain(slug, failed.call)}\nThe push itself went through; later: python -m src.submit --sync")
    if mine is None:
        raise Problem(
            f"Kaggle said 'Successfully submitted', but its list does not show the submission {token}.\n"
            f"Look at https://www.kaggle.com/competitions/{slug}/submissions before pushing anything else."
        )
    if mine.status == "COMPLETE":
        raise Problem(
            f"Kaggle lists submission {mine.ref} as COMPLETE, but without a score.\n"
            "It may come later: python -m src.submit --sync"
        )
    return mine


def _upload_failed(call: Call) -> bool:
    """The file itself did not get through; the command then stops before it submits anything, and exits 0."""
    return call.exit == 0 and "Could not submit to competition" in call.out


def _certainly_absent(call: Call) -> bool:
    """Whether Kaggle can't hold the submission. After a 5xx, or no answer, it may have been stored all the same."""
    if call.exit == 0:
        return _upload_failed(call)
    asked = [call.asked(method) for method in ("CreateSubmission", "CreateCodeSubmission")]
    if asked == [False, False] or "/StartSubmissionUpload" in call.err:
        return True
    refused = call.status is not None and call.status < command.SERVER_FAULT and call.status != 408  # 429 and the 4xx
    return call.exit is not None and (refused or "Authentication required" in call.out)


def _not_pushed(slug: str, call: Call, file: Path | NotebookVersion) -> str:
    if not _upload_failed(call):
        return explain(slug, call, file if isinstance(file, Path) else None)
    lines = [line.strip() for line in call.out.splitlines() if line.strip() and "Could not submit" not in line]
    why = f" ({command.clean(lines[-1])[:200]})" if lines else ""
    return f"the upload of {file.name} broke off{why}.\nNothing was submitted. Give the same command again."


def _look_up(slug: str, call: Call, token: str, say: Say) -> str:
    """The ref of a submission that may have arrived. Raises Unsure where it isn't seen."""
    say("the answer to the push was lost: looking whether it arrived")
    try:
        for wait in LOOKS:
            time.sleep(wait)
            mine = find(slug, token, "", say)
            if mine:
                say(f"it arrived: submission {mine.ref}")
                return mine.ref
    except Failed as failed:
        call = failed.call
    raise Unsure(
        f"it is not known whether the push arrived. {explain(slug, call).splitlines()[0]}\n"
        "Give the same command again: it looks the submission up first, and pushes only where Kaggle has none."
    )


def _scoring_error(slug: str, submission: Submission) -> str:
    page = f"https://www.kaggle.com/competitions/{slug}/submissions"
    reason = f": {submission.reason}" if submission.reason else f", and the command does not tell why: see {page}"
    return (
        f"Kaggle took submission {submission.ref} and could not score it{reason}\n"
        "Check it against the sample submission with --dry-run, mend it, and push the new file."
    )
