"""A run that is killed at any moment and started again ends with the same bits as one that never was."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from src.config.load import load
from src.core.locks import only_one
from src.core.paths import REPOSITORY
from src.train import main as train
from src.training import machine, trainer
from src.training.machine import Share
from src.training.trainer import FoldTraining
from tests.fixtures.codes import raises, refused
from tests.fixtures.fresh_process import trained
from tests.fixtures.killed import killed_at
from tests.fixtures.notes import Notes, names_it
from tests.fixtures.tiny import write_tiny
from tests.fixtures.warm_python import KILL, warm_python

# Enough steps to be hit in the middle; a checkpoint after nearly every one, as "every few minutes" is in long runs.
WORDS = [
    "config=tiny",
    "fold=0",
    "train.epochs=8",
    "train.batch=4",
    "machine.checkpoint_minutes=0.0005",
    "log.tensorboard=true",
]
# Dropout and stochastic depth draw random numbers in every step.
WORDS += ["model.drop_rate=0.3", "model.args.drop_path_rate=0.2"]


@pytest.fixture
def tiny(home: Path) -> Path:
    write_tiny(home, side=8)
    return home


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A home in which a run `whole` was trained and never stopped: not to be changed."""
    home = tmp_path_factory.mktemp("whole")
    write_tiny(home, side=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(home))
        assert train([*WORDS, "run=whole"]) == 0
    return home


def start(home: Path, run: str, words: list[str] = WORDS) -> subprocess.Popen:
    environment = {**os.environ, "PODIUM_HOME": str(home)}
    command = [warm_python(), "-m", "src.train", *words, f"run={run}", "--json"]
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def fold(home: Path, run: str) -> Path:
    return home / "runs" / "tiny" / run / "seed0" / "fold0"


def result(home: Path, run: str) -> tuple[bytes, np.ndarray]:
    folder = fold(home, run)
    with np.load(folder / "logits" / "oof-identity.npz") as table:
        return (folder / "model.safetensors").read_bytes(), table["logits"]


def wait_for_step(home: Path, run: str, process: subprocess.Popen, epochs: int) -> None:
    """Until the log tells of so many epochs; then into the middle of the next one."""
    log = fold(home, run) / "log.csv"
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if log.exists() and len(log.read_text().splitlines()) > epochs:
            time.sleep(0.02)
            return
        time.sleep(0.002)
    pytest.fail(f"training did not reach epoch {epochs}: {process.stdout.read() if process.poll() is not None else ''}")


def test_killed_runs_end_with_the_same_bits(tiny, whole):
    kills = 0
    for epochs in (0, 3, 4):
        process = start(tiny, "killed")
        if epochs:
            wait_for_step(tiny, "killed", process, epochs)
        else:  # as soon as there is anything to lose
            while not (fold(tiny, "killed") / "checkpoint.pt").exists():
                assert process.poll() is None, process.stdout.read()
                time.sleep(0.002)
        process.send_signal(KILL)
        process.wait()
        assert not (fold(tiny, "killed") / "done.json").exists(), "killed too late to test anything"
        kills += 1
    assert kills == 3
    process = start(tiny, "killed")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    (told,) = Notes(json.loads(output.splitlines()[-1])["notes"]).texts("fold-resumed")
    assert names_it(told, "fold 0")

    true, killed = result(whole, "whole"), result(tiny, "killed")
    assert true[0] == killed[0]
    np.testing.assert_array_equal(true[1], killed[1])
    logs = [pd.read_csv(fold(home, run) / "log.csv") for home, run in ((whole, "whole"), (tiny, "killed"))]
    assert list(logs[1]["epoch"]) == list(range(1, 9))
    same = ["epoch", "steps", "loss", "lr", "held_out_loss", "score"]
    pd.testing.assert_frame_equal(logs[0][same], logs[1][same])


def test_a_kill_between_the_last_step_and_the_end_of_its_epoch(tiny):
    words = [word for word in WORDS if not word.startswith(("machine.", "train.epochs"))]
    words += ["machine.checkpoint_minutes=1e-9", "train.epochs=2"]
    assert train([*words, "run=whole"]) == 0
    with killed_at(FoldTraining, "_end_epoch"):
        train([*words, "run=killed"])
    progress = torch.load(fold(tiny, "killed") / "checkpoint.pt", weights_only=True)["progress"]
    assert (progress["epoch"], progress["step"]) == (0, 8), "every step of the epoch is in the checkpoint"
    assert train([*words, "run=killed"]) == 0
    assert result(tiny, "killed")[0] == result(tiny, "whole")[0]


def checkpoints_are_dear(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with large weights on a slow disk: a checkpoint is worth its time after hours alone."""
    monkeypatch.setattr(trainer, "CHEAP", 0)
    monkeypatch.setattr(trainer, "WORTH", 1e6)


def test_large_checkpoints_are_not_written_at_every_epochs_end(tiny, monkeypatch):
    words = ["config=tiny", "fold=0", "train.epochs=4"]
    assert train([*words, "run=whole"]) == 0
    with monkeypatch.context() as patched, killed_at(trainer, "finish"):
        checkpoints_are_dear(patched)
        train([*words, "run=killed"])
    assert torch.load(fold(tiny, "killed") / "checkpoint.pt", weights_only=True)["progress"]["epoch"] == 1
    assert train([*words, "run=killed"]) == 0
    assert result(tiny, "killed")[0] == result(tiny, "whole")[0]


def test_the_best_epoch_so_far_is_always_in_the_checkpoint(tiny, monkeypatch):
    """Else a life that finds another best one would take the weights that the one before had put aside."""
    words = ["config=tiny", "fold=0", "train.epochs=4", "train.keep=best", "run=killed"]
    checkpoints_are_dear(monkeypatch)
    with killed_at(trainer, "finish"):
        train(words)
    kept = torch.load(fold(tiny, "killed") / "checkpoint.pt", weights_only=True)["progress"]["epoch"]
    scores = pd.read_csv(fold(tiny, "killed") / "log.csv")["score"]
    assert kept == scores.argmax() + 1 > 1


def test_a_signal_while_the_last_epoch_is_kept_ends_the_command(tiny, monkeypatch):
    words = ["config=tiny", "fold=0", "train.epochs=2", "run=stopped", "machine.jobs=1"]
    keep = FoldTraining._keep

    def stopped(training: FoldTraining) -> None:
        keep(training)
        if training.state.progress.epoch == 2:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(FoldTraining, "_keep", stopped)
        assert train(words) == 130
    assert not (fold(tiny, "stopped") / "done.json").exists()
    assert train(words) == 0 and (fold(tiny, "stopped") / "done.json").exists()


def test_a_kill_between_the_last_epoch_and_what_is_made_of_it(tiny, monkeypatch, messages):
    words = ["config=tiny", "fold=0", "train.epochs=2"]
    monkeypatch.setattr(trainer, "CHEAP", 60)
    assert train([*words, "run=whole"]) == 0
    with killed_at(trainer, "finish"):
        train([*words, "run=killed"])
    messages.clear()
    assert train([*words, "run=killed"]) == 0
    assert not any(names_it(line, "2/2") and names_it(line, "loss") for line in messages), "no epoch is trained again"
    whole, killed = result(tiny, "whole"), result(tiny, "killed")
    assert whole[0] == killed[0]
    np.testing.assert_array_equal(whole[1], killed[1])


@pytest.mark.slow
def test_tensorboard_holds_no_epoch_twice(tiny):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    process = start(tiny, "events")
    wait_for_step(tiny, "events", process, 2)
    process.send_signal(KILL)
    process.wait()
    assert train([*WORDS, "run=events"]) == 0
    epochs, histograms = [], set()
    for file in (fold(tiny, "events") / "tensorboard").iterdir():
        events = EventAccumulator(str(file)).Reload()
        epochs += [event.step for event in events.Scalars("loss")]
        histograms |= set(events.Tags()["histograms"])
        assert {"loss", "held_out_loss", "score", "lr"} <= set(events.Tags()["scalars"])
    assert sorted(epochs) == list(range(1, 9))
    assert "backbone/conv1/weight" in histograms


def test_ctrl_c_keeps_the_step_and_says_how_to_go_on(tiny, whole):
    process = start(tiny, "stopped")
    wait_for_step(tiny, "stopped", process, 1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 130
    assert json.loads(output.splitlines()[-1])["error"]["code"] == "stopped"
    assert "Traceback" not in output
    assert train([*WORDS, "run=stopped"]) == 0
    assert result(tiny, "stopped")[0] == result(whole, "whole")[0]


def test_a_second_process_on_the_same_fold_is_refused(tiny, capsys):
    words = ["config=tiny", "fold=0", "train.epochs=1"]
    with only_one(fold(tiny, "busy"), "fold 0"):
        process = start(tiny, "busy", words)
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 1
        assert f"pid {os.getpid()}" in output
    assert train([*words, "run=busy"]) == 0  # and free again when the first one ends


def test_the_lock_dies_with_its_process(tmp_path):
    code = "import sys, time; from pathlib import Path; from src.core.locks import only_one\n"
    code += "with only_one(Path(sys.argv[1]), 'x'): print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with raises("busy", str(holder.pid)), only_one(tmp_path, "x"):
        pass
    (tmp_path / "lock").write_text("77 node3")  # on storage that machines share the holder may be on another one
    with raises("busy", "77", "node3"), only_one(tmp_path, "x"):
        pass
    holder.kill()
    holder.wait()
    with only_one(tmp_path, "x"):
        pass


def test_a_damaged_checkpoint_is_named(tiny, capsys):
    folder = fold(tiny, "damaged")
    folder.mkdir(parents=True)
    (folder / "checkpoint.pt").write_bytes(b"no checkpoint")
    assert train([*WORDS, "run=damaged"]) == 1
    assert str(folder / "checkpoint.pt") in capsys.readouterr().err


def test_finished_folds_are_skipped_and_other_settings_refused(tiny, capsys, notes):
    assert train(["config=tiny", "fold=0", "run=once"]) == 0
    before = json.loads((fold(tiny, "once") / "done.json").read_text())
    assert train(["config=tiny", "fold=0", "run=once"]) == 0
    assert notes.texts("nothing-to-do", 0, "once")
    assert json.loads((fold(tiny, "once") / "done.json").read_text()) == before
    words = ["config=tiny", "fold=1", "run=once", "optim.lr=0.5", "train.epochs=4"]
    message = refused(capsys, train, words, "run-config-differs", "run once")
    assert all(names_it(message, told) for told in ("optim.lr", 0.01, 0.5, "train.epochs", 3, 4))


def begun(output: str) -> Notes:
    return Notes(json.loads(output)["notes"])


@pytest.mark.slow  # three trainings in processes of their own
def test_the_last_fold_has_all_cores_and_the_same_when_it_goes_on_alone(tiny):
    words = ["config=tiny", "fold=0..2", "run=odd", "train.epochs=1", "machine.threads=auto", "model.name=resnet10t"]
    assert begun(trained(*words, "--json", cores=2)).texts("training-begun", "2 threads")
    file = tiny / "runs" / "tiny" / "odd" / "seed0" / "fold2" / "model.safetensors"
    whole = file.read_bytes()
    shutil.rmtree(file.parent)
    assert begun(trained(*words, "--json", cores=2)).texts("training-begun", "2 threads")
    assert file.read_bytes() == whole


@pytest.mark.parametrize(
    ("cores", "words", "folds", "shared"),
    [
        (2, {}, 5, Share(2, 1, 0, last=1, last_threads=2)),
        (4, {}, 5, Share(4, 1, 0, last=1, last_threads=4)),
        (4, {}, 7, Share(4, 1, 0)),  # three folds would leave a core idle, and get no second one
        (8, {}, 5, Share(5, 1, 0)),
        (16, {"machine.jobs": "4"}, 6, Share(4, 4, 0, last=2, last_threads=8)),
        (2, {}, 4, Share(2, 1, 0)),
        (2, {}, 1, Share(1, 2, 0)),
        (2, {"machine.jobs": "1"}, 5, Share(1, 2, 0)),
        (4, {"machine.threads": "1"}, 5, Share(4, 1, 0)),
    ],
)
def test_folds_share_the_cores(monkeypatch, cores, words, folds, shared):
    monkeypatch.setattr(machine, "cores", lambda: cores)
    config, cpu = load("auto", words, "demo-digits"), machine.Machine("cpu", "fp32", 0, 7)
    assert machine.share_out(config, cpu, folds) == shared
    assert not machine.share_out(config, cpu, folds, parameters=90_000).last  # a network too small for threads
