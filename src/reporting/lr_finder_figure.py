"""The figure of the learning-rate finder."""

import pandas as pd
from matplotlib.figure import Figure

from src.reporting.figures import COLOURS, LINES


def draw_rates(table: pd.DataFrame, marks: dict[str, float]) -> Figure:
    """The loss of each step by its rate. table: lr, loss, smoothed. marks: {what it is: rate}."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    place = figure.subplots()
    place.plot(table["lr"], table["loss"], color="0.75", label="loss of one batch")
    place.plot(table["lr"], table["smoothed"], color=COLOURS[0], label="smoothed")
    for number, (name, rate) in enumerate(marks.items(), start=1):
        place.axvline(rate, color=COLOURS[number], linestyle=LINES[number % len(LINES)], label=f"{name}: {rate:.1e}")
    place.set_xscale("log")
    # A last, diverging step would flatten all that there is to see.
    place.set_ylim(0.9 * table["smoothed"].min(), 1.1 * max(table["smoothed"].iloc[0], table["smoothed"].median()))
    place.set_xlabel("optim.lr (log scale)")
    place.set_ylabel("training loss")
    place.grid(alpha=0.3)
    place.legend()
    return figure
