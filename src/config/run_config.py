"""A run's stored configuration: the one place that reads it, writes it and compares it.

config.yaml of a run holds every key as it was when training began, and run.json beside it the hash of what decides
the learning. Reading fills in the keys that came later, each with the value that means "as before", and only then is
anything compared: a new key with a default leaves older runs as they were.
"""

from pathlib import Path
from typing import Any

import yaml

from src.config.load import load_tree, merge
from src.config.schema import FREE_SECTIONS, Config, check, hash_of, optional_keys
from src.core.errors import Problem
from src.core.files import read_json, write_text
from src.core.paths import REPOSITORY, Run, has_learned

CONFIG, RECORD = "config.yaml", "run.json"


def is_stored(run: Run) -> bool:
    return (run.folder / CONFIG).exists()


def write(run: Run, config: Config) -> None:
    text = config.identity() | {section: getattr(config, section).model_dump() for section in FREE_SECTIONS}
    write_text(run.folder / CONFIG, yaml.safe_dump(text, sort_keys=False, allow_unicode=True))


def read(folder: Path, overrides: dict[str, Any] | None = None) -> Config:
    """The configuration in a run's folder. overrides: a tree that goes before it.

    Raises Problem where it was edited after something was learned with it, UsageError where it is no configuration.
    """
    tree = load_tree(folder / CONFIG)
    _check_unedited(folder, tree)
    return check(merge(_filled(tree), overrides or {}))


def differences(before: Config, now: Config) -> list[str]:
    """The keys that decide the learning and are not the same, each as "KEY was A, now B"."""
    old, new = _flat(before.identity()), _flat(now.identity())
    return [
        f"{key} was {old.get(key, 'not given')}, now {new.get(key, 'not given')}"
        for key in new | old
        if old.get(key) != new.get(key)
    ]


def _check_unedited(folder: Path, tree: dict[str, Any]) -> None:
    """Before anything is learned a configuration may be changed; after that its folder belongs to it."""
    if not (folder / RECORD).exists() or not has_learned(folder):
        return
    noted = read_json(folder / RECORD).get("config_hash")
    found = hash_of({key: value for key, value in tree.items() if key not in FREE_SECTIONS})
    if noted and noted != found:
        raise Problem(
            f"{folder / CONFIG} was edited after the run had learned with it (hash {found}, {RECORD} says {noted}): "
            f"put it back as it was, or train another run, run=NEWNAME",
            code="run-config-edited",
        )


def _filled(tree: dict[str, Any]) -> dict[str, Any]:
    """With the keys that it lacks: those of the schema come by themselves, the others from the default file."""
    filled = dict(tree)
    for section, usual in load_tree(REPOSITORY / "configs" / "default.yaml").items():
        given = tree.get(section, {})
        if isinstance(usual, dict) and isinstance(given, dict):
            own = set() if section in FREE_SECTIONS else optional_keys(section)
            filled[section] = {key: value for key, value in usual.items() if key not in own} | given
    return filled


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        inner = _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {prefix + key: value}
        flat |= inner
    return flat
