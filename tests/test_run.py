"""src.run: training, prediction and page in one process, each as its own command does it."""

import json
import random
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from src.competition.competition import loaded_once, open_competition
from src.config.request import parse
from src.core.files import read_json, read_npz, sha256_of
from src.core.paths import REPOSITORY, Run
from src.predict import main as predict
from src.report import main as report
from src.run import main as run
from src.train import main as train
from tests.fixtures.codes import refused
from tests.fixtures.notes import Notes
from tests.fixtures.tiny import write_tiny
from tests.fixtures.warm_python import warm_python

WORDS = ["config=tiny", "fold=0", "train.epochs=1", "run=r"]  # one fold is trained in the command's own process


def told(capfd: pytest.CaptureFixture) -> dict:
    out = capfd.readouterr().out
    assert out.count("\n") == 1, out
    return json.loads(out)


def learned(home: Path) -> dict[str, object]:
    """Weights, logits and answers, without what tells a time."""
    weights = {file.name: sha256_of(file) for file in home.rglob("model.safetensors")}
    answers = {file.name: file.read_text() for file in home.glob("submissions/tiny/*.csv")}
    tables = {file.name: read_npz(file)["logits"].tobytes() for file in home.rglob("logits/*.npz")}
    assert weights and answers and len(tables) > 2
    return weights | answers | tables


def test_it_leaves_what_the_three_commands_leave_and_starts_again_with_nothing_to_do(
    tmp_path_factory, monkeypatch, capfd
):
    one, three = (tmp_path_factory.mktemp(name) for name in ("one", "three"))
    for home in (one, three):
        write_tiny(home, side=8)
    monkeypatch.setenv("PODIUM_HOME", str(three))
    assert train(WORDS) == predict([*WORDS, "--tta"]) == report(WORDS) == 0
    monkeypatch.setenv("PODIUM_HOME", str(one))
    capfd.readouterr()
    assert run([*WORDS, "--json"]) == 0
    found = told(capfd)
    assert learned(one) == learned(three)
    assert Path(found["page"]).is_file() and Path(found["submission"]).is_file() and found["views"] != ["identity"]
    assert [member["fold"] for member in found["members"]] == [0] and 0 <= found["score"]["value"] <= 1

    assert run([*WORDS, "--json"]) == 0
    again = told(capfd)
    assert {"nothing-to-do", "stored-already"} <= set(Notes(again["notes"]).codes)
    assert again["score"] == found["score"] and learned(one) == learned(three)


def test_a_collection_without_test_images_ends_with_its_page(tiny, capfd):
    card = tiny / "competition/tiny/card.yaml"
    kept = [line for line in card.read_text().splitlines() if line.split(":")[0] not in ("test", "submission")]
    card.write_text("\n".join(line for line in kept if not line.startswith("test_labels")))
    assert run([*WORDS, "--json"]) == 0
    found = told(capfd)
    assert found["submission"] is None and Path(found["page"]).is_file()
    assert "no-test-images" in Notes(found["notes"]).codes


def test_what_fails_in_training_ends_it(tiny, capsys, monkeypatch):
    refused(capsys, run, [*WORDS, "launcher=rey"], "unknown-launcher")
    refused(capsys, run, [*WORDS, "address=here"], "no-launcher")
    refused(capsys, run, ["config=tiny", "fold=7"], "bad-fold")
    (tiny / "competition/tiny/data/train/0001.png").write_bytes(b"no image")
    refused(capsys, run, WORDS, "bad-image")
    assert not (tiny / "submissions").exists() and not list(tiny.rglob("report.html"))
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "0")
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "2")
    refused(capsys, run, WORDS, "launched-twice")


def test_training_leaves_torch_and_opencv_as_they_were(tiny):
    usual = torch.get_num_threads()
    torch.set_num_threads(3)
    before, drawn = (3, cv2.getNumThreads()), (torch.get_rng_state(), np.random.get_state()[1], random.getstate())
    try:
        assert train([*WORDS, "machine.threads=2"]) == 0
        assert (torch.get_num_threads(), cv2.getNumThreads()) == before
        assert torch.equal(torch.get_rng_state(), drawn[0]) and random.getstate() == drawn[2]
        assert (np.random.get_state()[1] == drawn[1]).all()
    finally:
        torch.set_num_threads(usual)


def test_samples_are_loaded_once_within_the_block_and_within_another(tiny):
    config, home = parse(["config=tiny"]).config, Run("tiny", "r")
    with loaded_once():
        first = open_competition(config, home).samples
        with loaded_once():
            assert open_competition(config, home).samples is first
        assert open_competition(config, home).samples is first
    assert open_competition(config, home).samples is not first


def test_a_plan_is_made_in_a_forked_process_and_notes_what_each_part_took(tiny):
    words = ["competition=tiny", "data.folds=3", "images.size=32", "machine.device=cpu", "machine.threads=1", "run=b"]
    command = [warm_python(), "-m", "src.run", *words, "budget=60s", "fold=0..1", "--json"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    plan = read_json(tiny / "runs/tiny/b/plan.json")
    assert plan["by"] == found["plan"]["by"] == "probe" and Path(found["page"]).is_file()
    assert {"plan", "out-of-fold"} <= set(Notes(found["notes"]).codes)
    assert set(plan["took"]) >= {"competition", "probe", "prediction", "page"}
