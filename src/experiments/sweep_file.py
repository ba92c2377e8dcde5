"""A sweep that is kept in a file: configs/sweeps/NAME.yaml, and what the command line changes in it."""

import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from src.config.load import config_file, config_names
from src.core.errors import UsageError
from src.core.files import read_words
from src.core.suggestions import nearest
from src.experiments.axes import Axis, split, values_of

ASKED = "???"  # the value comes from the command line


class SweepFile(BaseModel):
    """configs/sweeps/NAME.yaml. `set` and the values of `axes` are words as on the command line."""

    model_config = ConfigDict(extra="forbid", strict=True)

    title: str
    config: str
    fold: str | None = None
    seed: str | None = None
    set: dict[str, str] = {}
    axes: dict[str, list[str] | dict[str, dict[str, str]]]


def from_file(name: str, given: dict[str, str]) -> tuple[str, dict[str, str], list[Axis]]:
    """Title, words with one value, and axes of a sweep's file, after the command line has replaced some of them."""
    path = config_file(f"sweeps/{name}") if re.fullmatch(r"[\w.-]+", name) else None
    if path is None:
        known = config_names("sweeps")
        raise UsageError(
            f"sweep={name}: there is no configs/sweeps/{name}.yaml.{nearest(name, known)}", code="unknown-config"
        )
    file = _read(path)
    fixed, more = split({key: value for key, value in given.items() if key not in file.axes})
    axes = [_axis(path, axis, choices, given, fixed) for axis, choices in file.axes.items()]
    base = {"config": file.config, "fold": file.fold, "seed": file.seed} | file.set
    inner = {key for axis in axes for key in axis.keys}
    words = {key: value for key, value in (base | fixed).items() if value is not None and key not in inner}
    return file.title, words, axes + more


def _read(path: Path) -> SweepFile:
    try:
        # Every value as it is written: 1e-3 in a run's name is what the user knows it by.
        return SweepFile.model_validate(read_words(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"{path}: {where}: {first['msg']}. It holds title, config, fold, seed, set: {{key: value}} and "
            f"axes: {{key: [values]}} or {{name: {{label: {{key: value}}}}}}; quote a value that is itself a list",
            code="bad-config-file",
        ) from None


def _axis(
    path: Path, name: str, choices: list[str] | dict[str, dict[str, str]], given: dict[str, str], fixed: dict[str, str]
) -> Axis:
    """An axis of the file as the command line leaves it."""
    if isinstance(choices, list):
        values = values_of(name, given[name]) if name in given else choices
        return Axis(name, {value: {name: value} for value in values})
    labels = values_of(name, given[name]) if name in given else list(choices)
    unknown = [label for label in labels if label not in choices]
    if unknown:
        raise UsageError(
            f"{name}={unknown[0]}: {path} has no such choice.{nearest(unknown[0], list(choices))}", code="bad-value"
        )
    chosen = {label: choices[label] for label in labels}
    asked = {key for words in chosen.values() for key, value in words.items() if value == ASKED}
    for key in sorted(asked - set(fixed)):
        raise UsageError(f"add {key}=VALUE, which {path} leaves to you", code="missing-value")
    for key in sorted({key for words in chosen.values() for key in words} & set(given) - asked):
        raise UsageError(
            f"{key}={given[key]}: {path} sets it in {name}; copy the file and change it there", code="set-by-sweep"
        )
    return Axis(name, {label: {k: fixed[k] if v == ASKED else v for k, v in w.items()} for label, w in chosen.items()})
