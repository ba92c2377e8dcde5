"""How work tells how far it is: each row of the one table that is drawn below the messages."""

import time
from dataclasses import dataclass, field, replace
from typing import Protocol

EPOCH = "epoch"


@dataclass(frozen=True)
class Standing:
    """How far a row is. total: its steps, None before they are known; done: of them, the first `before` of which an
    earlier command did. facts: {column: text} of what it is at; a row without any waits."""

    total: int | None = None
    done: int = 0
    before: int = 0
    facts: dict[str, str] = field(default_factory=dict)


class Teller(Protocol):
    """Whoever works tells it to one of these."""

    def show(self, row: str, standing: Standing) -> None: ...

    def end(self, row: str, how: str = "done") -> None: ...


class Quiet:
    """Shows nothing: of several processes that train together only the first one has the table."""

    def show(self, row: str, standing: Standing) -> None:
        pass

    def end(self, row: str, how: str = "done") -> None:
        pass


class Paced:
    """Hands on each row's standing every so many seconds at most: a step may take less than telling of it."""

    def __init__(self, teller: Teller, seconds: float) -> None:
        self.teller, self.seconds = teller, seconds
        self.end = teller.end
        self._shown: dict[str, float] = {}

    def show(self, row: str, standing: Standing) -> None:
        now = time.monotonic()
        if row not in self._shown or now - self._shown[row] >= self.seconds:
            self._shown[row] = now
            self.teller.show(row, standing)


class Part:
    """The teller of work that is one row of another teller's table, such as a sweep's run: its own rows are summed."""

    def __init__(self, teller: Teller, row: str) -> None:
        self.teller, self.row = teller, row
        self._rows: dict[str, Standing] = {}
        self._facts: dict[str, str] = {}

    def show(self, row: str, standing: Standing) -> None:
        self._rows[row] = standing
        if standing.facts:
            where = f"{row} " if len(self._rows) > 1 else ""
            self._facts = {key: where * (key == EPOCH) + text for key, text in standing.facts.items()}
        self._sum()

    def end(self, row: str, how: str = "done") -> None:
        self._rows[row] = finished(self._rows.get(row, Standing()))
        self._sum()

    def _sum(self) -> None:
        rows = self._rows.values()
        done, before = sum(row.done for row in rows), sum(row.before for row in rows)
        self.teller.show(self.row, Standing(sum(row.total or 0 for row in rows), done, before, self._facts))


def finished(standing: Standing) -> Standing:
    """At its end. Steps that were never needed, as where training stopped early, took no time."""
    total = standing.total or standing.done
    return replace(standing, total=total, done=total, before=standing.before + total - standing.done)
