"""Each kind of target that is no class goes the whole way: page, review, sweep, blend, export, notebook, teacher; and,
at length, search, engines, two processes and a kill. What cannot be is refused with a code."""

import contextlib
import io
import json
import os
import shutil
import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from src.core.paths import REPOSITORY
from src.export.hidden_test import main as hidden
from src.predict import main as predict
from src.report import main as report
from src.review import main as review
from src.sweep import main as sweep
from src.train import main as train
from tests.fixtures.warm_python import KILL, warm_python
from tests.targets.test_regression import write_host

CONFIG = """\
competition: NAME
data: {folds: 2}
images: {size: 16, load_size: 16}
model: {name: resnet8, args: {norm_layer: groupnorm1}}
augment: none
optim: {name: sgd, lr: 0.02}
train: {epochs: 2, batch: 8, precision: fp32}
predict: {views: [identity, hflip]}
machine: {device: cpu, threads: 1}
"""
SHADES, VOTES = ["bright", "dark", "middle"], ["few", "some", "many"]
GRADED = {"name": "ordinal", "classes": ["dark", "middle", "bright"]}
SPREAD = {"name": "laplace", "spread": "sigma"}
KINDS = {
    # the label, the target, the metric, the submission's kind
    "numbers": (["light", "contrast"], {"name": "regression", "decimals": 2}, "r2", "numbers"),
    "bounded": ("contrast", {"name": "bounded", "low": 0, "high": 7}, "rmse", "number"),
    "votes": (VOTES, "soft_labels", "kl_divergence", "columns"),
    "mixed": (
        ["shade", "contrast"],
        {"name": "mixed", "columns": {"shade": GRADED, "contrast": "regression"}},
        "mixed",
        "mixed",
    ),
    "spread": ("light", SPREAD, {"name": "laplace_log_likelihood", "least_spread": 0.1}, "numbers"),
}
NO_TEACHER = {"mixed", "spread"}
WORDS = ["fold=0..1", "run=r"]


def write_home(home: Path) -> None:
    data = home / "data"
    truth = write_host(data, train_rows=32, test_rows=10)
    table, rng = pd.read_csv(data / "train.csv"), np.random.default_rng(0)
    table["shade"] = np.select([table["light"] < 1012, table["light"] > 1024], ["dark", "bright"], "middle")
    strength = np.exp(np.outer((table["light"] - 1018) / 6, [-1, 0, 1]))
    table[VOTES] = [rng.multinomial(rng.integers(1, 9), row / row.sum()) for row in strength]
    table.to_csv(data / "train.csv", index=False)
    (home / "configs").mkdir()
    asked = {"mixed": ["shade", "contrast"], "spread": ["light", "sigma"], "bounded": ["contrast"], "votes": VOTES}
    for name, (label, target, metric, kind) in KINDS.items():
        names = asked.get(name, label)
        truth[["id"]].assign(**dict.fromkeys(names, 1 / len(names))).to_csv(data / f"{name}.csv", index=False)
        card = {
            "title": name,
            "train": {"table": "train.csv", "id": "id", "images": "train/{id}.png", "label": label},
            "test": {"table": "test.csv", "id": "id", "images": "test/{id}.png"},
            "target": target,
            "metric": metric,
            "submission": {"sample": f"{name}.csv", "kind": kind},
        }
        (home / "competition" / name).mkdir(parents=True)
        (home / "competition" / name / "card.yaml").write_text(yaml.safe_dump(card, sort_keys=False))
        (home / "competition" / name / "data").symlink_to(data)
        (home / "configs" / f"{name}.yaml").write_text(CONFIG.replace("NAME", name))
    truth[["id"]].to_csv(data / "test.csv", index=False)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("all")
    write_home(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(home))
        yield home


# The others have files of their own, and go this way in full length only.
QUICK = ("mixed",)
EACH = [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in KINDS]


@pytest.fixture(scope="module", params=EACH)
def kind(request, home):
    """The name of a competition whose run `r` is trained, predicted, exported and reported."""
    name = request.param
    assert train([f"config={name}", *WORDS]) == 0
    assert predict([f"config={name}", "run=r", "--tta", "--export"]) == 0
    return name


def refused(command, *words: str) -> str:
    with io.StringIO() as out, contextlib.redirect_stdout(out):
        assert command([*words, "--json"]) in (1, 2)
        return json.loads(out.getvalue())["error"]["code"]


def submitted(home, name, run="r"):
    return pd.read_csv(home / f"submissions/{name}/{run}.csv")


def test_page_and_review(home, kind):
    assert report([f"config={kind}", "run=r"]) == 0
    assert (home / f"runs/{kind}/r/report/report.html").stat().st_size > 10_000
    assert review([f"config={kind}", "run=r"]) == 0


def test_a_notebook_answers_as_the_run_did(home, kind, tmp_path, monkeypatch):
    monkeypatch.setenv("PODIUM_HOME", str(home))  # which the notebook's program sets for itself
    (file,) = (home / f"runs/{kind}/r/export").glob("*.safetensors")
    shutil.copy(file, tmp_path / "model.safetensors")
    shutil.copy(home / f"competition/{kind}/card.yaml", tmp_path)
    out = tmp_path / "answers.csv"
    assert hidden([str(tmp_path), str(home / f"competition/{kind}/data"), f"out={out}"]) == 0
    found, own = pd.read_csv(out), submitted(home, kind)
    assert list(found.columns) == list(own.columns)
    for column in own:
        if own[column].dtype.kind == "f":
            np.testing.assert_allclose(found[column], own[column], rtol=1e-4, atol=1e-6)
        else:
            assert found[column].tolist() == own[column].tolist()


def test_a_sweep_and_a_blend(home, kind):
    assert sweep([f"config={kind}", "fold=0..1", "train.epochs=1", "optim.lr=0.02,0.005"]) == 0
    (summary,) = home.glob(f"**/{kind}/**/summary.csv")
    table = pd.read_csv(summary)
    assert len(table) == 2 and {"gain", "held_out_loss"} <= set(table.columns)
    runs = sorted(folder.name for folder in (home / f"runs/{kind}").iterdir() if (folder / "seed0").exists())
    assert len(runs) == 3
    assert report([f"runs={','.join(runs)}", f"competition={kind}"]) == 0
    assert predict([f"competition={kind}", f"runs={','.join(runs)}"]) == 0
    (facts,) = (home / f"runs/{kind}/blends").glob("*/predictions/*.json")
    blend = pd.read_csv(home / f"submissions/{kind}" / json.loads(facts.read_text())["file"])
    assert len(blend) == 10 and list(blend.columns) == list(submitted(home, kind).columns)


def test_a_teacher(home, kind):
    words = [f"config={kind}", "fold=0", "run=taught", "teach.run=r", "train.epochs=1"]
    if kind in NO_TEACHER:
        assert refused(train, *words) == "unfit-for-target"
        return
    assert train(words) == 0
    done = json.loads((home / f"runs/{kind}/taught/seed0/fold0/done.json").read_text())
    assert np.isfinite(done["score"]) and done["teacher"]["run"] == "r"
    assert refused(train, *words[:2], "run=pseudo", *words[3:], "teach.pseudo=0.9") == "unfit-for-target"


def begun(words: list[str], module: str = "src.train", **environment: object) -> subprocess.Popen:
    """A command in a process of its own: what starts threads here would keep later folds from being forked off."""
    given = os.environ | {key: str(value) for key, value in environment.items()}
    command = [warm_python(), "-m", module, *words]
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def succeed(words: list[str], module: str = "src.train", **environment: object) -> None:
    process = begun(words, module, **environment)
    told, _ = process.communicate(timeout=180)
    assert process.returncode == 0, told


@pytest.mark.slow
def test_a_search(home, kind):
    words = ["--search", f"config={kind}", "fold=0", "train.epochs=1", "optim.lr=1e-3..1e-1", "trials=2"]
    succeed(words, "src.sweep", PODIUM_HOME=home)


ENGINES = [name for name in ("openvino", "onnxruntime") if find_spec(name) is not None]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_gives_the_answers_of_torch(home, kind, engine):
    words = [f"config={kind}", "run=r", "--tta", f"predict.engine={engine}", "predict.precision=fp32"]
    own = submitted(home, kind)
    succeed(words, "src.predict", PODIUM_HOME=home)
    found = submitted(home, kind)
    for column in own:
        if own[column].dtype.kind == "f":
            np.testing.assert_allclose(found[column], own[column], rtol=1e-3, atol=1e-4)
        else:
            assert found[column].tolist() == own[column].tolist()


def logits(home, name, run):
    with np.load(home / f"runs/{name}/{run}/seed0/fold0/logits/oof-identity.npz") as table:
        return table["id"].tolist(), table["logits"]


@pytest.mark.slow
def test_two_processes_train_as_one(home, kind):
    words = [f"config={kind}", "fold=0", "train.global_batch=7", "train.batch=7"]
    succeed([*words, "run=one"], PODIUM_HOME=home)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        shared = {
            "WORLD_SIZE": 2,
            "LOCAL_WORLD_SIZE": 2,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": free.getsockname()[1],
        }
    shared |= {"GLOO_SOCKET_IFNAME": "lo", "PODIUM_HOME": home}
    ranks = [begun([*words, "run=two"], **shared, RANK=rank, LOCAL_RANK=rank) for rank in (0, 1)]
    told = [rank.communicate(timeout=120)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], "".join(told)
    (ids, one), (others, two) = logits(home, kind, "one"), logits(home, kind, "two")
    assert ids == others
    np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-4)


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_bits(home, kind):
    words = [f"config={kind}", "fold=0", "train.epochs=6", "machine.checkpoint_minutes=0.0005"]
    succeed([*words, "run=whole"], PODIUM_HOME=home)
    folder = home / f"runs/{kind}/killed/seed0/fold0"
    process, until = begun([*words, "run=killed"], PODIUM_HOME=home), time.monotonic() + 60
    while not ((folder / "log.csv").exists() and len((folder / "log.csv").read_text().splitlines()) > 2):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.002)
    process.send_signal(KILL)
    process.wait()
    assert not (folder / "done.json").exists()
    succeed([*words, "run=killed"], PODIUM_HOME=home)
    whole = home / f"runs/{kind}/whole/seed0/fold0"
    assert (whole / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    np.testing.assert_array_equal(logits(home, kind, "whole")[1], logits(home, kind, "killed")[1])
