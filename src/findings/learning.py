"""How the networks learned, epoch by epoch, from their log.csv."""

import numpy as np
import pandas as pd

from src.findings.subject import Subject
from src.reporting.page.blocks import Block, Chart, Section
from src.reporting.page.charts import curves

TITLE = "Learning"
OVERFIT = 0.05  # the share by which the held-out loss must rise above its lowest to be called a rise
HELD_OUT = "_held out "  # a name that begins so stands in no legend: the title tells what dashes are
LINED = 7  # members up to which each has a colour of its own


def learning(subject: Subject) -> Section:
    log = subject.log
    if log.empty:
        return Section("learning", TITLE, "This run was trained elsewhere and brings no logs.", ())
    metric = subject.opened.metric.name
    members = {_name(subject, key): part for key, part in log.groupby(["seed", "fold"], sort=False)}
    blocks: list[Block] = [_losses(members)]
    if "score" in log:
        lines = {name: (part["epoch"], part["score"]) for name, part in members.items()}
        alt = f"held-out {metric} by epoch, one line a fold"
        blocks.append(_chart("score", f"Held-out {metric}", alt, lines, metric, log, ["score"]))
    for column, title, unit in (
        ("lr", "Learning rate", "learning rate"),
        ("seconds", "Time of an epoch's steps", "seconds"),
        ("images_per_second", "Speed", "images a second"),
    ):
        lines = {name: (part["epoch"], part[column]) for name, part in members.items()}
        blocks.append(_chart(column, title, f"{unit} by epoch, one line a fold", lines, unit, log, [column]))
    return Section("learning", TITLE, _reading(subject, members), tuple(blocks))


def _losses(members: dict[str, pd.DataFrame]) -> Chart:
    """Training and held-out loss: a colour each fold, a dashed line for the held-out one."""
    lines, looks = {}, {}
    for number, (name, part) in enumerate(members.items()):
        for line, (column, what) in enumerate((("loss", ""), ("held_out_loss", HELD_OUT))):
            if column in part:
                lines[f"{what}{name}"] = part["epoch"], part[column]
                looks[f"{what}{name}"] = number, line
    numbers = pd.concat(members.values()).reindex(columns=["seed", "fold", "epoch", "loss", "held_out_loss"])
    alt = "loss of training and of held-out images by epoch, one pair of lines a fold"
    draw = curves(lines, "epoch", "loss (log scale)", log=True, looks=looks, legend=len(members) <= LINED)
    return Chart(
        "loss",
        "Loss: training, as it is trained, solid; held out, plain, dashed",
        alt,
        draw,
        numbers.dropna(axis=1, how="all"),
    )


def _chart(name: str, title: str, alt: str, lines: dict, unit: str, log: pd.DataFrame, columns: list[str]) -> Chart:
    draw = curves(lines, "epoch", unit, legend=len(lines) <= LINED)
    return Chart(name, title, alt, draw, log[["seed", "fold", "epoch", *columns]])


def _name(subject: Subject, key: tuple) -> str:
    seed, fold = key
    several = len({member.seed for member in subject.members}) > 1
    return f"seed {seed}, fold {fold}" if several else f"fold {fold}"


def _reading(subject: Subject, members: dict[str, pd.DataFrame]) -> str:
    epochs = max(int(part["epoch"].max()) for part in members.values())
    minutes = sum(part["seconds"].sum() for part in members.values()) / 60
    speed = np.median(np.concatenate([part["images_per_second"] for part in members.values()]))
    time = f"{minutes:.1f} minutes" if minutes >= 1 else f"{60 * minutes:.0f} seconds"
    told = f"{len(members)} networks of {epochs} epochs, {time} of training steps in all, {speed:.0f} images a second. "
    losses = [part["held_out_loss"].to_numpy() for part in members.values() if "held_out_loss" in part]
    if not losses:
        return told + "No image was held out, so only the training loss is known."
    first, final = np.mean([loss.min() for loss in losses]), np.mean([loss[-1] for loss in losses])
    lowest = np.median([1 + int(np.argmin(loss)) for loss in losses])
    if final > (1 + OVERFIT) * first:
        return told + (
            f"The held-out loss rises again: lowest in epoch {lowest:.0f} ({first:.4f}), {final:.4f} at the end. "
            f"Fewer epochs or more augmentation may do better."
        )
    if lowest >= 0.9 * epochs:
        return told + f"The held-out loss was lowest at the end ({final:.4f}): more epochs may still help."
    return told + f"The held-out loss levelled off: lowest in epoch {lowest:.0f} ({first:.4f}), {final:.4f} at the end."
