"""How long detection, loading, folds and the search for duplicates take on large competitions.

usage: python -m tests.bench.detection [files=100000] [hashes=100000] [rows=0]

  files    image files (empty ones: detection looks at names) in a layout of class folders, with a table of ids
  hashes   images in the search for near duplicates: random hashes, one in fifty with a duplicate ten bits away
  rows     rows of a table with as many files and half as many groups, for samples and folds
Figures are for this machine, measured once: by the clock, and by the processor's time (user and system). The last line
is JSON.
"""

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from src.competition.card import check_card
from src.competition.detect.layout import detect
from src.competition.folds import freeze_folds
from src.competition.quality.duplicates import near
from src.competition.samples import load_samples
from tests.bench.process import own
from tests.bench.row import PODIUM, Figures, Line, Row, Trial

FOLDERS, TABLE, SEARCH = "class folders", "a table and a group column", "search for near duplicates"
figures: Figures = {}


def main(argv: list[str]) -> None:
    words = {"files": 100_000, "hashes": 100_000, "rows": 0} | {
        k: int(v) for k, _, v in (w.partition("=") for w in argv)
    }
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PODIUM_HOME"] = folder
        if words["files"]:
            detection(Path(folder) / "detected", words["files"])
        if words["rows"]:
            loading(Path(folder) / "competition" / "bench", words["rows"])
    if words["hashes"]:
        search(words["hashes"])
    print(json.dumps(figures))


@contextmanager
def timed(what: str, size: str) -> Iterator[None]:
    start, cpu = time.perf_counter(), time.process_time()
    yield
    figures[what] = time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    seconds = f"{time.perf_counter() - start:7.1f} s, cpu {figures[what]:7.1f} s"
    print(f"{what + ', ' + size:60s} {seconds}   peak {peak:.2f} GB", flush=True)


def detection(folder: Path, count: int) -> None:
    """Once with a table of ids whose files lie in folders, once with nothing but class folders."""
    tested = count // 10
    for k in range(100):
        (folder / "train" / f"class{k:02d}").mkdir(parents=True)
    (folder / "test").mkdir()
    names = [f"{k:08x}" for k in np.random.default_rng(0).permutation(count)]
    for k, name in enumerate(names):
        (folder / (f"test/{name}.jpg" if k < tested else f"train/class{k % 100:02d}/{name}.jpg")).touch()
    sample = pd.DataFrame({"id": names[:tested], "label": "class00"})
    sample.to_csv(folder / "sample_submission.csv", index=False)
    with timed(FOLDERS, f"{count:,} files"):
        detect(folder, {}, "bench")
    labels = [f"class{k % 100:02d}" for k in range(tested, count)]
    table = pd.DataFrame({"id": names[tested:], "label": labels, "patient_id": np.arange(count - tested) // 7})
    table.to_csv(folder / "train.csv", index=False)
    with timed(TABLE, f"{count:,} files"):
        detect(folder, {}, "bench")


def loading(folder: Path, count: int) -> None:
    """A table with a group column and one file a row."""
    data = folder / "data"
    for k in range(1000):
        (data / "train" / f"{k:03d}").mkdir(parents=True)
    names = [f"{k % 1000:03d}/{k:07d}.jpg" for k in range(count)]
    for name in names:
        (data / "train" / name).touch()
    (data / "test").mkdir()
    (data / "test" / "t.jpg").touch()
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {"id": names, "label": rng.zipf(1.3, count) % 100, "patient": rng.integers(0, count // 2, count)}
    )
    table.to_csv(data / "train.csv", index=False)
    pd.DataFrame({"id": ["t.jpg"], "label": [0]}).to_csv(data / "sample.csv", index=False)
    del names, table
    facts = {
        "title": "bench",
        "train": {"table": "train.csv", "id": "id", "images": "train/{id}", "label": "label"},
        "test": {"table": "sample.csv", "id": "id", "images": "test/{id}"},
        "target": "multiclass",
        "metric": "accuracy",
        "submission": {"sample": "sample.csv", "kind": "label"},
    }
    for group, what in ((None, "stratified"), ("patient", "groups")):
        card = check_card("bench", facts | {"group": group}, "bench")
        with timed(f"load_samples, {what}", f"{count:,} rows"):
            samples = load_samples(card)
        with timed(f"freeze_folds, {what}", f"{count:,} rows"):
            freeze_folds(samples, 5, 0, folder / "runs")


def search(count: int) -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 1 << 64, count, dtype=np.uint64)
    for k in range(count // 50):
        bits = rng.choice(64, 10, replace=False).astype(np.uint64)
        hashes[count - 1 - k] = hashes[k] ^ np.bitwise_or.reduce(np.uint64(1) << bits)
    with timed(SEARCH, f"{count:,} images"):
        pairs, _ = near(hashes)
    print(f"{len(pairs):,} pairs found, {count // 50:,} were made")


def with_podium(trial: Trial) -> Figures:
    few = ("files=1000", "hashes=1000") if trial.tiny else ()
    return own(Path(__file__), *few)


TITLE = "layout of 100,000 files worked out, processor time"
ROW = Row(
    "detection",
    {PODIUM: with_podium},
    (
        Line(TITLE, FOLDERS, None, None, less_is_better=True),
        Line(TITLE, TABLE, None, None, less_is_better=True),
        Line("100,000 hashes, processor time", SEARCH, None, None, less_is_better=True),
    ),
    "The files are empty: detection looks at names. One hash in fifty has a duplicate ten bits away.",
)

if __name__ == "__main__":
    main(sys.argv[1:])
