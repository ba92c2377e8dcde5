"""A column that says how much a row counts: in the loss, the metric and its interval."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from src.losses import loss_of
from src.predict import main as predict
from src.prepare import main as prepare
from src.targets import target_type
from src.train import main as train
from src.training.mixing import mixing
from src.training.probes import PROBES
from tests.targets.test_regression import CONFIG, WORDS, submitted, write_host


@pytest.fixture(scope="module")
def weighed(tmp_path_factory):
    """Every third row has another's number, and counts nothing."""
    home, host = tmp_path_factory.mktemp("weighed"), tmp_path_factory.mktemp("host") / "glow"
    truth = write_host(host)
    table = pd.read_csv(host / "train.csv").drop(columns="contrast")
    wrong = np.arange(len(table)) % 3 == 0
    table.loc[wrong, "light"] = 2100 - table.loc[wrong, "light"]
    table.assign(trust=np.where(wrong, 0, 1 + np.arange(len(table)) % 2)).to_csv(host / "train.csv", index=False)
    truth[["id"]].assign(light=0).to_csv(host / "sample_submission.csv", index=False)
    (home / "configs").mkdir()
    (home / "configs/glow.yaml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(home))
        assert prepare([str(host), "id=glow", "weight=trust"]) == 0
        assert train(["fold=0..2", *WORDS]) == 0
        assert predict(WORDS) == 0
        yield home, truth


def test_rows_that_count_nothing_teach_nothing(weighed):
    home, truth = weighed
    assert np.corrcoef(submitted(home)["light"], truth["light"])[0, 1] > 0.85


def test_the_score_and_its_interval_are_of_the_rows_that_count(weighed):
    home, _ = weighed
    (facts,) = (home / "runs/glow/r/predictions").glob("*.json")
    score = json.loads(facts.read_text())["score"]
    table, errors = pd.read_csv(home / "competition/glow/data/train.csv").set_index("id"), []
    for fold in range(3):
        held = np.load(home / f"runs/glow/r/seed0/fold{fold}/logits/oof-identity.npz", allow_pickle=False)
        rows = table.loc[held["id"].astype(str)]
        errors.append(np.stack([np.square(held["logits"][:, 0] - rows["light"]), rows["trust"]]))
    squares, weights = np.concatenate(errors, axis=1)
    right = np.sqrt(np.average(squares, weights=weights))
    assert score["value"] == pytest.approx(right, rel=1e-4)
    assert score["low"] < right < score["high"] < np.sqrt(squares.mean())


@pytest.mark.parametrize("cell", ["-1", "much", "inf", ""])
def test_a_weight_that_is_none_is_refused_by_its_line(weighed, tmp_path, monkeypatch, capsys, cell):
    again(weighed[0], tmp_path, monkeypatch, lambda table: table.assign(trust=["1"] * 4 + [cell] + ["1"] * 55))
    assert prepare(["glow", "--json"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "bad-weight" and "line 6" in error["message"]


def test_a_metric_that_cannot_weigh_rows_is_refused(weighed, tmp_path, monkeypatch, capsys):
    again(weighed[0], tmp_path, monkeypatch, lambda table: table)
    card = tmp_path / "competition/glow/card.yaml"
    card.write_text(card.read_text().replace("metric: rmse", "metric: spearman"))
    assert train(["fold=0", "--json", *WORDS]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "unfit-for-weights"


def again(home, folder, monkeypatch, change):
    """The same competition in another home, with another training table."""
    made = folder / "competition/glow"
    made.mkdir(parents=True)
    shutil.copytree(home / "competition/glow/data", made / "data")
    change(pd.read_csv(home / "competition/glow/data/train.csv", dtype=str)).to_csv(
        made / "data/train.csv", index=False
    )
    (made / "card.yaml").write_text((home / "competition/glow/card.yaml").read_text())
    (folder / "configs").mkdir()
    (folder / "configs/glow.yaml").write_text(CONFIG)
    monkeypatch.setenv("PODIUM_HOME", str(folder))


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("mse", "regression"),
        ("l1", "regression"),
        ("huber", "regression"),
        ("scaled_binary_cross_entropy", {"name": "bounded", "low": -9, "high": 9}),
        ("cross_entropy", "multiclass"),
        ("binary_cross_entropy", "multilabel"),
    ],
)
def test_a_row_that_weighs_two_counts_as_two_rows(name, target):
    rng, target = np.random.default_rng(0), target_type(target)
    logits = torch.from_numpy(rng.normal(size=(12, 3)).astype(np.float32))
    truth = {"multiclass": rng.integers(0, 3, 12), "multilabel": rng.integers(0, 2, (12, 3)).astype(np.float32)}
    truth = torch.from_numpy(truth.get(target.registered, rng.uniform(-5, 5, (12, 3)).astype(np.float32)))
    loss = loss_of(SimpleNamespace(name=name, class_weights="none", beta=0.9, smoothing=0.1), np.ones(3), target)
    weights = rng.integers(0, 4, 12)
    rows = np.repeat(np.arange(12), weights)
    weighed = loss(logits, truth, torch.from_numpy(weights / weights.mean()))
    assert weighed.item() == pytest.approx(loss(logits[rows], truth[rows]).item(), rel=1e-5)
    assert loss(logits, truth, torch.ones(12)).item() == pytest.approx(loss(logits, truth).item(), rel=1e-5)


@pytest.mark.parametrize("name", ["cross_entropy", "focal", "balanced_softmax", "ordinal", "smooth_l1"])
@pytest.mark.parametrize("target", ["ordinal", "multilabel"])
def test_weights_of_classes_and_of_rows_go_together(name, target):
    """A row weighs what its class does, times its own."""
    rng, kind = np.random.default_rng(1), target_type(target)
    name = {"cross_entropy": "binary_cross_entropy"}.get(name, name) if target == "multilabel" else name
    if target == "multilabel" and name not in ("binary_cross_entropy", "focal"):
        pytest.skip("not made for several classes a row")
    logits = torch.from_numpy(rng.normal(size=(12, 3)).astype(np.float32))
    truth = rng.integers(0, 2, (12, 3)).astype(np.float32) if target == "multilabel" else rng.integers(0, 3, 12)
    section = SimpleNamespace(name=name, class_weights="balanced", beta=0.9, smoothing=0.1)
    loss = loss_of(section, np.array([8, 3, 1]), kind)
    assert loss.weighs_rows
    each = np.array([loss(logits[k : k + 1], torch.from_numpy(truth[k : k + 1]), torch.ones(1)) for k in range(12)])
    weights = rng.uniform(0, 3, 12).astype(np.float32)
    found = loss(logits, torch.from_numpy(truth), torch.from_numpy(weights)).item()
    assert found == pytest.approx((each * weights).mean(), rel=1e-5)
    plain = loss_of(SimpleNamespace(**vars(section) | {"class_weights": "none"}), np.array([8, 3, 1]), kind)
    assert found != pytest.approx(plain(logits, torch.from_numpy(truth), torch.from_numpy(weights)).item(), rel=1e-3)


@pytest.mark.parametrize("train_keys", [{"mixup": 1.0, "cutmix": 0.0}, {"mixup": 0.0, "cutmix": 1.0}])
def test_a_mixed_pair_weighs_and_teaches_by_the_parts_of_its_rows(train_keys):
    torch.manual_seed(0)
    images, classes = torch.zeros(4, 3, 8, 8), torch.tensor([0, 1, 2, 1])
    images[1] = 100.0  # so the mixed image tells the share of row 1
    mix = mixing(SimpleNamespace(**train_keys), 3)
    for weights in (torch.ones(4), torch.tensor([1.0, 0.0, 2.0, 3.0])):
        mixed, shares, weighed = mix(images, classes, weights)
        share = mixed[1].mean().item() / 100  # of row 1, mixed with row 0
        assert weighed[1].item() == pytest.approx(share * weights[1].item() + (1 - share) * weights[0].item(), abs=1e-5)
        right = torch.tensor([(1 - share) * weights[0], share * weights[1], 0.0])
        torch.testing.assert_close(shares[1], right / right.sum(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["ridge", "logistic", "one_against_rest", "grades", "prototypes"])
def test_a_head_takes_a_row_that_weighs_two_as_two_rows(name):
    rng, probe = np.random.default_rng(2), PROBES.get(name)()
    features = torch.from_numpy(rng.normal(size=(60, 4)).astype(np.float32))
    truth = torch.from_numpy(rng.integers(0, 3, 60))
    if name == "ridge":
        truth = torch.from_numpy(rng.normal(size=(60, 3)).astype(np.float32))
    if name == "one_against_rest":
        truth = torch.from_numpy(rng.integers(0, 2, (60, 3)).astype(np.float32))
    weights = rng.integers(0, 4, 60)
    again = np.repeat(np.arange(60), weights)
    strength = probe.strengths[1:2]
    (one,) = probe.path(features, truth, 3, strength, torch.from_numpy(weights / weights.mean()).float())
    (two,) = probe.path(features[again], truth[again], 3, strength)
    near = 2e-3 if name in ("ridge", "prototypes") else 3e-2  # in closed form, or where a search ends
    torch.testing.assert_close(one.logits(features), two.logits(features), atol=near, rtol=near)
    (plain,) = probe.path(features, truth, 3, strength)
    assert (plain.logits(features) - two.logits(features)).abs().max() > 5e-2


def test_other_weights_are_another_run(weighed, capsys):
    home, _ = weighed
    table, record = home / "competition/glow/data/train.csv", home / "runs/glow/r/run.json"
    before, noted = table.read_text(), record.read_text()
    rows = pd.read_csv(table)
    rows.assign(trust=rows["trust"].where(rows.index > 0, 5)).to_csv(table, index=False)
    try:
        assert train(["fold=0..2", "--json", *WORDS]) == 1
        assert json.loads(capsys.readouterr().out)["error"]["code"] == "run-weights-differ"
        older = {key: value for key, value in json.loads(noted).items() if key not in ("weights", "target")}
        record.write_text(json.dumps(older))  # a run of before weights were noted goes on
        assert train(["fold=0..2", "--json", *WORDS]) == 0
    finally:
        table.write_text(before)
        record.write_text(noted)


def test_weighted_rows_are_mixed_too(weighed, capsys):
    assert train(["fold=0", "config=glow", "run=mixed", "train.mixup=0.4", "train.epochs=1", "--json"]) == 0
    assert np.isfinite(json.loads(capsys.readouterr().out)["mean_score"])
