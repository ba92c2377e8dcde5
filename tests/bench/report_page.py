"""How long the page of a run of a hundred classes and 13,000 images takes.

usage: python -m tests.bench.report_page [images a class]

Images and logits are made up in a folder that is removed in the end. The page may take 60 s on two cores; exit code 1
where it takes longer, or is larger than 10 MB. The last line is JSON.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.process import own
from tests.bench.row import PODIUM, Figures, Line, Row, Trial

CLASSES, EACH = 100, 130
SECONDS, BYTES = 60, 10_000_000


def main(argv: list[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    each = int(words[0]) if words else EACH
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PODIUM_HOME"] = folder
        from src.report import main as report
        from tests.fixtures.made_up_run import note_prediction, write_many, write_run

        write_many(Path(folder), CLASSES, each, side=64)
        note_prediction(write_run("large", skill=3.5), "large", ("identity", "hflip"), 0.5)
        begun = time.monotonic()
        code = report(["run=large"])
        seconds = time.monotonic() - begun
        size = (Path(folder) / "runs" / "many" / "large" / "report" / "report.html").stat().st_size
    print(f"{CLASSES * each} images of {CLASSES} classes: {seconds:.1f} s, {size / 1e6:.1f} MB")
    print(json.dumps({"seconds": seconds, "MB": size / 1e6, "of the limit": seconds / SECONDS}))
    return code or int(seconds > SECONDS or size > BYTES)


def with_podium(trial: Trial) -> Figures:
    return own(Path(__file__), 1 if trial.tiny else EACH)


TITLE = f"the page of a run of {CLASSES} classes and {CLASSES * EACH:,} images"
ROW = Row(
    "page",
    {PODIUM: with_podium},
    (
        Line(TITLE, "seconds", None, SECONDS, less_is_better=True, share="of the limit"),
        Line(TITLE, "MB", None, BYTES / 1e6, less_is_better=True),
    ),
    "Images and logits are made up; what is learned from them says nothing.",
)


if __name__ == "__main__":
    sys.exit(main())
