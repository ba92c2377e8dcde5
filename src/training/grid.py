"""What a sweep compares: which keys take which values, and the ordinary run that each combination is."""

import itertools
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from src.command import ALL, DEMO, UNTUNED, Request, default_run, parse
from src.config import config_file, config_names
from src.errors import UsageError
from src.runs import runs_folder
from src.schema import nearest

LISTS = ("fold", "seed")  # their commas are no choices: every run trains all of them
ASKED = "???"  # in a sweep's file: the value comes from the command line


@dataclass(frozen=True)
class Axis:
    """One thing that differs between runs. choices: {label: {key: value}}, the words of the command line."""

    name: str
    choices: dict[str, dict[str, str]]

    @property
    def keys(self) -> set[str]:
        return {key for words in self.choices.values() for key in words}


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


class SweepFile(BaseModel):
    """configs/sweeps/NAME.yaml. `set` and the values of `axes` are words as on the command line."""

    model_config = ConfigDict(extra="forbid", strict=True)

    title: str
    config: str
    fold: str | None = None
    seed: str | None = None
    set: dict[str, str] = {}
    axes: dict[str, list[str] | dict[str, dict[str, str]]]


def plan_of(argv: list[str]) -> Plan:
    """The runs that a command asks for. Raises UsageError for whatever is wrong with any of them."""
    given = _words(argv)
    if "run" in given:
        raise UsageError("run= does not go with a sweep: its runs are named by what they are given")
    name, words = given.pop("sweep", None), dict(given)
    title = ""
    if name is None:
        fixed, axes = _split(words)
        origin = words.get("config") or (UNTUNED if "competition" in words else DEMO)
        told = {key: value for key, value in words.items() if key != "config"}
    else:
        title, fixed, axes = _from_file(name, words)
        origin, told = name, words
    told = {key: value for key, value in told.items() if key not in (*LISTS, "competition")}
    cells = tuple(_cell(fixed, axes, labels) for labels in itertools.product(*(axis.choices for axis in axes)))
    _check(cells)
    names = tuple(axis.name for axis in axes)
    command = shlex.join(["python", "-m", "src.sweep", *argv])
    return Plan(default_run(origin, told), title or " × ".join(names), command, names, cells)


def _words(argv: list[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for word in argv:
        key, equals, value = word.partition("=")
        if word.startswith("-") or not (key and equals and value):
            raise UsageError(f"{word!r} is not understood: write key=value, for example optim.lr=2e-3,1e-3")
        if key in given:
            raise UsageError(f"{key} is given twice: write its values with commas, {key}={given[key]},{value}")
        given[key] = value
    return given


def _split(words: dict[str, str]) -> tuple[dict[str, str], list[Axis]]:
    """Words with one value, and those with several."""
    fixed, axes = {}, []
    for key, word in words.items():
        values = [word] if key in LISTS else _values(key, word)
        if len(values) == 1:
            fixed[key] = word
        else:
            axes.append(Axis(key, {value: {key: value} for value in values}))
    return fixed, axes


def _values(key: str, word: str) -> list[str]:
    """The values between the commas of a word; commas within brackets or quotes belong to a value."""
    parts, depth, quote = [""], 0, ""
    for sign in word:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif sign in "[{(":
            depth += 1
        elif sign in ")}]":
            depth -= 1
        elif sign == "," and not depth:
            parts.append("")
            continue
        parts[-1] += sign
    if "" in parts or len(set(parts)) < len(parts):
        raise UsageError(f"{key}={word}: write different values with a comma between each two")
    return parts


def _from_file(name: str, given: dict[str, str]) -> tuple[str, dict[str, str], list[Axis]]:
    """Title, words with one value, and axes of a sweep's file, after the command line has replaced some of them."""
    path = config_file(f"sweeps/{name}") if re.fullmatch(r"[\w.-]+", name) else None
    if path is None:
        known = config_names("sweeps")
        raise UsageError(f"sweep={name}: there is no configs/sweeps/{name}.yaml.{nearest(name, known)}")
    file = _read(path)
    fixed, more = _split({key: value for key, value in given.items() if key not in file.axes})
    axes = [_axis(path, axis, choices, given, fixed) for axis, choices in file.axes.items()]
    base = {"config": file.config, "fold": file.fold, "seed": file.seed} | file.set
    inner = {key for axis in axes for key in axis.keys}
    words = {key: value for key, value in (base | fixed).items() if value is not None and key not in inner}
    return file.title, words, axes + more


def _read(path: Path) -> SweepFile:
    try:
        # Every value as it is written: 1e-3 in a run's name is what the user knows it by.
        return SweepFile.model_validate(yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader))
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"{path}: {where}: {first['msg']}. It holds title, config, fold, seed, set: {{key: value}} and "
            f"axes: {{key: [values]}} or {{name: {{label: {{key: value}}}}}}; quote a value that is itself a list"
        ) from None


def _axis(
    path: Path, name: str, choices: list[str] | dict[str, dict[str, str]], given: dict[str, str], fixed: dict[str, str]
) -> Axis:
    """An axis of the file as the command line leaves it."""
    if isinstance(choices, list):
        values = _values(name, given[name]) if name in given else choices
        return Axis(name, {value: {name: value} for value in values})
    labels = _values(name, given[name]) if name in given else list(choices)
    unknown = [label for label in labels if label not in choices]
    if unknown:
        raise UsageError(f"{name}={unknown[0]}: {path} has no such choice.{nearest(unknown[0], list(choices))}")
    chosen = {label: choices[label] for label in labels}
    asked = {key for words in chosen.values() for key, value in words.items() if value == ASKED}
    for key in sorted(asked - set(fixed)):
        raise UsageError(f"add {key}=VALUE, which {path} leaves to you")
    for key in sorted({key for words in chosen.values() for key in words} & set(fixed) - asked):
        raise UsageError(f"{key}={fixed[key]}: {path} sets it in {name}; copy the file and change it there")
    return Axis(name, {label: {k: fixed[k] if v == ASKED else v for k, v in w.items()} for label, w in chosen.items()})


def _cell(fixed: dict[str, str], axes: list[Axis], labels: tuple[str, ...]) -> Cell:
    words = dict(fixed)
    for axis, label in zip(axes, labels, strict=True):
        words |= axis.choices[label]
    # The comparison shows training rows too. It changes nothing that is learned, and so not the run's name.
    request = parse([f"{key}={value}" for key, value in ({"log.train_scores": "true"} | words).items()])
    return Cell(dict(zip((axis.name for axis in axes), labels, strict=True)), request)


def _check(cells: tuple[Cell, ...]) -> None:
    if len(cells) < 2:
        raise UsageError("there is nothing to compare: give at least one key several values, as optim.lr=2e-3,1e-3")
    competitions = {cell.request.competition for cell in cells}
    if len(competitions) > 1:
        raise UsageError(f"a sweep compares runs of one competition, not of {', '.join(sorted(competitions))}")
    if any(ALL in (cell.request.folds or ()) for cell in cells):
        raise UsageError("fold=all holds out no row to compare by: write fold=0..4, or leave fold= out")
    by_run: dict[str, Cell] = {}
    for cell in cells:
        same = by_run.setdefault(cell.request.run, cell)
        if same is not cell:
            raise UsageError(
                f"'{same.label}' and '{cell.label}' are one and the same run, {cell.request.run}: what is in machine, "
                f"predict and log changes nothing that is learned"
            )
