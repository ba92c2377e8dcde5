"""How to do it again: command, configuration, versions, commit."""

import shlex
from typing import Any

import pandas as pd

from src.command import ALL
from src.findings.subject import Subject
from src.inference.brought import is_brought
from src.reporting.page.blocks import Block, Code, Section, Table
from src.runs import read_json

TITLE = "How to do it again"


def again(subject: Subject) -> Section:
    if is_brought(subject.run):
        return Section("again", TITLE, "This run was trained elsewhere; only its logits are here.", ())
    folder = subject.run.folder
    origin = read_json(folder / "run.json")
    versions = pd.DataFrame(_versions(subject, origin), columns=["what", "which"])
    config = (folder / "config.yaml").read_text(encoding="utf-8")
    blocks: list[Block] = [
        Code("In a terminal, from the repository's folder", command(subject, origin)),
        Table("versions", "What it was made with", versions),
        Code("configs/: the whole configuration, as config.yaml of the run", config.strip()),
    ]
    commit = origin["commit"]
    changed = " with changes that are in no commit" if commit.endswith("+") else ""
    reading = (
        f"Commit {commit or 'unknown'}{changed}, configuration {origin['config_hash']}, folds {origin['folds']}: the "
        f"same command on the same data, processor and threads gives the same bits."
    )
    return Section("again", TITLE, reading, tuple(blocks))


def command(subject: Subject, origin: dict[str, Any]) -> str:
    """The lines that train this run anew from its own configuration."""
    run = subject.run
    numbers = sorted({member.fold for member in subject.members if member.fold != ALL})
    whole = numbers == list(range(len(numbers))) and len(numbers) > 1
    folds = f"0..{numbers[-1]}" if whole else ",".join(map(str, numbers)) or ALL
    seeds = sorted({member.seed for member in subject.members})
    words = f"fold={folds}" + (f" seed={','.join(map(str, seeds))}" if seeds != [0] else "")
    config = f"runs/{run.competition}/{run.name}/config.yaml"
    goal = shlex.quote(f"configs/{run.name}-again.yaml")
    lines = [f"git checkout {origin['commit'].rstrip('+')}"] if origin["commit"] else []
    lines += [f"cp {shlex.quote(config)} {goal}", f"./run.sh {words} {shlex.quote(f'config={run.name}-again')}"]
    return "\n".join(lines)


def _versions(subject: Subject, origin: dict[str, Any]) -> list[tuple[str, str]]:
    machine = read_json(subject.run.folder / "machine.json")
    return [
        ("commit", origin["commit"] or "unknown"),
        ("Python", origin["python"]),
        *origin["packages"].items(),
        *((f"machine: {key}", str(value)) for key, value in machine.items()),
        ("configuration", origin["config_hash"]),
        ("folds", origin["folds"]),
    ]
