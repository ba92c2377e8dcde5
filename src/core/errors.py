"""The ways a command can end badly: what is told, under which code, and with which exit code.

Every error has a code, a short name in kebab-case that never changes while its sentence may be mended. Programs and
tests look at the code: `--json` prints {"error": {"code": "unknown-key", "message": "..."}}. A code is given where
the error is raised, and needs no list:

    raise UsageError(f"unknown key {key}", code="unknown-key")

A kind of error that is caught somewhere is a class of its own, with its code as an attribute:

    class Diverged(Problem):
        code = "loss-not-finite"

In a test, `with raises("loss-not-finite"):` of tests/fixtures/codes.py is in place of a match of the sentence.
"""

import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

from src.core.launch import first_to_tell, launched


class Problem(Exception):
    """Something in the data, the files or the machine is not as it must be. Exit code 1.

    The text is one message for the user: the file, the row or the key, and the remedy. code: names this kind of error.
    """

    exit_code = 1
    code = "failed"

    def __init__(self, message: str = "", *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code  # kept in the instance, so that it survives the way from another process


class UsageError(Problem):
    """The command line or the configuration is wrong. Exit code 2."""

    exit_code = 2
    code = "usage"


class Busy(Problem):
    """Another process holds what this one needs."""

    code = "busy"


NO_LOCKS = (
    "this file system has no file locks, which keep two processes from one file: mount it with them (NFS without "
    "nolock, Lustre with flock), or set PODIUM_HOME to another folder"
)
REMEDIES = {
    errno.ENOLCK: NO_LOCKS,
    errno.ENOSYS: NO_LOCKS,
    errno.EOPNOTSUPP: NO_LOCKS,
    errno.ESTALE: "another machine deleted this file while it was read: give the same command again",
    errno.ENOSPC: "the disk is full: free some space and give the same command again",
    errno.EDQUOT: "your disk quota is used up: free some space and give the same command again",
    errno.EACCES: "no permission: make it writable for you, or set PODIUM_HOME to another folder",
    errno.EPERM: "no permission: make it writable for you, or set PODIUM_HOME to another folder",
    errno.EROFS: "the file system is read-only: set PODIUM_HOME to a folder that you may write",
    errno.EIO: "the disk cannot read or write it: look after the disk, or put a copy of the file elsewhere",
    errno.ENOTDIR: "a file stands where a folder must be: move it away",
    errno.EEXIST: "a file stands where a folder must be: move it away",
    errno.EISDIR: "a folder stands where a file must be: move it away",
}


def exit_code(door: Callable[[list[str]], None], argv: list[str] | None, several: bool = False) -> int:
    """Run one door and return 0 (done), 1 (failed), 2 (wrong usage) or 130 (stopped by Ctrl-C or SIGTERM).

    several: whether this door is made for processes that a launcher starts together. The first of them that fails
    tells why; the others end as well, and are silent.
    """
    try:
        with _interruptible():
            if launched().count > 1 and not several:
                raise UsageError("only src.train works in several processes: give this command without a launcher")
            door(sys.argv[1:] if argv is None else list(argv))
            sys.stdout.flush()
    except Problem as problem:
        _tell(f"error: {problem}")
        return problem.exit_code
    except KeyboardInterrupt:
        _tell("\nstopped. The same command goes on where this one was.")
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        # Only what the user can mend becomes a message; anything else is our defect and keeps its traceback.
        if error.errno not in REMEDIES:
            first_to_tell()
            raise
        _tell(f"error: {error.filename or 'writing a file'}: {REMEDIES[error.errno]}")
        return 1
    except Exception:
        first_to_tell()  # the traceback tells enough
        raise
    return 0


def _tell(text: str) -> None:
    if first_to_tell():
        print(text, file=sys.stderr, flush=True)


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
