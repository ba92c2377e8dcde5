"""The two ways a command can end badly, and the one place that turns them into exit codes."""

import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator


class Problem(Exception):
    """Something in the data, the files or the machine is not as it must be. Exit code 1.

    The text is one message for the user: the file, the row or the key, and the remedy.
    """

    exit_code = 1


class UsageError(Problem):
    """The command line or the configuration is wrong. Exit code 2."""

    exit_code = 2


class Busy(Problem):
    """Another process holds what this one needs."""


REMEDIES = {
    errno.ENOSPC: "the disk is full: free some space and give the same command again",
    errno.EDQUOT: "your disk quota is used up: free some space and give the same command again",
    errno.EACCES: "no permission: make it writable for you, or set PODIUM_HOME to another folder",
    errno.EPERM: "no permission: make it writable for you, or set PODIUM_HOME to another folder",
    errno.EROFS: "the file system is read-only: set PODIUM_HOME to a folder that you may write",
    errno.ENOTDIR: "a file stands where a folder must be: move it away",
    errno.EEXIST: "a file stands where a folder must be: move it away",
    errno.EISDIR: "a folder stands where a file must be: move it away",
}


def exit_code(door: Callable[[list[str]], None], argv: list[str] | None) -> int:
    """Run one door and return 0 (done), 1 (failed), 2 (wrong usage) or 130 (stopped by Ctrl-C or SIGTERM)."""
    try:
        with _interruptible():
            door(sys.argv[1:] if argv is None else list(argv))
            sys.stdout.flush()
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return problem.exit_code
    except KeyboardInterrupt:
        print("\nstopped. The same command goes on where this one was.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        # Only what the user can mend becomes a message; anything else is our defect and keeps its traceback.
        if error.errno not in REMEDIES:
            raise
        print(f"error: {error.filename or 'writing a file'}: {REMEDIES[error.errno]}", file=sys.stderr)
        return 1
    return 0


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
