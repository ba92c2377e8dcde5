"""Bags go the whole way: which image counted, maps of heat, a file that predicts alone, sweep; at length two processes
and a kill."""

import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from src.core.paths import REPOSITORY
from src.export.hidden_test import main as hidden
from src.export.predict import main as answer
from src.predict import main as predict
from src.report import main as report
from src.sweep import main as sweep
from src.train import main as train
from tests.fixtures.codes import refused
from tests.fixtures.warm_python import KILL, warm_python
from tests.images.test_bags import NET, learn, write_bags

BAGS = ["competition=bags", "model.bag=attention", *NET]


@pytest.fixture(scope="module")
def bags(tmp_path_factory):
    """A competition `bags` of rows, and its run `r`, trained with attention, predicted and exported."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(home))
        truth = write_bags(home, "rows")
        data = home / "competition/bags/data"
        shutil.copy(
            data / "train/train4-8.png", data / "train/train2-99.png"
        )  # the last of one bag, the first of another
        with (data / "train.csv").open("a") as table:
            table.write("train2,train2-99.png,no\n")
        assert learn("r", "model.bag=attention", "optim.lr=1e-2", folds="0..1", epochs=12) == 0
        assert predict(["competition=bags", "run=r", "--tta", "--export", "predict.views=[identity,hflip]"]) == 0
        yield home, truth


def submitted(home: Path) -> pd.Series:
    return pd.read_csv(home / "submissions/bags/r.csv").set_index("animal")["kind"]


def holds_sign(path: Path) -> bool:
    return cv2.imread(str(path))[8, 8, 2] == 250


def test_bags_of_rows_are_answered(bags):
    home, truth = bags
    assert (submitted(home)[truth.index] == truth).mean() >= 0.85


def test_the_page_tells_which_image_counted(bags):
    home, _ = bags
    assert report(["competition=bags", "run=r"]) == 0
    folder = home / "runs/bags/r/report"
    table = pd.read_csv(folder / "bag_weights.csv")
    assert np.allclose(table.groupby("id")["weight"].sum(), 1, atol=1e-3)
    data = home / "competition/bags/data"
    table["sign"] = [holds_sign(data / image) for image in table["image"]]
    several = table.groupby("id").filter(lambda bag: len(bag) > 1 and bag["sign"].any())
    first = several.loc[several.groupby("id")["weight"].idxmax()]
    assert first["sign"].mean() >= 0.9  # by chance it would be about 0.3
    assert (folder / "bag_images.png").is_file()
    doubles = pd.read_csv(folder / "duplicates.csv")
    assert [{pair.a, pair.b} for pair in doubles.itertuples()] == [{"train2", "train4"}] and doubles["equal"].all()


def test_an_exported_file_answers_folders_as_the_run_did(bags, tmp_path, capsys):
    home, truth = bags
    data = home / "competition/bags/data"
    table = pd.read_csv(data / "test.csv")
    for animal, picture in table[["animal", "picture"]].itertuples(index=False):
        (tmp_path / animal).mkdir(exist_ok=True)
        shutil.copy(data / "test" / picture, tmp_path / animal)
    capsys.readouterr()
    assert answer([str(home / "runs/bags/r/export/r.safetensors"), str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["answers"]
    answers = {Path(one["file"]).name: one["answer"] for one in found}
    assert answers == submitted(home)[truth.index].to_dict()
    broken = tmp_path / truth.index[0] / "9.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    words = [str(home / "runs/bags/r/export/r.safetensors"), str(tmp_path)]
    refused(capsys, answer, words, "bad-image", "9.png")
    capsys.readouterr()
    assert answer([*words, "--json", "bad=shares"]) == 0
    told = json.loads(capsys.readouterr().out)["answers"]
    broken.unlink()
    assert answer([*words, "--json"]) == 0
    assert told == json.loads(capsys.readouterr().out)["answers"]  # as the run does: of the others of the bag


@pytest.mark.parametrize("bag", ["rows", "files"])
def test_a_hidden_test_set_of_bags_is_answered_as_the_run_did(bags, tmp_path, monkeypatch, notes, capsys, bag):
    home, truth = bags
    monkeypatch.setenv("PODIUM_HOME", str(home))  # the command sets its own
    parts, data, out = tmp_path / "parts", tmp_path / "data", tmp_path / "submission.csv"
    parts.mkdir()
    shutil.copy(home / "runs/bags/r/export/r.safetensors", parts / "model.safetensors")
    card = (home / "competition/bags/card.yaml").read_text()
    shutil.copytree(home / "competition/bags/data", data)
    table = pd.read_csv(data / "test.csv")
    if bag == "files":
        card = card.replace("bag: rows", "bag: files").replace("/{picture}", "/{animal}-*")
        table.drop_duplicates("animal").drop(columns="picture").to_csv(data / "test.csv", index=False)
    (parts / "card.yaml").write_text(card)
    assert hidden([str(parts), str(data), f"out={out}"]) == 0
    assert pd.read_csv(out).set_index("animal")["kind"].equals(submitted(home)[truth.index])
    several = table[table["animal"] == table["animal"].value_counts().index[0]]["picture"].tolist()
    (data / "test" / several[0]).write_bytes(b"\x89PNG\r\n\x1a\n")
    (data / "test" / several[1]).unlink()
    gone = table[table["animal"] == table["animal"].value_counts().index[-1]]
    for picture in gone["picture"]:
        (data / "test" / picture).unlink()
    assert hidden([str(parts), str(data), f"out={out}"]) == 0
    assert notes.texts("image-broken", several[0]) and len(pd.read_csv(out)) == len(truth)
    assert bag == "files" or notes.texts("images-missing", several[1])
    (parts / "card.yaml").write_text(card.replace(f"bag: {bag}\n", ""))
    refused(capsys, hidden, [str(parts), str(data), f"out={out}"], "run-metadata-differs")


def test_a_sweep_of_pools(bags):
    home, _ = bags
    assert sweep(["fold=0", "train.epochs=1", "competition=bags", *NET, "model.bag=mean,max"]) == 0
    (summary,) = home.glob("**/bags/**/summary.csv")
    assert len(pd.read_csv(summary)) == 2


def test_mixing_bags_is_refused(bags, capsys):
    refused(capsys, train, ["fold=0", "run=m", *BAGS, "train.mixup=0.2"], "unfit-for-bags")


def begun(words: list[str], **environment: object) -> subprocess.Popen:
    given = os.environ | {key: str(value) for key, value in environment.items()}
    command = [warm_python(), "-m", "src.train", "fold=0", *BAGS, "model.args={norm_layer: groupnorm1}", *words]
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def logits(home: Path, run: str) -> np.ndarray:
    with np.load(home / f"runs/bags/{run}/seed0/fold0/logits/oof-identity.npz") as table:
        return table["logits"]


@pytest.mark.slow
def test_two_processes_train_bags_as_one(bags):
    home, _ = bags
    words = ["train.epochs=2", "train.global_batch=8", "images.bag_size=3"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    shared |= {"GLOO_SOCKET_IFNAME": "lo"}
    ranks = [begun([*words, "run=two"], **shared, RANK=rank, LOCAL_RANK=rank) for rank in (0, 1)]
    told = [rank.communicate(timeout=180)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], "".join(told)
    one = begun([*words, "run=one"])
    told_one, _ = one.communicate(timeout=180)
    assert one.returncode == 0, told_one
    np.testing.assert_allclose(logits(home, "one"), logits(home, "two"), rtol=1e-5, atol=1e-4)


@pytest.mark.slow
def test_killed_bags_end_with_the_same_bits(bags):
    home, _ = bags
    words = ["train.epochs=6", "machine.checkpoint_minutes=0.0005", "images.bag_size=3"]
    folder = home / "runs/bags/killed/seed0/fold0"
    process, until = begun([*words, "run=killed"]), time.monotonic() + 120
    while not ((folder / "log.csv").exists() and len((folder / "log.csv").read_text().splitlines()) > 2):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.002)
    process.send_signal(KILL)
    process.wait()
    assert not (folder / "done.json").exists()
    for run in ("killed", "whole"):
        again = begun([*words, f"run={run}"])
        told, _ = again.communicate(timeout=180)
        assert again.returncode == 0, told
    whole = home / "runs/bags/whole/seed0/fold0"
    assert (whole / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    np.testing.assert_array_equal(logits(home, "whole"), logits(home, "killed"))
