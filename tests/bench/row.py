"""What a row of the table is: its sides, each a function that measures once, and how they are compared."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

PODIUM = "Podium"
Figures = dict[str, float]  # of one measurement, by name


@dataclass(frozen=True)
class Trial:
    """One measurement to be taken.

    repeat: from 0; also the seed where a row trains. tiny: few images and epochs, to try the row; its figures mean
    nothing. folder: empty, for what the measurement writes. earlier: the measurements of a side of this row so far.
    """

    repeat: int
    tiny: bool
    folder: Path
    earlier: Callable[[str], list[Figures]]


@dataclass(frozen=True)
class Line:
    """One line of the table: two sides of a row, compared by one figure, or one side and its goal.

    goal: how many times better than the peer Podium is to be; for `difference`, by how much the figure is to be
    greater; without a peer, what the figure itself is to reach; None where nothing is promised. provided: a figure
    whose mean must be no lower than the peer's for the goal to count. beside: a figure that is told too. share: a
    figure that tells which share of a limit is reached, from 0 to 1.
    """

    title: str
    figure: str
    peer: str | None
    goal: float | None
    side: str = PODIUM
    less_is_better: bool = False
    difference: bool = False
    provided: str = ""
    beside: str = ""
    share: str = ""


@dataclass(frozen=True)
class Row:
    """sides: in the order in which each repeat takes them. absent: why it cannot be measured here, where it cannot."""

    name: str
    sides: dict[str, Callable[[Trial], Figures]]
    lines: tuple[Line, ...]
    note: str
    absent: Callable[[], str | None] = field(default=lambda: None)
