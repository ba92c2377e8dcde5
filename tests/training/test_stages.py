"""Stages, schedules, mixing and going on from another run: through the door, read back from what a run leaves."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from safetensors.torch import load_file
from timm.models import group_parameters

from src.config.request import parse
from src.models.freezing import freeze
from src.models.zoo import register_networks
from src.targets import target_type
from src.train import main as train
from src.training.learning_rates import rates
from src.training.mixing import augmented_rows, mixing
from src.training.schedules import schedule_of
from src.training.stages import stages_of
from tests.fixtures.codes import raises, refused

MULTICLASS = target_type("multiclass")

FOLD = ["config=tiny", "fold=0", "data.sampler=plain", "train.batch=10"]  # thirty rows, three steps an epoch


def folder(home: Path, run: str) -> Path:
    return home / "runs" / "tiny" / run / "seed0" / "fold0"


def weights(home: Path, run: str) -> dict[str, torch.Tensor]:
    return load_file(folder(home, run) / "model.safetensors")


def curve(*words: str) -> np.ndarray:
    config = parse(["config=tiny", "optim.lr=0.1", *words]).config
    return rates(config, stages_of(config), 3).lr


@pytest.fixture(autouse=True)
def _at_home(tiny):
    return tiny


def test_each_schedule_has_its_shape():
    cosine = curve("train.epochs=10", "schedule.warmup_epochs=2")
    assert len(cosine) == 30 and cosine[0] == pytest.approx(0.001) and cosine.argmax() == 6
    assert (np.diff(cosine[6:]) < 0).all() and cosine[-1] < 0.002
    constant = curve("train.epochs=4", "schedule.name=constant", "schedule.warmup_epochs=1")
    assert constant[3:] == pytest.approx(0.1)
    step = curve("train.epochs=6", "schedule.name=step", "schedule.step_epochs=2", "schedule.warmup_epochs=0")
    assert step.reshape(3, 6) == pytest.approx(np.array([[0.1], [0.01], [0.001]]).repeat(6, 1))
    cycle = curve("train.epochs=10", "schedule.name=one_cycle", "schedule.warmup_epochs=3")
    assert cycle.max() == pytest.approx(0.1) and 7 <= cycle.argmax() <= 9 and cycle[-1] < 1e-4
    at_once = curve("train.epochs=2", "schedule.name=one_cycle", "schedule.warmup_epochs=0")
    assert at_once.argmax() == 1 and at_once[-1] < 1e-4


def test_a_plateau_lowers_the_rate_when_nothing_gets_better(tiny):
    schedule = parse(
        ["config=tiny", "schedule.name=plateau", "schedule.patience=1", "schedule.decay=0.5"]
    ).config.schedule
    assert schedule_of(schedule).factor([3.0, 2.0, 1.0]) == 1
    assert schedule_of(schedule).factor([1.0, 1.0, 1.0]) == 0.5
    words = [
        "schedule.name=plateau",
        "schedule.patience=0",
        "schedule.warmup_epochs=0",
        "optim.lr=1e-9",
        "train.epochs=5",
    ]
    assert train([*FOLD, "run=p", *words, "optim.weight_decay=0", "train.ema_decay=0"]) == 0
    lr = pd.read_csv(folder(tiny, "p") / "log.csv")["lr"]
    assert lr.iloc[0] == pytest.approx(1e-9) and lr.iloc[-1] <= 1e-10


def test_a_stage_with_a_rate_of_its_own_begins_the_schedule_anew():
    words = ["train.stages=[{epochs: 2, lr: 0.5}, {epochs: 3}, {epochs: 1, lr: 0.01}]", "schedule.name=constant"]
    lr = curve(*words, "schedule.warmup_epochs=0")
    assert lr == pytest.approx([0.5] * 15 + [0.01] * 3)


def test_warm_up_counted_in_steps_leaves_most_of_a_short_stage(tiny):
    config = parse(
        [
            "config=tiny",
            "train.stages=[{epochs: 1, lr: 0.5}, {epochs: 1, lr: 0.1}]",
            "schedule.warmup_epochs=9",
            "schedule.warmup_steps=4",
        ]
    ).config
    lr = rates(config, stages_of(config), 20).lr.reshape(2, 20)
    assert lr[:, 0] == pytest.approx([0.005, 0.001]) and lr.argmax(1).tolist() == [4, 4]
    assert (lr[:, 5:].mean(1) > np.array([0.15, 0.03])).all(), "a cosine for the rest"
    by_epochs = curve("train.epochs=1", "schedule.warmup_epochs=1")
    assert by_epochs.argmax() == 1, "half an epoch of three steps, at most"
    assert train([*FOLD, "run=short", "train.epochs=1", "schedule.warmup_steps=1"]) == 0


def test_frozen_then_free(tiny):
    """While the trunk rests only the last layer learns, batch norm's statistics included."""
    assert train([*FOLD, "run=start", "train.epochs=1"]) == 0
    on = ["model.weights=run:start", "train.ema_decay=0"]
    assert train([*FOLD, *on, "run=frozen", "train.epochs=2", "train.frozen=trunk"]) == 0
    start, frozen = weights(tiny, "start"), weights(tiny, "frozen")
    moved = {name for name in start if not torch.equal(start[name], frozen[name])}
    assert moved == {"fc.weight", "fc.bias"}
    stages = "train.stages=[{epochs: 1, frozen: trunk}, {epochs: 1}]"
    assert train([*FOLD, *on, "run=freed", stages]) == 0
    freed = weights(tiny, "freed")
    assert any(not torch.equal(start[name], freed[name]) for name in start if name.startswith("layer1"))
    assert json.loads((folder(tiny, "freed") / "done.json").read_text())["epochs"] == 2


def test_the_first_groups_of_layers_rest(tiny, capsys):
    """Stem and first stage do not move, the statistics of their batch norms neither; a stage may free them."""
    assert train([*FOLD, "run=start", "train.epochs=1"]) == 0
    on = ["model.weights=run:start", "train.ema_decay=0", "optim.weight_decay=0.1"]
    assert train([*FOLD, *on, "run=rests", "train.epochs=2", "train.frozen=2"]) == 0
    assert train([*FOLD, *on, "run=freed", "train.stages=[{epochs: 1, frozen: 2}, {epochs: 1, frozen: 1}]"]) == 0
    start = weights(tiny, "start")
    for run, resting in (("rests", ("conv1.", "bn1.", "layer1.")), ("freed", ("conv1.", "bn1."))):
        now = weights(tiny, run)
        still = {name for name in start if torch.equal(start[name], now[name])}
        assert still == {name for name in start if name.startswith(resting)}, run
    capsys.readouterr()
    for words, code in (
        (["train.frozen=9"], "too-many-frozen"),
        (["train.stages=[{epochs: 1, frozen: 0}]"], "bad-value"),
    ):
        assert train([*FOLD, "run=wrong", *words, "--json"]) == 2
        assert json.loads(capsys.readouterr().out)["error"]["code"] == code


def test_a_network_without_groups_of_layers_is_told():
    with raises("no-layer-groups"):
        freeze(torch.nn.Sequential(torch.nn.Linear(2, 2)), 1)


@pytest.mark.parametrize(
    "name",
    [
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("vgg11_bn", "tf_efficientnet_lite0")),
        *("resnet8", "vit_tiny_patch16_224"),
    ],
)
def test_no_gradient_goes_through_layers_that_rest(name):
    register_networks()
    backbone = timm.create_model(name, num_classes=3)
    grouped = group_parameters(backbone, backbone.group_matcher(coarse=True), reverse=True)
    freeze(backbone, 2)
    backbone.train()
    images = torch.rand(1, 3, 224, 224)
    with saving() as kept:
        backbone(images).sum().backward()
    moved = {name for name, parameter in backbone.named_parameters() if parameter.grad is not None}
    assert moved == {name for name, group in grouped.items() if group >= 2}
    freeze(backbone, "nothing")
    with saving() as every:
        backbone(images)
    assert len(kept) < len(every), "the graph begins after them"


@contextmanager
def saving() -> Iterator[list]:
    """What a forward pass within it saves for the backward pass."""
    kept: list = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor.shape) or tensor, lambda same: same
    ):
        yield kept


def test_other_folds_leak_and_are_refused(tiny, capsys):
    assert train([*FOLD, "run=start", "train.epochs=1"]) == 0
    words = [*FOLD, "run=other", "data.fold_seed=1", "model.weights=run:start"]
    refused(capsys, train, words, "run-folds-differ", "model.weights=run:start")
    refused(capsys, train, [*FOLD, "run=none", "model.weights=run:nowhere"], "unknown-run", "nowhere")
    words = ["config=tiny", "fold=1", "run=late", "model.weights=run:start"]
    refused(capsys, train, words, "folds-missing", "fold 1")


def test_sizes_and_augmentation_by_stage(tiny):
    stages = "train.stages=[{epochs: 1, size: 8, augment: none}, {epochs: 1, augment: light, sampler: weighted}]"
    assert train([*FOLD, stages, "run=grows"]) == 0
    assert len(pd.read_csv(folder(tiny, "grows") / "log.csv")) == 2


def test_a_wrong_stage_is_told(capsys):
    assert train([*FOLD, "train.stages=[{epochs: 1, frozn: trunk}]"]) == 2
    assert "train.stages" in capsys.readouterr().err
    assert train([*FOLD, "train.stages=[{epochs: 1, augment: lihgt}]"]) == 2
    assert "light" in capsys.readouterr().err


def test_layers_far_from_the_head_learn_by_less(tiny):
    """A step of plain SGD moves each layer by its rate times its gradient."""
    words = ["config=tiny", "fold=0", "data.sampler=plain", "train.batch=64", "train.epochs=1", "train.ema_decay=0"]
    words += ["optim.name=momentum", "optim.momentum=0", "optim.weight_decay=0", "augment=none"]
    words += ["schedule.name=constant", "schedule.warmup_epochs=0"]
    assert train([*words, "run=start", "optim.lr=1e-12"]) == 0
    assert train([*words, "run=even", "optim.lr=0.5"]) == 0
    assert train([*words, "run=less", "optim.lr=0.5", "optim.layer_decay=0.5"]) == 0
    start, even, less = (weights(tiny, run) for run in ("start", "even", "less"))
    step = {
        name: ((less[name] - start[name]).norm() / (even[name] - start[name]).norm()).item()
        for name in start
        if "weight" in name
    }
    assert step["fc.weight"] == pytest.approx(1, abs=0.02)
    assert step["conv1.weight"] < 0.6


def test_mixing_gives_shares_that_sum_to_one():
    images = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 3, 6, 6) * 60
    for words in (["train.mixup=1.0"], ["train.cutmix=1.0"], ["train.mixup=0.5", "train.cutmix=0.5"]):
        torch.manual_seed(1)
        mixed, shares, _ = mixing(parse(["config=tiny", *words]).config.train, 4)(images, torch.arange(4))
        assert shares.shape == (4, 4) and torch.allclose(shares.sum(1), torch.ones(4))
        # The mean of each picture tells how much of it is of which class.
        torch.testing.assert_close(mixed.mean((1, 2, 3)), (shares * torch.arange(4) * 60).sum(1), atol=1e-2, rtol=1e-3)
    same, targets, _ = mixing(parse(["config=tiny"]).config.train, 4)(images, torch.arange(4))
    assert same is images and targets.ndim == 1


def test_mixed_training_learns(tiny):
    assert train([*FOLD, "run=mixed", "train.mixup=0.2", "train.cutmix=0.5", "train.epochs=8"]) == 0
    assert json.loads((folder(tiny, "mixed") / "done.json").read_text())["score"] > 0.6


def test_only_chosen_classes_are_augmented(capsys):
    targets, classes = np.array([0, 0, 0, 1, 2]), ("0", "1", "2")
    assert augmented_rows(None, targets, classes, MULTICLASS) is None
    assert augmented_rows("all_but_largest", targets, classes, MULTICLASS).tolist() == [
        False,
        False,
        False,
        True,
        True,
    ]
    assert augmented_rows([1], targets, classes, MULTICLASS).tolist() == [
        False,
        False,
        False,
        True,
        False,
    ]
    with raises("unknown-class", "7"):
        augmented_rows([7], targets, classes, MULTICLASS)
    assert train([*FOLD, "augment.only=[pink]"]) == 2
    assert "pink" in capsys.readouterr().err


def test_two_corrections_at_once_are_told(notes):
    words = ["config=tiny", "fold=0", "train.epochs=1"]
    assert train([*words, "loss.class_weights=balanced"]) == 0
    assert notes.take().texts("corrected-twice")
    assert train([*words, "loss.class_weights=balanced", "data.sampler=plain"]) == 0
    assert not notes.texts("corrected-twice")


def test_gem_and_a_cosine_head(tiny, capsys):
    words = [*FOLD, "model.pool=gem", "model.head=cosine", "loss.name=arcface", "train.epochs=8"]
    assert train([*words, "run=arc"]) == 0
    kept = weights(tiny, "arc")
    assert "global_pool.p" in kept and "fc.bias" not in kept
    assert json.loads((folder(tiny, "arc") / "done.json").read_text())["score"] > 0.6
    capsys.readouterr()
    assert train([*FOLD, "model.name=test_vit", "model.pool=gem", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "unfit-network"


def test_training_scores_are_of_rows_as_they_are(tiny):
    assert train([*FOLD, "run=scores", "log.train_scores=true", "train.epochs=2"]) == 0
    log = pd.read_csv(folder(tiny, "scores") / "log.csv")
    assert {"train_loss", "train_score"} <= set(log.columns)
    assert log["train_loss"].notna().all()
