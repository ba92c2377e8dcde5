"""A competition that a tiny network learns in seconds: images of three colours, noisy, with a long tail."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

COLOURS = {"blue": (200, 60, 60), "green": (60, 200, 60), "red": (60, 60, 200)}  # BGR, as cv2 writes
TRAIN = {"blue": 24, "green": 14, "red": 7}
TEST_EACH = 5

CARD = """\
title: Three colours
train: {table: train.csv, id: image_id, images: "train/{image_id}.png", label: colour}
test: {table: sample_submission.csv, id: image_id, images: "test/{image_id}.png"}
target: multiclass
metric: accuracy
submission: {sample: sample_submission.csv, kind: label}
test_labels: answers/test.csv
"""

CONFIG = """\
competition: tiny
data: {folds: 3, sampler: weighted}
images: {size: 16, load_size: 16}
model: resnet8
augment: light
optim: {lr: 1e-2}
train: {epochs: 3, batch: 8, precision: fp32}
machine: {device: cpu, threads: 1}
"""


def write_tiny(home: Path) -> None:
    """Write competition/tiny (card, data, answers) and configs/tiny.yaml under `home`."""
    folder = home / "competition" / "tiny"
    data = folder / "data"
    generator = np.random.default_rng(0)
    train = _write(data / "train", [c for c, n in TRAIN.items() for _ in range(n)], generator, start=1)
    test = _write(data / "test", list(COLOURS) * TEST_EACH, generator, start=501)
    train.to_csv(data / "train.csv", index=False)
    test.assign(colour="blue").to_csv(data / "sample_submission.csv", index=False)
    (folder / "answers").mkdir()
    test.to_csv(folder / "answers" / "test.csv", index=False)
    (folder / "card.yaml").write_text(CARD)
    (home / "configs").mkdir(exist_ok=True)
    (home / "configs" / "tiny.yaml").write_text(CONFIG)


def _write(folder: Path, colours: list[str], generator: np.random.Generator, start: int) -> pd.DataFrame:
    folder.mkdir(parents=True)
    ids = [f"{number:04d}" for number in range(start, start + len(colours))]
    for name, colour in zip(ids, colours, strict=True):
        noisy = np.array(COLOURS[colour]) + generator.normal(0, 30, (20, 20, 3))
        cv2.imwrite(str(folder / f"{name}.png"), noisy.clip(0, 255).astype(np.uint8))
    table = pd.DataFrame({"image_id": ids, "colour": colours})
    return table.iloc[generator.permutation(len(table))]
