"""What Kaggle makes of a pushed dataset and notebook: waited for, told where it fails, and brought here."""

import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from src.core.console import Say, say
from src.core.errors import Problem
from src.submission.kaggle import command
from src.submission.kaggle.command import Call, Failed, ask, clean
from src.submission.kaggle.errors import explain
from src.submission.kaggle.kernel_state import dataset_state, kernel_version, run_state

POLLS = (2.0, 5.0, 10.0, 20.0, 30.0)  # seconds between the looks at a dataset or a run; the last one repeats
LAPSE_SECONDS = 2 * 3600.0  # without an answer, after which a wait is given up: what runs at Kaggle runs on
READY_SECONDS = 3600.0  # for Kaggle to take a dataset in
SPARE_SECONDS = 3 * 3600.0  # beside a notebook's own time limit: it waits for its machine, too
FETCH_SECONDS = 4 * 3600.0  # for the output of a run: gigabytes, which the command does not resume
LOG_LINES = 30
FAILED = ("ERROR", "CANCEL_REQUESTED", "CANCEL_ACKNOWLEDGED")

T = TypeVar("T")


class RunFailed(Problem):
    """The notebook ran at Kaggle, and failed there."""

    code = "kernel-run-failed"


class NoOutput(Problem):
    """The notebook left no such file."""

    code = "kernel-no-output"


def await_dataset(slug: str, address: str, version: int, say: Say = say) -> None:
    """Wait until Kaggle has taken the dataset's version in. Raises Problem where that fails or takes too long."""
    status = ""

    def look() -> bool | None:
        nonlocal status
        now, status = dataset_state(address, _silent)
        if status in ("failed", "deleted"):
            raise Problem(f"Kaggle could not take in dataset {address}: its status is {status}.\n{_page(address)}")
        return ((now or 0) >= version and status == "ready") or None

    if not _until(slug, look, READY_SECONDS, say):
        raise Problem(f"dataset {address} is not ready after an hour ({status}): give the same command again later")


def await_run(slug: str, address: str, version: int, hours: float, say: Say = say) -> None:
    """Wait until that version of the notebook has run. Raises RunFailed with the end of its log where it failed, and
    Problem where that cannot be told."""
    before = ""

    def look() -> tuple[str, str, int] | None:
        nonlocal before
        status, why = run_state(address, _silent)
        if status != before:
            say(f"notebook {address} version {version}: {(status or 'unknown').lower()}")
        before = status
        if status != "COMPLETE" and status not in FAILED:
            return None
        return status, why, kernel_version(address, _silent) or 0  # the command tells of the newest run only

    ended = _until(slug, look, hours * 3600 + SPARE_SECONDS, say)
    if not ended:
        raise Problem(f"the notebook {address} is still {before or 'unknown'}: give the same command again later")
    status, why, newest = ended
    if newest > version:
        raise Problem(
            f"the notebook {address} was pushed by somebody else meanwhile, as version {newest}: what came of version "
            f"{version} is not told any more.\nGive the same command again: it pushes another version."
        )
    if status in FAILED:
        raise RunFailed(
            f"the notebook {address} version {version} failed{f': {why}' if why else ''}. The end of its log:\n"
            f"{log_end(slug, address, say)}\n{_page(address, 'code')}"
        )


def log_end(slug: str, address: str, say: Say = say) -> str:
    """The last lines of the newest run's log, without credentials."""
    try:
        text = ask("kernels", "logs", address, say=say).out
    except Failed as failed:
        return explain(slug, failed.call)
    lines = [line for line in read_log(text).splitlines() if line.strip()]
    return "\n".join(f"  | {clean(line)[:300]}" for line in lines[-LOG_LINES:]) or "  (the log is empty)"


def read_log(text: str) -> str:
    """What the notebook printed, of the JSON in which Kaggle keeps it."""
    try:
        parts = json.loads(text)
        return "".join(str(part.get("data", "")) for part in parts if isinstance(part, dict))
    except (ValueError, TypeError, RecursionError):
        return text  # already plain


def fetch_output(
    slug: str, address: str, name: str, folder: Path, whole: Callable[[Path], bool], say: Say = say
) -> Path:
    """Bring the file `name` of the newest run's output into `folder`; one that an earlier call brought is there.

    whole: whether a file is what the notebook wrote: the command keeps an error page, too. Raises NoOutput where the
    notebook left no such file, and Problem where it does not come.
    """
    if (folder / name).is_file():
        return folder / name
    part = folder / ".part"
    words = ("kernels", "output", address, "-p", str(part), "--file-pattern", f"^{re.escape(name)}$", "-o")
    for pause in (*command.PAUSES, None):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            ask(*words, "--page-size", "200", say=say, seconds=FETCH_SECONDS)
            if not (part / name).is_file():
                log = log_end(slug, address, say)
                raise NoOutput(f"the notebook {address} left no {name}. The end of its log:\n{log}")
            if whole(part / name):
                (part / name).replace(folder / name)
                shutil.rmtree(part)
                return folder / name
            fault = f"what came of {name} is not whole.\nGive the same command again: the notebook does not run anew."
        except Failed as failed:
            fault = explain(slug, failed.call)
            if not _passing(failed.call):
                break
        if pause is not None:
            say(f"{name} of {address} did not come: fetching it again in {pause:.0f} s")
            time.sleep(pause)
    raise Problem(fault)


def _until(slug: str, look: Callable[[], T | None], seconds: float, say: Say) -> T | None:
    """What `look` returns, once it returns something; None where it did not for `seconds`.

    A lapse of the network, or of Kaggle, does not end the wait before it has lasted LAPSE_SECONDS. Raises Problem.
    """
    begun = answered = time.monotonic()
    pauses, lapsed = iter(POLLS), False
    while True:
        try:
            found = look()
            answered, lapsed = time.monotonic(), False
            if found is not None:
                return found
        except Failed as failed:
            if not _passing(failed.call) or time.monotonic() - answered > LAPSE_SECONDS:
                goes_on = "What is at Kaggle goes on there; the same command looks for it again."
                raise Problem(f"{explain(slug, failed.call)}\n{goes_on}") from None
            if not lapsed:
                say("Kaggle does not answer: asking on, what runs there runs on")
            lapsed = True
        if time.monotonic() - begun > seconds:
            return None
        time.sleep(next(pauses, POLLS[-1]))


def _passing(call: Call) -> bool:
    """Whether another try may end better: no answer, Kaggle is busy, or the command printed half of it."""
    return call.lost or call.busy or call.exit == 0


def _silent(_: str) -> None:
    pass


def _page(address: str, what: str = "datasets") -> str:
    return f"See https://www.kaggle.com/{what}/{address}"
