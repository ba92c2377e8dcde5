"""The embedded competition: 1,797 real scanned digits, as a host would serve them.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998; shipped with scikit-learn.
"""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

TEST_EACH = 30  # a class, so that the test part is balanced
MOST, LEAST = 140, 12  # training images of the largest and the smallest class, the others between them geometrically


def write(data: Path, answers: Path) -> None:
    """Write train.csv, train/, test/ and sample_submission.csv to `data`, the test's answers to `answers`."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = np.rint(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    generator = np.random.default_rng(1998)
    train, test = _split(labels, generator)
    for name, rows in (("train", train), ("test", test)):
        (data / name).mkdir(parents=True)
        for row in rows:
            cv2.imwrite(str(data / name / f"{_id(row)}.png"), images[row])
    ids = [_id(row) for row in test]
    pd.DataFrame({"image_id": [_id(row) for row in train], "digit": labels[train]}).to_csv(
        data / "train.csv", index=False
    )
    pd.DataFrame({"image_id": ids, "digit": 0}).to_csv(data / "sample_submission.csv", index=False)
    answers.mkdir(parents=True, exist_ok=True)
    pd.DataFrame({"image_id": ids, "digit": labels[test]}).to_csv(answers / "test.csv", index=False)


def _split(labels: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the long-tailed training part and of the balanced test part, each shuffled."""
    train, test = [], []
    counts = np.rint(np.geomspace(MOST, LEAST, 10)).astype(int)
    for digit, count in enumerate(counts):
        rows = generator.permutation(np.flatnonzero(labels == digit))
        test.append(rows[:TEST_EACH])
        train.append(rows[TEST_EACH : TEST_EACH + count])
    return generator.permutation(np.concatenate(train)), generator.permutation(np.concatenate(test))


def _id(row: int) -> str:
    return f"{row:04d}"
