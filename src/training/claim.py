"""A run folder belongs to one configuration: the first command writes it down, every later one is held to it."""

import platform
import subprocess
from importlib.metadata import version
from typing import Any

import yaml

from src.competition.opened import Opened
from src.errors import Problem, UsageError
from src.runs import DONE, REPOSITORY, Run, read_json, write_json, write_text
from src.schema import Config

PACKAGES = ("torch", "timm", "albumentations", "opencv-python-headless", "accelerate", "numpy")


def claim(run: Run, opened: Opened) -> None:
    """Write config.yaml and run.json, or compare with those that are there.

    Raises UsageError naming the keys that differ, and Problem where the training rows or their folds have changed.
    """
    config = opened.config
    kept, record = run.folder / "config.yaml", run.folder / "run.json"
    begun = any(run.folder.glob("seed*/*/checkpoint.pt")) or any(run.folder.glob(f"seed*/*/{DONE}"))
    if not kept.exists() or not begun:  # a name under which nothing was learned is free
        write_json(record, _origin(opened))
        write_text(kept, yaml.safe_dump(config.model_dump(), sort_keys=False, allow_unicode=True))
    differing = _differing(yaml.safe_load(kept.read_text(encoding="utf-8")), config)
    if differing:
        raise UsageError(
            f"run {run.name} was made with another configuration: {'; '.join(differing[:5])}. "
            f"Give run=NEWNAME, or delete {run.folder}"
        )
    if read_json(record)["folds"] != opened.folds.hash:
        raise Problem(f"run {run.name} was made with other training rows or folds than there are now: give run=NEWNAME")


def commit() -> str:
    """The commit of this code, with + where files differ from it; empty outside of git."""
    try:
        git = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty=+", "--exclude=*", "--abbrev=10"]
        return subprocess.run(git, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _origin(opened: Opened) -> dict[str, Any]:
    return {
        "folds": opened.folds.hash,
        "config_hash": opened.config.hash(),
        "commit": commit(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def _differing(kept: dict[str, Any], config: Config) -> list[str]:
    before, now = (_flat(tree) for tree in (kept, config.identity()))
    return [f"{key} was {before.get(key)}, now {value}" for key, value in now.items() if before.get(key) != value]


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
