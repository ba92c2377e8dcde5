"""Two processes train one fold as one would: the same samples in the same steps, one writer, one voice, one end.

The launcher is started where the launcher matters. Elsewhere ranks are forked off this process, with the environment
that a launcher gives them: they find torch imported, and cost no seconds.
"""

import json
import multiprocessing
import os
import re
import shutil
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
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models import register_model
from torch import nn

from src.core.paths import REPOSITORY
from src.models.zoo import register_networks
from src.models.zoo.resnet8 import resnet8
from src.predict import main as predict
from src.train import main as train
from src.training import preflight
from tests.fixtures.codes import error_codes
from tests.fixtures.notes import Notes, names_it

LIMIT = 300  # seconds that any of these may take before it counts as hanging
# A group norm looks at each image alone: the batch may be split. SGD, because Adam's first steps blow the last digits
# of a gradient up to whole steps.
GROUPS = ["config=tiny", "model.args.norm_layer=groupnorm1", "optim.name=sgd", "optim.lr=0.05", "train.batch=7"]
# float32 keeps 7 digits. Two processes add gradients up in another order, and each of some 20 steps carries on a
# difference in the last digit: up to 2e-7 was seen. Another sample, or another share of one, makes 1e-3 and more.
ORDER = 5e-6


class Lot:
    """Ranks forked off this process. `told`: what each wrote to standard output and standard error."""

    def __init__(
        self, folder: Path, words: list[str], count: int = 2, door: Callable = train, homes: tuple[Path, ...] = ()
    ) -> None:
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
            if homes:  # as on machines that share none
                given["PODIUM_HOME"] = homes[rank]
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
    os.setsid()  # as the launcher starts them
    with output.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
        os._exit(door(words))


def together(home: Path, run: str, *words: str) -> Notes:
    """Train with two ranks to the end; what the first one noted."""
    lot = Lot(home / f"lot-{run}", [*words, f"run={run}", "--json"])
    assert lot.codes() == [0, 0], "".join(lot.told)
    assert not lot.told[1].strip(), "the second rank is to be silent"
    return Notes(json.loads(lot.told[0].splitlines()[-1])["notes"])


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
    assert np.abs(first - second).to_numpy().max() < 10 * ORDER
    same = ["epoch", "steps", "lr", "score"]
    pd.testing.assert_frame_equal(log(home, one, fold)[same], log(home, other, fold)[same])
    np.testing.assert_allclose(log(home, one, fold)["loss"], log(home, other, fold)["loss"], atol=ORDER)
    assert farthest(home, one, other, fold) < ORDER


# The same as one process

MIXED = ["train.mixup=0.4", "train.cutmix=1", "train.epochs=4", "schedule.name=plateau", "schedule.patience=0"]
MIXED += ["train.stages=[{epochs: 1, frozen: trunk}, {epochs: 2, size: 24}, {epochs: 1, sampler: plain}]"]
WEIGHED = ["loss.class_weights=balanced", "loss.smoothing=0.1", "data.sampler=plain", "augment=strong"]
WEIGHED += ["train.global_batch=9", "train.keep=best", "train.epochs=6", "train.patience=2", "optim.clip=0.5"]


def test_mixed_batches_stages_and_a_teacher(tiny):
    alone("teacher", *GROUPS, "fold=0", "train.epochs=2")
    words = [*GROUPS, *MIXED, "fold=0", "teach.run=teacher", "teach.pseudo=0.4"]
    alone("one", *words)
    told = together(tiny, "two", *words)
    assert told.texts("training-begun", 2)
    assert_same(tiny, "one", "two")


def test_a_head_fitted_on_features_and_layers_that_rest(tiny):
    """The leader fits the head, the others begin with the same numbers."""
    register_networks()
    torch.manual_seed(3)
    save_file(timm.create_model("resnet8", norm_layer="groupnorm1").state_dict(), tiny / "own.safetensors")
    words = [*GROUPS, f"model.pretrained={tiny / 'own.safetensors'}", "model.stem=stock", "fold=0"]
    words += ["train.head_init=probe", "train.frozen=2", "train.epochs=2"]
    together(tiny, "two", *words)
    alone("one", *words)
    assert_same(tiny, "one", "two")


@pytest.mark.slow
def test_weighed_classes_uneven_pieces_and_early_stopping(tiny):
    """Steps of 8 and 7 images, so parts of 4 and 3, in pieces of 3: one rank needs two of them and the other one."""
    words = [*GROUPS[:-1], *WEIGHED, "train.batch=3", "fold=0..1"]
    alone("one", *words, "machine.jobs=1")
    told = together(tiny, "two", *words)
    for fold in range(2):
        assert_same(tiny, "one", "two", fold)
        assert len(told.texts("fold-done", f"fold {fold}")) == 1
    assert len(told.texts("out-of-fold")) == 1


@pytest.mark.slow
def test_batch_norms_see_a_rank_s_part_and_keep_the_mean(tiny):
    """As accumulation in one process: gradients of two parts. Of the running statistics no rank's part is lost."""
    words = ["config=tiny", *GROUPS[2:-1], "fold=0", "augment=none", "train.ema_decay=0"]
    alone("pieces", *words, "train.batch=4", "train.global_batch=8")
    together(tiny, "parts", *words, "train.batch=8")
    one, two = weights(tiny, "pieces"), weights(tiny, "parts")
    learned = [name for name in one if "running" not in name and "num_batches" not in name]
    assert learned != list(one)
    assert max((one[name] - two[name]).abs().max().item() for name in learned) < ORDER
    # Of a network that stands still, the mean of two equal parts' means is that of the whole batch.
    still = ["config=tiny", "fold=0", "augment=none", "train.ema_decay=0", "optim.lr=1e-12", "train.batch=10"]
    still += ["train.epochs=1"]
    alone("whole", *still)
    together(tiny, "halves", *still)
    whole, halves = (weights(tiny, run)["bn1.running_mean"] for run in ("whole", "halves"))
    torch.testing.assert_close(halves, whole, rtol=0, atol=1e-6)
    assert whole.abs().max() > 1e-3, "this run shows nothing: no statistics were kept"


class Drawing(nn.Module):
    """Draws a number in every step, as dropout does, and notes it."""

    def __init__(self, **choices: object) -> None:
        super().__init__()
        self.inner = resnet8(**choices)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.training:
            with (Path(os.environ["PODIUM_HOME"]) / f"drawn-{os.environ.get('RANK', 'alone')}").open("a") as file:
                print(torch.rand(1).item(), file=file)
        return self.inner(images)


@register_model
def drawing(pretrained: bool = False, num_classes: int = 3, drop_rate: float = 0.0, **_: object) -> nn.Module:
    return Drawing(num_classes=num_classes, drop_rate=drop_rate)


def test_each_rank_draws_its_own_randomness(tiny):
    words = ["config=tiny", "model.name=drawing", "fold=0", "train.epochs=2"]
    alone("one", *words)
    together(tiny, "two", *words)
    drawn = {name: (tiny / f"drawn-{name}").read_text().splitlines() for name in ("alone", "0", "1")}
    assert len(drawn["alone"]) == 8
    assert drawn["0"] == drawn["alone"]
    assert len(set(drawn["0"] + drawn["1"])) == 16


def test_every_batch_that_fits_is_found_by_all(tiny):
    together(tiny, "auto", *GROUPS[:-1], "fold=0", "train.batch=auto", "train.global_batch=15", "train.epochs=1")
    assert json.loads((tiny / "runs/tiny/auto/machine.json").read_text())["batch"] == 8  # the larger part of 15
    assert log(tiny, "auto")["steps"].tolist() == [2]


# Stopping and going on

DRAWN = ["config=tiny", "fold=0", "train.batch=4", "train.epochs=8", "machine.checkpoint_minutes=0.002"]
DRAWN += ["model.drop_rate=0.3", "model.args.drop_path_rate=0.2"]  # random in every step, and in every rank
DRAWN += ["machine.workers=1"]
LONG = [*GROUPS[:-1], "fold=0", "train.batch=4", "train.epochs=10", "machine.checkpoint_minutes=0.002"]


def in_the_middle(home: Path, run: str, processes: list[BaseProcess] | list[subprocess.Popen]) -> None:
    """Until an epoch is done, and a step or two of the next."""
    told, until = member(home, run) / "log.csv", time.monotonic() + LIMIT
    while not told.exists() or len(told.read_text().splitlines()) < 3:
        assert time.monotonic() < until, "training did not begin in time"
        time.sleep(0.005)
    time.sleep(0.03)


def progress(home: Path, run: str) -> dict:
    return torch.load(member(home, run) / "checkpoint.pt", weights_only=True)["progress"]


@pytest.mark.slow
def test_a_signal_to_one_rank_stops_both_after_the_same_step_and_they_go_on_to_the_same_bits(tiny):
    together(tiny, "whole", *DRAWN)
    lot = Lot(tiny / "lot", [*DRAWN, "run=stopped", "--json"])
    in_the_middle(tiny, "stopped", lot.processes)
    for number in (signal.SIGINT, signal.SIGTERM):  # launchers repeat a signal, and send it to a rank's loaders too
        os.killpg(lot.processes[1].pid, number)
    assert lot.codes() == [130, 130], lot.told
    assert error_codes("".join(lot.told)) == ["stopped"]
    assert "Traceback" not in "".join(lot.told)
    kept = progress(tiny, "stopped")
    assert 0 < kept["epoch"] < 8, "stopped too late to show anything"
    assert kept["ranks"] == 2
    assert together(tiny, "stopped", *DRAWN).texts("fold-resumed", "fold 0")
    assert farthest(tiny, "whole", "stopped") == 0
    assert held_out(tiny, "whole").equals(held_out(tiny, "stopped"))


@pytest.mark.slow
def test_what_one_process_began_two_go_on_with(tiny):
    alone("whole", *LONG)
    lot = Lot(tiny / "lot", [*LONG, "run=handed"], count=1)
    in_the_middle(tiny, "handed", lot.processes)
    lot.processes[0].kill()
    assert lot.codes() == [-signal.SIGKILL]
    assert progress(tiny, "handed")["epoch"] < 10
    assert together(tiny, "handed", *LONG).texts("fold-resumed", 1, 2)
    assert_same(tiny, "whole", "handed")


def started(home: Path, *words: str) -> subprocess.Popen:
    """As the pages tell it, on two processors in place of two GPUs."""
    torchrun = [str(Path(sys.executable).with_name("torchrun")), "--nproc-per-node", "2", "--rdzv-backend", "c10d"]
    environment = {**os.environ, "PODIUM_HOME": str(home), "GLOO_SOCKET_IFNAME": "lo"}
    command = [*torchrun, "--rdzv-endpoint", "127.0.0.1:0", "-m", "src.train", *words]
    files = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=REPOSITORY, env=environment, **files)


def ranks_of(launcher: subprocess.Popen) -> dict[int, int]:
    """{rank: process id} of what the launcher started."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    told = {pid: Path(f"/proc/{pid}/environ").read_text().split("\0") for pid in children}
    return {int(word.removeprefix("RANK=")): int(pid) for pid in told for word in told[pid] if word.startswith("RANK=")}


@pytest.mark.slow
def test_a_rank_that_is_killed_ends_the_launch_and_one_process_goes_on(tiny, notes):
    """Through torchrun itself."""
    alone("whole", *LONG)
    launcher = started(tiny, *LONG, "run=killed", "--json")
    try:
        in_the_middle(tiny, "killed", [launcher])
        ranks = ranks_of(launcher)
        assert sorted(ranks) == [0, 1]
        os.kill(ranks[1], signal.SIGKILL)
        output, _ = launcher.communicate(timeout=LIMIT)
    finally:
        launcher.kill()
    assert launcher.returncode != 0
    assert len(re.findall(r"fold 0 .* 1/10 ", output)) == 1, "one rank tells of the epochs"
    assert error_codes(output) == ["process-lost"], output
    assert not any(Path(f"/proc/{pid}").exists() for pid in ranks.values()), "a rank outlived its launcher"
    assert progress(tiny, "killed")["epoch"] < 10, "killed too late to show anything"
    alone("killed", *LONG)
    assert notes.texts("fold-resumed", 2, 1)
    assert_same(tiny, "whole", "killed")
    assert list(log(tiny, "killed")["epoch"]) == list(range(1, 11))


# What goes wrong is told once


class CrampedSecond(nn.Module):
    """A network that is too large for the second rank's device."""

    def __init__(self, **choices: object) -> None:
        super().__init__()
        self.inner = resnet8(norm_layer="groupnorm1", **choices)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.training and os.environ.get("RANK") == "1" and len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return self.inner(images)


@register_model
def cramped_second(pretrained: bool = False, num_classes: int = 3, drop_rate: float = 0.0, **_: object) -> nn.Module:
    return CrampedSecond(num_classes=num_classes, drop_rate=drop_rate)


def failed(home: Path, name: str, *words: str, door: Callable = train) -> tuple[list[int | None], str]:
    lot = Lot(home / name, list(words), door=door)
    return lot.codes(), "".join(lot.told)


def test_one_rank_s_problem_is_told_once_and_ends_all(tiny):
    words = ["config=tiny", "fold=0", "model.name=cramped_second", "train.batch=8", "run=a"]
    codes, told = failed(tiny, "one", *words, "--json")
    assert codes == [1, 1]
    assert told.count("error: ") == 1 and error_codes(told) == ["out-of-memory"]
    assert names_it(told, "train.batch=2")
    assert "Traceback" not in told
    together(tiny, "b", *words[:3], "train.batch=2", "train.global_batch=8")


def test_a_problem_of_all_is_told_once(tiny):
    for number, (code, error, name, word) in enumerate(
        [
            (2, "unknown-key", "optim.lr?", "optim.lrr=1"),
            (2, "unknown-optimizer", "optim.name=adamx", "optim.name=adamx"),
            (1, "loss-not-finite", "fold 0", "optim.lr=1e30"),
            (2, "batch-too-small", "train.batch", "train.batch=1"),
            (2, "bad-jobs", "machine.jobs=2", "machine.jobs=2"),
            (2, "launched-twice", "--find-lr", "--find-lr"),
        ]
    ):
        codes, told = failed(tiny, f"lot{number}", "config=tiny", f"run=r{number}", word, "--json")
        assert codes == [code, code], told
        assert told.count("error: ") == 1 and error_codes(told) == [error], told
        assert name in told
        assert "Traceback" not in told


def test_machines_that_share_no_folder_are_told_before_anything_is_trained(tiny, tmp_path_factory, monkeypatch):
    """Each has the run's folder, with a fold in it: nothing that is missing gives them away."""
    monkeypatch.setattr(preflight, "PATIENCE", 1)
    alone("a", "config=tiny", "train.epochs=1", "fold=0")
    other = tmp_path_factory.mktemp("other") / "home"
    shutil.copytree(tiny, other)
    lot = Lot(tiny / "lot", ["config=tiny", "train.epochs=1", "fold=1", "run=a", "--json"], homes=(tiny, other))
    codes, told = lot.codes(), "".join(lot.told)
    assert codes == [1, 1], told
    assert told.count("error: ") == 1
    assert error_codes(told) == ["storage-not-shared"]
    for home in (tiny, other):
        assert not (member(home, "a", 1) / "checkpoint.pt").exists()


def test_other_commands_are_not_run_by_several_processes(tiny):
    codes, told = failed(tiny, "lot", "config=tiny", "--json", door=predict)
    assert codes == [2, 2]
    assert error_codes(told) == ["launched-twice"]


@pytest.mark.slow
def test_a_run_in_use_is_refused_once(tiny):
    words = [word for word in LONG if not word.startswith("train.epochs")] + ["train.epochs=200", "run=a"]
    lot = Lot(tiny / "first", words)
    in_the_middle(tiny, "a", lot.processes)
    codes, told = failed(tiny, "second", *words, "--json")
    assert codes == [1, 1]
    assert told.count("error: ") == 1
    assert error_codes(told) == ["busy"]
    os.kill(lot.processes[0].pid, signal.SIGINT)
    assert lot.codes() == [130, 130]
