"""Row: the embedded demo, five folds from the command to the CSV and to the page, everything warm.

The other side trains the same network for the same epochs one fold after the other, decoding each image when it is
asked for: Podium without its two means of speed, which are keys of its own.
"""

import shutil
import time
from functools import partial

from src.config.request import DEMO
from tests.bench.photos import workplace
from tests.bench.process import podium
from tests.bench.row import PODIUM, Figures, Line, Row, Trial

PLAIN = "one fold after the other, no cache"
PLAIN_WORDS = ("machine.jobs=1", "machine.cache_max_gb=1e-6")


def with_podium(trial: Trial, words: tuple[str, ...] = ()) -> Figures:
    home = workplace() / "demo"
    common = [f"config={DEMO}", "fold=0..4", *(["train.epochs=1"] if trial.tiny else [])]
    if not (home / "competition" / DEMO / "cache").is_dir():
        podium(home, "src.train", f"config={DEMO}", "fold=0", "train.epochs=1", "run=warm")
    run = home / "runs" / DEMO / "bench"
    shutil.rmtree(run, ignore_errors=True)
    answers = home / "submissions" / DEMO
    shutil.rmtree(answers, ignore_errors=True)
    begun = time.time()
    page = podium(home, "src.run", *common, "run=bench", *words)
    written = max(file.stat().st_mtime for file in answers.glob("bench*.csv"))
    shutil.rmtree(run)
    return {"seconds": written - begun, "page": page}


ROW = Row(
    "demo",
    {PODIUM: with_podium, PLAIN: partial(with_podium, words=PLAIN_WORDS)},
    (
        Line("the demo, five folds, command to CSV", "seconds", None, 15, less_is_better=True),
        Line("the demo, five folds, command to page", "page", None, 20, less_is_better=True),
        Line("the demo, five folds, command to CSV", "seconds", PLAIN, 2, less_is_better=True),
        Line("the demo, five folds, command to page", "page", PLAIN, 2, less_is_better=True),
    ),
    f"The same network, epochs and views on both sides, which differ by {' '.join(PLAIN_WORDS)}.",
)
