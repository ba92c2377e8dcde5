"""log.gradients: length of the gradients and share of silent units are told, and training stays the same."""

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from src.train import main as train
from src.training.dead_units import watched
from tests.fixtures.tiny import write_tiny

# One step an epoch, of all rows, by plain SGD: what an epoch moves is the rate times the gradient.
PLAIN = ["config=tiny", "fold=0", "optim.name=momentum", "optim.momentum=0", "optim.weight_decay=0", "optim.lr=0.5"]
PLAIN += ["schedule.name=constant", "schedule.warmup_epochs=0", "train.ema_decay=0", "train.batch=64", "augment=none"]
PLAIN += ["data.sampler=plain"]


def test_channels_that_never_answer_are_counted():
    network = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2), nn.ReLU()).eval()
    with torch.no_grad():
        network[0].weight.fill_(1)
        network[0].bias.copy_(torch.tensor([0.0, -10.0, -10.0, -3.0]))  # the last one answers the second image
        network[3].weight.fill_(0)
        network[3].bias.copy_(torch.tensor([1.0, -1.0]))
    with watched(network) as watch:
        for value in (1.0, 4.0):
            network(torch.full((1, 1, 2, 2), value))
    assert watch.dead == pytest.approx(3 / 6)
    network(torch.full((1, 1, 2, 2), 100.0))
    assert watch.dead == pytest.approx(3 / 6)  # watched no more
    with watched(nn.Linear(1, 1)) as watch:
        pass
    assert np.isnan(watch.dead)


class Shared(nn.Module):
    """Blocks that share one ReLU, as torchvision's do: 4 channels, 16, and 16 again."""

    def __init__(self) -> None:
        super().__init__()
        self.widths, self.relu = (1, 4, 16, 16), nn.ReLU()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(self.widths[:-1], self.widths[1:], strict=True))
        for layer, silent in zip(self.layers, (1, 5, 10), strict=True):
            nn.init.constant_(layer.weight, 0.0)
            layer.bias.data = torch.where(torch.arange(len(layer.bias)) < silent, -1.0, 1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = self.relu(layer(x))
        return x


def test_each_call_of_a_shared_relu_is_a_layer():
    network = Shared()
    with watched(network) as watch:
        for count in (3, 2):
            network(torch.ones(count, 1))
    assert watch.dead == pytest.approx((1 + 5 + 10) / (4 + 16 + 16))


def test_the_length_is_that_of_the_gradients_and_nothing_else_changes(home):
    write_tiny(home, side=8)
    folder = {run: home / "runs" / "tiny" / run / "seed0" / "fold0" for run in ("one", "two", "unwatched")}
    for run, words in (("one", ["1"]), ("two", ["2", "log.gradients=true"]), ("unwatched", ["2"])):
        assert train([*PLAIN, f"run={run}", f"train.epochs={words[0]}", *words[1:]]) == 0
    before, after, unwatched = (load_file(folder[run] / "model.safetensors") for run in ("one", "two", "unwatched"))
    assert all(torch.equal(after[name], unwatched[name]) for name in after)
    learned = [name for name in after if "running" not in name and "num_batches" not in name]
    moved = torch.cat([(after[name] - before[name]).flatten() for name in learned]).norm().item()
    log = pd.read_csv(folder["two"] / "log.csv")
    assert log["gradient_length"].iloc[1] == pytest.approx(moved / 0.5, rel=1e-3)
    assert log["dead_units"].between(0, 1).all()
    assert not {"gradient_length", "dead_units"} & set(pd.read_csv(folder["unwatched"] / "log.csv"))
