"""Row: every step before training, and those after it, on a million images: processor time and memory of the dearest.

`python -m tests.bench.scale` measures the same at four sizes, and tells every step.
"""

from tests.bench.machine import machine
from tests.bench.record import Results
from tests.bench.row import PODIUM, Figures, Line, Row, Trial
from tests.bench.scale.__main__ import measure_size
from tests.bench.scale.steps import STEPS

SECONDS, GIGABYTES = 60, 2


def with_podium(trial: Trial) -> Figures:
    size = 1_000 if trial.tiny else 1_000_000
    results = Results(trial.folder / "scale.jsonl", machine(), tiny=False)
    measure_size(size, list(STEPS), results, trial.folder)
    steps = [one.figures for one in results.all()]
    cpu, peak = (max(figures[key] for figures in steps) for key in ("cpu", "peak"))
    return {"cpu": cpu, "GB": peak, "share of 60 s": cpu / SECONDS, "share of 2 GB": peak / GIGABYTES}


ROW = Row(
    "million-rows",
    {PODIUM: with_podium},
    (
        Line(
            "a million rows, processor seconds of the dearest step",
            "cpu",
            None,
            SECONDS,
            less_is_better=True,
            share="share of 60 s",
        ),
        Line(
            "a million rows, most memory held by any step",
            "GB",
            None,
            GIGABYTES,
            less_is_better=True,
            share="share of 2 GB",
        ),
    ),
    "Ten steps, each a process of its own, on made-up competitions; some ten minutes a repeat.",
)
