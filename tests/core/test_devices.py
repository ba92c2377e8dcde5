"""Several GPUs: folds and runs side by side, a process on each. No GPU is needed: two are said to be here, torch finds
none and computes on the CPU, and what every process sees is noted by itself."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from src.config.load import load
from src.core import devices as room
from src.core.devices import Gpus, apart, gpus
from src.core.errors import Problem
from src.core.locks import only_one
from src.core.paths import REPOSITORY
from src.core.reporter import Reporter, SilentReporter
from src.core.worker_processes import run_tasks
from src.sweep import main as sweep
from src.train import main as train
from src.training import machine
from src.training import run as session
from src.training.machine import Machine, Share, cores, device_for, share_out
from tests.fixtures.codes import raises, refused
from tests.fixtures.notes import Notes
from tests.fixtures.warm_python import warm_python

WORDS = ["config=tiny", "machine.device=cuda", "train.precision=fp32", "train.epochs=1"]
GPU = Machine("cuda", "fp32", 4, 8)


def said(bf16: bool = False) -> Gpus:
    """As many GPUs as CUDA_VISIBLE_DEVICES names."""
    return Gpus(tuple(filter(None, os.environ["CUDA_VISIBLE_DEVICES"].split(","))), bf16)


@pytest.fixture
def here(monkeypatch) -> Callable[[str], None]:
    """Let these GPUs be on this machine of four cores."""

    def be_here(names: str) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", names)
        room._found.cache_clear()

    monkeypatch.setattr(room, "_look", said)
    monkeypatch.setattr(machine, "cores", lambda: 4)
    monkeypatch.setattr(Machine, "torch_device", torch.device("cpu"))  # the GPUs are made up
    # Another test of this process may have asked CUDA, which has no meaning where nothing runs on a GPU.
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: False)
    yield be_here
    room._found.cache_clear()


def noting(folder: Path, train_fold: Callable) -> Callable:
    """Training a fold that first notes what its process sees."""

    def noted(job: object, reporter: Reporter) -> None:
        note = {
            "gpu": os.environ["CUDA_VISIBLE_DEVICES"],
            "pid": os.getpid(),
            "clean": not torch.cuda._is_in_bad_fork(),
            "workers": job.machine.workers,
        }
        (folder / f"{job.run.name} fold{job.fold}").write_text(json.dumps(note))
        train_fold(job, reporter)

    return noted


@pytest.fixture
def notes(tmp_path, monkeypatch) -> Callable[[], dict[str, dict]]:
    """What every fold noted, by its run and number."""
    folder = tmp_path / "notes"
    folder.mkdir()
    monkeypatch.setattr(session, "_train_fold", noting(folder, session._train_fold))
    return lambda: {file.name: json.loads(file.read_text()) for file in sorted(folder.iterdir())}


@pytest.mark.parametrize(
    ("names", "words", "folds", "wanted"),
    [
        ("0,1", {}, 5, Share(2, 1, 2, ("0", "1"))),
        ("GPU-a, GPU-b", {}, 5, Share(2, 1, 2, ("GPU-a", "GPU-b"))),
        ("4,2,7,1", {}, 3, Share(3, 1, 1, ("4", "2", "7"))),
        ("0,1", {"machine.jobs": "1"}, 5, Share(1, 4, 4)),
        ("0,1", {}, 1, Share(1, 4, 4)),
        ("0", {}, 5, Share(1, 4, 4)),
        ("0,1", {"machine.workers": "3", "machine.threads": "2"}, 5, Share(2, 2, 3, ("0", "1"))),
    ],
)
def test_each_fold_gets_a_gpu_and_its_share_of_the_cores(here, monkeypatch, names, words, folds, wanted):
    here(names)
    listed = tuple(name.strip() for name in names.split(","))
    monkeypatch.setattr(room, "_look", lambda: Gpus(listed))
    assert share_out(load("auto", words, "demo-digits"), GPU, folds) == wanted


def test_more_jobs_than_gpus_are_refused(here):
    here("0,1")
    with raises("bad-jobs", "machine.jobs=3", "machine.jobs=2"):
        share_out(load("auto", {"machine.jobs": "3"}, "demo-digits"), GPU, 5)


def test_the_names_are_those_that_were_given_to_this_process(monkeypatch):
    """The look itself, at a torch that finds two GPUs, of which one knows bf16."""
    for name, answer in (("is_available", lambda: True), ("device_count", lambda: 2)):
        monkeypatch.setattr(torch.cuda, name, answer)
    monkeypatch.setattr(room, "_bf16", [True, False].__getitem__)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 1,nonsense")
    assert room._look() == Gpus(("3", "1"), bf16=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert room._look() == Gpus(("0", "1"), bf16=False)


def test_where_torch_finds_no_gpu_there_is_none():
    if torch.cuda.is_initialized() or torch.version.hip or Path("/dev/nvidia0").exists():
        pytest.skip("this machine has a GPU")
    room._found.cache_clear()
    assert gpus() == Gpus()
    with raises("no-such-device", "machine.device=cuda"):
        device_for("cuda")


def note_gpu(file: Path, wait_for: Path | None, _: Reporter) -> None:
    deadline = time.monotonic() + 300
    while wait_for and not wait_for.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    file.write_text(f"{os.environ['CUDA_VISIBLE_DEVICES']} {os.getpid()}")


def test_a_freed_gpu_is_the_next_ones(here, tmp_path):
    """The first task lasts as long as all others, which share the second GPU."""
    here("5,7")
    files = [tmp_path / str(number) for number in range(4)]
    tasks = [partial(note_gpu, file, files[3] if file is files[0] else None) for file in files]
    run_tasks(tasks, 2, SilentReporter(), ("5", "7"))
    seen = [file.read_text().split() for file in files]
    assert [gpu for gpu, _ in seen] == ["5", "7", "7", "7"]
    assert len({pid for _, pid in seen} | {os.getpid()}) == 5
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5,7"


def test_folds_are_trained_on_gpus_side_by_side_and_go_on_with_another_number(tiny, here, notes, capsys):
    here("5,7")
    assert train([*WORDS, "fold=0..2", "run=two", "machine.checkpoint_minutes=1e-9"]) == 0
    seen = list(notes().values())
    assert {note["gpu"] for note in seen} == {"5", "7"} and all(note["workers"] == 2 for note in seen)
    assert len({note["pid"] for note in seen} | {os.getpid()}) == 4
    assert json.loads((tiny / "runs/tiny/two/machine.json").read_text())["device"] == "cuda"

    assert train([*WORDS, "fold=0", "run=one", "machine.workers=0"]) == 0
    here("7")
    assert train([*WORDS, "fold=0,1", "run=one", "machine.workers=0"]) == 0
    assert notes()["one fold1"]["pid"] == os.getpid()
    for fold in (0, 1):
        files = [tiny / "runs/tiny" / run / f"seed0/fold{fold}/model.safetensors" for run in ("one", "two")]
        assert files[0].read_bytes() == files[1].read_bytes()
    here("")
    refused(capsys, train, [*WORDS, "fold=2", "run=one"], "run-device-differs")


@pytest.mark.slow
def test_runs_of_a_sweep_have_gpus_of_their_own(tiny, here, notes, monkeypatch):
    here("0,1,2,3")
    assert sweep([*WORDS, "optim.lr=1e-2,1e-3", "fold=0,1", "machine.workers=0"]) == 0
    by_run: dict[str, set] = {}
    for name, note in notes().items():
        by_run.setdefault(name.split()[0], set()).add(note["gpu"])
    assert sorted(map(sorted, by_run.values())) == [["0", "1"], ["2", "3"]]


DOOR = """
import os, sys
from pathlib import Path
import src.core.devices as room
from tests.core.test_devices import noting, said
from src.training.machine import Machine
Machine.torch_device = __import__("torch").device("cpu")
room._look = said
from src.train import main
from src.training import run as session
session._train_fold = noting(Path(sys.argv[1]), session._train_fold)
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.slow
def test_ctrl_c_keeps_every_folds_step(tiny, here, tmp_path, capsys):
    """In a fresh process, as at the command line: there the folds' processes could begin with CUDA."""
    words = [*WORDS[:-1], "train.epochs=20", "run=a", "machine.workers=1"]
    process = subprocess.Popen(
        [warm_python(), "-c", DOOR, str(tmp_path), *words, "fold=0,1"],
        cwd=REPOSITORY,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "5,7"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    folds = [tiny / "runs/tiny/a/seed0" / f"fold{fold}" for fold in (0, 1)]
    deadline = time.monotonic() + 300
    while not all((fold / "checkpoint.pt").exists() for fold in folds):
        assert time.monotonic() < deadline and process.poll() is None, process.stdout.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 130, output
    assert not any((fold / "done.json").exists() for fold in folds)
    seen = [json.loads((tmp_path / f"a fold{fold}").read_text()) for fold in (0, 1)]
    assert sorted(note["gpu"] for note in seen) == ["5", "7"] and all(note["clean"] for note in seen)
    for fold in folds:  # free at once, though what loaded its images was at work
        with only_one(fold, "a fold"):
            pass
    here("7")
    assert train([*words, "fold=1", "--json"]) == 0
    assert Notes(json.loads(capsys.readouterr().out)["notes"]).texts("fold-resumed", "fold 1")


def failing(folder: Path, _: Reporter) -> None:
    with only_one(folder, "a fold"):
        multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,), daemon=True).start()
        raise Problem("so it is", code="so-it-is")


def test_a_fold_that_fails_leaves_nothing_behind_that_holds_it(tmp_path):
    with raises("so-it-is"):
        run_tasks([partial(failing, tmp_path), lambda _: time.sleep(0.1)], 2, SilentReporter())
    with only_one(tmp_path, "a fold"):
        pass


def test_a_process_that_used_a_gpu_before_is_told_so(tmp_path):
    if not torch.backends.cuda.is_built():
        pytest.skip("this torch knows no CUDA")

    def late() -> None:
        torch.cuda.is_available()  # asks the driver
        run_tasks([partial(note_gpu, tmp_path / "0", None)], 1, SilentReporter(), ("0",))

    with raises("gpu-in-use", "machine.jobs=1"):
        apart(late)
    assert not (tmp_path / "0").exists()


def test_what_is_asked_apart_is_answered_or_told():
    assert apart(os.getpid) != os.getpid()
    with raises("gpu-failed", "code 9"):
        apart(partial(os._exit, 9))


ASKER = """
import os, time
from src.core.devices import apart

def hold():
    print(os.getpid(), flush=True)
    time.sleep(600)

apart(hold)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_what_is_asked_apart_ends_with_an_asker_that_is_killed():
    """Both hold the pipe: it ends where neither is left."""
    asker = subprocess.Popen([sys.executable, "-c", ASKER], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    answering = int(asker.stdout.readline())
    assert answering != asker.pid
    asker.kill()
    try:
        assert asker.communicate(timeout=10) == ("", None)
    except subprocess.TimeoutExpired:
        os.kill(answering, signal.SIGKILL)
        raise


def test_a_limit_of_the_container_counts(monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert cores() == 1
