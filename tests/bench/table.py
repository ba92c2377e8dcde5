"""From recorded measurements to a Markdown table: medians and ranges of the repeats, and ratios taken pair by pair."""

from collections.abc import Sequence
from statistics import mean, median

from scipy import stats

from tests.bench.record import Results
from tests.bench.row import PODIUM, Figures, Line, Row

REACHED, MISSED, BETTER = "reached", "not reached", "better"
NOT_MEASURED, NOT_RUN = "not measured: ", "not run yet"
HEAD = ("what", "figure", "Podium", "against", "theirs", "Podium's advantage", "goal", "of the limit")


def table(rows: Sequence[Row], results: Results, date: str) -> str:
    """The whole file: the machine, the table and the rows' notes."""
    lines = [cells for row in rows for cells in line_cells(row, results)]
    made = [one for one in results.all() if not one.failed]
    commits = ", ".join(dict.fromkeys(one.commit or "none" for one in made)) or "none yet"
    text = [f"{results.machine}; {date}; commit {commits}", ""]
    if results.tiny:
        text += ["**A trial at a tiny size: these figures mean nothing.**", ""]
    text += [_joined(HEAD), _joined(["---"] * len(HEAD)), *map(_joined, lines), ""]
    text += ["Medians of the repeats, in brackets the lowest and the highest; the sides took turns. An advantage is"]
    text += [
        "the median of the ratios of the repeats: above 1, Podium is better. The share of a limit is a median.",
        "",
    ]
    text += [f"- {row.name}: {row.note}" for row in rows]
    return "\n".join(text) + "\n"


def line_cells(row: Row, results: Results) -> list[tuple[str, ...]]:
    """The cells of a row's lines, in the order of HEAD. A side without measurements says why."""
    absent = row.absent()
    return [_cells(row, line, results, absent) for line in row.lines]


def _cells(row: Row, line: Line, results: Results, absent: str | None) -> tuple[str, ...]:
    if line.peer is None:
        return _alone(row, line, results, absent)
    own, theirs = results.of(row.name, line.side), results.of(row.name, line.peer)
    told = [_format(line, figures) or _reason(results, row, side, absent) for side, figures in
            ((line.side, own), (line.peer, theirs))]  # fmt: skip
    shared = sorted(own.keys() & theirs.keys())
    pairs = [(own[k], theirs[k]) for k in shared]
    advantage, reached = _compared(line, pairs) if pairs else ("", "")
    goal = f"{line.goal:g}" if not line.difference else f"{line.goal:+g}" if line.goal else BETTER
    return (
        line.title,
        line.figure,
        _of_side(line, told[0]),
        line.peer,
        told[1],
        advantage,
        f"{goal} {reached}".strip(),
        _share(line, own),
    )


def _alone(row: Row, line: Line, results: Results, absent: str | None) -> tuple[str, ...]:
    """The cells of a line that has a goal and no peer; the median of the repeats is held against it."""
    own = results.of(row.name, line.side)
    text = _format(line, own) or _reason(results, row, line.side, absent)
    goal = "" if line.goal is None else f"{line.goal:g}"
    if own and line.goal is not None:
        middle = median(one[line.figure] for one in own.values())
        goal += f" {_verdict(middle <= line.goal if line.less_is_better else middle >= line.goal)}"
    return (line.title, line.figure, _of_side(line, text), "-", "-", "", goal, _share(line, own))


def _share(line: Line, measured: dict[int, Figures]) -> str:
    return f"{median(one[line.share] for one in measured.values()):.0%}" if line.share and measured else "-"


def _of_side(line: Line, text: str) -> str:
    return text if line.side == PODIUM else f"{line.side.removeprefix('Podium, ')}: {text}"


def _format(line: Line, measured: dict[int, Figures]) -> str:
    """Median and range over the repeats; the figures beside it as means."""
    if not measured:
        return ""
    told = spread([one[line.figure] for one in measured.values()])
    for name in dict.fromkeys((line.provided, line.beside)):
        values = [one[name] for one in measured.values() if name in one]
        if name and values:
            told += f"; {name} {mean(values):.4g}"
    return told + {1: "; once", 2: "; twice"}.get(len(measured), "")


def _reason(results: Results, row: Row, side: str, absent: str | None) -> str:
    reason = absent or results.failure(row.name, side) or NOT_RUN
    return NOT_MEASURED + " ".join(reason.replace("|", "/").split())[:300]


def _compared(line: Line, pairs: list[tuple[Figures, Figures]]) -> tuple[str, str]:
    """The advantage, and whether the goal is reached."""
    values = [(one[line.figure], other[line.figure]) for one, other in pairs]
    if line.difference:
        gains = [one - other for one, other in values]
        low, high = interval(gains)
        return f"{mean(gains):+.3f}, 95 % interval {low:+.3f} to {high:+.3f}", _verdict(mean(gains) > line.goal)
    ratios = [other / one if line.less_is_better else one / other for one, other in values]
    good = median(ratios) >= line.goal
    if line.provided and mean(one[line.provided] for one, _ in pairs) < mean(two[line.provided] for _, two in pairs):
        return f"{spread(ratios)}, at a lower {line.provided}", _verdict(False)
    return spread(ratios), _verdict(good)


def _verdict(good: bool) -> str:
    return REACHED if good else MISSED


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Student's 95 % interval of the mean of a few values; of a single one nothing is known."""
    if len(values) < 2:
        return float("-inf"), float("inf")
    if len(set(values)) == 1:
        return values[0], values[0]
    return stats.t.interval(0.95, len(values) - 1, loc=mean(values), scale=stats.sem(values))


def spread(values: Sequence[float]) -> str:
    """The median, and in brackets the lowest and the highest."""
    if len(values) == 1:
        return f"{values[0]:.3g}"
    return f"{median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def _joined(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
