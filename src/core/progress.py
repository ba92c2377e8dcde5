"""How long work tells that it goes on, the same everywhere: what is being done, how far, how fast, the time left."""

import contextlib
import io
import multiprocessing
import sys
from collections.abc import Callable
from typing import TextIO

from tqdm import tqdm

LINES_SECONDS = 30  # between two lines where no terminal shows a bar: in a log, a batch job, a notebook
LINE = "{desc}: {n_fmt} of {total_fmt} {unit}s, {rate_fmt}, {remaining} left"


class _Bar(tqdm):
    """Without tqdm's own thread: processes are forked off this one, and a fork beside threads may hang."""

    monitor_interval = 0


class _Lines(_Bar):
    """A bar for a file: now and then a line, that stays, instead of one that is written over."""

    @staticmethod
    def status_printer(file: TextIO) -> Callable[[str], None]:
        return lambda text: print(text, file=file, flush=True) if text else None

    @classmethod
    def external_write_mode(cls, *_: object, **__: object) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()  # lines stay, so nothing needs to be cleared for others

    def set_description_str(self, desc: str | None = None, refresh: bool = True) -> None:
        super().set_description_str(desc, refresh=False)  # the next line tells it

    def close(self) -> None:
        self.fp = io.StringIO()  # where the carriage return goes that would clear a bar
        super().close()


def progress(total: int, what: str, unit: str) -> tqdm:
    """A bar on standard error over `total` units of `what`, to be closed; lines where that is no terminal.

    Work that ends before the first line is due leaves none. Silent in a child process, whose parent tells.
    """
    look = {"total": total, "desc": what, "unit": unit, "leave": False, "smoothing": 0.05}
    look["miniters"] = 1  # the clock alone tells when it is drawn: work that slows down is told at once
    look["disable"] = multiprocessing.parent_process() is not None
    if sys.stderr.isatty():
        return _Bar(**look)
    seconds = LINES_SECONDS
    return _Lines(**look, bar_format=LINE, delay=seconds, mininterval=seconds, maxinterval=seconds)
