"""What a sweep compares: which keys take which values, and the ordinary run that each combination is."""

import itertools
import shlex
from dataclasses import dataclass
from pathlib import Path

from src.config.request import ALL, DEMO, UNTUNED, Request, default_run, parse
from src.core.cli import key_values
from src.core.errors import UsageError
from src.core.paths import runs_folder
from src.experiments.axes import LISTS, Axis, split
from src.experiments.ranges import is_range
from src.experiments.sweep_file import from_file


@dataclass(frozen=True)
class Cell:
    """One combination. values: {axis: label}."""

    values: dict[str, str]
    request: Request

    @property
    def label(self) -> str:
        return ", ".join(self.values.values())


@dataclass(frozen=True)
class Plan:
    """All runs of a sweep, in the order in which they are told."""

    name: str
    title: str
    command: str
    axes: tuple[str, ...]
    cells: tuple[Cell, ...]

    @property
    def competition(self) -> str:
        return self.cells[0].request.competition

    @property
    def folder(self) -> Path:
        return runs_folder(self.competition) / "sweeps" / self.name


@dataclass(frozen=True)
class Asked:
    """The words of a command: those with one value, and what takes several. title may be empty.

    origin: the configuration or the sweep's file. given: the words that are no lists, for a name.
    """

    title: str
    origin: str
    command: str
    given: dict[str, str]
    fixed: dict[str, str]
    axes: list[Axis]


def asked(argv: list[str], flag: str | None = None) -> Asked:
    """Read the words of src.sweep. flag: the one word with dashes that may stand among them."""
    given = key_values([word for word in argv if word != flag])
    if "run" in given:
        raise UsageError(
            "run= does not go with a sweep: its runs are named by what they are given", code="run-in-sweep"
        )
    name, words = given.pop("sweep", None), dict(given)
    title = ""
    if name is None:
        fixed, axes = split(words)
        origin = words.get("config") or (UNTUNED if "competition" in words else DEMO)
        text = {key: value for key, value in words.items() if key != "config"}
    else:
        title, fixed, axes = from_file(name, words)
        origin, text = name, words
    text = {key: value for key, value in text.items() if key != "competition"}
    return Asked(title, origin, shlex.join(["python", "-m", "src.sweep", *argv]), text, fixed, axes)


def plan_of(argv: list[str]) -> Plan:
    """The runs that a command asks for. Raises UsageError for whatever is wrong with any of them."""
    words = asked(argv)
    for key, word in words.fixed.items():
        if is_range(word) and key not in LISTS:
            raise UsageError(
                f"{key}={word} is a range: add --search to look through it, or write values with commas",
                code="range-in-sweep",
            )
    text = {key: value for key, value in words.given.items() if key not in LISTS}
    cells = tuple(
        cell_of(words.fixed, words.axes, labels) for labels in itertools.product(*(axis.choices for axis in words.axes))
    )
    _check(cells)
    names = tuple(axis.name for axis in words.axes)
    return Plan(default_run(words.origin, text), words.title or " × ".join(names), words.command, names, cells)


def cell_of(fixed: dict[str, str], axes: list[Axis], labels: tuple[str, ...]) -> Cell:
    """The run of one choice of each axis. Raises UsageError where that is no configuration."""
    words = dict(fixed)
    for axis, label in zip(axes, labels, strict=True):
        words |= axis.choices[label]
    # The comparison shows training rows too. It changes nothing that is learned, and so not the run's name.
    request = parse([f"{key}={value}" for key, value in ({"log.train_scores": "true"} | words).items()])
    return Cell(dict(zip((axis.name for axis in axes), labels, strict=True)), request)


def _check(cells: tuple[Cell, ...]) -> None:
    if len(cells) < 2:
        raise UsageError(
            "there is nothing to compare: give at least one key several values, as optim.lr=2e-3,1e-3",
            code="nothing-to-compare",
        )
    competitions = {cell.request.competition for cell in cells}
    if len(competitions) > 1:
        raise UsageError(
            f"a sweep compares runs of one competition, not of {', '.join(sorted(competitions))}",
            code="other-competitions",
        )
    check_folds(cells)
    by_run: dict[str, Cell] = {}
    for cell in cells:
        same = by_run.setdefault(cell.request.run, cell)
        if same is not cell:
            raise UsageError(
                f"'{same.label}' and '{cell.label}' are one and the same run, {cell.request.run}: what is in machine, "
                f"predict and log changes nothing that is learned",
                code="same-run-twice",
            )


def check_folds(cells: tuple[Cell, ...]) -> None:
    if any(ALL in (cell.request.folds or ()) for cell in cells):
        raise UsageError(
            "fold=all holds out no row to compare by: write fold=0..4, or leave fold= out", code="bad-fold"
        )
