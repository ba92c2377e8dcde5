"""How a command's process begins and ends: both quickly.

Importing torch and its friends makes a million objects that all stay. Python's collector looks through them again and
again while they are made, and takes them apart one by one at the end: half of the seconds of a short command.
"""

import atexit
import contextlib
import ctypes
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

from src.core.paths import REPOSITORY

COLLECT_EVERY = (50_000, 20, 100)  # objects made, against Python's own 700: what lives in circles is still found
PR_SET_PDEATHSIG = 1
# How often a thread of OpenMP looks for work before it sleeps. libgomp's usual 300,000 are milliseconds, in which it
# holds a core that another process wants; these are less than one, and longer than what lies between two layers.
SPINS = "GOMP_SPINCOUNT", "10000"

NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"

_began: list[float] = []


def began() -> float:
    """When the part of the work at hand began, by the monotonic clock; now, where a command is only called.

    The first part of a command that is this process's own work began with the process.
    """
    return _began[0] if _began else time.monotonic()


def begin_part() -> None:
    """Begin another part of this process's own work; what the one before has left in circles is taken away."""
    if _began:
        _began[:] = [time.monotonic()]
    gc.collect()


def own_work() -> bool:
    """Whether a command is this process's own work, and not called by a program that may have threads of its own."""
    return bool(_began)


def run(main: Callable[[], int]) -> NoReturn:
    """Run a command as this process's own work, and end the process with the exit code that it returns."""
    _began.append(time.monotonic())
    keep_bytecode()
    gc.set_threshold(*COLLECT_EVERY)
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault(*SPINS)  # read when torch is imported
    # What was registered first is called last: after threads have ended and everybody else has tidied up.
    codes: list[int] = []
    atexit.register(_leave, codes)
    codes.append(main())
    sys.exit(codes[0])


def keep_bytecode() -> None:
    """Let Python keep what it compiles, though a variable forbids it (as in many containers), in run.sh's environment.

    That is made without, for most of it is never imported: every command would compile its libraries anew.
    """
    own = REPOSITORY / ".venv"
    if os.environ.get(NO_BYTECODE) and own.is_dir() and own.samefile(sys.prefix):
        del os.environ[NO_BYTECODE]
        sys.dont_write_bytecode = False


@contextlib.contextmanager
def imports() -> Iterator[None]:
    """Import with the collector at rest, which never looks through what has come by then: that is there to stay.

    A sixth of the time that torch and its friends take. Children forked later share these pages for longer, too.
    """
    known, at_work = len(sys.modules), gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > known:
            gc.freeze()
            atexit.register(gc.unfreeze)  # an end that takes everything apart tells of what it cannot find
        if at_work:
            gc.enable()


def _leave(codes: list[int]) -> None:
    """End at once with the code; without one (an exception is on its way) Python ends as it always does."""
    if not codes:
        return
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(codes[0])


def end_with(parent: int) -> None:
    """Let this process, forked from `parent`, not outlive it, even where that is killed. Linux alone can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
