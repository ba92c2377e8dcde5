"""A run is trained by notebooks at Kaggle, one after the other, and comes back whole."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from src.command import parse
from src.errors import Problem
from src.kernel import main
from src.predict import main as predict
from src.runs import REPOSITORY, Run, read_json
from src.submission import hosted, hosted_run, kaggle
from src.training.carried import FILE, bring, checkpoints, pack
from tests.kaggle_hosting import Kernel, Ran
from tests.kaggle_server import Competition, KaggleServer
from tests.offline import Machine
from tests.tiny import CARD

SLUG = "three-colours"
EPOCHS = 100


def said(door, *words: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert door(list(words)) == 0, out.getvalue()
    return out.getvalue()


class Lent:
    """Kaggle's machine: it mounts what was pushed, runs the notebook offline, and keeps its output."""

    def __init__(self, folder: Path, server: KaggleServer, data: Path):
        self.folder, self.server, self.data = folder, server, data
        self.told: list[str] = []
        self.left = 99  # notebooks that it will run

    def execute(self, kernel: Kernel) -> Ran:
        if self.left == 0:
            return Ran("ERROR", "no machine is free", why="no machine is free")
        self.left -= 1
        machine = Machine(self.folder / f"run{len(list(self.folder.glob('*')))}")
        machine.mount(self.data, f"competitions/{SLUG}")
        (source,) = kernel.asked["datasetDataSources"]
        mounted = machine.input / "datasets" / source
        mounted.mkdir(parents=True)
        for name, data in self.server.datasets[source].versions[-1].items():
            (mounted / name).write_bytes(data)
        notebook = machine.folder / "pushed.ipynb"
        notebook.write_text(kernel.asked["text"])
        ended = machine.run(notebook)
        self.told.append(ended.stdout + ended.stderr)
        output = {path.name: path.read_bytes() for path in machine.written().parent.iterdir() if path.is_file()}
        return Ran("ERROR" if ended.returncode else "COMPLETE", ended.stdout + ended.stderr, output)


@pytest.fixture
def lent(tiny, tmp_path, monkeypatch):
    card = tiny / "competition" / "tiny" / "card.yaml"
    card.write_text(CARD + f"kaggle: {SLUG}\n")
    for name in [name for name in os.environ if name.upper().startswith(("KAGGLE_", "HTTP_PROXY", "HTTPS_PROXY"))]:
        monkeypatch.delenv(name)
    for module, name in ((kaggle, "PAUSES"), (hosted, "LOOKS"), (hosted_run, "POLLS")):
        monkeypatch.setattr(module, name, (0.05, 0.05))
    # The command waits until the notebook has run, since this Kaggle runs it while it answers.
    monkeypatch.setattr(kaggle, "UPLOAD_SECONDS", 1800.0)
    with KaggleServer(Competition(SLUG, {"0501": "red"})) as server:
        for name, value in server.environment(tmp_path / "user").items():
            monkeypatch.setenv(name, value)
        lent = Lent(tmp_path / "lent", server, tiny / "competition" / "tiny" / "data")
        server.execute = lent.execute
        yield lent


def test_training_goes_on_past_the_time_limit_from_the_last_checkpoint(lent, tiny, capsys):
    probe = [sys.executable, "-m", "src.train", "config=tiny", "run=probe", "fold=0", "train.epochs=1"]
    begun = time.monotonic()
    subprocess.run(probe, cwd=REPOSITORY, check=True, capture_output=True)
    start = time.monotonic() - begun
    words = ["--train", "config=tiny", "run=away", "fold=0", f"train.epochs={EPOCHS}"]
    for times in (2, 3, 5, 8):  # too little for all epochs; how much installing takes beside depends on the day
        lent.left, lent.told = 1, []
        assert main([*words, f"kernel.hours={times * start / 3600:.5f}"]) == 1
        out, err = capsys.readouterr()
        if "ended before it had begun" not in err and "did not get further" not in err:
            break
    assert "no machine is free" in err and "0 of 1 folds are trained, 1 under way" in out and "going on" in out
    assert "the time is up: the run goes on from its last checkpoint" in lent.told[0]
    run = Run("tiny", "away")
    assert list(checkpoints(run)) == ["seed0/fold0"]
    lent.left = 1
    assert main(words) == 0
    out, _ = capsys.readouterr()
    assert "1 of 1 folds are trained" in out and f"python -m src.kernel run={run.name} --push" in out
    assert "goes on at epoch" in lent.told[1] and "all of it is done" in lent.told[1]
    assert read_json(run.member(0, 0) / "done.json")["epochs"] == EPOCHS
    # What came back answers here without another look at an image, and is the exported file that a notebook takes.
    assert "are stored already" in said(predict, "--tta", "run=away", "competition=tiny")
    assert main(["run=away", "competition=tiny", "kernel.user=tester"]) == 0
    assert main(words) == 0 and "nothing to do" in capsys.readouterr().out
    folder = json.loads((run.folder / "kernel-train" / "notebook" / "kernel-metadata.json").read_text())
    assert not folder["enable_internet"] and folder["enable_gpu"] and folder["competition_sources"] == [SLUG]


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
    ("change", "told"),
    [
        (lambda run: written(run, {"seed0/fold1/checkpoint.pt": "trained here"}), "was trained further here"),
        (lambda run: written(run, {}, "optim.lr=5e-2"), "another configuration"),
        (lambda run: (run.folder.parent / "folds-0123abcd.csv").write_text("id,fold\n1,2\n"), "other folds"),
    ],
)
def test_a_run_that_went_another_way_meanwhile_is_not_overwritten(tiny, tmp_path, change, told):
    run, packed = Run("tiny", "net"), tmp_path / FILE
    written(run, {"seed0/fold1/checkpoint.pt": "early"})
    (run.folder.parent / "folds-0123abcd.csv").write_text("id,fold\n1,0\n")
    begun = checkpoints(run)
    pack(run, packed)
    change(run)
    before = {path: path.read_bytes() for path in run.folder.parent.rglob("*") if path.is_file()}
    with pytest.raises(Problem, match=told):
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
