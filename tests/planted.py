"""A tiny competition of known truth: some training labels are wrong, half of the test images are unlike the rest."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from tests.tiny import COLOURS, write_tiny

ROWS, WRONG, TEST = 240, 18, 120
WORDS = ["config=tiny", "data.folds=2", "train.epochs=6", "train.batch=16", "run=planted"]


def write_planted(home: Path) -> None:
    """As `write_tiny`, with more images: planted.csv beside them tells the true colours of the training images.

    Test images whose id begins with m are moved: darker, and less sharp.
    """
    write_tiny(home)
    data = home / "competition" / "tiny" / "data"
    generator = np.random.default_rng(7)
    names = np.array(list(COLOURS))
    true = generator.integers(0, 3, ROWS)
    wrong = np.isin(np.arange(ROWS), generator.choice(ROWS, WRONG, replace=False))
    given = np.where(wrong, (true + generator.integers(1, 3, ROWS)) % 3, true)
    ids = [f"{row:04d}" for row in range(ROWS)]
    for id_, colour in zip(ids, names[true], strict=True):
        _draw(data / "train" / f"{id_}.png", colour, generator)
    pd.DataFrame({"image_id": ids, "colour": names[given]}).to_csv(data / "train.csv", index=False)
    pd.DataFrame({"id": ids, "true": names[true], "wrong": wrong}).to_csv(home / "planted.csv", index=False)
    test = [f"{'m' if row % 2 else 'p'}{row:03d}" for row in range(TEST)]
    for row, id_ in enumerate(test):
        _draw(data / "test" / f"{id_}.png", names[row // 2 % 3], generator, moved=id_.startswith("m"))
    list_test(home, test)
    card = home / "competition" / "tiny" / "card.yaml"
    card.write_text(card.read_text().replace("test_labels: answers/test.csv\n", ""))


def list_test(home: Path, ids: list[str]) -> None:
    """Let these be the test images."""
    table = pd.DataFrame({"image_id": ids, "colour": "blue"})
    table.to_csv(home / "competition" / "tiny" / "data" / "sample_submission.csv", index=False)


def planted(home: Path) -> pd.DataFrame:
    """id (the index), true, wrong."""
    return pd.read_csv(home / "planted.csv", dtype={"id": str}).set_index("id")


def _draw(file: Path, colour: str, generator: np.random.Generator, moved: bool = False) -> None:
    image = np.array(COLOURS[colour]) + generator.normal(0, 30, (20, 20, 3))
    if moved:
        image = cv2.GaussianBlur(image, (0, 0), 1) * 0.8
    cv2.imwrite(str(file), image.clip(0, 255).astype(np.uint8))
