"""Row: src.prepare on 60,000 JPEG files in class folders, a process's time and the clock.

The pictures are soft shapes of 48 pixels, each its own, and are made once; the look at them, the search for
duplicates and the preview are part of what is measured.
"""

from pathlib import Path

import cv2
import numpy as np

from tests.bench.photos import workplace
from tests.bench.process import podium, processor
from tests.bench.row import PODIUM, Figures, Line, Row, Trial

FILES, CLASSES, SIDE, COARSE = 60_000, 50, 48, 8


def with_podium(trial: Trial) -> Figures:
    source = pictures(500 if trial.tiny else FILES)
    before = processor()
    seconds = podium(trial.folder, "src.prepare", str(source), "id=folders")
    return {"cpu": processor() - before, "seconds": seconds}


def pictures(count: int) -> Path:
    """Five of six lie in class folders below train, the others in test; made once."""
    folder = workplace() / f"folders-{count}"
    if not folder.is_dir():
        part, generator = folder.with_name(f".{folder.name}.part"), np.random.default_rng(0)
        for number in range(count):
            place = part / ("test" if number % 6 == 0 else f"train/class{number % CLASSES:02d}")
            place.mkdir(parents=True, exist_ok=True)
            coarse = generator.integers(0, 256, (COARSE, COARSE, 3), dtype=np.uint8)
            picture = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(place / f"{number:05d}.jpg"), picture)
        part.rename(folder)
    return folder


TITLE = f"prepare of {FILES:,} JPEG files of {SIDE} px in class folders"
ROW = Row(
    "prepare-60000",
    {PODIUM: with_podium},
    (
        Line(f"{TITLE}, processor time", "cpu", None, None, less_is_better=True),
        Line(TITLE, "seconds", None, 28, less_is_better=True),
    ),
    "From the command to the preview. The goal is half of what it took on a loaded machine before.",
)
