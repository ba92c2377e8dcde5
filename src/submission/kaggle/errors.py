"""Why the kaggle command failed, and what to do about it.

The reason is what the server said, where the listener heard it; else what questions that only read can tell; else
it is called unknown. Nothing is ever submitted to find a reason.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from src.core.console import silenced
from src.core.errors import Problem
from src.submission.kaggle import command
from src.submission.kaggle.command import Call, Failed, clean

SITE = "https://www.kaggle.com"
NOTEBOOKS = (
    "This competition runs your notebook: python -m src.predict --tta --export config=NAME packs the models, then "
    "python -m src.kernel --push config=NAME uploads, runs and submits them."
)


class Reason(NamedTuple):
    """Why something did not go, and what to do about it: a line each. code: as of an error."""

    code: str
    text: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.text}\n{self.remedy}"

    def error(self, kind: type[Problem] = Problem, more: str = "") -> Problem:
        """What is raised: this reason, and one more line."""
        return kind(f"{self}\n{more}" if more else str(self), code=self.code)


class NotPushed(Problem):
    """Kaggle has taken nothing: the same may be pushed again."""

    code = "not-pushed"


class Unsure(Problem):
    """A push may have arrived: it is looked up before anything is pushed again."""

    code = "push-unsure"


@contextlib.contextmanager
def explained(slug: str, file: Path | None = None) -> Iterator[None]:
    """Turn a failed command inside the block into a Problem that gives the reason and the remedy."""
    try:
        yield
    except Failed as failed:
        raise explain(slug, failed.call, file).error() from None


def explain(slug: str, call: Call, file: Path | None = None) -> Reason:
    """What went wrong with this call about the competition `slug`."""
    return (
        no_command(call)
        or no_credentials(call)
        or _said_by_server(slug, call, file)
        or no_answer(call)
        or _by_status(slug, call)
        or _unknown(call)
    )


def until_midnight() -> str:
    """The time left of the UTC day, when Kaggle's daily allowance starts anew."""
    now = datetime.now(UTC)
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    minutes = -(-int((midnight - now).total_seconds()) // 60)
    return f"{minutes // 60} h {minutes % 60:02} min"


def none_left(limits: command.Limits) -> Reason:
    if limits.lifetime:
        return Reason(
            "no-submissions-left",
            f"no submissions are left: the team has made {limits.total}, all that this competition allows.",
            "Choose your final two among those made: python -m src.submit --final",
        )
    return Reason(
        "no-submissions-left",
        f"no submissions are left today: {limits.today} of today's are used. Nothing was pushed.",
        f"The next ones are free at 00:00 UTC, in {until_midnight()}. Give the same command again then.",
    )


def rules_not_accepted(slug: str) -> Reason:
    return Reason(
        "rules-not-accepted",
        f"you have not joined {slug}: its rules are not accepted yet.",
        f"Open {SITE}/competitions/{slug}/rules in a browser, accept them, and give the same command again.",
    )


def _said_by_server(slug: str, call: Call, file: Path | None) -> Reason | None:
    said = call.message or _said_in_output(call)
    if not said or call.busy:
        return None
    page = f"{SITE}/competitions/{slug}"
    name = re.search(r'must be named "([^"/]+)"', said)
    remedies: list[tuple[str, str, Callable[[], str]]] = [
        (
            "no-submissions-left",
            r"daily submission|submission allowance|submission limit",
            lambda: f"The next ones are free at 00:00 UTC, in {until_midnight()}. Give the same command again then.",
        ),
        ("notebooks-only", r"submissions? from (notebooks|kernels)|(notebooks|kernels)[- ]only", lambda: NOTEBOOKS),
        (
            "phone-not-verified",
            r"phone",
            lambda: f"Verify your phone at {SITE}/settings, and give the same command again.",
        ),
        (
            "too-many-sessions",
            r"session count",
            lambda: f"Stop a running notebook ({SITE}/code, Your Work), or wait until one has ended.",
        ),
        ("quota-used-up", r"quota", lambda: f"{SITE}/settings tells what is left of it, and when it starts anew."),
        (
            "internet-refused",
            r"internet",
            lambda: "The notebook must run without internet: build it anew with python -m src.kernel, which says so.",
        ),
        ("wrong-file-name", r"must be named", lambda: _renamed(file, name[1] if name else "submission.csv")),
        (
            "rules-not-accepted",
            r"\brules?\b",
            lambda: f"Open {page}/rules in a browser, accept them, and give the same command again.",
        ),
        (
            "deadline-passed",
            r"closed|no longer|has ended|deadline|not accepting|not open",
            lambda: f"The competition takes no submissions now: its dates are at {page}/overview",
        ),
        ("unknown-competition", r"not found|not exist|could not find|cannot find", lambda: _right_slug(slug)),
    ]
    remedies.append(("kaggle-refused", "", lambda: f"The competition's page may tell more: {page}/submissions"))
    code, _, remedy = next(one for one in remedies if re.search(one[1], said, re.IGNORECASE))
    return Reason(code, f'Kaggle refused: "{said}"', remedy())


def _said_in_output(call: Call) -> str:
    """A body that carries its message at the top level is printed by the command itself."""
    last = _last_line(call)
    plain = call.exit == 1 and last and not re.search(r"Error\b|Traceback|\.py\b|^usage:", last)
    return clean(last) if plain and call.status is None and not call.lost and call.answers else ""


def _renamed(file: Path | None, name: str) -> str:
    if file is None:
        return f"Name the file {name}, and submit it again."
    copy = file.with_name(name)
    return f"Copy it under that name and submit the copy: cp {file} {copy} && python -m src.submit {copy}"


def _by_status(slug: str, call: Call) -> Reason | None:
    status = call.status
    if status is None:
        return None
    if call.busy:
        wait = call.pause(0)
        when = f"in {wait / 60:.0f} min" if wait >= 60 else "in a few minutes"
        busy = ("too-many-requests", "too many requests"), ("kaggle-fault", "a fault at Kaggle")
        code, what = busy[status != command.BUSY]
        tries = f" to each of {call.attempts} attempts" if call.attempts > 1 else ""
        return Reason(code, f"Kaggle answered {status} ({what}){tries}.", f"Give the same command again {when}.")
    if status == 404:
        return Reason("unknown-competition", f"Kaggle knows no competition {slug!r} (404).", _right_slug(slug))
    return _looked_up(slug) or Reason(
        "kaggle-refused",
        f"Kaggle refused with a bare {status} and gave no reason; what can be looked up does not tell it either.",
        f"Likely: the rules are not accepted ({SITE}/competitions/{slug}/rules), the daily limit, a closed or "
        "notebook-only competition, or a name that must be submission.csv.",
    )


def _looked_up(slug: str) -> Reason | None:
    """The reason of a refusal that carried none, by questions that only read."""
    try:
        with silenced():
            facts = command.competition(slug)
        if facts is None:
            return Reason(
                "unknown-competition",
                f"Kaggle refused without a reason, and its list shows no competition {slug!r}: likely a wrong name "
                "(one that is private or over is not listed either).",
                _right_slug(slug),
            )
        if not facts["entered"]:
            return rules_not_accepted(slug)
        if facts.get("isKernelsSubmissionsOnly"):
            return Reason("notebooks-only", f"{slug} takes notebooks only, no CSV.", NOTEBOOKS)
        if facts.get("submissionsDisabled") or _passed(facts["deadline"]):
            return Reason(
                "deadline-passed",
                f"{slug} is closed: its deadline was {facts['deadline'] or 'passed'}.",
                f"See {SITE}/competitions/{slug}/overview for its dates, and whether late submissions are taken.",
            )
        with silenced():
            limits = command.limits(slug)
        return none_left(limits) if limits.left == 0 and limits.total else None
    except Failed:
        return None


def _right_slug(slug: str) -> str:
    return (
        f"Look at the address in your browser: {SITE}/competitions/NAME. It is `kaggle: NAME` in the competition's "
        f"card.yaml, now {slug}. `{command.executable()} competitions list --group entered` lists yours."
    )


def _unknown(call: Call) -> Reason:
    last = clean(_last_line(call)) or "it printed nothing"
    shown = " ".join(call.words[:2])
    return Reason(
        "kaggle-failed",
        f"`kaggle {shown}` failed (exit {call.exit}) for a reason unknown here: {last}",
        f"Try it by hand: {command.executable()} {' '.join(call.words[:3])}",
    )


def _last_line(call: Call) -> str:
    # 2.2.5 puts advice below its message.
    shown = re.split(r"\n\s*\nIf this is unexpected, you can re-run", call.err.strip() or call.out.strip())[0]
    lines = [line.strip() for line in shown.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def _passed(deadline: str) -> bool:
    try:
        when = datetime.fromisoformat(deadline)
    except ValueError:
        return False
    return when.replace(tzinfo=when.tzinfo or UTC) < datetime.now(UTC)


ACCOUNT = "https://www.kaggle.com/settings/api"


def no_credentials(call: Call) -> Reason | None:
    refused = call.status == 401 or "Invalid credentials!" in call.out
    if not (refused or "Authentication required" in call.out):
        return None
    log_in = f"`{command.executable()} auth login`"
    places = credentials()
    if places:
        return Reason(
            "credentials-refused",
            f"Kaggle does not accept your credentials from {places[0]}: they are expired, withdrawn or misspelt.",
            f"Make a new token at {ACCOUNT} and put it there; or remove {' and '.join(places)}, and use {log_in}.",
        )
    if refused:
        return Reason(
            "credentials-refused", "Kaggle does not accept your login any more.", f"Log in again with {log_in}."
        )
    return Reason(
        "no-credentials",
        "Kaggle does not know who you are: no credentials were found.",
        f"Log in with {log_in}, or put a token from {ACCOUNT} into ~/.kaggle/access_token.",
    )


def credentials() -> list[str]:
    """The places that hold credentials, in the command's order. Only their existence is looked at."""
    home = Path("~/.kaggle").expanduser()
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()) / "kaggle"
    configured = os.environ.get("KAGGLE_CONFIG_DIR")
    folder = Path(configured) if configured else (home if home.exists() else settings)
    files = [home / "access_token", home / "access_token.txt", folder / "kaggle.json", home / "credentials.json"]
    pair = ("KAGGLE_USERNAME", "KAGGLE_KEY")
    places = ["KAGGLE_API_TOKEN"] if os.environ.get("KAGGLE_API_TOKEN") else []
    places += [" and ".join(pair)] if all(os.environ.get(name) for name in pair) else []
    return places + [str(file) for file in files if file.is_file()]


def no_command(call: Call) -> Reason | None:
    missing = re.search(r"ModuleNotFoundError: No module named '([\w.]+)'", call.err)
    if not missing:
        return None
    return Reason(
        "kaggle-not-installed",
        f"the kaggle command does not start: its package {missing[1]} is missing.",
        f"Install it: {command.executable().parent / 'python'} -m pip install {missing[1].split('.')[0]}",
    )


def no_answer(call: Call) -> Reason | None:
    if not call.lost:
        return None
    causes = {
        r"CERTIFICATE|SSLError": "its certificate is not accepted (a wrong clock, or a proxy that opens connections)",
        r"NameResolution|Name or service|name resolution|getaddrinfo": "its address is not found",
        r"Connection refused": "the connection was refused",
        r"RemoteDisconnected|Connection (aborted|reset|broken)|IncompleteRead": "the connection was dropped",
        r"timed out|Timeout": "no answer came in time",
    }
    shown = call.out + call.err
    cause = next((text for words, text in causes.items() if re.search(words, shown)), "there is no connection")
    proxies = [name for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy") if os.environ.get(name)]
    hint = f" It goes through a proxy: {', '.join(proxies)}." if proxies else ""
    return Reason(
        "kaggle-unreachable",
        f"Kaggle cannot be reached: {'no answer came in time' if call.exit is None else cause}.",
        f"Look at your network connection, and give the same command again.{hint}",
    )
