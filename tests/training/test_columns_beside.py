"""Columns beside the pictures, from the host's files to a checked CSV: as a branch of the network, in a probe, and as
boosted trees over the networks' answers."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from safetensors.torch import save_file

from src import prepare
from src.config.request import parse
from src.core.files import read_json
from src.models.zoo import register_networks
from src.predict import main as predict
from src.report import main as report
from src.train import main as train
from src.training.trainer import FoldTraining
from tests.fixtures.beside import NOISE, write_beside
from tests.fixtures.codes import assert_error

CONFIG = """\
competition: reef
data: {folds: 2}
images: {size: 12, load_size: 12}
model: resnet8
augment: {transforms: [], only: null}
optim: {lr: 1e-2}
train: {epochs: 8, batch: 16, precision: fp32}
machine: {device: cpu, threads: 1, jobs: 1}
"""
ALONE = 0.9  # the score of a picture alone lies above: what the columns tell has a standard deviation of 1


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A home with competition `reef`, as prepare reads it, and two finished runs: `alone` and `with`."""
    home = tmp_path_factory.mktemp("reef")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(home))
        patch.setenv("PODIUM_DATA", str(home / "nothing"))
        source = write_beside(home / "reef", rows=240, tests=40).source
        assert prepare.main([str(source), "metric=rmse"]) == 0
        (home / "configs").mkdir()
        (home / "configs" / "reef.yaml").write_text(CONFIG)
        assert train(["config=reef", "fold=0..1", "run=alone"]) == 0
        assert train(["config=reef", "fold=0..1", "run=with", "model.metadata=mlp"]) == 0
    return home


@pytest.fixture
def reef(trained, monkeypatch) -> Path:
    """The same home, in which runs may be added."""
    monkeypatch.setenv("PODIUM_HOME", str(trained))
    return trained


def truth(reef: Path) -> np.ndarray:
    """What the test rows are, which no command is told: made again."""
    return write_beside(reef / "again", rows=240, tests=40).truth


def rmse(reef: Path, file: str) -> float:
    return float(np.sqrt(np.square(pd.read_csv(file)["value"] - truth(reef)).mean()))


def said(capsys) -> dict:
    return json.loads(capsys.readouterr().out)


def test_trees_find_what_the_columns_tell(reef, capsys):
    assert predict(["config=reef", "run=alone", "--json"]) == 0
    first = said(capsys)
    judged = first["metadata"]
    assert judged["taken"] == "boosted trees" and judged["gain"]["low"] > 0.2
    assert judged["ways"]["picture alone"]["score"] > ALONE
    assert {"site", "depth"} == set(list(judged["importance"])[:2])
    assert first["score"]["value"] == pytest.approx(judged["ways"]["boosted trees"]["score"])
    # Near what the noise allows, on rows whose answers no command saw.
    assert NOISE < rmse(reef, first["submission"]) < 0.75
    assert predict(["config=reef", "run=alone", "predict.metadata=none", "--json"]) == 0
    plain = said(capsys)
    assert "metadata" not in plain and plain["score"]["value"] > ALONE
    # An export holds networks alone, and says so.
    assert predict(["config=reef", "run=alone", "--export", "--json"]) == 2
    assert_error(capsys.readouterr().out, "export-metadata", "predict.metadata=none")
    assert report(["config=reef", "run=alone"]) == 0
    page = reef / "runs/reef/alone/report"
    assert {"metadata_scores.csv", "metadata_importance.csv", "metadata_columns.csv"} <= {
        f.name for f in page.iterdir()
    }


def test_a_branch_of_the_network(reef, capsys):
    assert predict(["config=reef", "run=with", "model.metadata=mlp", "predict.metadata=none", "--tta", "--json"]) == 0
    found = said(capsys)
    assert found["score"]["value"] < ALONE and rmse(reef, found["submission"]) < ALONE
    # Both runs joined: fitted weights find which one knows more.
    words = ["runs=alone,with", "competition=reef", "predict.metadata=none", "--json"]
    assert predict(words) == 0
    blend = said(capsys)["blend"]
    assert blend["method"] != "plain mean"
    weights = np.array(blend["weights"]).ravel()
    assert weights[1] > weights[0]
    for words in (["--export"], ["predict.engine=openvino"]):
        assert predict(["config=reef", "run=with", "model.metadata=mlp", *words, "--json"]) == 2
        assert_error(capsys.readouterr().out, "export-metadata" if "--export" in words else "engine-metadata")


def test_a_stopped_run_ends_with_the_same_bits(reef, monkeypatch):
    words = ["config=reef", "fold=0", "model.metadata=mlp"]
    with monkeypatch.context() as patched:
        end = FoldTraining._end_epoch

        def killed(training: FoldTraining) -> None:
            if training.state.progress.epoch == 3:
                raise SystemExit("killed")
            end(training)

        patched.setattr(FoldTraining, "_end_epoch", killed)
        with pytest.raises(SystemExit):
            train([*words, "run=killed"])
    assert train([*words, "run=killed"]) == 0
    weights = [reef / f"runs/reef/{run}/seed0/fold0/model.safetensors" for run in ("killed", "with")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_another_cell_makes_another_run(reef, capsys):
    table = reef / "competition/reef/data/train.csv"
    content = table.read_bytes()
    try:
        cells = pd.read_csv(table, dtype=str, keep_default_na=False)
        cells.loc[0, "depth"] = "0.5"
        cells.to_csv(table, index=False)
        assert predict(["config=reef", "run=with", "model.metadata=mlp", "--json"]) == 1
        assert_error(capsys.readouterr().out, "run-metadata-differs", "depth")
        # Pictures alone are what they were.
        assert predict(["config=reef", "run=alone", "--json"]) == 0
    finally:
        table.write_bytes(content)
        capsys.readouterr()
    # A changed test cell: the stored answers are stale, and made anew.
    table = reef / "competition/reef/data/test.csv"
    content = table.read_bytes()
    words = ["config=reef", "run=with", "model.metadata=mlp", "predict.metadata=none", "--json"]
    assert predict(words) == 0
    before = pd.read_csv(said(capsys)["submission"])["value"]
    try:
        cells = pd.read_csv(table, dtype=str, keep_default_na=False)
        cells.loc[0, "site"] = "bay" if cells.loc[0, "site"] != "bay" else "delta"
        cells.to_csv(table, index=False)
        assert predict(words) == 0
        after = pd.read_csv(said(capsys)["submission"])["value"]
    finally:
        table.write_bytes(content)
    assert abs(after[0] - before[0]) > 0.1 and np.allclose(after[1:], before[1:], atol=1e-4)


def test_a_probe(reef, capsys):
    register_networks()
    torch.manual_seed(3)
    save_file(timm.create_model("resnet8", num_classes=5).state_dict(), reef / "own.safetensors")
    words = ["config=reef", "probe.head=auto", f"model.pretrained={reef / 'own.safetensors'}", "model.stem=stock"]
    assert train([*words, "fold=0..1", "run=probe"]) == 0
    assert train([*words, "fold=0..1", "run=beside", "model.metadata=linear"]) == 0
    scores = [read_json(reef / f"runs/reef/{run}/seed0/fold0/done.json")["score"] for run in ("probe", "beside")]
    assert scores[1] < scores[0] - 0.1
    # The stored logits are those of the network that was written.
    folder = reef / "runs/reef/beside/seed0/fold0/logits"
    with np.load(folder / "test-identity.npz") as table:
        known = table["logits"]
    shutil.rmtree(folder)
    assert predict([*words, "run=beside", "model.metadata=linear", "predict.metadata=none"]) == 0
    with np.load(folder / "test-identity.npz") as table:
        assert np.allclose(table["logits"], known, atol=1e-3)
    capsys.readouterr()
    assert train([*words, "fold=0", "run=odd", "model.metadata=mlp", "--json"]) == 2
    assert_error(capsys.readouterr().out, "unfit-for-metadata", "linear")


def test_what_cannot_be(tiny, capsys):
    for words, code in (
        (["model.metadata=mlp"], "no-metadata"),  # the card of tiny names none
        (["model.metadata=mpl"], "bad-value"),
    ):
        capsys.readouterr()
        assert train(["config=tiny", "fold=0", *words, "--json"]) == 2
        assert_error(capsys.readouterr().out, code)
    assert parse(["config=tiny"]).config.hash() == parse(["config=tiny", "model.metadata=none"]).config.hash()
