"""The front of every command: argparse reads the flags and writes --help; key=value words stand beside them.

    COMMAND = Command("src.review", __doc__)
    COMMAND.key("fold=0..4", "the folds whose labels are looked at")
    COMMAND.flag("--again", "do it once more")

    def main(argv: list[str] | None = None) -> int:
        return COMMAND.main(work, argv)

`work(line)` gets a CommandLine and returns what the command found, as a dictionary. With --json exactly that is
written to standard output, as one JSON object, and everything for people to standard error. A failure is
{"error": {"code": ..., "message": ...}}. Beside either stands `notes`: [{"code": ..., "text": ...}], what was noted on
the way.
"""

import argparse
import contextlib
import dataclasses
import errno
import json
import math
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.core.console import Note, noted, printable
from src.core.errors import REMEDIES, Problem, UsageError
from src.core.files import format_size
from src.core.launch import first_to_tell, launched
from src.core.registry import extension_fault
from src.core.suggestions import nearest

Result = dict[str, Any]
JSON = "--json"
STOPPED = 130


@dataclass(frozen=True)
class CommandLine:
    """What was typed. keys: of key=value; flags: {flag: its value, or ""}; files: words that are neither."""

    typed: tuple[str, ...]
    keys: dict[str, str]
    flags: dict[str, str]
    files: tuple[str, ...] = ()


class Command:
    """One command's words and flags.

    files: how its words that are no key=value are shown in the usage, such as SOURCE; "" where it takes none.
    only: the keys that are known here; any other word with = is a file then. None: every key goes on to the schema.
    several: whether a launcher may start several processes of it, of which the first tells what ends them.
    """

    def __init__(
        self, module: str, text: str, files: str = "", only: Collection[str] | None = None, several: bool = False
    ) -> None:
        self.module, self.text, self.files, self.only, self.several = module, text.strip(), files, only, several
        self.keys: list[argparse.Action] = []
        self.parser = _Parser(prog=f"python -m {module}", add_help=False, allow_abbrev=False)

    def key(self, shown: str, meaning: str) -> None:
        """A key=value word as --help shows it. What keys exist, the schema of the configuration says."""
        self.keys.append(argparse.Action((), shown.partition("=")[0], metavar=shown, help=_plain(meaning)))

    def flag(self, name: str, meaning: str, *, value: str = "", must: bool = False) -> None:
        """A flag. value: what may follow it, as --flag=VALUE. must: it always has a value, also as the next word."""
        takes = {"nargs": None, "metavar": value} if must else {"nargs": "?", "const": "", "metavar": value or None}
        self.parser.add_argument(*name.split(), action=_Flag, valued=bool(value), help=_plain(meaning), **takes)

    def read(self, argv: list[str]) -> CommandLine:
        """Raises UsageError for a flag that is not known, and for a word that is not understood."""
        optional = {name for action in self.parser._actions if action.nargs == "?" for name in action.option_strings}
        # argparse would give a flag that may have a value the next word; here only --flag=VALUE is one.
        words = [f"{word}=" if word in optional else word for word in argv if word != JSON]
        space, rest = self.parser.parse_known_args(words, argparse.Namespace(flags={}))
        keys: dict[str, str] = {}
        files: list[str] = []
        for word in rest:
            key, equals, _ = word.partition("=")
            if word.startswith("-"):
                raise UsageError(
                    f"unknown flag {key}.{nearest(key, [*self._flags(), JSON, '--help'])}", code="unknown-flag"
                )
            if self.files and (not equals or (self.only is not None and key not in self.only) or Path(word).exists()):
                files.append(word)
            else:
                keys |= key_value(word, keys)
        return CommandLine(tuple(argv), keys, space.flags, tuple(files))

    def help(self) -> str:
        flags = self.parser._actions
        formatter = argparse.RawDescriptionHelpFormatter(self.parser.prog, max_help_position=28)
        words = [self.files, *(f"[{key.metavar}]" for key in self.keys)]
        words += [f"[{_shown(flag)}]" for flag in flags] + [f"[{JSON}]"]
        lines, line = [], f"usage: {self.parser.prog}"
        for word in filter(None, words):
            if len(line) + len(word) + 1 > 110:
                lines.append(line)
                line = " " * 8 + word
            else:
                line += f" {word}"
        formatter.add_text("\n".join([*lines, line]))
        formatter.add_text(self.text)
        shown = [argparse.Action((), flag.dest, metavar=_shown(flag, ", "), help=flag.help) for flag in flags]
        for title, actions in (("key=value", self.keys), ("flags", [*shown, *_common()])):
            formatter.start_section(title)
            formatter.add_arguments(actions)
            formatter.end_section()
        return formatter.format_help().rstrip()

    def main(self, work: Callable[[CommandLine], Result | None], argv: list[str] | None = None) -> int:
        """Run the command and return 0 (done), 1 (failed), 2 (wrong usage) or 130 (stopped by Ctrl-C or SIGTERM)."""
        argv = sys.argv[1:] if argv is None else list(argv)
        if "--help" in argv or "-h" in argv:
            print(self.help())
            return 0
        return ended(lambda: work(self.read(argv)), JSON in argv, self.several)

    def _flags(self) -> list[str]:
        return [name for action in self.parser._actions for name in action.option_strings]


def key_value(word: str, before: Collection[str] = ()) -> dict[str, str]:
    """One key=value word. before: the keys that were given already. Raises UsageError."""
    key, equals, value = word.partition("=")
    if not equals or not key or not value or word.startswith("-"):
        raise UsageError(f"{word!r} is not understood: write key=value, for example fold=0..4", code="not-key-value")
    if key in before:
        raise UsageError(f"{key} is given twice", code="given-twice")
    return {key: value}


def key_values(words: Collection[str]) -> dict[str, str]:
    """{key: value} of words that are all key=value."""
    keys: dict[str, str] = {}
    for word in words:
        keys |= key_value(word, keys)
    return keys


def ended(work: Callable[[], Result | None], as_json: bool = False, several: bool = False) -> int:
    """Do the work of a command, tell how it ended, and return the exit code."""
    notes: list[Note] = []
    with _standard_output(as_json) as write, noted(notes):
        code, result = _outcome(work, several)
        # Of processes that a launcher started, the first one writes the result, and who tells of an error that.
        if as_json and result is not None and ("error" in result or launched().rank == 0):
            write(json.dumps(_jsonable(result | {"notes": notes}), ensure_ascii=False, allow_nan=False))
    return code


def _outcome(work: Callable[[], Result | None], several: bool) -> tuple[int, Result | None]:
    """The exit code, and what --json writes."""
    try:
        with _interruptible():
            if launched().count > 1 and not several:
                raise UsageError(
                    "only src.train works in several processes: give this command without a launcher",
                    code="launched-twice",
                )
            found = work() or {}
            sys.stdout.flush()
            return 0, found
    except Problem as problem:
        return problem.exit_code, _failed(problem.code, str(problem))
    except KeyboardInterrupt:
        return STOPPED, _failed("stopped", "stopped. The same command goes on where this one was.", opening="\n")
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1, None
    except OSError as error:
        # Only what the user can mend becomes a message; anything else is our defect and keeps its traceback.
        if error.errno not in REMEDIES:
            first_to_tell()
            raise
        code, remedy = REMEDIES[error.errno]
        return 1, _failed(code, f"{error.filename or 'writing a file'}: {remedy}{_free(error)}")
    except Exception as error:
        fault = extension_fault(error)
        if fault is not None:
            return fault.exit_code, _failed(fault.code, str(fault))
        first_to_tell()  # the traceback tells enough
        raise


def _free(error: OSError) -> str:
    """How much room there is on a disk that is full, now that the file that did not fit is gone again."""
    if error.errno != errno.ENOSPC or not error.filename:
        return ""
    place = next((path for path in Path(error.filename).absolute().parents if path.is_dir()), None)
    if place is None:
        return ""
    return f" (it needs more than the {format_size(shutil.disk_usage(place).free)} that are free there)"


def _failed(code: str, message: str, opening: str = "error: ") -> Result | None:
    """What --json writes; None where another process tells."""
    if not first_to_tell():
        return None
    print(printable(f"{opening}{message}"), file=sys.stderr, flush=True)
    return {"error": {"code": code, "message": message}}


@contextlib.contextmanager
def _standard_output(kept_clean: bool) -> Iterator[Callable[[str], None]]:
    """A function that writes to standard output. kept_clean: all that others write there, children too, goes to
    standard error."""
    out = sys.stdout
    if not kept_clean:
        yield lambda text: print(text, file=out, flush=True)
        return
    out.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            result: list[str] = []
            try:
                yield result.append
            except Exception as error:
                if launched().rank == 0:
                    result.append(
                        json.dumps({"error": {"code": "internal", "message": f"{type(error).__name__}: {error}"}})
                    )
                raise
            finally:
                sys.stderr.flush()
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        with contextlib.suppress(BrokenPipeError):
            for text in result:
                print(text, file=out, flush=True)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM, as a scheduler sends it, ends like Ctrl-C; and lines reach a pipe or a file when they are made."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _jsonable(value: Any) -> Any:
    """Paths as text, numpy's numbers as numbers, and what is no number as null: JSON knows no NaN."""
    if isinstance(value, dict):
        return {str(key): _jsonable(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_jsonable(one) for one in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _jsonable(dataclasses.asdict(value))
    if hasattr(value, "tolist"):
        return _jsonable(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:
        raise UsageError(f"{message}. --help tells more", code="usage")


class _Flag(argparse.Action):
    """Kept in `flags`, once, with its value or ""."""

    def __init__(self, *words: Any, valued: bool, **options: Any) -> None:
        super().__init__(*words, **options)
        self.valued = valued

    def __call__(self, parser: Any, space: argparse.Namespace, value: Any, option: str | None = None) -> None:
        name = self.option_strings[0]
        if name in space.flags:
            raise UsageError(f"{name} is given twice", code="given-twice")
        if value and not self.valued:
            raise UsageError(f"{name} takes no value", code="flag-takes-no-value")
        space.flags[name] = value


def _common() -> list[argparse.Action]:
    result = "one JSON object on standard output; everything for people on standard error"
    return [
        argparse.Action((JSON,), "json", nargs=0, help=result),
        argparse.Action(("-h", "--help"), "help", nargs=0, help="this text"),
    ]


def _shown(flag: argparse.Action, between: str = "") -> str:
    """A flag as help shows it. between: two of its names; "" shows the first alone."""
    name, value = between.join(flag.option_strings[: None if between else 1]), flag.metavar
    if not value:
        return name
    return f"{name} {value}" if flag.nargs is None else f"{name}[={value}]"


def _plain(text: str) -> str:
    return text.replace("%", "%%")
