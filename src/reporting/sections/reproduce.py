"""How to do it again: command, configuration, versions, commit."""

import shlex
from typing import Any

import pandas as pd

from src.competition.plan_record import plan_of
from src.config.request import ALL
from src.core.files import read_json, read_text
from src.core.paths import REPOSITORY, home
from src.inference.external_runs import is_external
from src.reporting.page.blocks import Block, Code, Section, Table
from src.reporting.run_results import RunResults
from src.reporting.sections import SECTIONS

TITLE = "How to do it again"


@SECTIONS.register("again")
def again(results: RunResults) -> Section:
    if is_external(results.run):
        return Section("again", TITLE, "This run was trained elsewhere; only its logits are here.", ())
    folder = results.run.folder
    origin = read_json(folder / "run.json")
    versions = pd.DataFrame(_versions(results, origin), columns=["what", "which"])
    config = read_text(folder / "config.yaml")
    blocks: list[Block] = [
        Code("In a terminal, from the repository's folder", command(results, origin)),
        *_plan(results),
        Table("versions", "What it was made with", versions),
        Code("configs/: the whole configuration, as config.yaml of the run", config.strip()),
    ]
    text = f"Commit {origin['commit'] or 'unknown'}, configuration {origin['config_hash']}, folds {origin['folds']}"
    reading = f"{text}: {_how_same(origin['commit'], str(read_json(folder / 'machine.json')['device']))}."
    return Section("again", TITLE, reading, tuple(blocks))


def _plan(results: RunResults) -> list[Block]:
    """What a run with a budget was planned to take, and took; nothing of another run."""
    facts = plan_of(results.run)
    if facts is None:
        return []
    probe, trial, metric = facts["probe"], facts["scratch"], results.competition.metric.name
    lines = [("in all", f"{facts['seconds']:.0f} s", f"{sum(facts['took'].values()):.0f} s so far")]
    for part in dict.fromkeys((*facts["took"], *facts["planned"])):
        planned, took = (facts[when].get(part) for when in ("planned", "took"))
        lines.append((part, *("" if one is None else f"{one:.0f} s" for one in (planned, took))))
    lines += [
        (f"speed of {one['network']}, {one['size']} px, {one['precision']}", f"{one['step']:.3f} s a step", "")
        for one in facts["speeds"]
    ]
    if probe:
        lines.append((f"{metric} of the probe, {probe['run']}", "", f"{probe['value']:.4f}"))
    if facts.get("answer"):
        lines.append((f"{metric} of the answer to hand in: {facts['answer']['what']}", "", _interval(facts["answer"])))
    if trial:
        lines.append((f"{metric} of fold {trial['fold']} from scratch", "", f"{trial['score']:.4f}"))
        if "promised" in trial:  # the trials of older plans had no trend
            lines.append(("what its trend promises for the epochs that fit", "", f"{trial['promised']:.4f}"))
        lines.append((f"{metric} of fold {trial['fold']} of the probe", "", f"{trial['probe']:.4f}"))
    if facts["left_out"]:
        lines.append(("folds left out", "", ", ".join(str(fold) for _, fold in facts["left_out"])))
    title = f"The plan for a budget of {facts['budget']}, and what it took"
    return [Table("plan", title, pd.DataFrame(lines, columns=["what", "planned", "took"]))]


def _interval(score: dict[str, Any]) -> str:
    sure = "" if score["low"] is None else f" ({score['low']:.4f} to {score['high']:.4f})"
    return f"{score['value']:.4f}{sure}"


def same_bits(commit: str, device: str) -> bool:
    """Whether the commands give the same bits: of a commit without changes, on a processor."""
    return bool(commit) and not commit.endswith("+") and device.startswith("cpu")


def _how_same(commit: str, device: str) -> str:
    """What the commands may promise."""
    if same_bits(commit, device):
        return "the same commands on the same data, processor and threads give the same bits"
    if not commit:
        return "the code had no commit, so these commands only train the configuration with the code that is there"
    if commit.endswith("+"):
        return "the code had changes that are in no commit, so other code may be trained by these commands"
    return f"the same code, data and draws; sums on {device} may differ in their last digits, and scores with them"


def command(results: RunResults, origin: dict[str, Any]) -> str:
    """The lines that train this run anew from its own configuration."""
    run = results.run
    numbers = sorted({member.fold for member in results.members if member.fold != ALL})
    whole = numbers == list(range(len(numbers))) and len(numbers) > 1
    folds = f"0..{numbers[-1]}" if whole else ",".join(map(str, numbers)) or ALL
    seeds = sorted({member.seed for member in results.members})
    words = f"fold={folds}" + (f" seed={','.join(map(str, seeds))}" if seeds != [0] else "")
    config = f"runs/{run.competition}/{run.name}/config.yaml"
    goal = f"configs/{run.name}-again.yaml"
    lines = [f"git checkout {origin['commit'].rstrip('+')}"] if origin["commit"] else []
    if home() != REPOSITORY:
        lines += [f"export PODIUM_HOME={shlex.quote(str(home()))}"]
        config, goal = str(home() / config), str(home() / goal)
    lines += [
        f"cp {shlex.quote(config)} {shlex.quote(goal)}",
        f"./run.sh {words} {shlex.quote(f'config={run.name}-again')}",
    ]
    return "\n".join(lines)


def _versions(results: RunResults, origin: dict[str, Any]) -> list[tuple[str, str]]:
    machine = read_json(results.run.folder / "machine.json")
    return [
        ("commit", origin["commit"] or "unknown"),
        ("Python", origin["python"]),
        *origin["packages"].items(),
        *((f"machine: {key}", str(value)) for key, value in machine.items()),
        ("configuration", origin["config_hash"]),
        ("folds", origin["folds"]),
    ]
