"""What a search may try: ranges and choices, read from the words of src.sweep --search."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from src.config.request import default_run, parse
from src.core.cli import key_values
from src.core.errors import UsageError
from src.core.paths import runs_folder
from src.experiments.axes import LISTS, Axis
from src.experiments.ranges import Range, ends_of, is_range, whole_ends
from src.experiments.sweep_plan import Asked, Cell, Plan, asked, cell_of, check_folds

FLAG, TRIALS = "--search", 30


@dataclass(frozen=True)
class Space:
    """All runs that a search may make, and how many of them it shall make. fixed: the words with one value."""

    name: str
    title: str
    command: str
    trials: int
    fixed: dict[str, str]
    dimensions: tuple[Range | Axis, ...]

    @property
    def axes(self) -> tuple[str, ...]:
        return tuple(name_of(one) for one in self.dimensions)

    @cached_property
    def first(self) -> Cell:
        """One run of them, to ask what they have in common."""
        return self.cell({})

    @property
    def folder(self) -> Path:
        return runs_folder(self.first.request.competition) / "sweeps" / self.name

    @property
    def size(self) -> float:
        """How many different runs there are; infinite where a range has fractions."""
        return math.prod(_count(one) for one in self.dimensions)

    def cell(self, values: dict[str, str | float]) -> Cell:
        """The run of these values. What is left out is at its low end, or the first choice."""
        axes, labels = [], []
        for one in self.dimensions:
            if isinstance(one, Range):
                label = one.word(values[one.key]) if one.key in values else one.low
                axes.append(Axis(one.key, {label: {one.key: label}}))
            else:
                label = values.get(one.name, next(iter(one.choices)))
                axes.append(one)
            labels.append(label)
        return cell_of(self.fixed, axes, tuple(labels))

    def plan(self, cells: tuple[Cell, ...]) -> Plan:
        """These runs as a sweep, for what a sweep tells of them."""
        return Plan(self.name, self.title, self.command, self.axes, cells)


def space_of(argv: list[str]) -> Space:
    """What a command asks to search. Raises UsageError for a range, a choice or an end of it that cannot be."""
    trials, rest = _trials(argv)
    words = asked(rest, FLAG)
    fixed, ranges = _parted(words)
    plain = [axis for axis in words.axes if len(axis.choices) > 1]
    if not ranges and not plain:
        raise UsageError(
            "there is nothing to search: give a range, as optim.lr=1e-4..1e-1, or values with commas",
            code="nothing-to-search",
        )
    base = fixed | {key: word for axis in plain for key, word in next(iter(axis.choices.values())).items()}
    lows = {key: ends[0] for key, ends in ranges.items()}
    found = tuple(Range(key, *ends, _is_whole(base | lows, key, *ends)) for key, ends in ranges.items())
    name = default_run(f"search-{words.origin}", words.given)
    title = words.title or "Search: " + "; ".join(map(_format, (*found, *plain)))
    space = Space(name, title, f"{words.command} trials={trials}", trials, fixed, (*found, *plain))
    _check(space)
    return space


def _trials(argv: list[str]) -> tuple[int, list[str]]:
    """How many; not a part of the name, so that a search can be made longer."""
    keys = key_values([word for word in argv if word != FLAG])
    word = keys.get("trials", str(TRIALS))
    if not (word.isdecimal() and int(word) > 1):
        raise UsageError(f"trials={word}: write one whole number from 2, such as trials={TRIALS}", code="trials")
    return int(word), [word for word in argv if not word.startswith("trials=")]


def _parted(words: Asked) -> tuple[dict[str, str], dict[str, tuple[str, str]]]:
    """Words with one value, and the ends of the ranges; a sweep's file may hold a range as the one value of a key."""
    single = {axis.name: next(iter(axis.choices.values())) for axis in words.axes if len(axis.choices) == 1}
    fixed = dict(words.fixed)
    for inner in single.values():
        fixed |= inner
    ranges = {key: ends_of(key, word) for key, word in fixed.items() if is_range(word) and key not in LISTS}
    return {key: word for key, word in fixed.items() if key not in ranges}, ranges


def _is_whole(words: dict[str, str], key: str, low: str, high: str) -> bool:
    """Ends without a point mean whole numbers, but not where the key takes all numbers: 0..1 of a rate."""
    if not whole_ends(low, high):
        return False
    if key.count(".") > 1:  # free arguments of a network or optimizer: nobody knows what they take
        return True
    try:
        parse([f"{k}={word}" for k, word in (words | {key: str(int(low) + 0.5)}).items()])
    except UsageError:
        return True
    return False


def _check(space: Space) -> None:
    """Every end and every choice must be a configuration, before an hour is spent on the others."""
    cells = [space.first]
    for one in space.dimensions:
        ends = one.ends if isinstance(one, Range) else one.choices
        cells += [space.cell({name_of(one): end}) for end in ends]
    check_folds(tuple(cells))
    if len({cell.request.competition for cell in cells}) > 1:
        raise UsageError("a search compares runs of one competition", code="other-competitions")
    for one in space.dimensions:
        ends = list(one.ends if isinstance(one, Range) else one.choices)[:2]
        first, second = (space.cell({name_of(one): end}).request.run for end in ends)
        if first == second:
            raise UsageError(
                f"{name_of(one)} changes nothing that is learned: leave it out of the search", code="same-run-twice"
            )
    if space.size <= space.trials:
        raise UsageError(
            f"there are only {space.size:.0f} different runs: train them all, with commas and without {FLAG}, or give "
            f"fewer trials",
            code="too-many-trials",
        )


def name_of(one: Range | Axis) -> str:
    return one.key if isinstance(one, Range) else one.name


def _format(one: Range | Axis) -> str:
    return str(one) if isinstance(one, Range) else f"{one.name} {', '.join(one.choices)}"


def _count(one: Range | Axis) -> float:
    if isinstance(one, Axis):
        return len(one.choices)
    return one.ends[1] - one.ends[0] + 1 if one.whole else math.inf
