"""The kaggle command: found beside this Python and run unmodified, with what it prints read as values.

A listener inside it notes what the server answers, which the command itself drops. This is the one module that runs
the command. Nothing here shows a credential: VERBOSE, which prints the Authorization header, is taken out of the
command's environment, and `clean` masks what a quoted line might still hold.
"""

import csv
import io
import json
import math
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from src.core.console import note, printable
from src.core.errors import Problem, UsageError

LISTENER = Path(__file__).resolve().parent / "listener"
READ_SECONDS = 90.0  # for a question; the command itself would wait for ever
UPLOAD_SECONDS = 900.0  # for a push, plus a second for every 50 kB
PAUSES = (2.0, 5.0, 10.0, 20.0, 40.0)  # seconds between the attempts when Kaggle is busy
LAG_SECONDS = 600.0  # what Kaggle stored may show in its lists that much later
LONGEST_PAUSE = 120.0  # a server that asks for a longer one is not waited for

LOOK_SECONDS = 0.5  # between the looks at what the listener noted

BUSY = 429
SERVER_FAULT = 500
NO_ANSWER = re.compile(
    r"Max retries exceeded|Connection aborted|Connection refused|Connection reset|RemoteDisconnected|NameResolution"
    r"|new connection|ConnectionError|ProxyError|SSLError|timed out|Read timed out|Network is unreachable"
    r"|IncompleteRead|Connection broken|ChunkedEncodingError|ProtocolError"
)


Exchange = dict[str, Any]  # what the listener noted of one question or answer


@dataclass(frozen=True)
class Call:
    """One run of the command. `exit` is None where it was stopped at its time limit."""

    words: tuple[str, ...]
    exit: int | None
    out: str
    err: str
    answers: tuple[dict[str, Any], ...]  # what the server answered, as src/submission/kaggle/listener noted it
    attempts: int = 1  # that ended like this one

    @property
    def last(self) -> dict[str, Any]:
        """The last note: a question without a "status" got no answer. Empty where nothing was noted."""
        return next((one for one in reversed(self.answers) if "method" in one), {})

    @property
    def refusal(self) -> dict[str, Any]:
        """The noted answer that made the command fail; empty where there is none.

        Only the last one can be: the command goes on after others, such as one that a data set is not there yet.
        """
        return self.last if self.last.get("status", 0) >= 400 else {}

    @property
    def status(self) -> int | None:
        """The HTTP status that made the command fail, from the notes or from what it printed."""
        if self.refusal or self.unanswered:
            return self.refusal.get("status")
        shown = re.findall(r"\b([45]\d\d) (?:Client|Server) Error", self.out + self.err)
        return int(shown[-1]) if shown else None

    @property
    def unanswered(self) -> bool:
        """Whether its last question got no answer."""
        return bool(self.last) and "status" not in self.last

    @property
    def message(self) -> str:
        """The server's own words about the refusal, which the command drops; empty where unknown."""
        answer = self.refusal.get("answer")
        answer = answer if isinstance(answer, dict) else {}
        error = answer.get("error")
        words = error.get("message") if isinstance(error, dict) else error
        words = words or answer.get("message") or ""
        return clean(" ".join(words.split())) if isinstance(words, str) else ""

    @property
    def lost(self) -> bool:
        """Whether no answer came: no network, a dropped connection, or our time limit."""
        if self.exit in (None, 0):
            return self.exit is None
        return self.status is None and (self.unanswered or bool(NO_ANSWER.search(self.out + self.err)))

    @property
    def busy(self) -> bool:
        return self.status is not None and (self.status == BUSY or self.status >= SERVER_FAULT)

    def asked(self, method: str) -> bool | None:
        """Whether the command sent this question to the server; None where nothing was noted."""
        return any(answer.get("method") == method for answer in self.answers) if self.answers else None

    def pause(self, usual: float) -> float:
        """Seconds to wait before the next attempt: what the server asks for, and `usual` at least."""
        return max(usual, retry_after(self.refusal))


def retry_after(exchange: Exchange) -> float:
    """The seconds that a noted answer asks to wait; 0 where it asks nothing."""
    asked = str(exchange.get("retry_after", ""))
    return float(asked) if re.fullmatch(r"\d{1,9}(\.\d+)?", asked) else 0.0


@dataclass(frozen=True)
class NotebookVersion:
    """A run of a notebook at Kaggle, whose file `output` is submitted. sha256: of all that the run is made of."""

    kernel: str  # user/slug
    version: int
    sha256: str
    output: str = "submission.csv"

    @property
    def name(self) -> str:
        return f"{self.kernel} version {self.version}"


class Failed(Exception):
    """The command did not do what it was asked; src.submission.kaggle.errors says why."""

    def __init__(self, call: Call) -> None:
        super().__init__(" ".join(call.words))
        self.call = call


def executable() -> Path:
    """The kaggle command of this Python's environment. Raises Problem where it is not installed."""
    places = [Path(sys.executable).parent / "kaggle", Path(sysconfig.get_path("scripts")) / "kaggle"]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        install = f"{sys.executable} -m pip install -r requirements.txt"
        raise Problem(
            f"the kaggle command is not installed: there is no {places[0]}.\nInstall it: {install}",
            code="kaggle-not-installed",
        )
    return path


def clean(text: str) -> str:
    """`text` with everything that may be a credential masked, and nothing that a terminal would obey."""
    text = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]+", " ", text)
    for name in ("KAGGLE_KEY", "KAGGLE_API_TOKEN"):
        if len(os.environ.get(name, "")) >= 8:
            text = text.replace(os.environ[name], "***")
    text = re.sub(r"(?i)(authorization\W+|bearer |basic )(\S+ )?\S+", r"\1***", text)
    text = re.sub(r"\b(KGAT_[\w.-]+|[0-9a-fA-F]{32,})", "***", text)
    text = re.sub(r"(\w://)[^\s/@]+@", r"\1***@", text)  # a proxy's password
    return re.sub(r"(https?://[^\s?]+|url: /[^\s?]*)\?\S+", r"\1?***", text)  # signed addresses let anyone upload


def run(
    *words: str,
    seconds: float = READ_SECONDS,
    hold: Sequence[int] = (),
    heard: Callable[[Exchange], None] | None = None,
) -> Call:
    """Run `kaggle WORDS` once.

    hold: open files (locks) that stay open for as long as the command lives. heard: called with each note soon after
    the listener made it; what it raises ends the command.
    """
    with tempfile.TemporaryDirectory(prefix="podium-") as folder:
        notes = Path(folder) / "answers.jsonl"
        environment = {key: value for key, value in os.environ.items() if key not in ("VERBOSE", "VERBOSE_OUTPUT")}
        paths = [str(LISTENER), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment |= {
            "PODIUM_KAGGLE_ANSWERS": str(notes),
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONIOENCODING": "utf-8:backslashreplace",
        }
        line = [str(executable()), *words]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        end, reported = time.monotonic() + seconds, 0
        with subprocess.Popen(line, env=environment, pass_fds=hold, **pipes) as process:
            try:
                while True:
                    try:
                        out, err = process.communicate(timeout=max(0.0, min(LOOK_SECONDS, end - time.monotonic())))
                        break
                    except subprocess.TimeoutExpired:
                        if time.monotonic() >= end:
                            process.kill()
                            out, err = process.communicate()
                            return Call(words, None, *_decoded(out, err), _noted(notes))
                    for exchange in _noted(notes)[reported:] if heard else ():
                        reported += 1
                        heard(exchange)
            except BaseException:
                process.kill()
                raise
        return Call(words, process.returncode, *_decoded(out, err), _noted(notes))


def tell_upload(exchange: Exchange) -> None:
    """Tells that an upload broke off and is sent again, which the command does for minutes without a word."""
    if "upload_attempt" in exchange:
        note(
            "upload-sent-again",
            f"the upload broke off: the kaggle command sends it again (attempt {exchange['upload_attempt']})",
        )


def _decoded(out: bytes, err: bytes) -> tuple[str, str]:
    return out.decode(errors="replace"), err.decode(errors="replace")


def _noted(notes: Path) -> tuple[dict[str, Any], ...]:
    try:
        lines = notes.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    answers = []
    for line in lines:
        try:
            answers.append(json.loads(line))
        except ValueError:  # the command was killed while it wrote this line
            continue
    return tuple(answer for answer in answers if isinstance(answer, dict))


def ask(*words: str, seconds: float = READ_SECONDS) -> Call:
    """Run a command that only reads. 429, 5xx and a dropped connection are waited out, within limits."""
    for attempt, usual in enumerate((*PAUSES, None), 1):
        call = replace(run(*words, seconds=seconds), attempts=attempt)
        if call.exit == 0 or usual is None or not (call.busy or (call.lost and attempt == 1)):
            break
        pause = call.pause(usual)
        if pause > LONGEST_PAUSE:
            break
        why = f"answers {call.status}" if call.busy else "does not respond"
        note("asking-again", f"Kaggle {why}: asking again in {pause:.0f} s")
        time.sleep(pause)
    if call.exit != 0:
        raise Failed(call)
    return call


def checked_slug(slug: str) -> str:
    """`slug` itself. Raises UsageError where it cannot be a competition's address (or would read as a flag)."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", slug):
        raise UsageError(
            f"{slug!r} is no competition's address: it is what follows kaggle.com/competitions/", code="bad-slug"
        )
    return slug


def submit(
    slug: str,
    file: Path | NotebookVersion,
    message: str,
    hold: Sequence[int] = (),
    heard: Callable[[Exchange], None] | None = None,
) -> Call:
    """Run `kaggle competitions submit` once, whatever comes of it."""
    # --key=value, so that a message that begins with a dash is still a message.
    words = ["competitions", "submit", checked_slug(slug), f"--message={message}"]
    if isinstance(file, NotebookVersion):
        words += [f"--kernel={file.kernel}", f"--version={file.version}", f"--file={file.output}"]
        return run(*words, seconds=UPLOAD_SECONDS, hold=hold, heard=heard)
    return run(*words, f"--file={file}", seconds=upload_seconds(file.stat().st_size), hold=hold, heard=heard)


def upload_seconds(size: int) -> float:
    """How long the command may take to upload so many bytes."""
    return UPLOAD_SECONDS + size / 50_000


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


def limits(slug: str) -> Limits:
    """What is left today. Raises Failed."""
    return parse_limits(ask("competitions", "submission-limits", checked_slug(slug), "--json"))


def submissions(slug: str, every: bool = False) -> list[Submission]:
    """The newest submissions, or `every` one, newest first. Raises Failed."""
    words = ["competitions", "submissions", checked_slug(slug), "-v"]
    words += ["--page-size", str(PAGE)] if every else []
    found: list[Submission] = []
    token = ""
    for _ in range(MOST_PAGES):
        call = ask(*words, *(["--page-token", token] if token else []))
        found += parse_submissions(call)
        # The command prints no token for the next page; the listener hears it.
        following = [(answer.get("answer") or {}).get("nextPageToken") for answer in call.answers if "status" in answer]
        token = next((page for page in reversed(following) if isinstance(page, str)), "")
        if not every or not token:
            break
    return list({submission.ref: submission for submission in found}.values())


def competition(slug: str) -> dict[str, Any] | None:
    """What `competitions list` tells of one competition: userHasEntered, deadline, and what was heard with it."""
    call = ask("competitions", "list", "--search", checked_slug(slug), "-v")
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
            file=printable(row["fileName"]),
            date=row["date"],
            message=printable(row["description"]),
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
