"""The table of cost: what was measured, and beside it what was computed from it for 10,000,000 images."""

import math

from tests.bench.row import Figures
from tests.bench.scale.several import SEVERAL

FAR = 10_000_000
FOLDS, VIEWS = 5, 2  # as the steps predict
TITLES = {
    "detection": "layout of the files worked out (prepare)",
    "overview": "a look at what there is (prepare), duplicates included",
    "tables": "tables to samples",
    "checks": "files asked, near duplicates found",
    "folds": "five stratified folds",
    "grouped": "five folds of groups",
    "train_start": "train, to the first step, all of the above included",
    "predict_start": "predict, to the first batch",
    "scores": "out-of-fold score and interval, five folds, two views",
    "submission": "test tables of five folds, two views, to a checked CSV of ten columns",
}

ALL_HELD = ("memory of parent and children together, shared pages counted once (PSS)", "GB")
MOST_HELD = ("most memory held", "GB")

Measured = dict[int, dict[str, Figures]]


def grown(points: dict[int, float], rows: int) -> float:
    """A cost at `rows`, from those measured: the smallest size's is taken for fixed, the rest grows by the power that
    the two largest sizes show, straight at least and squared at most. NaN of one size alone."""
    if len(points) < 2:
        return math.nan
    sizes = sorted(points)
    fixed, last, before = points[sizes[0]], sizes[-1], sizes[-2]
    more, less = points[last] - fixed, points[before] - fixed
    power = math.log(more / less) / math.log(last / before) if len(sizes) > 2 and more > less > 0 else 1.0
    return fixed + max(more, 0) * (rows / last) ** min(max(power, 1.0), 2.0)


def table(measured: Measured, heading: str) -> str:
    """The whole file in Markdown: seconds and memory of every step, bytes on the disk, and how they were found."""
    sizes = sorted(measured)
    head = ["training images", *(f"{size:,} measured" for size in sizes), f"{FAR:,} computed"]
    lines = [heading, "", "Processor time (user and system) / the most memory held:", "", *_head(head)]
    for step, title in TITLES.items():
        cpu, peak = (points(measured, step, key) for key in ("cpu", "peak"))
        both = [f"{_number(cpu[size])} s / {_number(peak[size])} GB" if size in cpu else "" for size in sizes]
        lines.append(_row([title, *both, f"{_number(grown(cpu, FAR))} s / {_number(grown(peak, FAR))} GB"]))
    lines += ["", "On the disk:", "", *_head(head)]
    for key, title in _disk().items():
        held = {size: value / 1e9 for size, value in points(measured, "disk", key).items()}
        cells = [f"{_number(held[size])} GB" if size in held else "" for size in sizes]
        lines.append(_row([title, *cells, f"{_number(grown(held, FAR))} GB"]))
    return "\n".join([*lines, "", *_several(measured), *_notes(measured)]) + "\n"


def _several(measured: Measured) -> list[str]:
    """Folds side by side and views, at the one size at which they were measured."""
    size = max((size for size, steps in measured.items() if set(SEVERAL) <= set(steps)), default=None)
    if size is None:
        return []
    steps = measured[size]
    lines = [f"Folds side by side at {size:,} images, each at its first step, a process of one thread a fold:", ""]
    lines += _counted(steps, "folds", "processes", 10, {"cpu": ("processor time of all", "s"), "pss": ALL_HELD})
    seen = steps["views_1"]["images"]
    lines += ["", f"Views of {seen:,.0f} of them, resnet8 at 16 px, one thread:", ""]
    return [*lines, *_counted(steps, "views", "views", 12, {"cpu": ("processor time", "s"), "peak": MOST_HELD}), ""]


def _counted(steps: dict[str, Figures], name: str, what: str, far: int, keys: dict[str, tuple[str, str]]) -> list[str]:
    """A table by the number of folds or views; the last column lies on the line through the two largest."""
    found = {int(step.split("_")[1]): figures for step, figures in steps.items() if step.startswith(f"{name}_")}
    *_, before, last = counts = sorted(found)
    rows = _head([what, *(f"{count} measured" for count in counts), f"{far} computed"])
    for key, (title, unit) in keys.items():
        slope = max(0.0, (found[last][key] - found[before][key]) / (last - before))
        values = [*(found[count][key] for count in counts), found[last][key] + slope * (far - last)]
        rows.append(_row([title, *(f"{_number(value)} {unit}" for value in values)]))
    return rows


def points(measured: Measured, step: str, key: str) -> dict[int, float]:
    """{training images: a figure of a step} where it was measured."""
    return {size: steps[step][key] for size, steps in measured.items() if step in steps}


def _disk() -> dict[str, str]:
    return {
        "cache": "image cache at 16 px, 768 bytes an image",
        "look": "kept look at every image",
        "folds": "fold table",
        "oof": f"out-of-fold logits, ten classes, {VIEWS} views",
        "test": f"test logits, ten classes, {FOLDS} folds, {VIEWS} views",
        "csv": "CSV of ten columns",
    }


def _notes(measured: Measured) -> list[str]:
    """What the figures stand for, and what follows from them for other views, folds, classes and image sizes."""
    notes = [
        "- Computed: the smallest size's cost is taken for fixed, the rest grows by the power that the two largest "
        "sizes show, straight at least and squared at most.",
        "- The search for near duplicates compares in longer parts from 131,072 images on, and its comparisons grow "
        "with the square of the images: the computed seconds of the four steps that hold it are a lower bound, ten "
        "times as much is possible.",
        f"- The cache takes 3 bytes a pixel, computed for {FAR:,} images: {_cache(64)} GB at 64 px, {_cache(128)} GB "
        "at 128 px; it is mapped, and all processes share it.",
        "- The files are hard links to 500 small JPEGs, and the look at them is made up as if it lay there from an "
        "earlier start. Its hashes are random; those of photos crowd together and take two to three times the search.",
    ]
    test = points(measured, "disk", "test")
    if test:
        largest = max(test)
        row = test[largest] / largest / VIEWS / FOLDS
        hundred = FAR * (row + 90 * 4) / 1e9
        notes.append(
            f"- A table of logits takes {row:.0f} bytes a row as measured, 4 of them for each class; computed for "
            f"{FAR:,} rows and 100 classes: {hundred:.1f} GB for each view of each fold's test table, and for each "
            "view of the out-of-fold tables of all folds together."
        )
    return notes


def _cache(side: int) -> str:
    return f"{FAR * side * side * 3 / 1e9:.0f}"


def _number(value: float) -> str:
    if math.isnan(value):
        return "not known"
    return f"{value:.0f}" if value >= 100 else f"{value:.2g}" if value < 10 else f"{value:.0f}"


def _head(cells: list[str]) -> list[str]:
    return [_row(cells), _row(["---"] * len(cells))]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
