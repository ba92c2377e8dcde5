"""What the user sees of long work: lines, and below them one live table; in a log now and then a line in its place."""

import contextlib
import multiprocessing
import os
import sys
import time
from collections.abc import Callable

from src.core.progress import progress
from src.core.progress_rows import Rows
from src.core.progress_table import LiveTable
from src.core.reporter import Standing

NO_TABLE = ("dumb", "unknown")  # terminals that cannot move the cursor up


class Terminal:
    """Lines through `say`; the table `what` below them, of as many rows as are told, or `count`, counted in `unit`s."""

    def __init__(
        self, say: Callable[[str], None] = print, what: str = "training", unit: str = "step", count: int = 0
    ) -> None:
        self.rows, self._say = Rows(count), say
        self._view = LiveTable(what) if _bears_table() else Bar(what, unit)

    def say(self, text: str) -> None:
        with self._view.away():
            self._say(text)

    def show(self, row: str, standing: Standing) -> None:
        self.rows.show(row, standing, time.monotonic())
        self._view.draw(self.rows)

    def end(self, row: str, how: str = "done") -> None:
        self.rows.end(row, how)
        self._view.draw(self.rows)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self._view.close()


class Bar:
    """All rows as one bar, or as lines in a log; nothing in a child process, whose parent tells."""

    def __init__(self, what: str, unit: str) -> None:
        self.what, self.unit = what, unit
        self._ends = contextlib.ExitStack()
        self._bar = None

    def draw(self, rows: Rows) -> None:
        """It begins with the first row, so that what came before counts for no step's time."""
        if self._bar is None:
            if not rows.under_way():
                return
            self._bar = self._ends.enter_context(progress(rows.total(), self.what, self.unit))
        self._bar.total = rows.total()
        self._bar.update(rows.done() - self._bar.n)

    def away(self) -> contextlib.AbstractContextManager[None]:
        return self._bar.external_write_mode() if self._bar is not None else contextlib.nullcontext()

    def close(self) -> None:
        self._ends.close()


def _bears_table() -> bool:
    alone = multiprocessing.parent_process() is None
    return alone and sys.stderr.isatty() and os.environ.get("TERM") not in NO_TABLE
