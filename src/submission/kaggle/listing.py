"""What the kaggle command prints when it is asked: the limits, the submissions, the competition, as values."""

import csv
import io
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from src.submission.kaggle.command import Call, Failed, ask, checked_slug, clean

PAGE, MOST_PAGES = 200, 20


@dataclass(frozen=True)
class Limits:
    """Submissions of the team: made today (UTC), made ever, and left for today."""

    today: int = 0
    total: int = 0
    left: int = 0
    lifetime: bool = False  # whether `left` comes from the competition's lifetime cap


@dataclass(frozen=True)
class Submission:
    """One submission as Kaggle lists it. `status` is PENDING, COMPLETE or ERROR; `reason` says why for ERROR."""

    ref: str
    file: str
    date: str
    message: str
    status: str
    public_score: float | None = None
    private_score: float | None = None
    reason: str = ""

    @property
    def scored(self) -> bool:
        return self.status == "COMPLETE" and not (self.public_score is None and self.private_score is None)


def limits(slug: str, say: Callable[[str], None] = print) -> Limits:
    """What is left today. Raises Failed."""
    return parse_limits(ask("competitions", "submission-limits", checked_slug(slug), "--json", say=say))


def submissions(slug: str, say: Callable[[str], None] = print, every: bool = False) -> list[Submission]:
    """The newest submissions, or `every` one, newest first. Raises Failed."""
    words = ["competitions", "submissions", checked_slug(slug), "-v"]
    words += ["--page-size", str(PAGE)] if every else []
    found: list[Submission] = []
    token = ""
    for _ in range(MOST_PAGES):
        call = ask(*words, *(["--page-token", token] if token else []), say=say)
        found += parse_submissions(call)
        # The command prints no token for the next page; the listener hears it.
        following = [(answer.get("answer") or {}).get("nextPageToken") for answer in call.answers if "status" in answer]
        token = next((page for page in reversed(following) if isinstance(page, str)), "")
        if not every or not token:
            break
    return list({submission.ref: submission for submission in found}.values())


def competition(slug: str, say: Callable[[str], None] = print) -> dict[str, Any] | None:
    """What `competitions list` tells of one competition: userHasEntered, deadline, and what was heard with it."""
    call = ask("competitions", "list", "--search", checked_slug(slug), "-v", say=say)
    heard = [item for answer in call.answers for item in _list(answer.get("answer"), "competitions")]
    for row in parse_table(call.out, ("ref", "userHasEntered")) or []:
        if row["ref"].rstrip("/").split("/")[-1] == slug:
            more = next((item for item in heard if str(item.get("ref", "")).rstrip("/").split("/")[-1] == slug), {})
            return {"deadline": row.get("deadline", ""), "entered": row["userHasEntered"] == "True", **more}
    return None


def parse_limits(call: Call) -> Limits:
    """Read the JSON that `submission-limits --json` prints: zeros are left out, warnings may surround it."""
    for start in (match.start() for match in re.finditer(r"\{", call.out)):
        try:
            found, _ = json.JSONDecoder().raw_decode(call.out[start:])
        except (ValueError, RecursionError):
            continue
        known = {"numToday", "numTotal", "numAllowedNow", "limitedByTotal"}
        if isinstance(found, dict) and set(found) <= known and all(isinstance(value, int) for value in found.values()):
            counts = [found.get(key, 0) for key in ("numToday", "numTotal", "numAllowedNow")]
            return Limits(*counts, bool(found.get("limitedByTotal")))
    raise Failed(call)


def parse_submissions(call: Call) -> list[Submission]:
    """Read the CSV that `submissions -v` prints. Lines before and after the table are passed over."""
    rows = parse_table(call.out, ("ref", "fileName", "date", "description", "status"))
    if rows is None:
        if "No submissions found" in call.out:
            return []
        raise Failed(call)
    heard = [item for answer in call.answers for item in _list(answer.get("answer"), "submissions")]
    reasons = {str(item.get("ref")): item.get("errorDescription") for item in heard}
    return [
        Submission(
            ref=row["ref"],
            file=row["fileName"],
            date=row["date"],
            message=row["description"],
            status=row["status"].rpartition(".")[2].strip().upper(),
            public_score=_score(row.get("publicScore", "")),
            private_score=_score(row.get("privateScore", "")),
            reason=clean(" ".join(str(reasons.get(row["ref"]) or "").split())),
        )
        for row in rows
        if re.fullmatch(r"\d+", row["ref"])
    ]


def parse_table(text: str, columns: Sequence[str]) -> list[dict[str, str]] | None:
    """Rows of the CSV table in `text`, missing cells empty; None where no line is its header."""
    text = text.replace("\0", "")
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines):
        names = line.strip().split(",")
        if set(columns) <= set(names):
            body = io.StringIO("".join(lines[number + 1 :]), newline="")
            csv.field_size_limit(max(csv.field_size_limit(), len(text)))
            return [dict.fromkeys(names, "") | dict(zip(names, row, strict=False)) for row in csv.reader(body) if row]
    return None


def _score(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _list(answer: object, key: str) -> list[dict[str, Any]]:
    items = answer.get(key) if isinstance(answer, dict) else None
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
