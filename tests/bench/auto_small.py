"""Row: what `auto` chooses on 140 images of 48 pixels: two folds from the command to the page, and nothing else given.

The pictures are three noisy colours with a long tail, drawn in a moment, and of one in seven the label is another's, so
that no probe is always right: what is learned says nothing, and the time is that of planning, training, prediction and
page.
"""

import shutil

import cv2
import numpy as np

from src.core.files import write_text
from tests.bench.process import podium, processor
from tests.bench.row import PODIUM, Figures, Line, Row, Trial

SIDE, NAME = 48, "small"
PARTS = {"train": {"blue": 70, "green": 45, "red": 25}, "test": {"blue": 10, "green": 10, "red": 10}}
COLOURS = {"blue": (200, 60, 60), "green": (60, 200, 60), "red": (60, 60, 200)}
CARD = """\
title: Three colours
train: {table: train.csv, id: id, images: "train/{id}.png", label: label}
test: {table: test.csv, id: id, images: "test/{id}.png"}
target: multiclass
metric: accuracy
submission: {kind: label, header: [id, label]}
"""


def with_podium(trial: Trial) -> Figures:
    folder = trial.folder / "competition" / NAME
    generator = np.random.default_rng(0)
    for part, counts in PARTS.items():
        (folder / "data" / part).mkdir(parents=True)
        labels = [colour for colour, count in counts.items() for _ in range(count)]
        for number, colour in enumerate(labels):
            noisy = np.array(COLOURS[colour]) + generator.normal(0, 60, (SIDE, SIDE, 3))
            cv2.imwrite(str(folder / "data" / part / f"{part}{number}.png"), noisy.clip(0, 255).astype(np.uint8))
        told = [labels[(number * 37) % len(labels)] if number % 7 == 0 else one for number, one in enumerate(labels)]
        rows = "".join(f"{part}{number},{colour}\n" for number, colour in enumerate(told))
        write_text(folder / "data" / f"{part}.csv", f"id,label\n{rows}")
    write_text(folder / "card.yaml", CARD)
    before = processor()
    seconds = podium(trial.folder, "src.run", f"competition={NAME}", "fold=0,1")
    shutil.rmtree(trial.folder / "runs")
    return {"seconds": seconds, "cpu": processor() - before}


TITLE = f"auto on 140 images of {SIDE} px, two folds, command to page"
ROW = Row(
    "auto-140",
    {PODIUM: with_podium},
    (Line(TITLE, "seconds", None, 20, less_is_better=True, beside="cpu"),),
    "`./run.sh fold=0,1 competition=NAME` and no other word: it plans for ten minutes, and ends as soon as it can.",
)
