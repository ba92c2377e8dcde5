"""The kaggle command: found beside this Python and run unmodified, with an ear on what the server answers.

This is the one module that runs the command; listing.py beside it reads what it prints. Nothing here shows a
credential: VERBOSE, which prints the Authorization header, is taken out of the command's environment, and `clean`
masks what a quoted line might still hold.
"""

import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.core.errors import Problem, UsageError

LISTENER = Path(__file__).resolve().parent / "listener"
READ_SECONDS = 90.0  # for a question; the command itself would wait for ever
UPLOAD_SECONDS = 900.0  # for a push, plus a second for every 50 kB
PAUSES = (2.0, 5.0, 10.0, 20.0, 40.0)  # seconds between the attempts when Kaggle is busy
LONGEST_PAUSE = 120.0  # a server that asks for a longer one is not waited for

BUSY = 429
SERVER_FAULT = 500
NO_ANSWER = re.compile(
    r"Max retries exceeded|Connection aborted|Connection refused|Connection reset|RemoteDisconnected|NameResolution"
    r"|new connection|ConnectionError|ProxyError|SSLError|timed out|Read timed out|Network is unreachable"
)


@dataclass(frozen=True)
class Call:
    """One run of the command. `exit` is None where it was stopped at its time limit."""

    words: tuple[str, ...]
    exit: int | None
    out: str
    err: str
    answers: tuple[dict[str, Any], ...]  # what the server answered, as src/submission/kaggle/listener noted it

    @property
    def refusal(self) -> dict[str, Any]:
        """The noted answer that made the command fail; empty where there is none."""
        return next((answer for answer in reversed(self.answers) if answer.get("status", 0) >= 400), {})

    @property
    def status(self) -> int | None:
        """The HTTP status that made the command fail, from the notes or from what it printed."""
        shown = re.search(r"\b([45]\d\d) (?:Client|Server) Error", self.out + self.err)
        return self.refusal.get("status") or (int(shown[1]) if shown else None)

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
        return self.exit is None or (self.status is None and bool(NO_ANSWER.search(self.out + self.err)))

    @property
    def busy(self) -> bool:
        return self.status is not None and (self.status == BUSY or self.status >= SERVER_FAULT)

    def asked(self, method: str) -> bool | None:
        """Whether the command sent this question to the server; None where nothing was noted."""
        return any(answer.get("method") == method for answer in self.answers) if self.answers else None

    def pause(self, usual: float) -> float:
        """Seconds to wait before the next attempt: what the server asks for, and `usual` at least."""
        asked = str(self.refusal.get("retry_after", ""))
        return max(usual, float(asked)) if re.fullmatch(r"\d{1,9}(\.\d+)?", asked) else usual


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


def command() -> Path:
    """The kaggle command of this Python's environment. Raises Problem where it is not installed."""
    places = [Path(sys.executable).parent / "kaggle", Path(sysconfig.get_path("scripts")) / "kaggle"]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        install = f"{sys.executable} -m pip install -r requirements.txt"
        raise Problem(f"the kaggle command is not installed: there is no {places[0]}.\nInstall it: {install}")
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


def run(*words: str, seconds: float = READ_SECONDS, hold: Sequence[int] = ()) -> Call:
    """Run `kaggle WORDS` once. `hold`: open files (locks) that stay open for as long as the command lives."""
    with tempfile.TemporaryDirectory(prefix="podium-") as folder:
        notes = Path(folder) / "answers.jsonl"
        environment = {key: value for key, value in os.environ.items() if key not in ("VERBOSE", "VERBOSE_OUTPUT")}
        paths = [str(LISTENER), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment |= {
            "PODIUM_KAGGLE_ANSWERS": str(notes),
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONIOENCODING": "utf-8:backslashreplace",
        }
        line = [str(command()), *words]
        try:
            done = subprocess.run(
                line,
                check=False,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=seconds,
                pass_fds=hold,
            )
            code, out, err = done.returncode, done.stdout, done.stderr
        except subprocess.TimeoutExpired as late:
            code, out, err = None, late.stdout or b"", late.stderr or b""
        return Call(words, code, out.decode(errors="replace"), err.decode(errors="replace"), _noted(notes))


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


def ask(*words: str, say: Callable[[str], None] = print, seconds: float = READ_SECONDS) -> Call:
    """Run a command that only reads. 429, 5xx and a dropped connection are waited out, within limits."""
    for attempt, usual in enumerate((*PAUSES, None)):
        call = run(*words, seconds=seconds)
        if call.exit == 0 or usual is None or not (call.busy or (call.lost and attempt == 0)):
            break
        pause = call.pause(usual)
        if pause > LONGEST_PAUSE:
            break
        say(f"Kaggle {f'answers {call.status}' if call.busy else 'does not answer'}: asking again in {pause:.0f} s")
        time.sleep(pause)
    if call.exit != 0:
        raise Failed(call)
    return call


def checked_slug(slug: str) -> str:
    """`slug` itself. Raises UsageError where it cannot be a competition's address (or would read as a flag)."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", slug):
        raise UsageError(f"{slug!r} is no competition's address: it is what follows kaggle.com/competitions/")
    return slug


def submit(slug: str, file: Path | NotebookVersion, message: str, hold: Sequence[int] = ()) -> Call:
    """Run `kaggle competitions submit` once, whatever comes of it."""
    # --key=value, so that a message that begins with a dash is still a message.
    words = ["competitions", "submit", checked_slug(slug), f"--message={message}"]
    if isinstance(file, NotebookVersion):
        words += [f"--kernel={file.kernel}", f"--version={file.version}", f"--file={file.output}"]
        return run(*words, seconds=UPLOAD_SECONDS, hold=hold)
    return run(*words, f"--file={file}", seconds=upload_seconds(file.stat().st_size), hold=hold)


def upload_seconds(size: int) -> float:
    """How long the command may take to upload so many bytes."""
    return UPLOAD_SECONDS + size / 50_000
