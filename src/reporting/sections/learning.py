"""How the networks learned, epoch by epoch, from their log.csv."""

import numpy as np
import pandas as pd

from src.evaluation.bootstrap import bootstrap_interval
from src.reporting.figures import COLOURS
from src.reporting.page.blocks import Block, Chart, Section, Text
from src.reporting.page.charts import Curve, curves
from src.reporting.probe_floor import ProbeFloor
from src.reporting.run_results import RunResults
from src.reporting.sections import SECTIONS

TITLE = "Learning"
RISE = 0.05  # the share by which the held-out loss must rise above its lowest to be called a rise
BLACK = len(COLOURS) - 1
BOTH = "training solid, held out dashed"


@SECTIONS.register("learning")
def learning(results: RunResults) -> Section:
    log, metric, floor = results.log, results.competition.metric, results.floor
    if log.empty:
        return Section("learning", TITLE, "This run was trained elsewhere and brings no logs.", ())
    blocks: list[Block] = [
        _chart(log, "loss", f"Loss: {BOTH}; training as it is trained", "loss (log scale)", ["loss", "held_out_loss"])
    ]
    if "train_score" in log:
        title = f"{metric.name}: {BOTH}"
        blocks.append(
            _chart(log, "score", title, metric.name, ["train_score", "score"], metric.higher_is_better, floor)
        )
    elif "score" in log:
        title = f"Held-out {metric.name}"
        blocks.append(_chart(log, "score", title, metric.name, ["score"], metric.higher_is_better, floor))
    for column, title, unit in (
        ("lr", "Learning rate", "learning rate"),
        ("seconds", "Time of an epoch's steps", "seconds"),
        ("images_per_second", "Speed", "images a second"),
        ("gradient_length", "Length of the gradients, the mean of an epoch's steps", "length"),
        ("dead_units", "Units that answer 0 to every held-out image", "share of the units behind a ReLU"),
    ):
        if column not in log or log[column].isna().all():
            continue  # of log.gradients alone, and of a network with ReLUs
        blocks.append(_chart(log, column, title, unit, [column], highest=True))
    if "train_score" not in log:
        blocks.append(Text("The score of training images was not measured; log.train_scores=true does it."))
    return Section("learning", TITLE, _reading(results, log), tuple(blocks))


def _chart(
    log: pd.DataFrame,
    name: str,
    title: str,
    unit: str,
    columns: list[str],
    highest: bool = False,
    floor: ProbeFloor | None = None,
) -> Chart:
    """A colour each fold; a kind of line each column, or each seed where there is one column. floor: a level line."""
    columns = [column for column in columns if column in log]
    folds, seeds = list(dict.fromkeys(log["fold"])), list(dict.fromkeys(log["seed"]))
    lines = []
    for (seed, fold), part in log.groupby(["seed", "fold"], sort=False):
        for kind, column in enumerate(columns):
            first = seed == seeds[0] and kind == 0
            style = folds.index(fold), kind if len(columns) > 1 else seeds.index(seed)
            lines.append(Curve(part["epoch"], part[column], f"fold {fold}" if first else "", *style))
    numbers = log[["seed", "fold", "epoch", *columns]]
    alt = "; ".join(_course(log, column, highest) for column in columns)
    text = f"{title}; a kind of line each seed" if len(columns) == 1 and len(seeds) > 1 else title
    if floor:
        ends = [log["epoch"].min(), log["epoch"].max()]
        lines.append(Curve(ends, [floor.score] * 2, "the probe", BLACK, 2, marked=False))
        numbers = numbers.assign(probe=floor.score)
        alt, text = f"{alt}; a level line: {floor}", f"{text}; the level line is the {floor}"
    return Chart(name, text, alt, curves(lines, "epoch", unit, log=name == "loss"), numbers)


def _course(log: pd.DataFrame, column: str, highest: bool) -> str:
    """What a curve shows, in words."""
    mean = log.groupby("epoch")[column].mean()
    at, which = (mean.idxmax(), "highest") if highest else (mean.idxmin(), "lowest")
    return (
        f"{column.replace('_', ' ')} by epoch, mean of the networks: {mean.iloc[0]:.4g} at first, "
        f"{which} {mean[at]:.4g} in epoch {at}, {mean.iloc[-1]:.4g} at the end"
    )


def _reading(results: RunResults, log: pd.DataFrame) -> str:
    members = [part for _, part in log.groupby(["seed", "fold"], sort=False)]
    epochs, minutes = int(log["epoch"].max()), log["seconds"].sum() / 60
    time = f"{minutes:.1f} minutes" if minutes >= 1 else f"{60 * minutes:.0f} seconds"
    networks = f"{len(members)} networks" if len(members) > 1 else "One network"
    speed = log["images_per_second"].median()
    text = f"{networks} of {epochs} epochs, {time} of training steps in all, {speed:.0f} images a second. "
    losses = [part["held_out_loss"].to_numpy() for part in members if "held_out_loss" in part]
    if not losses:
        return text + "No image was held out, so only the training loss is known."
    if results.deaf:
        which = ", ".join(f"seed {member.seed} fold {member.fold}" for member in results.deaf)
        text += (
            f"Warning: {len(results.deaf)} of {len(results.judges)} networks ({which}) give every held-out image the "
            "same answer, and so tell nothing apart. "
        )
    least, final = np.mean([loss.min() for loss in losses]), np.mean([loss[-1] for loss in losses])
    lowest = np.median([1 + int(np.argmin(loss)) for loss in losses])
    if lowest >= 0.9 * epochs:
        return text + f"The held-out loss was lowest at the end ({final:.4f}): more epochs may still help."
    if final <= (1 + RISE) * least:
        return (
            text
            + f"The held-out loss levelled off: lowest in epoch {lowest:.0f} ({least:.4f}), {final:.4f} at the end."
        )
    text += f"The held-out loss rises again: lowest in epoch {lowest:.0f} ({least:.4f}), {final:.4f} at the end"
    then = log[log["epoch"] == round(lowest)]["score"].mean()
    last = log[log["epoch"] == epochs]["score"].mean()
    metric, held = results.competition.metric, results.held
    low, high = bootstrap_interval(metric, held.targets, results.plain, held.groups, rows=held.rows)
    scores = f"{metric.name} went from {then:.4f} to {last:.4f}"
    if (then > high) if metric.higher_is_better else (then < low):
        return f"{text}, and {scores}: fewer epochs or more augmentation may do better."
    return f"{text}; {scores}, by no more than luck if for the worse: fewer epochs need not score better."
