"""The figures of a comparison: each epoch, the best of each run, each class, and what is taken for what."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from src.reporting.figures import COLOURS, LINES, SHARES

DRAWN = 30  # classes in the figure
MARKS = ("o", "s", "^", "D", "v", "x", "+")
WRITTEN = 12  # runs up to which the shares are written into the squares
SIDE_BY_SIDE = 5  # confusion matrices in a row
MATRICES = 15  # runs whose matrices are drawn
NAMED = 20  # classes up to which a matrix bears their names, and its squares their numbers


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


def draw_scores(
    curves: pd.DataFrame, cells: pd.DataFrame, axes: tuple[str, ...], metric: str, floor: float | None = None
) -> Figure:
    """The metric by epoch of all runs in one picture: held-out rows drawn through, training rows thin and pale.

    Each is the mean over folds and seeds. floor: the score of a probe, a level line.
    """
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    place = figure.subplots()
    looks = _looks(cells, axes)
    if _has(curves, "train_score"):
        for label, style in looks.items():
            mean = curves[curves["label"] == label].groupby("epoch")["train_score"].mean().dropna()
            place.plot(mean.index, mean, color=style["color"], linestyle=style["linestyle"], linewidth=0.9, alpha=0.5)
    for label, style in looks.items():
        mean = curves[curves["label"] == label].groupby("epoch")["score"].mean().dropna()
        place.plot(mean.index, mean, label=label, markersize=4, linewidth=1.8, **style)
    if floor is not None:
        place.axhline(floor, color="black", linestyle="dotted", label="the probe")
    place.grid(alpha=0.3)
    place.xaxis.get_major_locator().set_params(integer=True)
    place.set_xlabel("epoch")
    place.set_ylabel(metric)
    place.set_title("held-out rows thick, training rows (not augmented) thin and pale", fontsize="medium")
    handles, labels = place.get_legend_handles_labels()
    style = {"loc": "outside lower center", "ncols": 3, "fontsize": "small", "handlelength": 3}
    figure.legend(handles, labels, title=", ".join(axes), **style)
    return figure


def draw_best(best: pd.DataFrame, metric: str) -> Figure:
    """A table whose lines are bars: label, the highest score of any epoch, the last one's as a mark. See best_of."""
    figure = Figure(figsize=(9, 1.2 + 0.34 * len(best)), layout="constrained")
    place = figure.subplots()
    rows = np.arange(len(best))
    place.barh(rows, best["best"], height=0.7, color=COLOURS[5])
    place.scatter(best["last"], rows, marker="|", s=160, color="black", zorder=3)
    ends = [
        f"{value:.4f}{'' if np.isnan(spread) else f' ± {spread:.4f}'}, epoch {epoch:.0f}"
        for value, spread, epoch in zip(best["best"], best["best_sd"], best["epoch"], strict=True)
    ]
    place.set_yticks(rows, best["label"], fontsize="small", parse_math=False)
    place.set_ylim(len(best) - 0.4, -0.6)
    place.set_xlim(left=min(0, float(best[["best", "last"]].min().min())))
    numbers = place.twinx()
    numbers.set_yticks(rows, ends, fontsize="small")
    numbers.set_ylim(place.get_ylim())
    numbers.tick_params(length=0)
    numbers.spines[["top", "right"]].set_visible(False)
    place.set_xlabel(f"{metric} on held-out rows: the best epoch (bar), the last (mark)")
    place.spines[["top", "right"]].set_visible(False)
    return figure


def draw_confusions(confusions: dict[str, np.ndarray], classes: Sequence[str]) -> Figure:
    """Each run's confusion matrix beside the others', in counts and, below, in shares of the truth.

    confusions: {label: (classes, classes) answers by truth}; the first MATRICES are drawn.
    """
    shown = list(confusions.items())[:MATRICES]
    down = -(-len(shown) // SIDE_BY_SIDE)
    across = -(-len(shown) // down)
    named = len(classes) <= NAMED
    side = float(np.clip(0.3 * len(classes), 2.2, 4.5))
    figure = Figure(figsize=(side * across + 1.5, (side + 0.5) * 2 * down + 0.8), layout="constrained")
    grid = figure.subplots(2 * down, across, squeeze=False)
    for place in grid.flat:
        place.set_visible(False)
    most = max(counts.max() for _, counts in shown)
    for at, (label, counts) in enumerate(shown):
        block, column = divmod(at, across)
        shares = counts / counts.sum(axis=1, keepdims=True).clip(1)
        for row, (values, top, form) in enumerate(((counts, most, "{:.0f}"), (shares, 1, "{:.2f}"))):
            place = grid[2 * block + row, column]
            place.set_visible(True)
            place.imshow(np.sqrt(values), cmap="Blues", vmin=0, vmax=np.sqrt(max(top, 1e-9)))  # small ones show too
            place.set_title(label if row == 0 else "shares of the truth", fontsize="small", parse_math=False)
            place.set_xticks([])
            place.set_yticks([])
            if not named:
                continue
            names, style = [name[:14] for name in classes], {"fontsize": "x-small", "parse_math": False}
            place.set_xticks(range(len(classes)), names, rotation=90, **style)
            place.set_yticks(range(len(classes)), names, **style)
            for (truth, answer), value in np.ndenumerate(values):
                if value:
                    colour = "white" if value > top / 3 else "black"
                    style = {"ha": "center", "va": "center", "fontsize": 6, "color": colour}
                    place.text(answer, truth, form.format(value), **style)
    figure.supxlabel("answer", fontsize="medium")
    figure.supylabel("truth", fontsize="medium")
    return figure


def draw_classes(per_class: pd.DataFrame) -> Figure:
    """A square for each class and run, coloured by the share that was recognised; the most different classes."""
    shown = most_different(per_class, DRAWN)
    shares = shown.drop(columns=["class", "rows"])
    figure = Figure(figsize=(4 + 0.75 * shares.shape[1], 2.4 + 0.24 * len(shares)), layout="constrained")
    place = figure.subplots()
    image = place.imshow(shares, cmap=SHARES, vmin=0, vmax=1, aspect="auto")
    style = {"fontsize": "small", "parse_math": False}
    place.set_xticks(range(shares.shape[1]), shares.columns, rotation=40, ha="right", **style)
    names = [f"{name[:26]} ({rows})" for name, rows in zip(shown["class"], shown["rows"], strict=True)]
    place.set_yticks(range(len(shares)), names, **style)
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
