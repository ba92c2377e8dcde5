"""Runs on Ray: the words for it, what is told without it, and a real cluster of two nodes, one of which is killed.

The cluster lies on this machine's loopback: two nodes of one CPU each, that share the home folder.
"""

import errno
import hashlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from src.core.cli import key_values
from src.core.paths import REPOSITORY
from src.experiments.search_space import space_of
from src.experiments.study import STOPPED, Study
from src.launchers.launcher import launcher_of
from src.launchers.ray import cell as cluster_room
from src.launchers.ray import storage
from src.launchers.ray.connection import identify
from src.sweep import main as sweep
from src.train import main as train
from tests.fixtures.codes import raises, refused
from tests.fixtures.notes import Notes, names_it
from tests.fixtures.tiny import write_tiny

FOLDS = ["config=tiny", "data.folds=5", "train.epochs=12"]
ABSENT = "Ray is optional, and not installed here: pip install ray==2.60.0"
SECONDS = 180  # that any one thing here may take on a busy machine


# Words


def test_the_words_say_where_the_work_is_done():
    fold, ray = {"fold": "0"}, {"launcher": "ray"}
    assert launcher_of(fold) == (None, fold)
    assert launcher_of(fold | ray) == ("local", fold)
    assert launcher_of({"address": "10.0.0.1:6379"} | fold | ray) == ("10.0.0.1:6379", fold)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["launcher=slurm"], "unknown-launcher"),
        (["address=auto"], "no-launcher"),
        (["launcher=ray", "launcher=ray"], "given-twice"),
        (["launcher=ray", "address="], "not-key-value"),
    ],
)
def test_wrong_words_are_told(words, code):
    with raises(code):
        launcher_of(key_values(words))


@pytest.mark.parametrize("door", [train, sweep])
def test_without_ray_the_remedy_is_told_and_nothing_is_trained(tiny, capsys, monkeypatch, door):
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    words = ["config=tiny", "fold=0", "launcher=ray", *(["optim.lr=1e-2,1e-3"] if door is sweep else [])]
    refused(capsys, door, words, "ray-not-installed", "pip install ray==")
    assert not list((tiny / "runs").rglob("checkpoint.pt"))


def test_a_search_without_ray_is_told_so_too(tiny, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    words = ["--search", "config=tiny", "optim.lr=1e-4..1e-1", "launcher=ray"]
    refused(capsys, sweep, words, "ray-not-installed", "pip install ray==")
    assert not list((tiny / "runs").rglob("checkpoint.pt"))


# Shared storage


def hold_storage(home: Path) -> subprocess.Popen:
    """A command, on what may be another machine, that has work on a cluster under way."""
    code = "from src.launchers.ray.storage import storage_held\nwith storage_held(): print('held', flush=True); input()"
    look = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPOSITORY, env=os.environ | {"PODIUM_HOME": str(home)}, **look
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_a_node_knows_the_storage_by_the_lock_that_the_command_holds_there(home, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "PATIENCE", 0)
    with raises("storage-not-shared"):
        storage.check_storage()
    one, two = hold_storage(home), hold_storage(home)  # two commands at once
    storage.check_storage()
    one.communicate("")
    storage.check_storage()
    two.kill()
    two.communicate()
    with raises("storage-not-shared", "locks"):  # as where a mount keeps locks to its machine
        storage.check_storage()


def test_a_wrong_address_is_told_at_once(tiny, capsys):
    pytest.importorskip("ray", reason=ABSENT)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    begun = time.monotonic()
    address = f"address=127.0.0.1:{port}"
    refused(capsys, train, ["config=tiny", "fold=0", "launcher=ray", address], "no-cluster", address)
    assert time.monotonic() - begun < 30


def test_a_log_that_its_server_replaces_while_it_is_read_is_read_later(tmp_path, monkeypatch):
    assert cluster_room.log_of(tmp_path / "log.csv") is None
    (tmp_path / "log.csv").write_text("epoch,score\n1,0.5\n")
    assert len(cluster_room.log_of(tmp_path / "log.csv")) == 1

    def failing(number: int) -> Callable:
        def read(*_: object, **__: object) -> None:
            raise OSError(number, os.strerror(number))

        return read

    monkeypatch.setattr(cluster_room.pd, "read_csv", failing(errno.ESTALE))
    assert cluster_room.log_of(tmp_path / "log.csv") is None
    monkeypatch.setattr(cluster_room.pd, "read_csv", failing(errno.EIO))
    with pytest.raises(OSError) as failed:
        cluster_room.log_of(tmp_path / "log.csv")
    assert failed.value.errno == errno.EIO


# A token


def test_the_token_that_a_user_has_is_shown_and_none_is_left_in_his_home(tmp_path, monkeypatch):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")  # so that what is set here is taken back
    monkeypatch.setenv("HOME", str(tmp_path))

    def shown(address: str) -> tuple[str | None, int]:
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
            os.environ.pop(name, None)
        identify(address)
        return os.environ.get("RAY_AUTH_MODE"), len(os.environ.get("RAY_AUTH_TOKEN", ""))

    assert shown("10.0.0.1:6379") == (None, 0)
    assert shown("local") == ("token", 64)
    assert not list(tmp_path.iterdir())
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret")
    assert shown("10.0.0.1:6379") == ("token", 0)


# A real cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[object]:
    """A head and one more node, of one CPU each."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    pytest.importorskip("ray", reason=ABSENT)
    from ray.cluster_utils import Cluster

    # Ray takes 127.0.0.1 for a machine's outer address; every other address of the loopback is what it is.
    made = Cluster(initialize_head=True, head_node_args=node(2) | {"include_dashboard": False})
    made.add_node(**node(3))
    yield made
    made.shutdown()


def node(number: int) -> dict:
    return {"num_cpus": 1, "node_ip_address": f"127.0.0.{number}", "object_store_memory": 100_000_000}


@pytest.fixture
def begin(cluster) -> Iterator[Callable]:
    """A function that gives a command to the cluster; none of them outlives its test."""
    begun = []

    def function(home: Path, *words: str, door: str = "train") -> subprocess.Popen:
        command = [sys.executable, "-m", f"src.{door}", *words, "--json", "launcher=ray", f"address={cluster.address}"]
        look = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        environment = os.environ | {"PODIUM_HOME": str(home)}
        del environment["RAY_AUTH_MODE"]  # whoever has the token need not say so
        begun.append(subprocess.Popen(command, cwd=REPOSITORY, env=environment, **look))
        return begun[-1]

    yield function
    for process in begun:
        process.kill()


def wait_for(what: Callable[[], object], process: subprocess.Popen) -> object:
    """What it gives, once it gives something while the process is at work."""
    deadline = time.monotonic() + SECONDS
    while not (found := what()):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)
    return found


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def under_way(run: Path, raylet: int) -> Path | None:
    """A fold with a checkpoint that a worker of this node is training."""
    for checkpoint in run.glob("seed0/*/checkpoint.pt"):
        folder = checkpoint.parent
        pid = (folder / "lock").read_text().partition(" ")[0]
        alive = pid and not (folder / "done.json").exists() and Path(f"/proc/{pid}").exists()
        if alive and parent_of(int(pid)) == raylet:
            return folder
    return None


def weights(run: Path) -> dict[str, str]:
    files = {fold: run / "seed0" / f"fold{fold}" / "model.safetensors" for fold in range(5)}
    return {fold: hashlib.sha256(file.read_bytes()).hexdigest() for fold, file in files.items()}


@pytest.mark.slow
def test_five_folds_are_finished_though_a_node_is_killed_and_to_the_same_bits(cluster, begin, tmp_path, monkeypatch):
    for name in ("shared", "alone"):
        write_tiny(tmp_path / name)
    run = tmp_path / "shared" / "runs" / "tiny" / "tiny+data.folds=5+train.epochs=12"
    lost = next(iter(cluster.worker_nodes))
    raylet = next(iter(lost.all_processes["raylet"])).process.pid
    process = begin(tmp_path / "shared", *FOLDS, "fold=0..4")
    killed = wait_for(lambda: under_way(run, raylet), process)
    cluster.remove_node(lost, allow_graceful=False)  # SIGKILL
    assert not (killed / "done.json").exists(), "killed too late to show anything"
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, output
    assert noted(output).texts("fold-resumed", f"fold {killed.name[-1]}")
    cluster.add_node(**node(4))
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path / "alone"))
    assert train([*FOLDS, "fold=0..4", "machine.jobs=1"]) == 0
    assert weights(run) == weights(tmp_path / "alone" / "runs" / "tiny" / run.name)


@pytest.mark.slow
def test_ctrl_c_ends_the_cells_after_a_checkpoint(begin, tiny):
    run = tiny / "runs" / "tiny" / "tiny+train.epochs=400"
    process = begin(tiny, "config=tiny", "train.epochs=400", "fold=0..1")
    wait_for(lambda: len(list(run.glob("seed0/*/checkpoint.pt"))) == 2, process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, output
    assert json.loads(output.splitlines()[-1])["error"]["code"] == "stopped"
    epochs = [len(pd.read_csv(run / "seed0" / f"fold{fold}" / "log.csv")) for fold in range(2)]
    time.sleep(1)
    assert epochs == [len(pd.read_csv(run / "seed0" / f"fold{fold}" / "log.csv")) for fold in range(2)]  # none goes on
    assert not list(run.rglob("done.json"))


@pytest.mark.slow
def test_what_is_wrong_with_a_cell_is_told_once(begin, tiny):
    process = begin(tiny, "config=tiny", "optim.lr=1e30", "fold=0..2")
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 1, output
    assert output.count("error: ") == 1
    assert json.loads(output.splitlines()[-1])["error"]["code"] == "loss-not-finite"
    process = begin(tiny, "config=tiny", "optim.name=nonesuch", "fold=0..2")
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 2, output
    process = begin(tiny, "config=tiny", "machine.threads=64", "fold=0")
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 2, output
    assert json.loads(output.splitlines()[-1])["error"]["code"] == "no-such-device"


@pytest.mark.slow
def test_a_sweep_of_which_one_run_fails(begin, tiny):
    words = ["config=tiny", "optim.lr=1e30,1e-2,1e-3", "train.epochs=2", "fold=0"]
    process = begin(tiny, *words, door="sweep")
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 1, output
    assert json.loads(output.splitlines()[-1])["error"]["code"] == "runs-failed"
    table = pd.read_csv(next((tiny / "runs").rglob("summary.csv")), dtype={"label": str})
    assert list(table["label"]) == ["1e-2", "1e-3"]


@pytest.mark.slow
def test_nodes_that_write_elsewhere_are_told(tiny, capsys, monkeypatch):
    pytest.importorskip("ray", reason=ABSENT)
    monkeypatch.setattr(cluster_room, "train_cell", lambda request, board, label: None)  # leaves nothing here
    monkeypatch.setattr(cluster_room, "STORAGE_SECONDS", 1)
    refused(capsys, train, ["config=tiny", "fold=0..1", "launcher=ray"], "storage-not-shared", str(tiny))
    assert not list((tiny / "runs").rglob("done.json"))  # nor were they trained here instead


# A search on it

SEARCH = ["--search", "config=tiny", "fold=0..1", "optim.lr=1e-6..1e-1"]


def study_of(*words: str) -> Study:
    return Study(space_of(list(words)).folder, higher_is_better=True)


@pytest.mark.slow
def test_a_search_makes_its_trials_on_both_nodes_and_stops_the_poor(begin, tiny):
    words = [*SEARCH, "train.epochs=12", "trials=10"]
    process = begin(tiny, *words, door="sweep")
    output, _ = process.communicate(timeout=2 * SECONDS)
    assert process.returncode == 0, output
    found, folder = study_of(*words), space_of(words).folder
    stopped = found.with_fate(STOPPED)
    assert stopped
    assert len(stopped) + len(found.done) == len(found.trials) == 10
    assert len({one.run for one in found.trials}) == 10
    for one in stopped:  # kept its step, and did not go on to the end
        run = tiny / "runs" / "tiny" / one.run
        assert list(run.glob("seed0/*/checkpoint.pt"))
        assert not (run / "seed0" / "fold1" / "done.json").exists()
        assert "accuracy" in one.reason
    assert len(pd.read_csv(folder / "summary.csv")) == len(found.done)
    text = (folder / "comparison.md").read_text()
    assert names_it(text, 10)
    # Two at once: one begins before the other one is over.
    told = [(one.code, one.text) for one in noted(output) if one.code in ("trial-begun", "trial-ended")]
    assert told[0][0] == "trial-begun" and names_it(told[0][1], "trial 0")
    ended = next(at for at, (code, text) in enumerate(told) if code == "trial-ended" and names_it(text, "trial 0"))
    assert any(code == "trial-begun" and names_it(text, "trial 1") for code, text in told[:ended])


def noted(output: str) -> Notes:
    """The notes of a command that was given --json: its last line holds them."""
    return Notes(json.loads(output.splitlines()[-1])["notes"])


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_search_that_is_ended_goes_on_with_the_trials_that_were_under_way(begin, tiny, how):
    words = [*SEARCH, "train.epochs=30", "trials=3"]
    process = begin(tiny, *words, door="sweep")
    wait_for(lambda: len(list((tiny / "runs").rglob("checkpoint.pt"))) == 2, process)
    process.send_signal(how)
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == (130 if how == signal.SIGINT else -how), output
    assert not list((tiny / "runs" / "tiny").glob("*/seed0/fold1/done.json")), "ended too late to show anything"
    process = begin(tiny, *words, door="sweep")
    output, _ = process.communicate(timeout=2 * SECONDS)
    assert process.returncode == 0, output
    for trial in (0, 1):
        assert noted(output).texts("fold-resumed", f"trial {trial}", "fold 0")
    found = study_of(*words)
    assert [one.number for one in found.trials] == [0, 1, 2]
    assert len(found.done) == 3
