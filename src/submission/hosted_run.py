"""What Kaggle makes of a pushed dataset and notebook: waited for, told where it fails, and brought here."""

import json
import re
import time
from pathlib import Path

from src.errors import Problem
from src.submission import kaggle
from src.submission.hosted import KERNEL, Say, dataset_state, forget
from src.submission.kaggle import Failed, ask, clean
from src.submission.reasons import explain, told

POLLS = (2.0, 5.0, 10.0, 20.0, 30.0)  # seconds between the looks at a dataset or a run; the last one repeats
READY_SECONDS = 3600.0  # for Kaggle to take a dataset in
SPARE_SECONDS = 3 * 3600.0  # beside a notebook's own time limit: it waits for its machine, too
LOG_LINES = 30
FAILED = ("ERROR", "CANCEL_REQUESTED", "CANCEL_ACKNOWLEDGED")


def await_dataset(slug: str, address: str, version: int, say: Say = print) -> None:
    """Wait until Kaggle has taken the dataset's version in. Raises Problem where that fails or takes too long."""
    end, turn = time.monotonic() + READY_SECONDS, 0
    while True:
        with told(slug):
            now, status = dataset_state(address, say)
        if (now or 0) >= version and status == "ready":
            return
        if status in ("failed", "deleted"):
            raise Problem(f"Kaggle could not take in dataset {address}: its status is {status}.\n{_page(address)}")
        if time.monotonic() > end:
            raise Problem(f"dataset {address} is not ready after an hour ({status}): give the same command again later")
        time.sleep(POLLS[min(turn, len(POLLS) - 1)])
        turn += 1


def await_run(slug: str, address: str, version: int, hours: float, record: Path, say: Say = print) -> None:
    """Wait until the notebook has run. Raises Problem with the end of its log where it failed; the same command then
    runs it anew."""
    end, turn, before = time.monotonic() + hours * 3600 + SPARE_SECONDS, 0, ""
    while True:
        with told(slug):
            call = ask("kernels", "status", address, say=say)
        found = re.search(r'has status "(?:KernelWorkerStatus\.)?(\w+)"', call.out)
        status = found[1].upper() if found else ""
        if status != before:
            say(f"notebook {address} version {version}: {(status or 'unknown').lower()}")
        if status == "COMPLETE":
            return
        if status in FAILED:
            why = re.search(r'Failure message: "(.*)"', call.out)
            reason = f": {clean(why[1])}" if why else ""
            forget(record, KERNEL)
            raise Problem(
                f"the notebook {address} version {version} failed{reason}. The end of its log:\n"
                f"{log_end(slug, address, say)}\n{_page(address, 'code')}"
            )
        if time.monotonic() > end:
            raise Problem(f"the notebook {address} is still {status or 'unknown'}: give the same command again later")
        time.sleep(POLLS[min(turn, len(POLLS) - 1)])
        turn, before = turn + 1, status


def log_end(slug: str, address: str, say: Say = print) -> str:
    """The last lines of the newest run's log, without credentials."""
    try:
        text = ask("kernels", "logs", address, say=say).out
    except Failed as failed:
        return explain(slug, failed.call)
    try:
        parts = json.loads(text)
        text = "".join(str(part.get("data", "")) for part in parts if isinstance(part, dict))
    except (ValueError, TypeError):
        pass  # already plain
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(f"  | {clean(line)[:300]}" for line in lines[-LOG_LINES:]) or "  (the log is empty)"


def fetch_output(slug: str, address: str, name: str, folder: Path, say: Say = print) -> Path:
    """Bring the one file `name` of the newest run's output into `folder`. Raises Problem where there is none."""
    words = ("kernels", "output", address, "-p", str(folder), "--file-pattern", f"^{re.escape(name)}$", "-o")
    with told(slug):
        ask(*words, "--page-size", "200", say=say, seconds=kaggle.UPLOAD_SECONDS)
    if not (folder / name).is_file():
        raise Problem(f"the notebook {address} left no {name}. The end of its log:\n{log_end(slug, address, say)}")
    return folder / name


def _page(address: str, what: str = "datasets") -> str:
    return f"See https://www.kaggle.com/{what}/{address}"
