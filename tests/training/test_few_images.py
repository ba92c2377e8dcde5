"""Classes of one or two images, in five folds: a fold's training rows then lack a class, and everything goes on."""

import cv2
import numpy as np
import pandas as pd
import pytest

from src.predict import main as predict
from src.train import main as train
from tests.fixtures.tiny import CARD

COLOURS = {"blue": (200, 60, 60), "green": (60, 200, 60), "red": (60, 60, 200), "gray": (128, 128, 128)}
CONFIG = """\
competition: few
data: {folds: 5}
images: {size: 32, load_size: 32}
model: resnet8
augment: none
train: {epochs: 1, batch: 4, precision: fp32}
machine: {device: cpu, threads: 1, jobs: 1}
"""
PROBE = ["model.name=tf_efficientnet_lite0", "model.pretrained=true", "probe.head=auto", "predict.engine=torch"]


def write_few(home, each: list[int]) -> None:
    """So many images of each colour."""
    data = home / "competition" / "few" / "data"
    generator, rows = np.random.default_rng(0), {"train": [], "test": []}
    for part, counts in (("train", each), ("test", [1] * len(each))):
        (data / part).mkdir(parents=True)
        for (colour, value), count in zip(COLOURS.items(), counts, strict=True):
            for number in range(count):
                name = f"{part}-{colour}-{number}"
                picture = (np.array(value) + generator.normal(0, 40, (32, 32, 3))).clip(0, 255).astype(np.uint8)
                cv2.imwrite(str(data / part / f"{name}.png"), picture)
                rows[part].append({"image_id": name, "colour": colour})
    pd.DataFrame(rows["train"]).to_csv(data / "train.csv", index=False)
    pd.DataFrame(rows["test"]).assign(colour="blue").to_csv(data / "sample_submission.csv", index=False)
    card = CARD.replace("test_labels: answers/test.csv\n", "").replace("Three colours", "Few")
    (home / "competition" / "few" / "card.yaml").write_text(card)
    (home / "configs").mkdir()
    (home / "configs" / "few.yaml").write_text(CONFIG)


TWO, ONE = [2, 2, 2, 2], [7, 6, 5, 1]


@pytest.mark.parametrize(
    ("words", "each"),
    [
        pytest.param([], ONE, id="fine-tuning, one of a class"),
        pytest.param(PROBE, TWO, id="probe, two of each"),
        pytest.param([], TWO, id="fine-tuning, two of each", marks=pytest.mark.slow),
        pytest.param(PROBE, ONE, id="probe, one of a class", marks=pytest.mark.slow),
    ],
)
def test_every_fold_is_trained_and_predicted(home, notes, words, each):
    write_few(home, each)
    assert train(["config=few", "fold=0..4", "run=r", *words]) == 0
    assert notes.texts("classes-small", 5)
    assert bool(notes.texts("classes-in-one-fold", 1)) == (1 in each)
    assert predict(["run=r", "competition=few", "--tta"]) == 0
    for fold in range(5):
        for part in ("oof", "test"):
            file = home / f"runs/few/r/seed0/fold{fold}/logits/{part}-identity.npz"
            assert np.isfinite(np.load(file)["logits"]).all() and np.load(file)["logits"].shape[1] == 4
