"""What people see of the work: messages through `logging`, bars by rich, and one live table for side-by-side folds.

Messages go to the logger `log`, whose handler writes them to standard output; a program that uses Podium may give it
another. What a program may want to know of has a code, as errors have: `note("cache-remade", "...")`; with --json a
command's notes stand in its result. Bars and the table go to standard error; where that is no terminal, a line is
written every half minute. Nothing here has a thread of its own, for processes are forked off this one, and rich is
imported when the first bar or table is drawn.
"""

import contextlib
import logging
import multiprocessing
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from src.core.progress_rows import ProgressRows
from src.core.progress_table import REDRAW, LiveTable, clock, console_of, uninterrupted
from src.core.reporter import RowProgress

LINES_SECONDS = 30  # between two lines where no terminal shows a bar: in a log, a batch job, a notebook
BAR_SECONDS = 0.2  # what is over by then shows no bar
NO_CURSOR = ("dumb", "unknown")  # terminals that cannot move the cursor up

log = logging.getLogger("podium")


class _StandardOutput(logging.Handler):
    """Writes to what is standard output at that time: with --json it is standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        print(printable(self.format(record)), flush=True)


# Characters that steer a terminal, or turn the direction of what follows: names of classes and files may hold any.
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """The text with what steers a terminal written out, such as \\x1b; lines and tabs stay."""
    return STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


if not log.handlers:
    log.addHandler(_StandardOutput())
    log.setLevel(logging.INFO)
    log.propagate = False


@dataclass(frozen=True)
class Note:
    """A message with a code: a short name in kebab-case that never changes, while its sentence may be mended."""

    code: str
    text: str

    def __str__(self) -> str:
        return self.text


def note(code: str, text: str) -> None:
    """A message under a code; under the code "" it is one as any other."""
    log.info(text, extra={"code": code})


class _Call(logging.Handler):
    """Hands each message to a function, with its code."""

    def __init__(self, write: Callable[[str, str], object]) -> None:
        super().__init__()
        self.write = write

    def emit(self, record: logging.LogRecord) -> None:
        self.write(self.format(record), getattr(record, "code", ""))


@contextlib.contextmanager
def noted(notes: list[Note]) -> Iterator[None]:
    """Within the block each note is kept in the list too."""
    handler = _Call(lambda text, code: notes.append(Note(code, text)) if code else None)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


@contextlib.contextmanager
def messages_to(write: Callable[[str, str], object]) -> Iterator[None]:
    """Within the block each message is handed to `write` with its code, or "", and goes nowhere else."""
    before = log.handlers, log.filters
    log.handlers, log.filters = [_Call(write)], []
    try:
        yield
    finally:
        log.handlers, log.filters = before


def silenced() -> contextlib.AbstractContextManager[None]:
    """Within the block no message is shown."""
    return messages_to(lambda text, code: None)


@contextlib.contextmanager
def labelled(label: str) -> Iterator[None]:
    """Within the block each line of a message begins with `label | `."""

    def add_label(record: logging.LogRecord) -> bool:
        lines = record.getMessage().splitlines()
        record.msg, record.args = "\n".join(f"{label} | {line}" for line in lines), None
        return True

    log.addFilter(add_label)
    try:
        yield
    finally:
        log.removeFilter(add_label)


_speaks = False  # whether this child process shows bars, as its parent shows none meanwhile


def show_bars_here() -> None:
    """Let this child process show its bars itself."""
    global _speaks  # noqa: PLW0603
    _speaks = True


class Bar:
    """How far work of `total` units is: a bar on a terminal, a line now and then in a log, nothing in a child process,
    whose parent tells."""

    def __init__(self, total: int | None, what: str, unit: str) -> None:
        self.total, self.what, self.unit, self.done = total, what, unit, 0
        self.before = 0  # of done, what an earlier command did: no part of the pace
        self._begun = self._format = time.monotonic()
        self._silent = multiprocessing.parent_process() is not None and not _speaks
        self._terminal = _can_redraw()
        self._bar: Any = None

    def update(self, count: int = 1) -> None:
        self.done += count
        now = time.monotonic()
        if self._silent or now - self._format < self._pause():
            return
        self._format = now
        if self._terminal:
            self._draw()
        else:
            print(self._line(now - self._begun), file=sys.stderr, flush=True)

    def describe(self, what: str) -> None:
        self.what = what

    @contextlib.contextmanager
    def hidden(self) -> Any:
        """No bar within the block."""
        shown = self._bar is not None
        self.close()
        yield
        if shown:
            self._draw()

    def close(self) -> None:
        if self._bar is not None:
            with uninterrupted():
                self._bar.stop()
                self._bar = None

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _pause(self) -> float:
        if self._terminal:
            return BAR_SECONDS if self._bar is None else REDRAW
        return LINES_SECONDS

    def _line(self, seconds: float) -> str:
        rate = (self.done - self.before) / seconds if seconds else 0.0
        left = clock((self.total - self.done) / rate) if self.total and rate else "?"
        return (
            f"{self.what}: {self.done:.0f} of {self.total or '?'} {self.unit}s, {rate:.1f} {self.unit}s/s, {left} left"
        )

    def _draw(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        with uninterrupted():
            if self._bar is None:
                columns = [TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()]
                columns += [TextColumn("{task.fields[rate]}"), TimeRemainingColumn()]
                quiet = {"auto_refresh": False, "redirect_stdout": False, "redirect_stderr": False}
                self._bar = Progress(*columns, console=console_of(), transient=True, **quiet)
                self._bar.add_task(self.what, total=self.total, completed=self.done, rate="")
                self._bar.start()
                self._bar.console.show_cursor(True)  # else a kill would leave none
            seconds = time.monotonic() - self._begun
            rate = f"{(self.done - self.before) / seconds:.1f} {self.unit}s/s" if seconds else ""
            fields = {"total": self.total, "completed": self.done, "description": self.what, "rate": rate}
            self._bar.update(self._bar.task_ids[0], refresh=True, **fields)


class ProgressReporter:
    """The table `what` below the messages, of as many rows as are told, or `count`, counted in `unit`s."""

    def __init__(self, what: str = "training", unit: str = "step", count: int = 0) -> None:
        self.rows = ProgressRows(count)
        self._view = LiveTable(what) if _bears_table() else _Sum(what, unit)
        self._handlers: list[logging.Handler] = []

    def show(self, row: str, progress: RowProgress) -> None:
        self.rows.show(row, progress, time.monotonic())
        self._view.draw(self.rows)

    def end(self, row: str, how: str = "done") -> None:
        self.rows.end(row, how)
        self._view.draw(self.rows)

    def __enter__(self) -> "ProgressReporter":
        self._handlers = log.handlers
        log.handlers = [_AboveTable(self._view, self._handlers)]
        return self

    def __exit__(self, *_: object) -> None:
        log.handlers = self._handlers
        self._view.close()


class _AboveTable(logging.Handler):
    """Takes the table away while the other handlers write a message."""

    def __init__(self, view: "LiveTable | _Sum", handlers: list[logging.Handler]) -> None:
        super().__init__()
        self.view, self.others = view, handlers

    def emit(self, record: logging.LogRecord) -> None:
        with self.view.hidden():
            for handler in self.others:
                handler.handle(record)


class _Sum:
    """All rows as one bar, where no table can be."""

    def __init__(self, what: str, unit: str) -> None:
        self.what, self.unit = what, unit
        self._bar: Bar | None = None

    def draw(self, rows: ProgressRows) -> None:
        """It begins with the first row, so that what came before counts for no step's time."""
        if self._bar is None:
            if not rows.under_way():
                return
            self._bar = Bar(rows.total(), self.what, self.unit)
        self._bar.total, self._bar.before = rows.total(), rows.before()
        self._bar.update(rows.done() - self._bar.done)

    def hidden(self) -> contextlib.AbstractContextManager[None]:
        return self._bar.hidden() if self._bar is not None else contextlib.nullcontext()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _bears_table() -> bool:
    return multiprocessing.parent_process() is None and _can_redraw()


def _can_redraw() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") not in NO_CURSOR
