"""What the tests of the notebooks share: a built folder, a hidden test set, and a Kaggle on loopback."""

import contextlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from src.kernel import main as kernel
from src.submission import hosted, hosted_run, kaggle, push
from tests.kaggle_server import Competition, KaggleServer
from tests.tiny import COLOURS, TEST_EACH

SLUG, USER = "three-colours", "tester"
ANSWERS = {f"{501 + number:04d}": colour for number, colour in enumerate(list(COLOURS) * TEST_EACH)}
ME = f"kernel.user={USER}"


def said(door, *words: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert door(list(words)) == 0, out.getvalue()
    return out.getvalue()


def hidden_data(data: Path, goal: Path, count: int) -> None:
    """The host's files with another test set: other ids, another number, sizes of their own."""
    goal.mkdir(parents=True)
    generator = np.random.default_rng(5)
    shutil.copy(data / "train.csv", goal)
    shutil.copytree(data / "train", goal / "train")
    (goal / "test").mkdir()
    ids = [f"h{number:05d}" for number in generator.permutation(count)]
    for number, name in enumerate(ids):
        colour = list(COLOURS.values())[number % 3]
        image = np.array(colour) + generator.normal(0, 60, (18 + number % 5, 24, 3))
        cv2.imwrite(str(goal / "test" / f"{name}.png"), image.clip(0, 255).astype(np.uint8))
    sample = pd.read_csv(data / "sample_submission.csv", dtype=str, nrows=1)
    pd.DataFrame({"image_id": ids, **{name: sample[name][0] for name in sample.columns[1:]}}).to_csv(
        goal / "sample_submission.csv", index=False
    )


def built(home: Path, *words: str) -> Path:
    said(kernel, "config=tiny", ME, *words)
    return home / "runs" / "tiny" / "tiny" / "kernel"


def address(folder: Path) -> str:
    return json.loads((folder / "dataset" / "dataset-metadata.json").read_text())["id"]


@contextlib.contextmanager
def loopback(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[KaggleServer]:
    """A Kaggle that the unmodified command reaches and nothing else, with hardly any waiting."""
    for name in [name for name in os.environ if name.upper().startswith(("KAGGLE_", "HTTP_PROXY", "HTTPS_PROXY"))]:
        patch.delenv(name)
    waits = [(kaggle, "PAUSES"), (push, "LOOKS"), (push, "POLLS"), (hosted, "LOOKS"), (hosted_run, "POLLS")]
    for module, name in waits:
        patch.setattr(module, name, (0.05, 0.05))
    with KaggleServer(Competition(SLUG, dict(ANSWERS), columns=("image_id", "colour"))) as server:
        for name, value in server.environment(folder / "user").items():
            patch.setenv(name, value)
        yield server
