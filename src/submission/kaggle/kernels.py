"""Datasets and notebooks at Kaggle: pushed once each, and looked up where a push may have arrived.

What was pushed is noted beside the run before the push begins: the version that Kaggle had then. Where it has a
later one, the push has arrived, whatever its answer was.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.core.console import Say, say
from src.core.errors import Problem
from src.core.files import DamagedFile, MissingFile, read_json, write_json
from src.submission.kaggle import command
from src.submission.kaggle.command import BUSY, Call, Failed, ask, clean
from src.submission.kaggle.errors import explain, told
from src.submission.kaggle.kernel_state import dataset_version, kernel_version

LOOKS = (1.0, 3.0, 6.0, 12.0)  # seconds before each look for a push that may have arrived


@dataclass(frozen=True)
class Kind:
    """How one kind of thing is pushed. version: the newest one's number at Kaggle; None: no such thing."""

    name: str
    version: Callable[[str, Say], int | None]
    words: Callable[[Path, str, bool], tuple[str, ...]]  # of the folder, the contents' hash, and whether it is new
    done: str  # what the command prints where all went well
    failed: str  # and where not, before the reason: it exits 0 then, too


def user_name(say: Say = say) -> str:
    """The name under which the kaggle command is logged in. Raises Problem."""
    try:
        call = ask("config", "view", say=say)
    except Failed as failed:
        remedy = "To build without asking Kaggle, and send nothing: add kernel.user=NAME, your name there"
        raise Problem(f"{explain('kaggle', failed.call)}\n{remedy}") from None
    found = re.search(r"^- username: (\S+)", call.out, re.MULTILINE)
    if not found or found[1] == "None":
        raise Problem("the kaggle command does not tell your name at Kaggle: add kernel.user=NAME")
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
    say: Say = say,
    hold: Sequence[int] = (),
) -> int:
    """Let Kaggle have what is in `folder` as the newest version of `address`, and return the version's number.

    slug: the competition, for messages. contents: a hash of what is pushed; where the record says that Kaggle has it,
    nothing is pushed. hold: open locks that live as long as the command does, so that nobody looks for the push, or
    changes the folder, before it has ended. Raises Problem where the push failed, or where it is not known whether it
    has arrived.
    """
    with told(slug):
        now = kind.version(address, say)
    noted = _noted(record).get(kind.name, {})
    same = noted.get("contents") == contents and noted.get("address") == address
    if same and now is not None and noted.get("version") is not None and now <= noted["version"]:
        say(f"{kind.name} {address}: version {noted['version']} is at Kaggle already")
        return noted["version"]
    new, now = now is None, now or 0
    if same and noted.get("version") is None and now == noted.get("before", now) + 1:
        say(f"{kind.name} {address}: an earlier push had arrived, as version {now}")
        return _note(record, kind, address, contents, now - 1, now)
    _note(record, kind, address, contents, now, None)
    size = sum(file.stat().st_size for file in folder.iterdir())
    say(f"pushing {kind.name} {address} ({size / 1e6:.1f} MB)")
    call = _sent(kind.words(folder, contents, new), size, say, hold)
    if not _arrived(kind, slug, call, address, now, say):
        raise Problem(
            f"it is not known whether the {kind.name} arrived. {explain(slug, call).splitlines()[0]}\n"
            "Give the same command again: it looks first, and pushes only where Kaggle has none."
        )
    _refuse_half(kind, call, record)
    number = re.search(r"Kernel version (\d+) successfully", call.out)
    if number:
        return _note(record, kind, address, contents, now, int(number[1]))
    with told(slug):  # the command may have made two
        return _note(record, kind, address, contents, now, max(now + 1, kind.version(address, say) or 0))


def _sent(words: tuple[str, ...], size: int, say: Say, hold: Sequence[int]) -> Call:
    """Run the command; too many requests are waited out, since Kaggle has taken nothing then."""
    for usual in (*command.PAUSES, None):
        call = command.run(*words, seconds=command.upload_seconds(size), hold=hold)
        if call.exit == 0 or call.status != BUSY or usual is None or call.pause(usual) > command.LONGEST_PAUSE:
            return call
        say(f"Kaggle answers {BUSY}: trying again in {call.pause(usual):.0f} s")
        time.sleep(call.pause(usual))
    raise AssertionError("the last attempt returns")


def _arrived(kind: Kind, slug: str, call: Call, address: str, before: int, say: Say) -> bool:
    """Whether Kaggle has it; Problem where Kaggle said that it has not."""
    if call.exit == 0 and kind.done in call.out:
        return True
    said = re.search(kind.failed, call.out)
    refused = call.status is not None and call.status < command.SERVER_FAULT and call.status != 408
    looks = (0.0,) if said or refused else LOOKS
    if not (said or refused):
        say(f"the answer to the push of the {kind.name} was lost: looking whether it arrived")
    # After a refusal too: the command repeats by itself what got no answer, and is then told that it is there.
    for wait in looks:
        time.sleep(wait)
        with told(slug):
            if (kind.version(address, say) or 0) > before:
                say("it arrived")
                return True
    if said:
        reason = clean(said[1])
        raise Problem(f'Kaggle refused the {kind.name}: "{reason}"\nMend that, and give the same command again.')
    if refused:
        raise Problem(explain(slug, call))
    return False


def _refuse_half(kind: Kind, call: Call, record: Path) -> None:
    """The command goes on where a file was not uploaded, or an input cannot be attached, and exits 0."""
    lost = re.findall(r"Upload unsuccessful: (.*)", call.out)
    invalid = re.findall(r"not valid (\w+) sources? and could +not be added to the kernel: (.*)", call.out)
    if lost or invalid:
        forget(record, kind)
    if lost:
        raise Problem(
            f"Kaggle took the {kind.name} without {', '.join(map(clean, lost))}: the upload broke off.\n"
            "Give the same command again: it pushes another version."
        )
    if invalid:
        slugs = re.compile(r"[\w/.-]+")  # in a list as Python prints it
        what = "; ".join(f"{name} {', '.join(slugs.findall(clean(each)))}" for name, each in invalid)
        raise Problem(
            f"Kaggle took the {kind.name}, but could not attach its inputs: {what}.\n"
            "Accept the competition's rules, look whether the dataset is there, and give the same command again."
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
        raise Problem(f"{record}, which tells what was pushed, is damaged: delete it, and all of it is pushed anew")
    return noted


def _note(record: Path, kind: Kind, address: str, contents: str, before: int, version: int | None) -> int:
    facts = {"address": address, "contents": contents, "before": before, "version": version}
    write_json(record, _noted(record) | {kind.name: facts})
    return version or 0


def forget(record: Path, kind: Kind) -> None:
    """Let the same contents be pushed as another version."""
    write_json(record, {key: value for key, value in _noted(record).items() if key != kind.name})
