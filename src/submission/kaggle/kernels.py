"""Datasets and notebooks at Kaggle: pushed once each, waited for, and their output brought here.

What was pushed is noted beside the run before the push begins: the version that Kaggle had then. Where it has a
later one, the push has arrived, whatever its answer was.
"""

import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from src.core.console import log, note, silenced
from src.core.errors import Problem
from src.core.files import DamagedFile, MissingFile, read_json, write_json
from src.submission.kaggle import command
from src.submission.kaggle.command import BUSY, Call, Failed, ask, clean
from src.submission.kaggle.errors import NotPushed, Unsure, explain, explained

T = TypeVar("T")

LOOKS = (1.0, 3.0, 6.0, 12.0)  # seconds before each look for a push that may have arrived
POLLS = (2.0, 5.0, 10.0, 20.0, 30.0)  # seconds between the looks at a dataset or a run; the last one repeats
LAPSE_SECONDS = 2 * 3600.0  # without an answer, after which a wait is given up; the notebook keeps running
READY_SECONDS = 3600.0  # for Kaggle to take a dataset in
SPARE_SECONDS = 3 * 3600.0  # beside a notebook's own time limit: it waits for its machine, too
FETCH_SECONDS = 4 * 3600.0  # for the output of a run: gigabytes, which the command does not resume
LOG_LINES = 30
FAILED = ("ERROR", "CANCEL_REQUESTED", "CANCEL_ACKNOWLEDGED")
UPLOAD_FAILED = re.compile(r"Upload unsuccessful: (.*)")
ABSENT = (403, 404)  # what Kaggle answers about something private that isn't there


def dataset_version(address: str) -> int | None:
    return dataset_state(address)[0]


def dataset_state(address: str) -> tuple[int | None, str]:
    """The newest version of a dataset and its status; None where there is no such dataset. Raises Failed."""
    try:
        return read_dataset_state(ask("datasets", "status", address, "--format", "json"))
    except Failed as failed:
        if failed.call.status in ABSENT:
            return None, ""
        raise


def kernel_version(address: str) -> int | None:
    """The newest version of a notebook, 0 where Kaggle does not tell its number; None where there is no such notebook.

    Raises Failed.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="podium-") as folder:
            return read_kernel_version(ask("kernels", "pull", address, "-p", folder))
    except Failed as failed:
        if failed.call.status in ABSENT:
            return None
        raise


def run_state(address: str) -> tuple[str, str]:
    """The status of a notebook's newest run, such as RUNNING, and why it failed; "" where not told. Raises Failed."""
    return read_run_state(ask("kernels", "status", address))


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


@dataclass(frozen=True)
class Kind:
    """How one kind of thing is pushed. version: the newest one's number at Kaggle; None: no such thing."""

    name: str
    version: Callable[[str], int | None]
    words: Callable[[Path, str, bool], tuple[str, ...]]  # of the folder, the contents' hash, and whether it is new
    done: str  # what the command prints where all went well
    failed: str  # and where not, before the reason: it exits 0 then, too


def user_name() -> str:
    """The name under which the kaggle command is logged in. Raises Problem."""
    try:
        call = ask("config", "view")
    except Failed as failed:
        remedy = "To build without asking Kaggle, and send nothing: add kernel.user=NAME, your name there"
        raise explain("kaggle", failed.call).error(more=remedy) from None
    found = re.search(r"^- username: (\S+)", call.out, re.MULTILINE)
    if not found or found[1] == "None":
        raise Problem(
            "the kaggle command does not tell your name at Kaggle: add kernel.user=NAME", code="no-kaggle-name"
        )
    return found[1]


def _dataset_words(folder: Path, contents: str, new: bool) -> tuple[str, ...]:
    kept = ("-p", str(folder), "--keep-tabular")
    return ("datasets", "create", *kept) if new else ("datasets", "version", *kept, "-m", f"podium {contents[:12]}")


def _kernel_words(folder: Path, contents: str, new: bool) -> tuple[str, ...]:
    return ("kernels", "push", "-p", str(folder))


DATASET = Kind("dataset", dataset_version, _dataset_words, "is being created", r"[Dd]ataset.* creation error: *(.*)")
KERNEL = Kind("notebook", kernel_version, _kernel_words, "successfully pushed", r"Kernel push error: *(.*)")


def push_once(
    kind: Kind,
    slug: str,
    folder: Path,
    address: str,
    contents: str,
    record: Path,
    hold: Sequence[int] = (),
    again: bool = False,
) -> int:
    """Let Kaggle have what is in `folder` as the newest version of `address`, and return the version's number.

    slug: the competition, for messages. contents: a hash of what is pushed; where the record says that Kaggle has it,
    nothing is pushed. hold: open locks that live as long as the command does, so that nobody looks for the push, or
    changes the folder, before it has ended. again: push a notebook though an earlier push of it may still show.
    Raises Problem where the push failed, and Unsure where it is not known whether it has arrived.
    """
    with explained(slug):
        now = kind.version(address)
    noted = _noted(record).get(kind.name, {})
    same = noted.get("contents") == contents and noted.get("address") == address
    if same and now is not None and noted.get("version") is not None and now <= noted["version"]:
        note("at-kaggle-already", f"{kind.name} {address}: version {noted['version']} is at Kaggle already")
        return noted["version"]
    new, now = now is None, now or 0
    if same and noted.get("version") is None and now == noted.get("before", now) + 1:
        note("earlier-push-arrived", f"{kind.name} {address}: an earlier push had arrived, as version {now}")
        return _note(record, kind, address, contents, now - 1, now)
    lag = command.LAG_SECONDS - (time.time() - noted.get("since", 0.0))
    # Another version of a dataset costs nothing; another run of a notebook takes its hours of the week's GPU.
    if same and kind is KERNEL and noted.get("version") is None and lag > 0 and not again:
        raise Unsure(
            f"it is not known whether an earlier push of the notebook {address} arrived: Kaggle may show it later. "
            f"Nothing was pushed.\nGive the same command again in {lag / 60:.0f} min, when it is known."
        )
    _note(record, kind, address, contents, now, None)
    size = sum(file.stat().st_size for file in folder.iterdir())
    log.info(f"pushing {kind.name} {address} ({size / 1e6:.1f} MB)")
    call = _sent(kind.words(folder, contents, new), size, hold)
    try:
        arrived = _arrived(kind, slug, call, address, now)
    except NotPushed:
        forget(record, kind)
        raise
    if not arrived:
        raise Unsure(
            f"it is not known whether the {kind.name} arrived. {explain(slug, call).text}\n"
            "Give the same command again in some minutes: it looks first, and pushes only where Kaggle has none."
        )
    _refuse_half(kind, call, record)
    number = re.search(r"Kernel version (\d+) successfully", call.out)
    if number:
        return _note(record, kind, address, contents, now, int(number[1]))
    with explained(slug):  # the command may have made two
        return _note(record, kind, address, contents, now, max(now + 1, kind.version(address) or 0))


def _sent(words: tuple[str, ...], size: int, hold: Sequence[int]) -> Call:
    """Run the command; too many requests, and an upload that broke off, are tried again: Kaggle has taken nothing."""
    for attempt, usual in enumerate((*command.PAUSES, None), 1):
        call = command.run(*words, seconds=command.upload_seconds(size), hold=hold, heard=command.tell_upload)
        passing = call.exit != 0 and (call.status == BUSY or _not_uploaded(call))
        if not passing or usual is None or call.pause(usual) > command.LONGEST_PAUSE:
            return replace(call, attempts=attempt)
        what = f"Kaggle answers {BUSY}" if call.status == BUSY else "the upload broke off"
        note("trying-again", f"{what}: trying again in {call.pause(usual):.0f} s")
        time.sleep(call.pause(usual))
    raise AssertionError("the last attempt returns")


def _not_uploaded(call: Call) -> list[str]:
    """The files whose upload broke off, before anything was made of them: there the command stops since 2.2.5."""
    made = any(call.asked(method) for method in ("CreateDataset", "CreateDatasetVersion"))
    return [] if made or call.exit in (0, None) else UPLOAD_FAILED.findall(call.out + call.err)


def _arrived(kind: Kind, slug: str, call: Call, address: str, before: int) -> bool:
    """Whether Kaggle has it; NotPushed where it certainly has not."""
    if call.exit == 0 and kind.done in call.out:
        return True
    files = _not_uploaded(call)
    if files:
        raise NotPushed(
            f"the upload of {', '.join(map(clean, files))} broke off. Nothing was pushed.\nGive the same command again."
        )
    said = re.search(kind.failed, call.out)
    refused = call.status is not None and call.status < command.SERVER_FAULT and call.status != 408
    looks = (0.0,) if said or refused else LOOKS
    if not (said or refused):
        note("answer-lost", f"the answer to the push of the {kind.name} was lost: looking whether it arrived")
    # After a refusal too: the command repeats by itself what got no answer, and is then told that it is there.
    for wait in looks:
        time.sleep(wait)
        with explained(slug):
            if (kind.version(address) or 0) > before:
                note("push-arrived", "it arrived")
                return True
    if said:
        reason = clean(said[1])
        raise NotPushed(f'Kaggle refused the {kind.name}: "{reason}"\nMend that, and give the same command again.')
    if refused:
        raise explain(slug, call).error(NotPushed)
    return False


def _refuse_half(kind: Kind, call: Call, record: Path) -> None:
    """The command goes on where an input cannot be attached, and until 2.2.4 where a file was not uploaded."""
    lost = UPLOAD_FAILED.findall(call.out)
    invalid = re.findall(r"not valid (\w+) sources? and could +not be added to the kernel: (.*)", call.out)
    if lost or invalid:
        forget(record, kind)
    if lost:
        raise Problem(
            f"Kaggle took the {kind.name} without {', '.join(map(clean, lost))}: the upload broke off.\n"
            "Give the same command again: it pushes another version.",
            code="upload-incomplete",
        )
    if invalid:
        slugs = re.compile(r"[\w/.-]+")  # in a list as Python prints it
        what = "; ".join(f"{name} {', '.join(slugs.findall(clean(each)))}" for name, each in invalid)
        raise Problem(
            f"Kaggle took the {kind.name}, but could not attach its inputs: {what}.\n"
            "Accept the competition's rules, look whether the dataset is there, and give the same command again.",
            code="inputs-not-attached",
        )


def _noted(record: Path) -> dict[str, dict[str, Any]]:
    """What was pushed, by the name of its kind; nothing where there is no record. Raises Problem for a damaged one."""
    try:
        noted = read_json(record)
    except MissingFile:
        return {}
    except DamagedFile:
        noted = {"": None}
    if not all(isinstance(one, dict) for one in noted.values()):
        raise Problem(
            f"{record}, which tells what was pushed, is damaged: delete it, and all of it is pushed anew",
            code="damaged-file",
        )
    return noted


def _note(record: Path, kind: Kind, address: str, contents: str, before: int, version: int | None) -> int:
    facts = {"address": address, "contents": contents, "before": before, "version": version, "since": time.time()}
    write_json(record, _noted(record) | {kind.name: facts})
    return version or 0


def forget(record: Path, kind: Kind) -> None:
    """Let the same contents be pushed as another version."""
    write_json(record, {key: value for key, value in _noted(record).items() if key != kind.name})


class RunFailed(Problem):
    """The notebook ran at Kaggle, and failed there."""

    code = "kernel-run-failed"


class NoOutput(Problem):
    """The notebook left no such file."""

    code = "kernel-no-output"


def await_dataset(slug: str, address: str, version: int) -> None:
    """Wait until Kaggle has taken the dataset's version in. Raises Problem where that fails or takes too long."""
    status = ""

    def poll() -> bool | None:
        nonlocal status
        with silenced():
            now, status = dataset_state(address)
        if status in ("failed", "deleted"):
            raise Problem(
                f"Kaggle could not take in dataset {address}: its status is {status}.\n{_page(address)}",
                code="dataset-failed",
            )
        return ((now or 0) >= version and status == "ready") or None

    if not _until(slug, poll, READY_SECONDS):
        raise Problem(
            f"dataset {address} is not ready after an hour ({status}): give the same command again later",
            code="not-ready",
        )


def await_run(slug: str, address: str, version: int, hours: float) -> None:
    """Wait until that version of the notebook has run. Raises RunFailed with the end of its log where it failed, and
    Problem where that cannot be told."""
    before = ""

    def poll() -> tuple[str, str, int] | None:
        nonlocal before
        with silenced():
            status, why = run_state(address)
        if status != before:
            note("notebook-status", f"notebook {address} version {version}: {(status or 'unknown').lower()}")
        before = status
        if status != "COMPLETE" and status not in FAILED:
            return None
        with silenced():
            return status, why, kernel_version(address) or 0  # the command tells of the newest run only

    ended = _until(slug, poll, hours * 3600 + SPARE_SECONDS)
    if not ended:
        raise Problem(
            f"the notebook {address} is still {before or 'unknown'}: give the same command again later",
            code="not-ready",
        )
    status, why, newest = ended
    if newest > version:
        raise Problem(
            f"the notebook {address} was pushed by somebody else meanwhile, as version {newest}: what came of version "
            f"{version} is not told any more.\nGive the same command again: it pushes another version.",
            code="changed-meanwhile",
        )
    if status in FAILED:
        raise RunFailed(
            f"the notebook {address} version {version} failed{f': {why}' if why else ''}. The end of its log:\n"
            f"{log_end(slug, address)}\n{_page(address, 'code')}"
        )


def log_end(slug: str, address: str) -> str:
    """The last lines of the newest run's log, without credentials."""
    try:
        text = ask("kernels", "logs", address).out
    except Failed as failed:
        return str(explain(slug, failed.call))
    lines = [line for line in read_log(text).splitlines() if line.strip()]
    return "\n".join(f"  | {clean(line)[:300]}" for line in lines[-LOG_LINES:]) or "  (the log is empty)"


def read_log(text: str) -> str:
    """What the notebook printed, of the JSON in which Kaggle keeps it."""
    try:
        parts = json.loads(text)
        return "".join(str(part.get("data", "")) for part in parts if isinstance(part, dict))
    except (ValueError, TypeError, RecursionError):
        return text  # already plain


def fetch_output(slug: str, address: str, name: str, folder: Path, whole: Callable[[Path], bool]) -> Path:
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
            ask(*words, "--page-size", "200", seconds=FETCH_SECONDS)
            if not (part / name).is_file():
                end = log_end(slug, address)
                raise NoOutput(f"the notebook {address} left no {name}. The end of its log:\n{end}")
            if whole(part / name):
                (part / name).replace(folder / name)
                shutil.rmtree(part)
                return folder / name
            text = f"what came of {name} is not whole.\nGive the same command again: the notebook does not run anew."
            fault = Problem(text, code="kernel-output-damaged")
        except Failed as failed:
            fault = explain(slug, failed.call).error()
            if not _passing(failed.call):
                break
        if pause is not None:
            note("trying-again", f"{name} of {address} did not come: fetching it again in {pause:.0f} s")
            time.sleep(pause)
    raise fault


def _until(slug: str, poll: Callable[[], T | None], seconds: float) -> T | None:
    """What `look` returns, once it returns something; None where it did not for `seconds`.

    A lapse of the network, or of Kaggle, does not end the wait before it has lasted LAPSE_SECONDS. Raises Problem.
    """
    begun = answered = time.monotonic()
    pauses, lapsed = iter(POLLS), False
    while True:
        try:
            found = poll()
            answered, lapsed = time.monotonic(), False
            if found is not None:
                return found
        except Failed as failed:
            if not _passing(failed.call) or time.monotonic() - answered > LAPSE_SECONDS:
                goes_on = "What is at Kaggle goes on there; the same command looks for it again."
                raise explain(slug, failed.call).error(more=goes_on) from None
            if not lapsed:
                note("no-response", "Kaggle does not respond; still waiting, the notebook keeps running")
            lapsed = True
        if time.monotonic() - begun > seconds:
            return None
        time.sleep(next(pauses, POLLS[-1]))


def _passing(call: Call) -> bool:
    """Whether another try may end better: no answer, Kaggle is busy, or the command printed half of it."""
    return call.lost or call.busy or call.exit == 0


def _page(address: str, what: str = "datasets") -> str:
    return f"See https://www.kaggle.com/{what}/{address}"
