"""How work tells how far it is: each row of the one table that is drawn below the messages."""

import time
from dataclasses import dataclass, field, replace
from typing import Protocol

EPOCH = "epoch"


@dataclass(frozen=True)
class RowProgress:
    """How far a row is. total: its steps, None before they are known; done: of them, the first `before` of which an
    earlier command did. facts: {column: text} of what it is at; a row without any waits."""

    total: int | None = None
    done: int = 0
    before: int = 0
    facts: dict[str, str] = field(default_factory=dict)


class Reporter(Protocol):
    """Whoever works tells it to one of these."""

    def show(self, row: str, progress: RowProgress) -> None: ...

    def end(self, row: str, how: str = "done") -> None: ...


class SilentReporter:
    """Shows nothing: of several processes that train together only the first one has the table."""

    def show(self, row: str, progress: RowProgress) -> None:
        pass

    def end(self, row: str, how: str = "done") -> None:
        pass


class PacedReporter:
    """Hands on each row's progress every so many seconds at most: a step may take less than telling of it."""

    def __init__(self, reporter: Reporter, seconds: float) -> None:
        self.reporter, self.seconds = reporter, seconds
        self.end = reporter.end
        self._shown: dict[str, float] = {}

    def show(self, row: str, progress: RowProgress) -> None:
        now = time.monotonic()
        if row not in self._shown or now - self._shown[row] >= self.seconds:
            self._shown[row] = now
            self.reporter.show(row, progress)


class RowReporter:
    """The reporter of work that is one row of another one's table, such as a sweep's run: its own rows are summed."""

    def __init__(self, reporter: Reporter, row: str) -> None:
        self.reporter, self.row = reporter, row
        self._rows: dict[str, RowProgress] = {}
        self._facts: dict[str, str] = {}

    def show(self, row: str, progress: RowProgress) -> None:
        self._rows[row] = progress
        if progress.facts:
            where = f"{row} " if len(self._rows) > 1 else ""
            self._facts = {key: where * (key == EPOCH) + text for key, text in progress.facts.items()}
        self._sum()

    def end(self, row: str, how: str = "done") -> None:
        self._rows[row] = finished(self._rows.get(row, RowProgress()))
        self._sum()

    def _sum(self) -> None:
        rows = self._rows.values()
        done, before = sum(row.done for row in rows), sum(row.before for row in rows)
        self.reporter.show(self.row, RowProgress(sum(row.total or 0 for row in rows), done, before, self._facts))


def finished(progress: RowProgress) -> RowProgress:
    """At its end. Steps that were never needed, as where training stopped early, took no time."""
    total = progress.total or progress.done
    return replace(progress, total=total, done=total, before=progress.before + total - progress.done)
