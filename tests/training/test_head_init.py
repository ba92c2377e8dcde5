"""Training that begins with a last layer fitted on frozen features: train.head_init=probe."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
import yaml
from safetensors.torch import load_file, save_file

from src.competition import auto_config
from src.core.files import read_json
from src.models.zoo import register_networks
from src.train import main as train
from src.training.trainer import FoldTraining
from tests.fixtures.killed import killed_at
from tests.fixtures.tiny import CARD

WORDS = ["config=tiny", "model.stem=stock", "fold=0", "data.sampler=plain"]
HEAD = "train.head_init=probe"
AS_IT_BEGAN = ["train.epochs=1", "optim.lr=1e-12", "train.ema_decay=0", "train.frozen=trunk"]


@pytest.fixture
def words(tiny) -> list[str]:
    """Of a training that begins with weights of ours; colours are told apart by any convolutions."""
    register_networks()
    torch.manual_seed(3)
    save_file(timm.create_model("resnet8", num_classes=5).state_dict(), tiny / "own.safetensors")
    return [*WORDS, f"model.pretrained={tiny / 'own.safetensors'}"]


def member(home: Path, run: str, fold: int = 0) -> Path:
    return home / f"runs/tiny/{run}/seed0/fold{fold}"


def logits(home: Path, run: str) -> np.ndarray:
    with np.load(member(home, run) / "logits/oof-identity.npz") as table:
        return table["logits"]


def error(capsys: pytest.CaptureFixture) -> str:
    return json.loads(capsys.readouterr().out)["error"]["code"]


def test_the_first_step_begins_where_the_probe_ended(tiny, words):
    assert train([*words, "probe.head=auto", "run=p"]) == 0
    features = "competition/tiny/cache/features/*/*.npz"
    kept = {file: file.stat().st_mtime_ns for file in tiny.glob(features)}
    assert train([*words, HEAD, *AS_IT_BEGAN, "run=t", "machine.threads=auto"]) == 0  # with a trial of speed before
    assert {file: file.stat().st_mtime_ns for file in tiny.glob(features)} == kept, "features are made once"
    probe, trained = (load_file(member(tiny, run) / "model.safetensors") for run in ("p", "t"))
    for name in ("fc.weight", "fc.bias"):
        torch.testing.assert_close(trained[name], probe[name], rtol=0, atol=1e-9)
    np.testing.assert_allclose(logits(tiny, "t"), logits(tiny, "p"), atol=1e-4)
    assert train([*words, HEAD, "run=on", "train.epochs=2", "optim.lr=1e-3", "train.hold_norms=true"]) == 0
    assert read_json(member(tiny, "on") / "done.json")["score"] > 0.9
    moved, start = load_file(member(tiny, "on") / "model.safetensors"), load_file(tiny / "own.safetensors")
    still = {name for name in start if torch.equal(start[name], moved[name])}
    assert still == {name for name in start if "running" in name or "num_batches" in name}
    stored = yaml.safe_load((tiny / "runs/tiny/on/config.yaml").read_text())
    assert stored["train"]["head_init"] == "probe" and stored["probe"]["views"] == ["identity", "hflip"]


@pytest.mark.parametrize(
    "target", ["multilabel", *(pytest.param(target, marks=pytest.mark.slow) for target in ("ordinal", "binary"))]
)
def test_every_kind_of_target_with_a_head(tiny, words, target):
    card = yaml.safe_load(CARD) | {"target": target}
    card |= {"metric": {"multilabel": "micro_f1", "ordinal": "qwk", "binary": "accuracy"}[target]}
    card["submission"]["kind"] = "set" if target == "multilabel" else "label"
    (tiny / "competition/tiny/card.yaml").write_text(yaml.safe_dump(card))
    if target == "binary":
        for table in (tiny / "competition/tiny").glob("*/*.csv"):
            table.write_text(table.read_text().replace("green", "blue"))
    assert train([*words, HEAD, *AS_IT_BEGAN, "run=t"]) == 0
    assert read_json(member(tiny, "t") / "done.json")["score"] > 0.8


def test_numbers_begin_where_the_probe_ended(tiny, words):
    """In the probe's own units, though the network learns standardised ones."""
    file = tiny / "competition/tiny/data/train.csv"
    table = pd.read_csv(file, dtype=str)
    table["colour"] = table["colour"].map({"blue": 120.0, "green": 150.5, "red": 310.0})
    table.to_csv(file, index=False)
    card = yaml.safe_load(CARD) | {"target": "regression", "metric": "rmse"}
    card["submission"]["kind"] = "numbers"
    del card["test_labels"]
    (tiny / "competition/tiny/card.yaml").write_text(yaml.safe_dump(card))
    assert train([*words, "probe.head=auto", "run=p"]) == 0
    assert train([*words, HEAD, *AS_IT_BEGAN, "run=t"]) == 0
    np.testing.assert_allclose(logits(tiny, "t"), logits(tiny, "p"), rtol=1e-3)
    assert read_json(member(tiny, "t") / "done.json")["score"] < 30


def test_killed_before_and_after_the_first_checkpoint(tiny, words):
    words = [*words, HEAD, "train.epochs=2", "machine.checkpoint_minutes=1e-9"]
    assert train([*words, "run=whole"]) == 0
    for place in ("run", "_end_epoch"):
        with killed_at(FoldTraining, place):
            train([*words, "run=killed"])
        assert (member(tiny, "killed") / "checkpoint.pt").exists() == (place == "_end_epoch")
    assert train([*words, "run=killed"]) == 0
    files = [member(tiny, run) / "model.safetensors" for run in ("whole", "killed")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_one_thread_chooses_what_is_auto(tiny, words, monkeypatch):
    """As the pool of a network, which draws millions of weights: a fold forked after several threads waits for ever."""
    threads, usual = [], auto_config.usual_pool
    monkeypatch.setattr(
        auto_config, "usual_pool", lambda model: threads.append(torch.get_num_threads()) or usual(model)
    )
    torch.set_num_threads(2)
    try:
        assert train([*words, "model.pool=auto", "train.epochs=1", "run=auto"]) == 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert threads and set(threads) == {1}


@pytest.mark.slow
def test_folds_side_by_side_have_a_head_each(tiny, words):
    words = [word for word in words if word != "fold=0"]
    side = [*words, HEAD, *AS_IT_BEGAN, "machine.jobs=2", "run=side", "fold=0,1", "predict.engine=torch"]
    assert train(side) == 0
    assert train([*words, HEAD, *AS_IT_BEGAN, "run=alone", "fold=1", "machine.jobs=1"]) == 0
    heads = [load_file(member(tiny, *at) / "model.safetensors")["fc.weight"] for at in (("side", 1), ("alone", 1))]
    assert torch.equal(*heads)
    assert not torch.equal(load_file(member(tiny, "side") / "model.safetensors")["fc.weight"], heads[0])
    assert train([*words, HEAD, *AS_IT_BEGAN, "run=alone", "fold=all"]) == 0
    every = load_file(tiny / "runs/tiny/alone/seed0/all/model.safetensors")["fc.weight"]
    assert not torch.equal(every, heads[0]), "fitted on all rows"


def test_what_has_no_such_head_is_refused(tiny, words, capsys):
    for more, code in (
        (["model.head=cosine", "loss.name=arcface"], "no-linear-head"),
        (["probe.head=logistc"], "bad-value"),
    ):
        assert train([*words, HEAD, "run=wrong", *more, "--json"]) in (1, 2)
        assert error(capsys) == code
    assert train([*WORDS, HEAD, "run=scratch", "--json"]) == 1
    assert error(capsys) == "no-weights-to-begin-with"
    assert train([*words, HEAD, *AS_IT_BEGAN, "run=held"]) == 0
    capsys.readouterr()
    assert train([*words, HEAD, *AS_IT_BEGAN, "run=held", "probe.head=prototypes", "--json"]) == 2
    assert error(capsys) == "run-config-differs"
