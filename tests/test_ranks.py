"""Two processes train one fold as one would: the same samples in the same steps, one writer, one voice, one end.

The launcher is started where the launcher matters. Elsewhere ranks are forked off this process, with the environment
that a launcher gives them: they find torch imported, and cost no seconds.
"""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from timm.models import register_model
from torch import nn

from src.models.scratch.resnet8 import resnet8
from src.predict import main as predict
from src.runs import REPOSITORY
from src.train import main as train
from src.training.losses import Criterion
from src.training.ranks import Ranks
from src.training.turns import Turns

LIMIT = 60  # seconds that any of these may take before it counts as hanging
# A group norm looks at each image alone: the batch may be split. SGD, because Adam's first steps blow the last digits
# of a gradient up to whole steps.
GROUPS = ["config=tiny", "model.args.norm_layer=groupnorm1", "optim.name=sgd", "optim.lr=0.05", "train.batch=7"]
# float32 keeps 7 digits. Two processes add gradients up in another order, and each of some 20 steps carries on a
# difference in the last digit: some 1e-6 was seen. Another sample, or another share of one, makes 1e-3 and more.
ORDER = 2e-5


class Lot:
    """Ranks forked off this process. `told`: what each wrote to standard output and standard error."""

    def __init__(self, folder: Path, words: list[str], count: int = 2, door: Callable = train) -> None:
        folder.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.folder, self.processes = folder, []
        fork = multiprocessing.get_context("fork")
        for rank in range(count):
            given = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
            given |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}
            given["TORCHELASTIC_ERROR_FILE"] = folder / str(rank) / "error.json"
            environment = {key: str(value) for key, value in given.items()}
            self.processes.append(fork.Process(target=_rank, args=(folder / f"{rank}.txt", environment, door, words)))
        for process in self.processes:
            process.start()

    def codes(self) -> list[int | None]:
        """The exit codes, once all have ended; a hanging one is killed, and has none."""
        until = time.monotonic() + LIMIT
        for process in self.processes:
            process.join(max(0, until - time.monotonic()))
        codes = [process.exitcode for process in self.processes]
        for process in self.processes:
            process.kill()
        return codes

    @property
    def told(self) -> list[str]:
        return [(self.folder / f"{rank}.txt").read_text() for rank in range(len(self.processes))]


def _rank(output: Path, environment: dict[str, str], door: Callable, words: list[str]) -> None:
    os.environ.update(environment)
    with output.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
        os._exit(door(words))


def together(home: Path, run: str, *words: str) -> str:
    """Train with two ranks to the end; what the first one told."""
    lot = Lot(home / f"lot-{run}", [*words, f"run={run}"])
    assert lot.codes() == [0, 0], lot.told
    assert not lot.told[1].strip(), "the second rank is to be silent"
    return lot.told[0]


def alone(run: str, *words: str) -> None:
    assert train([*words, f"run={run}"]) == 0


def member(home: Path, run: str, fold: int = 0) -> Path:
    return home / "runs" / "tiny" / run / "seed0" / f"fold{fold}"


def weights(home: Path, run: str, fold: int = 0) -> dict[str, torch.Tensor]:
    return load_file(member(home, run, fold) / "model.safetensors")


def farthest(home: Path, one: str, other: str, fold: int = 0) -> float:
    first, second = weights(home, one, fold), weights(home, other, fold)
    assert first.keys() == second.keys()
    return max((first[name] - second[name]).abs().max().item() for name in first)


def log(home: Path, run: str, fold: int = 0) -> pd.DataFrame:
    return pd.read_csv(member(home, run, fold) / "log.csv")


def held_out(home: Path, run: str, fold: int = 0) -> pd.DataFrame:
    with np.load(member(home, run, fold) / "logits" / "oof-identity.npz") as table:
        return pd.DataFrame(table["logits"], index=table["id"])


def assert_same(home: Path, one: str, other: str, fold: int = 0) -> None:
    """The same steps, the same held-out rows once each, and weights that differ by the order of sums alone."""
    first, second = held_out(home, one, fold), held_out(home, other, fold)
    assert list(first.index) == list(second.index)
    assert first.index.is_unique
    assert np.abs(first - second).to_numpy().max() < 50 * ORDER
    same = ["epoch", "steps", "lr", "score"]
    pd.testing.assert_frame_equal(log(home, one, fold)[same], log(home, other, fold)[same])
    np.testing.assert_allclose(log(home, one, fold)["loss"], log(home, other, fold)["loss"], atol=ORDER)
    assert farthest(home, one, other, fold) < ORDER


# The same as one process

MIXED = ["train.mixup=0.4", "train.cutmix=1", "train.epochs=4", "schedule.name=plateau", "schedule.patience=0"]
MIXED += ["train.stages=[{epochs: 1, frozen: trunk}, {epochs: 2, size: 24}, {epochs: 1, sampler: plain}]"]
WEIGHED = ["loss.class_weights=balanced", "loss.smoothing=0.1", "data.sampler=plain", "augment=strong"]
WEIGHED += ["train.global_batch=7", "train.keep=best", "train.epochs=6", "train.patience=2", "optim.clip=0.5"]


def test_mixed_batches_stages_and_a_teacher(tiny):
    alone("teacher", *GROUPS, "fold=0", "train.epochs=2")
    words = [*GROUPS, *MIXED, "fold=0", "teach.run=teacher", "teach.pseudo=0.4"]
    alone("one", *words)
    told = together(tiny, "two", *words)
    assert "2 processes share each batch" in told
    assert_same(tiny, "one", "two")


@pytest.mark.parametrize("batch", ["train.batch=2", "train.batch=1"])
def test_weighed_classes_uneven_pieces_and_early_stopping(tiny, batch):
    """30 rows in steps of 6 and batches of 7 at most: parts of 3 and 3, in pieces of 2 and 1."""
    words = [*GROUPS[:-1], *WEIGHED, batch, "fold=0..1"]
    alone("one", *words[:-1], "machine.jobs=1", "fold=0..1")
    told = together(tiny, "two", *words)
    for fold in range(2):
        assert_same(tiny, "one", "two", fold)
        assert told.count(f"fold {fold} done") == 1
    assert told.count("accuracy out of fold") == 1
