"""The two figures of a comparison: what each epoch brought, and how each class is recognised."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from src.reporting.figures import COLOURS, LINES, SHARES

DRAWN = 30  # classes in the figure
MARKS = ("o", "s", "^", "D", "v", "x", "+")
WRITTEN = 12  # runs up to which the shares are written into the squares


def draw_curves(
    curves: pd.DataFrame, cells: pd.DataFrame, axes: tuple[str, ...], metric: str, floor: float | None = None
) -> Figure:
    """Loss and metric of training rows (unaugmented) and held-out rows by epoch, one line a run.

    A line is the mean over folds and seeds; the band behind it reaches from the lowest to the highest of them.
    Without any train_loss in `curves` the left half is not drawn. floor: the score of a probe, a level line.
    """
    seen = [("train_loss", "train_score", "training rows, not augmented")] if _has(curves, "train_loss") else []
    columns = [*seen, ("held_out_loss", "score", "held-out rows")]
    figure = Figure(figsize=(1 + 4.6 * len(columns), 7.5), layout="constrained")
    grid = figure.subplots(2, len(columns), sharex=True, sharey="row", squeeze=False)
    for at, (loss, score, name) in enumerate(columns):
        for place, column in ((grid[0, at], loss), (grid[1, at], score)):
            _draw(place, curves, column, _looks(cells, axes))
        grid[0, at].set_title(name)
        grid[1, at].set_xlabel("epoch")
    grid[0, 0].set_ylabel("loss (log scale)")
    grid[0, 0].set_yscale("log")
    grid[0, 0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    grid[0, 0].yaxis.set_major_formatter("{x:g}")
    grid[0, 0].yaxis.set_minor_formatter(NullFormatter())
    grid[1, 0].set_ylabel(metric)
    if floor is not None:
        grid[1, -1].axhline(floor, color="black", linestyle="dotted", label="the probe")
    handles, labels = grid[1, -1].get_legend_handles_labels()
    place = {"loc": "outside lower center", "ncols": 3, "fontsize": "small", "handlelength": 3}
    figure.legend(handles, labels, title=", ".join(axes), **place)
    return figure


def draw_classes(per_class: pd.DataFrame) -> Figure:
    """A square for each class and run, coloured by the share that was recognised; the most different classes."""
    shown = most_different(per_class, DRAWN)
    shares = shown.drop(columns=["class", "rows"])
    figure = Figure(figsize=(4 + 0.75 * shares.shape[1], 2.4 + 0.24 * len(shares)), layout="constrained")
    place = figure.subplots()
    image = place.imshow(shares, cmap=SHARES, vmin=0, vmax=1, aspect="auto")
    place.set_xticks(range(shares.shape[1]), shares.columns, rotation=40, ha="right", fontsize="small")
    names = [f"{name[:26]} ({rows})" for name, rows in zip(shown["class"], shown["rows"], strict=True)]
    place.set_yticks(range(len(shares)), names, fontsize="small")
    if shares.shape[1] <= WRITTEN:
        for (row, column), share in np.ndenumerate(shares.to_numpy()):
            colour = "white" if share < 0.5 else "black"
            place.text(column, row, f"{share:.2f}", ha="center", va="center", color=colour, fontsize="x-small")
    most = f"the {len(shown)} classes that differ most" if len(shown) < len(per_class) else "all classes"
    place.set_title(f"recognised share of held-out images, {most}", fontsize="medium")
    figure.colorbar(image, ax=place)
    return figure


def most_different(per_class: pd.DataFrame, count: int) -> pd.DataFrame:
    """The classes whose shares lie furthest apart between runs, the furthest first."""
    shares = per_class.drop(columns=["class", "rows"])
    order = (shares.max(axis=1) - shares.min(axis=1)).sort_values(ascending=False, kind="stable").index
    return per_class.loc[order[:count]]


def _draw(place: Axes, curves: pd.DataFrame, column: str, styles: dict[str, dict[str, str]]) -> None:
    for label, style in styles.items():
        epochs = curves[curves["label"] == label].groupby("epoch")[column]
        mean = epochs.mean().dropna()
        place.plot(mean.index, mean, label=label, markersize=4, **style)
        if epochs.size().max() > 1:
            low, high = epochs.min()[mean.index], epochs.max()[mean.index]
            place.fill_between(mean.index, low, high, color=style["color"], alpha=0.12)
    place.grid(alpha=0.3)
    place.xaxis.get_major_locator().set_params(integer=True)


def _looks(cells: pd.DataFrame, axes: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """{label: colour, line and mark}: of two axes, the longer one makes the colours and the other the lines."""
    longest = max(axes, key=lambda axis: cells[axis].nunique())
    colours = pd.factorize(cells[longest])[0]
    rest = cells[[axis for axis in axes if axis != longest]]
    others = pd.factorize(pd.Series([", ".join(values) for values in rest.itertuples(index=False)]))[0]
    styles = {}
    for label, colour, line in zip(cells["label"], colours, others, strict=True):
        again = colour // len(COLOURS) + line // len(LINES)
        style = {"color": COLOURS[colour % len(COLOURS)], "linestyle": LINES[line % len(LINES)]}
        styles[label] = style | {"marker": MARKS[again % len(MARKS)]}
    return styles


def _has(curves: pd.DataFrame, column: str) -> bool:
    return column in curves and curves[column].notna().any()
