"""What Kaggle has of a dataset or a notebook: its newest version, and the state it is in."""

import json
import re
import tempfile

from src.core.console import Say, say
from src.submission.kaggle.command import Call, Failed, ask, clean

ABSENT = (403, 404)  # what Kaggle answers about something private that isn't there


def dataset_version(address: str, say: Say = say) -> int | None:
    return dataset_state(address, say)[0]


def dataset_state(address: str, say: Say = say) -> tuple[int | None, str]:
    """The newest version of a dataset and its status; None where there is no such dataset. Raises Failed."""
    try:
        return read_dataset_state(ask("datasets", "status", address, "--format", "json", say=say))
    except Failed as failed:
        if failed.call.status in ABSENT:
            return None, ""
        raise


def kernel_version(address: str, say: Say = say) -> int | None:
    """The newest version of a notebook, 0 where Kaggle does not tell its number; None where there is no such notebook.

    Raises Failed.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="podium-") as folder:
            return read_kernel_version(ask("kernels", "pull", address, "-p", folder, say=say))
    except Failed as failed:
        if failed.call.status in ABSENT:
            return None
        raise


def run_state(address: str, say: Say = say) -> tuple[str, str]:
    """The status of a notebook's newest run, such as RUNNING, and why it failed; "" where not told. Raises Failed."""
    return read_run_state(ask("kernels", "status", address, say=say))


def read_dataset_state(call: Call) -> tuple[int, str]:
    """Version and status in what `datasets status` printed. Raises Failed."""
    found = re.search(r"\{.*\}", call.out)
    try:
        facts = json.loads(found[0]) if found else {}
        return int(facts["current_version_number"] or 1), str(facts["status"]).lower()
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise Failed(call) from None


def read_kernel_version(call: Call) -> int:
    """The version that was heard while `kernels pull` ran, which keeps the number to itself. Raises Failed."""
    heard = [answer["answer"] for answer in call.answers if isinstance(answer.get("answer"), dict)]
    if not heard:
        raise Failed(call)
    metadata = heard[-1].get("metadata")
    number = metadata.get("currentVersionNumber") if isinstance(metadata, dict) else None
    return max(0, number) if isinstance(number, int) else 0


def read_run_state(call: Call) -> tuple[str, str]:
    """Status and reason in what `kernels status` printed."""
    found = re.search(r'has status "(?:KernelWorkerStatus\.)?(\w+)"', call.out)
    why = re.search(r'Failure message: "(.*)"', call.out)
    return found[1].upper() if found else "", clean(why[1]) if why else ""
