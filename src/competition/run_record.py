"""A run folder belongs to one configuration: the first command writes it down, every later one is held to it."""

import functools
import hashlib
import platform
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from src.competition.competition import Competition
from src.config import run_config
from src.core.errors import Problem, UsageError
from src.core.files import damaged, read_json, sha256_of, write_json, write_text
from src.core.paths import REPOSITORY, Run, has_learned, home
from src.core.registry import weight_shaping_files

UNKNOWN = "unknown"  # where a record is older than weights of rows
IGNORED = "ignored.csv"  # the rows that data.ignore named when the run was made
PACKAGES = ("torch", "timm", "albumentations", "opencv-python-headless", "numpy")


def save_or_verify(run: Run, competition: Competition) -> None:
    """Give the run this configuration, or hold it to the one that it has: see `verify`."""
    if not run_config.is_stored(run) and any(run.folder.glob("seed*/*/logits/*.npz")):
        raise UsageError(
            f"run {run.name} was trained elsewhere and brings its logits alone: give run=NEWNAME to train one here",
            code="run-external",
        )
    if has_learned(run.folder) and run_config.is_stored(run):
        verify(run, competition)
        return
    # A name under which nothing was learned is free, and so is what was measured for it.
    (run.folder / "machine.json").unlink(missing_ok=True)
    if competition.ignored:
        write_text(run.folder / IGNORED, competition.ignored.csv())
    else:
        (run.folder / IGNORED).unlink(missing_ok=True)
    write_json(run.folder / "run.json", _origin(competition))
    run_config.write(run, competition.config)


def verify(run: Run, competition: Competition) -> None:
    """Compare what a run was made with and what is asked for now.

    Raises UsageError naming the keys that differ, and Problem where the training rows or their folds have changed.
    """
    differing = run_config.differences(run_config.read(run.folder), competition.config)
    if differing:
        raise UsageError(
            f"run {run.name} was made with another configuration: {'; '.join(differing[:5])}. "
            f"Give run=NEWNAME, or delete {run.folder}",
            code="run-config-differs",
        )
    record = read_json(run.folder / "run.json")
    if record["folds"] != competition.folds.hash:
        raise Problem(
            f"run {run.name} was made with other training rows or folds than there are now: give run=NEWNAME to "
            f"train on these",
            code="run-folds-differ",
        )
    if record.get("ignored") != _ignored(competition):
        if not competition.ignored:
            raise damaged(run.folder / "run.json", "tells of ignored rows, and its configuration of none")
        raise Problem(
            f"{competition.ignored.file} ignores other rows than when run {run.name} was made: give run=NEWNAME to "
            f"train with these, or put back those that {run.folder / IGNORED} tells",
            code="run-ignored-differ",
        )
    if record.get("metadata") != _metadata(competition):
        names = ", ".join(competition.config.model.columns or ())
        raise Problem(
            f"run {run.name} was made with other cells in the columns {names} than there are now: give run=NEWNAME to "
            f"train on these",
            code="run-metadata-differs",
        )
    if (before := record.get("weights", UNKNOWN)) not in (UNKNOWN, _weights(competition)):
        raise Problem(
            f"run {run.name} was made with other weights of the rows than there are now "
            f"({_said(before)}, now {_said(_weights(competition))}): give run=NEWNAME to train with these, or put the "
            f"card's weight and its column back",
            code="run-weights-differ",
        )
    if record.get("target", learned := competition.target.learned) != learned:
        raise Problem(
            f"run {run.name} was made for the target {record['target']}, and the card's is {learned} now: give "
            f"run=NEWNAME to train for it, or put the card's target back",
            code="run-target-differs",
        )
    now = _extensions(competition)
    changed = [name for name, digest in record.get("extensions", now).items() if now.get(name) != digest]
    if changed:
        raise Problem(
            f"{home() / changed[0]} has changed since run {run.name} learned with it: put it back as it "
            f"was, or give run=NEWNAME to train with what it is now",
            code="run-extension-differs",
        )


@functools.cache  # the code that runs is the one that this process began with
def commit() -> str:
    """The commit of this code, with + where files differ from it; empty outside of git."""
    try:
        git = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty=+", "--exclude=*", "--abbrev=10"]
        return subprocess.run(git, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _origin(competition: Competition) -> dict[str, Any]:
    return {
        "folds": competition.folds.hash,
        "ignored": _ignored(competition),
        **({"metadata": _metadata(competition)} if competition.cells is not None else {}),
        "weights": _weights(competition),
        "target": competition.target.learned,
        "config_hash": competition.config.hash(),
        "extensions": _extensions(competition),
        "commit": commit(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def _extensions(competition: Competition) -> dict[str, str]:
    """{file, counted from PODIUM_HOME: hash} of the user's own losses, samplers, networks and so on that decide what
    this run learns; of the metric too where epochs are chosen by it."""
    config, metric = competition.config, competition.metric
    words = {*_words(config.identity()), competition.target.name, competition.target.usual_loss}
    own = {}
    if config.train.keep == "best" or config.train.patience:
        words.add(metric.registered)
        own = (
            {f"competition/{competition.card.id}/{metric.path.name}": sha256_of(metric.path)[:16]}
            if metric.path
            else {}
        )
    return own | weight_shaping_files(words | {word.partition(".")[0] for word in words})


def _words(tree: Any) -> Iterator[str]:
    """Every text in a tree of the configuration."""
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict | list | tuple):
        for one in tree.values() if isinstance(tree, dict) else tree:
            yield from _words(one)


def _metadata(competition: Competition) -> str | None:
    """Of the columns that the network sees beside the pictures."""
    return None if competition.cells is None else competition.samples.metadata.digest


def _weights(competition: Competition) -> str | None:
    """Of what each training row counts, as numbers; None where all count alike."""
    weights = competition.samples.weights
    return None if weights is None else hashlib.sha256(weights.tobytes()).hexdigest()[:16]


def _said(weights: str | None) -> str:
    return "all counted alike" if weights is None else f"weights {weights[:8]}"


def _ignored(competition: Competition) -> str | None:
    return competition.ignored.digest if competition.ignored else None
