"""The figures of the page. Each is drawn once, and becomes a PNG file and vectors in the page's own colours."""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.colors import hsv_to_rgb, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from src.reporting.figures import COLOURS, DPI, LINES, laid_out
from src.reporting.fonts import families, legible

INK, RULE = "#2b2b2b", "#c9c9c9"  # text and lines of the frame
STYLE = {
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "svg.fonttype": "none",
}
# In the page a colour is the name of one, so that a dark page can have lighter ones.
NAMED = {colour.lower(): f"var(--c{number})" for number, colour in enumerate(COLOURS)}
NAMED |= {INK: "var(--ink)", RULE: "var(--rule)"}
NAMED_CLASSES = 150  # up to which each stands at the edge of the matrix; more would be a smear, and take a minute
NAMED_POINTS = 10  # classes that are named among points
GOLDEN = 0.618034
WIDTH, HEIGHT = 4.3, 3.0  # inches: 310 points, which a telephone shows a little larger than they are


def png_of(draw: Callable[[], Figure]) -> bytes:
    with matplotlib.rc_context(STYLE):
        return _png(laid_out(draw()))


def png_and_svg_of(draw: Callable[[], Figure], name: str) -> tuple[bytes, str]:
    """The figure as a file of its own, and as <svg> in the colours and font of the page. name: its own in that page."""
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}):  # what it refers to within itself is named by this
        figure = laid_out(draw())
        return _png(figure), _svg(figure)


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI, facecolor="white")
    return file.getvalue()


def _svg(figure: Figure) -> str:
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'<g id="[^"]*">', "<g>", text)  # these names repeat from figure to figure
    text = re.sub(r"font-family: [^;\"]*;?", "", text)
    text = re.sub(r"(font: [\d.]+px) [^;\"]*", r"\1 var(--font)", text)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)
    head = f'<svg viewBox="0 0 {size[1]} {size[2]}" aria-hidden="true" focusable="false">'
    text = re.sub(r"<svg[^>]*>", head, text, count=1)
    return re.sub("|".join(NAMED), lambda found: NAMED[found[0]], text).replace("xlink:href", "href")


@dataclass(frozen=True)
class Curve:
    """label: in the legend; empty for none. colour, line: which of the colours and kinds of line, counted from 0.

    marked: whether a curve of one or two points shows them.
    """

    x: Sequence[float]
    y: Sequence[float]
    label: str
    colour: int = 0
    line: int = 0
    marked: bool = True


def curves(lines: Sequence[Curve], xlabel: str, ylabel: str, log: bool = False) -> Callable[[], Figure]:
    """Lines over each other; past the seventh the colours come again, with another kind of line."""

    def draw() -> Figure:
        figure, place = _empty()
        named = {}
        for one in lines:
            again, colour = divmod(one.colour, len(COLOURS))
            style = {"color": COLOURS[colour], "linestyle": LINES[(one.line + again) % len(LINES)], "linewidth": 1.4}
            (drawn,) = place.plot(one.x, one.y, marker="o" if one.marked and len(one.x) < 3 else None, **style)
            if one.label:
                named[one.label] = drawn
        if log and any((np.asarray(one.y, float) > 0).any() for one in lines):
            place.set_yscale("log")
            place.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            place.yaxis.set_major_formatter("{x:g}")
            place.yaxis.set_minor_formatter(NullFormatter())
        place.xaxis.get_major_locator().set_params(integer=True)
        place.set_xlabel(xlabel)
        place.set_ylabel(ylabel)
        if len(named) > 1:
            _legend(figure, named)
        return figure

    return draw


def intervals(table: pd.DataFrame, xlabel: str) -> Callable[[], Figure]:
    """A dot with its interval for each line of `table`: name, series, value, low, high (NaN where none is known)."""

    def draw() -> Figure:
        names, series = list(dict.fromkeys(table["name"])), list(dict.fromkeys(table["series"]))
        figure, place = _empty(height=1.1 + 0.3 * len(names) + 0.2 * (len(series) > 1))
        for number, one in enumerate(series):
            part = table[table["series"] == one]
            y = [names.index(name) + 0.16 * (number - (len(series) - 1) / 2) for name in part["name"]]
            error = np.nan_to_num([part["value"] - part["low"], part["high"] - part["value"]]).clip(0)
            style = {"color": COLOURS[number], "marker": "os^D"[number % 4], "markersize": 4.5, "linestyle": "none"}
            place.errorbar(part["value"], y, xerr=error, label=one, elinewidth=1.4, capsize=2.5, **style)
        _name_ticks(place, "y", names, 10, 31)
        place.set_ylim(len(names) - 0.5, -0.5)
        place.xaxis.set_major_locator(MaxNLocator(5))
        place.set_xlabel(xlabel)
        if len(series) > 1:
            figure.legend(loc="outside lower center", ncols=2, fontsize=9)
        return figure

    return draw


def reliability(table: pd.DataFrame) -> Callable[[], Figure]:
    """table: confidence, right, low, high of each bin. Above the dashed line it is too modest, below too sure."""

    def draw() -> Figure:
        figure, place = _empty(height=3.6)
        place.plot([0, 1], [0, 1], color=COLOURS[6], linestyle="--", linewidth=1, label="as sure as right")
        error = np.array([table["right"] - table["low"], table["high"] - table["right"]]).clip(0)
        place.errorbar(
            table["confidence"],
            table["right"],
            yerr=error,
            color=COLOURS[0],
            marker="o",
            markersize=4,
            capsize=2.5,
            linewidth=1.2,
            label="held-out images",
        )
        place.set_xlim(0, 1)
        place.set_ylim(0, 1)
        place.set_xlabel("how sure the network is")
        place.set_ylabel("share that is right")
        place.legend(loc="best", fontsize=9)
        return figure

    return draw


def histograms(table: pd.DataFrame, xlabel: str, ylabel: str) -> Callable[[], Figure]:
    """Shares by bin, one outline a column: left, right (the bin's edges), then each column's share."""

    def draw() -> Figure:
        figure, place = _empty()
        edges = [*table["left"], table["right"].iloc[-1]]
        for number, name in enumerate(table.columns[2:]):
            style = {"color": COLOURS[number], "linestyle": LINES[number], "linewidth": 1.5}
            place.stairs(table[name], edges, label=name, **style)
            place.stairs(table[name], edges, fill=True, color=COLOURS[number], alpha=0.12)
        place.set_xlabel(xlabel)
        place.set_ylabel(ylabel)
        figure.legend(loc="outside lower center", ncols=3, fontsize=9)
        return figure

    return draw


def points(sets: dict[str, tuple[np.ndarray, np.ndarray]], xlabel: str, ylabel: str) -> Callable[[], Figure]:
    """Points by name, each (x, y)."""

    def draw() -> Figure:
        figure, place = _empty()
        for number, (name, (x, y)) in enumerate(sets.items()):
            style = {"color": COLOURS[number], "marker": "os^D"[number % 4], "alpha": 0.5, "linewidths": 0}
            place.scatter(x, y, s=14, label=name, **style)
        place.set_xlabel(xlabel)
        place.set_ylabel(ylabel)
        figure.legend(loc="outside lower center", ncols=3, fontsize=9)
        return figure

    return draw


def class_map(
    x: np.ndarray, y: np.ndarray, codes: np.ndarray, names: Sequence[str], crossed: Sequence[bool]
) -> Callable[[], Figure]:
    """Points in the colour of their class, those that are `crossed` under a cross. codes: (n,) int, -1 for no class.

    The classes with the most crosses, and of equals the most points, have their names at their middle.
    """

    def draw() -> Figure:
        figure, place = _empty(height=3.8)
        wrong = np.asarray(crossed, dtype=bool)
        colours = np.array([_hue(code, len(names)) for code in codes])
        place.scatter(x, y, s=6, c=colours, linewidths=0, alpha=0.75)
        place.scatter(x[wrong], y[wrong], s=12, marker="x", c=INK, linewidths=0.7)
        place.set_xticks([])
        place.set_yticks([])
        known = np.unique(codes[codes >= 0])
        order = sorted(known, key=lambda k: (-wrong[codes == k].sum(), -(codes == k).sum(), k))[:NAMED_POINTS]
        fonts = families([names[k] for k in order])
        for k in order:
            middle = np.median(x[codes == k]), np.median(y[codes == k])
            style = {"ha": "center", "va": "center", "fontsize": 7, "fontfamily": fonts, "parse_math": False}
            place.text(*middle, legible(names[k], fonts, 24), **style)
        return figure

    return draw


def _hue(code: int, count: int) -> str:
    """A class's colour: neighbouring numbers are far apart on the wheel."""
    if code < 0 or count <= len(COLOURS):
        return COLOURS[code] if code >= 0 else RULE
    return to_hex(hsv_to_rgb((code * GOLDEN % 1, 0.75, (0.85, 0.65)[code % 2])))


def class_bars(table: pd.DataFrame, xlabel: str) -> Callable[[], Figure]:
    """table: class, value, and perhaps low and high."""

    def draw() -> Figure:
        figure, place = _empty(6.5, 0.9 + 0.19 * len(table))
        rows = np.arange(len(table))
        place.barh(rows, table["value"], color=COLOURS[0], height=0.7)
        if "low" in table:
            error = np.nan_to_num([table["value"] - table["low"], table["high"] - table["value"]]).clip(0)
            place.errorbar(table["value"], rows, xerr=error, fmt="none", ecolor=INK, elinewidth=0.8)
        _name_ticks(place, "y", list(table["class"]), 8)
        place.set_ylim(len(table) - 0.4, -0.6)
        place.set_xlabel(xlabel)
        return figure

    return draw


def confusion(names: Sequence[str], counts: np.ndarray) -> Callable[[], Figure]:
    """counts: (classes, classes), rows the truth. Coloured by the share of a row, its square root: small ones show."""

    def draw() -> Figure:
        many = len(names)
        side = float(np.clip(0.17 * many, 3.5, 22))
        figure, place = _empty(side + 2, side + 1.6)
        place.grid(False)
        shares = counts / counts.sum(axis=1, keepdims=True).clip(1)
        place.imshow(np.where(counts > 0, np.sqrt(shares), np.nan), cmap="cividis_r", vmin=0, vmax=1)
        if many <= NAMED_CLASSES:
            size = 8 if many <= 40 else 6
            _name_ticks(place, "x", names, size, 20, rotation=90)
            _name_ticks(place, "y", names, size, 20)
        if many <= 20:
            for (row, column), count in np.ndenumerate(counts):
                if count:
                    colour = "white" if shares[row, column] > 0.3 else "black"
                    place.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=7)
        place.set_xlabel("answer")
        place.set_ylabel("truth")
        return figure

    return draw


def _name_ticks(
    place: matplotlib.axes.Axes, side: str, names: Sequence[str], size: float, longest: int = 28, **style: Any
) -> None:
    """A name at each whole number, in any script."""
    fonts = families(list(names))
    labels = [legible(name, fonts, longest) for name in names]
    axis = getattr(place, f"{side}axis")
    axis.set_ticks(range(len(names)), labels, fontsize=size, parse_math=False, **style)
    for label in axis.get_ticklabels():
        label.set_fontfamily(fonts)


def _legend(figure: Figure, named: dict[str, Any]) -> None:
    fonts = families(list(named))
    style = {"loc": "outside lower center", "ncols": 3, "handlelength": 2.4, "prop": {"family": fonts, "size": 9}}
    legend = figure.legend(list(named.values()), [legible(name, fonts, 40) for name in named], **style)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _empty(width: float = WIDTH, height: float = HEIGHT) -> tuple[Figure, matplotlib.axes.Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()
