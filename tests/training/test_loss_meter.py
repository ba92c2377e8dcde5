"""A step's loss may be read a step late, as a GPU's is: nothing else may change by it."""

from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch

from src.config.load import load
from src.losses import loss_of
from src.targets import target_type
from src.train import main as train
from src.training import step
from src.training.loss_meter import LossMeter, StepLoss
from tests.fixtures.codes import refused
from tests.fixtures.notes import names_it

CPU = torch.device("cpu")


def late(*words: object) -> LossMeter:
    loss_meter = LossMeter(*words)
    loss_meter.late = True
    return loss_meter


def log(tiny: Path, run: str) -> pd.DataFrame:
    return pd.read_csv(tiny / f"runs/tiny/{run}/seed0/fold0/log.csv").drop(columns=["seconds", "images_per_second"])


def test_a_loss_is_handed_over_once_the_next_step_is_under_way():
    text: list[StepLoss] = []
    loss_meter = late(CPU, text.append)
    loss_meter.flush()
    for number in (0, 1):
        loss_meter.add([(torch.tensor(0.1), 3.0), (torch.tensor(0.7), 5.0)], 4, number)
        assert [taken.step for taken in text] == list(range(number))
    loss_meter.flush()
    loss_meter.flush()
    at_once: list[StepLoss] = []
    LossMeter(CPU, at_once.append).add([(torch.tensor(0.1), 3.0), (torch.tensor(0.7), 5.0)], 4, 0)
    assert text == [*at_once, StepLoss(at_once[0].loss_sum, 4, 1)]


def test_training_learns_and_tells_the_same(tiny, monkeypatch):
    """Checkpoints after every step are written once its loss is known."""
    words = ["config=tiny", "fold=0", "train.batch=3", "train.global_batch=8", "train.epochs=2"]
    assert train([*words, "run=at-once"]) == 0
    monkeypatch.setattr(step, "LossMeter", late)
    assert train([*words, "run=late", "machine.checkpoint_minutes=1e-9"]) == 0
    pd.testing.assert_frame_equal(log(tiny, "at-once"), log(tiny, "late"))


def test_a_loss_that_is_no_number_is_told_with_its_step_and_not_kept(tiny, monkeypatch, capsys):
    words = ["config=tiny", "fold=0", "optim.lr=1e30", "machine.checkpoint_minutes=1e-9"]
    text = []
    for name, loss_meter in (("a", LossMeter), ("b", late)):
        monkeypatch.setattr(step, "LossMeter", loss_meter)
        text.append(refused(capsys, train, [*words, f"run={name}"], "loss-not-finite"))
    assert names_it(text[0], "epoch 1") and text[0] == text[1]
    kept = torch.load(tiny / "runs/tiny/b/seed0/fold0/checkpoint.pt", weights_only=True)["progress"]
    assert kept["loss_sum"] == kept["loss_sum"], "a checkpoint holds a loss that is no number"


@pytest.mark.parametrize("words", [["loss.class_weights=balanced"], ["loss.name=balanced_softmax"]])
def test_what_a_loss_needs_is_copied_to_a_device_once(words, monkeypatch):
    counts = torch.tensor([3, 5, 9]).numpy()
    criterion = loss_of(
        load("auto", dict(word.split("=") for word in words), "demo-digits").loss, counts, target_type("multiclass")
    )
    logits, targets = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    first = criterion(logits, targets)
    monkeypatch.setattr(torch.Tensor, "to", partial(pytest.fail, "copied again"))
    assert torch.equal(criterion(logits, targets), first)
