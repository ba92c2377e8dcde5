"""Ten thousand images and a thousand features each: what fitting a last layer on them needs of memory."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from src.core.paths import REPOSITORY
from tests.fixtures.tiny import CARD

ROWS, CLASSES, GIGABYTE = 13_000, 100, 1_000_000  # of resource usage, which counts in KB
CONFIG = """\
competition: many
data: {folds: 5, duplicates: ignore}
images: {size: 32, load_size: 32}
model: {name: tf_efficientnet_lite0, pretrained: true, stem: stock}
probe: {head: auto}
augment: none
train: {precision: fp32}
machine: {device: cpu, threads: 2}
"""


def write_many(home: Path) -> None:
    data, generator = home / "competition" / "many" / "data", np.random.default_rng(0)
    colours = generator.integers(0, 256, (CLASSES, 3))
    for part, count in (("train", ROWS), ("test", 10)):
        (data / part).mkdir(parents=True)
        classes = np.arange(count) % CLASSES
        for row, kind in enumerate(classes):
            picture = (colours[kind] + generator.normal(0, 60, (16, 16, 3))).clip(0, 255).astype(np.uint8)
            cv2.imwrite(str(data / part / f"{part}{row:05d}.png"), picture)
        table = pd.DataFrame({"image_id": [f"{part}{row:05d}" for row in range(count)], "colour": classes})
        table.to_csv(data / ("train.csv" if part == "train" else "sample_submission.csv"), index=False)
    card = CARD.replace("test_labels: answers/test.csv\n", "")
    (home / "competition" / "many" / "card.yaml").write_text(card)
    (home / "configs").mkdir()
    (home / "configs" / "many.yaml").write_text(CONFIG)


def most_memory(*command: str) -> int:
    """KB that the command had at most."""
    child = subprocess.Popen([sys.executable, *command], cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    return usage.ru_maxrss


@pytest.mark.slow
def test_thirteen_thousand_rows_of_1280_features_take_less_than_a_gigabyte(home):
    write_many(home)
    words = ["config=many", "fold=0"]
    subprocess.run([sys.executable, "-m", "src.predict", "--features", "config=many"], cwd=REPOSITORY, check=True)
    (file,) = home.glob("competition/many/cache/features/*/train-identity.npz")
    with np.load(file) as held:
        assert held["features"].shape == (ROWS, 1280)
    loaded = most_memory("-c", "import src.training.run, timm, torch; torch.ones(9_000_000).exp()")
    fitted = most_memory("-m", "src.train", *words)
    print(f"{(fitted - loaded) / 1000:.0f} MB more than the libraries' {loaded / 1000:.0f}")
    assert fitted - loaded < GIGABYTE
