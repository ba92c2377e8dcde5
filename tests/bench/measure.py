"""Taking the measurements of a row: its sides by turns, each repeat whole before the next, only what is missing."""

import datetime
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from src.core.errors import Problem
from tests.bench.machine import commit
from tests.bench.record import Measurement, Results
from tests.bench.row import Figures, Row, Trial

Say = Callable[[str], object]


def missing(row: Row, results: Results, repeats: int) -> list[tuple[int, str]]:
    """(repeat, side) of what is still to be measured, in the order in which it will be."""
    return [(k, side) for k in range(repeats) for side in row.sides if k not in results.of(row.name, side)]


def measure(row: Row, results: Results, repeats: int, workplace: Path, say: Say) -> bool:
    """Measure what the row lacks. A side that fails is noted with its reason, and not tried again in this run.

    Returns whether nothing failed.
    """
    failed: set[str] = set()
    for repeat, side in missing(row, results, repeats):
        if side in failed:
            continue
        begun = time.perf_counter()
        figures, reason = _once(row, side, repeat, results, workplace)
        when = datetime.datetime.now().isoformat(timespec="seconds")
        results.add(Measurement(row.name, side, repeat, results.tiny, results.machine, commit(), when, figures, reason))
        text = reason or "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        say(f"{row.name}  {side}  repeat {repeat + 1}/{repeats}  {text}  ({time.perf_counter() - begun:.0f} s)")
        if reason:
            failed.add(side)
    return not failed


def _once(row: Row, side: str, repeat: int, results: Results, workplace: Path) -> tuple[Figures, str]:
    """The figures, or why there are none: whatever goes wrong in one row, the others go on."""
    workplace.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{row.name}-", dir=workplace))

    def earlier(other: str) -> list[Figures]:
        return [figures for _, figures in sorted(results.of(row.name, other).items())]

    try:
        return row.sides[side](Trial(repeat, results.tiny, folder, earlier)), ""
    except Problem as problem:
        return {}, str(problem)
    except Exception as error:
        traceback.print_exc()
        return {}, f"{type(error).__name__}: {error}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
