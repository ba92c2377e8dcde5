"""How long a command takes to begin: until it helps, until it tells of a misspelt word, until its first training step.

usage: python -m tests.bench.start [repeats]

Medians and ranges, and at the end one line of JSON, everything warm; the first step is that of the demo, whose images
are cached. It was taken at most so late: when the first epoch's line came, less the seconds of the epoch that the line
tells; scoring lies between.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from src.config.request import DEMO
from src.core.paths import REPOSITORY
from tests.bench.machine import commit, machine
from tests.bench.process import own
from tests.bench.row import PODIUM, Figures, Line, Row, Trial

REPEATS = 5
HELP, MISSPELT, FIRST_STEP = "--help", "a misspelt key", "the first training step, at most"
EPOCH = re.compile(r"epoch +1/\d+ .* ([\d.]+) s +\d+ images/s")


def main(argv: list[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    repeats = int(words[0]) if words else REPEATS
    with tempfile.TemporaryDirectory() as home:
        train = [sys.executable, "-m", "src.train"]
        demo = [*train, f"config={DEMO}", "fold=0", "train.epochs=2"]
        first_step([*demo, "run=warm"], home)
        measured: dict[str, Callable[[int], float]] = {
            HELP: lambda _: to_the_end([*train, "--help"], home),
            MISSPELT: lambda _: to_the_end([*train, f"config={DEMO}", "trian.epochs=2"], home),
            FIRST_STEP: lambda repeat: first_step([*demo, f"run=start{repeat}"], home),
        }
        print(f"{machine()}, commit {commit()}, {repeats} repeats")
        medians = {}
        for what, seconds in measured.items():
            took = [seconds(repeat) for repeat in range(repeats)]
            medians[what] = statistics.median(took)
            print(f"{what}: {medians[what]:.2f} s ({min(took):.2f} to {max(took):.2f})")
        print(json.dumps(medians))
    return 0


def with_podium(trial: Trial) -> Figures:
    return own(Path(__file__), 1 if trial.tiny else REPEATS)


def to_the_end(command: list[str], home: str) -> float:
    begun = time.perf_counter()
    subprocess.run(command, env=_environment(home), cwd=REPOSITORY, capture_output=True, check=False)
    return time.perf_counter() - begun


def first_step(command: list[str], home: str) -> float:
    """Seconds from the command to its first step, or a little more."""
    begun = time.perf_counter()
    with subprocess.Popen(
        command, env=_environment(home), cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    ) as process:
        lines = [(time.perf_counter() - begun, line) for line in process.stdout]
    for came, line in lines:
        if text := EPOCH.search(line):
            return came - float(text[1])
    raise SystemExit(f"{' '.join(command)} trained nothing: exit code {process.returncode}")


def _environment(home: str) -> dict[str, str]:
    return os.environ | {"PODIUM_HOME": home, "HF_HUB_OFFLINE": "1"}


ROW = Row(
    "start",
    {PODIUM: with_podium},
    (
        Line("`src.train --help`, seconds", HELP, None, 0.15, less_is_better=True),
        Line("a misspelt key, seconds until it is told", MISSPELT, None, 0.15, less_is_better=True),
        Line("the demo, seconds to the first training step", FIRST_STEP, None, None, less_is_better=True),
    ),
    f"Everything warm; each figure is a median of {REPEATS}.",
)

if __name__ == "__main__":
    sys.exit(main())
