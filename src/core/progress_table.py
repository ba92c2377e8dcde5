"""The table of progress as a terminal shows it: drawn over and over below the lines, and gone at the end.

It has no thread of its own, for processes are forked off this one: it is drawn when something is told.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from src.core.progress_rows import DONE, UNDER_WAY, ProgressRows

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

REDRAW = 0.2  # seconds between two pictures
SHARE = 50  # of the time, one part at most goes into drawing
BAR = 20  # columns
ECHO = 3  # columns that stay free: a terminal writes ^C there
GAP = 2  # columns between two others
_BAR_COLUMNS = {"bar": "", "share": "", "left": "left"}  # the last of them, and their headings


class LiveTable:
    """Draws rows on standard error while one of them is under way. what: stands above their names."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._live = self._rows = None
        self._due = 0.0

    def draw(self, rows: ProgressRows) -> None:
        """Where the last picture is fresh, this does nothing. Between rows other work may want the place for a bar."""
        self._rows = rows
        over = not rows.under_way()
        fresh = over if self._live is None else not over and time.monotonic() < self._due
        if not fresh:
            self._draw()
        if over:
            self.close()

    @contextlib.contextmanager
    def hidden(self) -> Iterator[None]:
        """No table within the block."""
        shown = self._live
        self.close()
        yield
        if shown:
            self._draw()

    def close(self) -> None:
        if self._live:
            with uninterrupted():
                self._live.stop()
                self._live = None

    def _draw(self) -> None:
        with uninterrupted():
            self._picture()

    def _picture(self) -> None:
        # Imported only now: most commands draw no table.
        from rich.live import Live

        begun = time.monotonic()
        console = console_of(self._live.console if self._live else None)
        picture = drawn(self._rows, self.what, *console.size)
        with console:  # one write
            if not self._live:
                apart = {"auto_refresh": False, "redirect_stdout": False, "redirect_stderr": False}
                self._live = Live(console=console, transient=True, **apart)
                self._live.start()
                console.show_cursor(True)  # else a kill would leave none
            self._live.update(picture, refresh=True)
        now = time.monotonic()
        self._due = now + max(REDRAW, SHARE * (now - begun))


def console_of(console: Console | None = None) -> Console:
    """Rich's console on standard error, or the given one, at the size that the terminal has now."""
    from rich.console import Console, ConsoleDimensions

    style = {"highlight": False, "markup": False, "emoji": False}
    surely = {"force_terminal": True, "force_interactive": True, "force_jupyter": False}
    console = console or Console(stderr=True, **style, **surely)
    console.size = ConsoleDimensions(*_size())
    return console


def _size() -> tuple[int, int]:
    """Columns and lines of the terminal itself: what COLUMNS and LINES say may be of another one, or of before."""
    try:
        columns, lines = os.get_terminal_size(sys.stderr.fileno())
    except OSError:  # it has gone
        columns = lines = 0
    return columns or 80, lines or 25


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C and SIGTERM count after the block: half a picture could not be taken away."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def drawn(rows: ProgressRows, what: str, width: int, height: int) -> RenderableType:
    """The table within so many columns and lines. Where not all rows fit, those under way, and how many others."""
    from rich.console import Group
    from rich.constrain import Constrain

    height -= 1  # where the cursor goes when the table is taken away
    most = min(height // 2, height - 3) if height > 3 else height - 1
    shown = list(rows.progress)
    if len(rows) > max(most, 1):
        shown = rows.under_way()[: max(most, 0)]
    others = rows.others(shown)
    lines: list[RenderableType] = [_table(rows, shown, what, width - ECHO, header=height > 3)]
    if others and height > 3:
        lines.append(_text(", ".join(f"{count} {state or 'more under way'}" for state, count in others.items())))
    return Constrain(Group(*lines), max(1, width - ECHO))


def _table(rows: ProgressRows, shown: list[str], what: str, width: int, header: bool) -> Table:
    from rich.table import Column, Table

    facts = list(dict.fromkeys(key for row in shown for key in rows.progress[row].facts))
    lines = [{what: row} | rows.progress[row].facts | _bar_cells(rows, row) for row in shown]
    if len(rows) > 1:
        lines.append({what: "all"} | _bar_cells_of_all(rows))
    heads = {name: name for name in (what, *facts)} | _BAR_COLUMNS
    kept = _fitting(heads, facts, lines, width)
    columns = [Column(_text(heads[name]), justify="right", width=wide) for name, wide in kept.items()]
    columns[0].justify = "left"
    table = Table(*columns, box=None, padding=(0, GAP // 2), pad_edge=False, show_header=header, header_style="dim")
    for line in lines:
        table.add_row(*(_bar(line[name]) if name == "bar" else _text(line.get(name, "")) for name in kept))
    return table


def _fitting(heads: dict[str, str], facts: list[str], lines: list[dict[str, Any]], width: int) -> dict[str, int]:
    """{column: width} of those for which there is room; the dearest are left out last."""
    from rich.cells import cell_len

    def wide(name: str) -> int:
        return BAR if name == "bar" else max(cell_len(line.get(name, "")) for line in (heads, *lines))

    kept, label = {name: wide(name) for name in heads}, next(iter(heads))
    for name in (*facts[3:], "bar", *facts[1:3], *facts[:1], "left", "share"):
        # Names of rows may be long: they are shortened to a third before anything is left out.
        room = width - sum(one + GAP for other, one in kept.items() if other != label)
        if room >= min(kept[label], width // 3):
            break
        kept.pop(name)
    return kept | {label: max(1, min(kept[label], room))}


def _bar_cells(rows: ProgressRows, row: str) -> dict[str, Any]:
    progress, state = rows.progress[row], rows.state(row)
    if state not in (UNDER_WAY, DONE):
        return {"bar": None, "left": state}
    share = 1.0 if state == DONE else progress.done / progress.total if progress.total else 0.0
    return {"bar": share, "share": _percent(share), "left": state or clock(rows.left(row))}


def _bar_cells_of_all(rows: ProgressRows) -> dict[str, Any]:
    total = rows.total()
    share = rows.done() / total if total else 0.0
    return {"bar": share, "share": _percent(share), "left": clock(rows.left_of_all())}


def _percent(share: float) -> str:
    return f"{int(100 * share)} %"  # 100 at the end alone


def clock(seconds: float | None) -> str:
    """0:05, 12:31 or 3:04:05."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _bar(share: float | None) -> RenderableType:
    from rich.progress_bar import ProgressBar

    return "" if share is None else ProgressBar(total=1.0, completed=share, width=BAR)


def _text(text: str) -> Text:
    """As it is: no markup, and nothing that a terminal would obey."""
    from rich.text import Text

    return Text("".join(one if one.isprintable() else "?" for one in text), no_wrap=True, overflow="ellipsis")
