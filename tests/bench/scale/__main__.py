"""How seconds and memory grow with images: real steps on made-up competitions of 1,000 to 1,000,000 training images.

usage: python -m tests.bench.scale [--most=1000000] [--sizes=1000,10000,...] [--steps=tables,folds,...]
                                   [--anew] [--table] [--folder=PATH]

  --most     the largest of the sizes that is measured
  --sizes    other numbers of training images; two at least are needed to compute more
  --steps    only these; the table tells the names and what each is
  --anew     forgets what was measured
  --table    measures nothing, and writes the table from the results
  --folder   where the competitions are made, some 3 GB for a million images, removed in the end

Every step is a process of its own, and is kept in runs/bench/scale.jsonl as it ends, so that a stopped one goes on; the
table is runs/bench/scale.md, drawn in scale.png. 10,000,000 images are computed from the measured sizes. Folds side by
side and views are measured at one size, 100,000 images. A million takes some nine minutes.
"""

import argparse
import datetime
import os
import shutil
import sys
import tempfile
from pathlib import Path

from src.core.cli import ended
from src.core.errors import Problem, UsageError
from src.core.files import write_text
from src.core.locks import only_one
from tests.bench.machine import commit, machine
from tests.bench.photos import workplace
from tests.bench.process import own
from tests.bench.record import Measurement, Results
from tests.bench.row import Figures
from tests.bench.scale.chart import draw
from tests.bench.scale.made import make
from tests.bench.scale.several import SEVERAL
from tests.bench.scale.steps import PREPARING, STEPS
from tests.bench.scale.table import table

SIZES = (1_000, 10_000, 100_000, 1_000_000)
SCRIPT = Path(__file__).parent / "steps.py"
DISK = "disk"  # the step that only asks how large files are
STORED = {"train_start", "predict_start", "scores", "submission", DISK, *SEVERAL}  # stand on a cache and trained runs
WORDS = (*STEPS, *SEVERAL, DISK)
SEVERAL_AT = 100_000  # images, or the next smaller size: folds side by side and views are measured once


def main(argv: list[str] | None = None) -> int:
    """Measure what is missing and write the table. Exit codes: 0 done, 1 a step failed, 2 wrong usage."""
    return ended(lambda: _main(sys.argv[1:] if argv is None else argv))


def _main(argv: list[str]) -> None:
    asked = _asked(argv)
    place = workplace()
    with only_one(place, "the bench"):
        results = Results(place / "scale.jsonl", machine(), tiny=False)
        if asked.anew:
            results.forget({str(size) for size in asked.sizes})
        if not asked.table:
            print(f"load of the machine: {os.getloadavg()[0]:.1f}")
            once = max((size for size in asked.sizes if size <= SEVERAL_AT), default=asked.sizes[0])
            for size in asked.sizes:
                steps = [name for name in asked.steps if name not in SEVERAL or size == once]
                measure_size(size, steps, results, asked.folder)
        measured = _measured(results, asked.sizes)
        text = table(measured, f"{results.machine}; {datetime.date.today()}; commit {commit()}")
        write_text(place / "scale.md", text)
        draw(measured, place / "scale.png")
        print(f"{text}\n{place / 'scale.md'}\n{place / 'scale.png'}")


def measure_size(size: int, steps: list[str], results: Results, folder: Path | None) -> None:
    """Measure those of these steps that the results lack, on competitions that are made below `folder`."""
    missing = [name for name in steps if 0 not in results.of(str(size), name)]
    if not missing:
        return
    home = Path(tempfile.mkdtemp(prefix=f"podium-scale-{size}-", dir=folder)).resolve()
    try:
        print(f"making {size:,} images in {home}", flush=True)
        make(home, size)
        for name in (*(PREPARING if STORED & set(missing) else ()), *missing):
            if name == DISK:
                figures = _bytes(home)
            else:
                figures = own(SCRIPT, name, home)
                told = f"{figures['seconds']:8.1f} s, cpu {figures['cpu']:7.1f} s, peak {figures['peak']:.2f} GB"
                print(f"{size:>9,} {name:14s} {told}", flush=True)
            if name not in PREPARING:
                _keep(results, size, name, figures)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _keep(results: Results, size: int, name: str, figures: Figures) -> None:
    when = datetime.datetime.now().isoformat(timespec="seconds")
    results.add(Measurement(str(size), name, 0, False, results.machine, commit(), when, figures))


def _bytes(home: Path) -> Figures:
    """What lies on the disk, in bytes."""
    runs, submissions = home / "runs", home / "submissions"
    patterns = {
        "oof": (runs / "scale", "**/oof-*.npz"),
        "test": (runs / "answers", "**/test-*.npz"),
        "folds": (runs / "scale", "folds-*.csv"),
        "look": (home / "competition" / "scale", "cache/look.npz"),
        "cache": (home / "competition" / "scale", "cache/*.npy"),
        "csv": (submissions / "answers", "made.csv"),
    }
    found = {name: sum(file.stat().st_size for file in top.glob(one)) for name, (top, one) in patterns.items()}
    absent = [name for name, size in found.items() if not size]
    if absent:
        raise Problem(f"{home} holds no {absent[0]}: a step before has not left it")
    return {name: float(size) for name, size in found.items()}


def _measured(results: Results, sizes: list[int]) -> dict[int, dict[str, Figures]]:
    """{training images: {step: figures}} of these sizes, rising."""
    found: dict[int, dict[str, Figures]] = {}
    for one in sorted((one for one in results.all() if int(one.row) in sizes), key=lambda one: int(one.row)):
        found.setdefault(int(one.row), {})[one.side] = one.figures
    return found


def _asked(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.scale", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--most", type=int, default=SIZES[-1])
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--steps", default=",".join(WORDS))
    parser.add_argument("--folder", type=Path)
    for flag in ("--anew", "--table"):
        parser.add_argument(flag, action="store_true")
    asked = parser.parse_args(argv)
    try:
        asked.sizes = [size for size in sorted(map(int, asked.sizes.split(","))) if size <= asked.most]
    except ValueError:
        raise UsageError(f"--sizes={asked.sizes}: give whole numbers, parted by commas") from None
    asked.steps = asked.steps.split(",")
    if unknown := set(asked.steps) - set(WORDS):
        raise UsageError(f"there is no step {min(unknown)!r}. Steps: {', '.join(WORDS)}")
    if not asked.sizes or asked.sizes[0] < 400:
        raise UsageError("the sizes must be 400 images at least, and one of them within --most")
    return asked


if __name__ == "__main__":
    sys.exit(main())
