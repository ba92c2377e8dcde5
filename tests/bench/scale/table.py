"""The table of cost: what was measured, and beside it what was computed from it for 10,000,000 images."""

import math

from tests.bench.row import Figures

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
    columns = [f"{size:,} measured" for size in sizes] + [f"{FAR:,} computed"]
    head = ["training images", *columns]
    lines = [heading, "", "Seconds of processor time (user and system) / most gigabytes held:", "", *_head(head)]
    for step, title in TITLES.items():
        cpu = {size: measured[size][step]["cpu"] for size in sizes}
        peak = {size: measured[size][step]["peak"] for size in sizes}
        cells = [f"{_number(cpu[size])} s / {_number(peak[size])}" for size in sizes]
        lines.append(_row([title, *cells, f"{_number(grown(cpu, FAR))} s / {_number(grown(peak, FAR))}"]))
    lines += ["", "Gigabytes on the disk:", "", *_head(head)]
    for key, title in _disk().items():
        each = {size: measured[size]["logits"][key] / 1e9 for size in sizes}
        lines.append(_row([title, *(_number(each[size]) for size in sizes), _number(grown(each, FAR))]))
    return "\n".join([*lines, "", *_notes(measured)]) + "\n"


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
    if not measured:
        return ["Nothing is measured yet."]
    largest = max(measured)
    oof = measured[largest]["logits"]["oof"] / largest / VIEWS
    test = measured[largest]["logits"]["test"] / largest / VIEWS / FOLDS
    per_class = 4
    return [
        "Computed: the smallest size's cost is taken for fixed, the rest grows by the power that the two largest show.",
        f"A table of logits takes {test:.0f} bytes a row as measured, {per_class} of them for each class: computed for "
        f"{FAR:,} rows, {FAR * (test + 90 * per_class) / 1e9:.1f} GB a view and fold with 100 classes. Out-of-fold "
        f"tables ({oof:.0f} bytes) do not grow with folds, test tables do; both grow with views.",
        f"The cache takes 3 bytes a pixel, computed for {FAR:,} images: {FAR * 64**2 * 3 / 1e9:.0f} GB at 64 px, {FAR * 128**2 * 3 / 1e9:.0f} GB at 128 px; it is "
        "mapped and shared by all processes.",
        "The files are hard links to 500 small JPEGs, and the look at them is made up as if it lay there from an "
        "earlier start: its hashes are random, those of photos crowd together and take two to three times the search.",
    ]


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2g}" if value < 10 else f"{value:.0f}"


def _head(cells: list[str]) -> list[str]:
    return [_row(cells), _row(["---"] * len(cells))]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
