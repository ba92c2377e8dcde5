"""The rows of the table of progress: which wait, are under way or are over, how far all are, and the time left."""

from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from src.core.reporter import RowProgress, finished

WAITING, UNDER_WAY, DONE = "waiting", "", "done"
WINDOW = 60.0  # seconds whose pace tells the time left: an epoch of larger images is slower than the ones before
EVERY = 0.5  # seconds between two of the moments that are kept of them


class Pace:
    """Steps a second, of late."""

    def __init__(self) -> None:
        self._moments: deque[tuple[float, int]] = deque()

    def note(self, now: float, steps: int) -> None:
        """steps: since the beginning."""
        moments = self._moments
        if len(moments) > 1 and now - moments[-2][0] < EVERY:
            moments.pop()
        moments.append((now, steps))
        while len(moments) > 2 and moments[1][0] <= now - WINDOW:
            moments.popleft()

    def seconds(self, steps: int) -> float | None:
        """How long so many more will take; None while that cannot be told."""
        if not self._moments:
            return None
        (begun, first), (now, last) = self._moments[0], self._moments[-1]
        return (now - begun) * steps / (last - first) if last > first else None


class ProgressRows:
    """What every row last told, in the order in which they came. count: how many there will be, if more than told."""

    def __init__(self, count: int = 0) -> None:
        self.progress: dict[str, RowProgress] = {}
        self._count, self._ends = count, dict[str, str]()
        self._paces, self._pace = dict[str, Pace](), Pace()

    def show(self, row: str, progress: RowProgress, now: float) -> None:
        """now: in seconds, of any clock. What comes late, after a row's end, is passed over."""
        if row in self._ends:
            return
        self.progress[row] = progress
        if progress.facts:
            self._paces.setdefault(row, Pace()).note(now, progress.done - progress.before)
            self._pace.note(now, sum(one.done - one.before for one in self.progress.values()))

    def end(self, row: str, how: str) -> None:
        """how: "done", or in one word what came of it."""
        progress = self.progress.get(row, RowProgress())
        self.progress[row] = finished(progress) if how == DONE else replace(progress, total=progress.done)
        self._ends[row] = how

    def state(self, row: str) -> str:
        return self._ends.get(row, UNDER_WAY if self.progress[row].facts else WAITING)

    def under_way(self) -> list[str]:
        return [row for row in self.progress if self.state(row) == UNDER_WAY]

    def __len__(self) -> int:
        return max(self._count, len(self.progress))

    def others(self, shown: Iterable[str]) -> dict[str, int]:
        """{state: how many} of the rows that are not shown; those that have told nothing yet wait."""
        absent = set(self.progress) - set(shown)
        states = [self.state(row) for row in absent] + [WAITING] * (len(self) - len(self.progress))
        return {state: states.count(state) for state in sorted(set(states))}

    def done(self) -> int:
        """Steps that all rows have behind them."""
        return sum(one.done for one in self.progress.values())

    def before(self) -> int:
        """Of these, those that earlier commands did."""
        return sum(one.before for one in self.progress.values())

    def total(self) -> int | None:
        """Steps of all rows; each that is not known yet counts as the mean of the others. None while none is known."""
        known = [one.total for one in self.progress.values() if one.total is not None]
        some = [total for total in known if total]  # of the others nothing was left to do
        each = sum(some) / len(some) if some else 0
        return round(sum(known) + each * (len(self) - len(known))) if known else None

    def left(self, row: str) -> float | None:
        """Seconds that a row under way still takes."""
        progress = self.progress[row]
        if progress.total is None or row not in self._paces:
            return None
        return self._paces[row].seconds(progress.total - progress.done)

    def left_of_all(self) -> float | None:
        total = self.total()
        return None if total is None else self._pace.seconds(total - self.done())
