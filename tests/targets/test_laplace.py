"""A number and its spread: from a download to a checked CSV with both columns; loss and score by their definitions."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import laplace

from src.competition.card import load_card
from src.export.predict import main as predict_with
from src.losses import loss_of
from src.metrics import metric
from src.predict import main as predict
from src.prepare import main as prepare
from src.report import main as report
from src.targets import target_type
from src.train import main as train
from tests.targets.test_regression import CONFIG as SHORT
from tests.targets.test_regression import WORDS, submitted, write_host

CONFIG = SHORT.replace("epochs: 8", "epochs: 12")
SPEC = {"name": "laplace", "spread": "sigma"}
METRIC = {"name": "laplace_log_likelihood", "least_spread": 0.5, "most_error": 20.0}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Images that are noisier have numbers that lie further off."""
    home, host = tmp_path_factory.mktemp("laplace"), tmp_path_factory.mktemp("host") / "glow"
    truth = write_host(host, train_rows=90)
    table = pd.read_csv(host / "train.csv")
    off = np.random.default_rng(5).normal(0, 1, len(table)) * table["contrast"]
    table.assign(light=table["light"] + off).drop(columns="contrast").to_csv(host / "train.csv", index=False)
    truth[["id"]].assign(light=1000, sigma=10.0).to_csv(host / "sample_submission.csv", index=False)
    (home / "configs").mkdir()
    (home / "configs/glow.yaml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(home))
        asked = ["train.label=light", "target={name: laplace, spread: sigma}", f"metric={json.dumps(METRIC)}"]
        assert prepare([str(host), "id=glow", *asked]) == 0
        assert train(["fold=0..2", *WORDS]) == 0
        assert predict(["--tta", "--export", *WORDS]) == 0
        assert report(WORDS) == 0
        yield home, truth


def test_the_csv_holds_the_number_and_its_spread(home):
    folder, truth = home
    found = submitted(folder)
    assert list(found.columns) == ["id", "light", "sigma"] and found["id"].tolist() == truth["id"].tolist()
    assert np.corrcoef(found["light"], truth["light"])[0, 1] > 0.8
    assert (found["sigma"] > 0).all() and np.corrcoef(found["sigma"], truth["contrast"])[0, 1] > 0.3


def test_the_score_is_that_of_the_stored_logits(home):
    folder, _ = home
    table = pd.read_csv(load_card("glow").data / "train.csv").set_index("id")["light"]
    likely = []
    for fold in range(3):
        held = np.load(folder / f"runs/glow/r/seed0/fold{fold}/logits/oof-identity.npz", allow_pickle=False)
        number, spread = held["logits"][:, 0].astype(float), np.exp(held["logits"][:, 1].astype(float)).clip(0.5)
        off = np.abs(table.loc[held["id"].astype(str)] - number).clip(upper=20)
        likely.append(laplace.logpdf(off, scale=spread / np.sqrt(2)) + np.log(2 / np.sqrt(2)) - np.log(np.sqrt(2)))
    score = json.loads(next((folder / "runs/glow/r/predictions").glob("*.json")).read_text())["score"]
    plain = np.concatenate(likely).mean()
    assert (
        score["plain"] == pytest.approx(plain, rel=1e-4) if "plain" in score else score["low"] < plain < score["high"]
    )


def test_an_exported_file_answers_with_both(home, tmp_path):
    folder, _ = home
    (file,) = (folder / "runs/glow/r/export").glob("*.safetensors")
    out = tmp_path / "answers.csv"
    assert predict_with([str(file), str(folder / "competition/glow/data/test"), f"out={out}", "device=cpu"]) == 0
    answers = pd.read_csv(out)
    answers["id"] = answers["file"].str.extract(r"(test\d+)\.png")
    both = answers.merge(submitted(folder), on="id", suffixes=("_file", "_run"))
    np.testing.assert_allclose(both["light_file"], both["light_run"], rtol=1e-4)
    np.testing.assert_allclose(both["sigma_file"], both["sigma_run"], rtol=1e-3)


def test_prepare_asks_whether_a_column_is_a_spread(home, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path))
    assert prepare([str(home[0] / "competition/glow/data"), "id=other", "--json"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "undecided" and "{name: laplace, spread: sigma}" in error["message"]


RNG = np.random.default_rng(0)
TRUTH = RNG.normal(2500, 600, (300, 1)).astype(np.float32)
LOGITS = np.stack([TRUTH[:, 0] + RNG.normal(0, 300, 300), RNG.uniform(3, 7, 300)], axis=1).astype(np.float32)


def test_loss_and_score_are_the_likelihood_of_a_laplace_distribution():
    target = target_type(SPEC)
    number, spread = LOGITS.astype(float).T[0], np.exp(LOGITS.astype(float).T[1])
    own = -laplace.logpdf(TRUTH[:, 0], loc=number, scale=spread / np.sqrt(2))
    section = SimpleNamespace(name="auto", class_weights="none", beta=0.9, smoothing=0.1)
    loss = loss_of(section, target.counts(TRUTH, 2), target, target.unit(TRUTH))
    found = loss(torch.from_numpy(LOGITS), torch.from_numpy(TRUTH)).item()
    assert found == pytest.approx(own.mean() - np.log(TRUTH.std()), rel=1e-4)
    # As the host's page of OSIC writes it, where spreads below 70 and errors above 1000 are clipped.
    sigma, error = spread.clip(70), np.abs(TRUTH[:, 0] - number).clip(max=1000)
    value = (-np.sqrt(2) * error / sigma - np.log(np.sqrt(2) * sigma)).mean()
    judge, p = metric("laplace_log_likelihood", target), target.predictions(LOGITS)
    assert judge.score(TRUTH, p) == pytest.approx(value, rel=1e-5)
    draws = RNG.integers(0, 3, 300)
    rows = np.repeat(np.arange(300), draws)
    assert judge.weighted(TRUTH, p)(draws[None])[0] == pytest.approx(judge.score(TRUTH[rows], p[rows]), rel=1e-9)


def test_a_stack_of_runs_keeps_both_columns():
    target = target_type(SPEC)
    p = target.predictions(LOGITS)
    tables = [p, p + np.array([50.0, 10.0])]
    found = target.apply_stack(target.fit_stack(TRUTH, tables), tables)
    np.testing.assert_allclose(found[:, 1], np.exp(LOGITS[:, 1]) + 5, rtol=1e-5)
    assert np.abs(found[:, 0] - TRUTH[:, 0]).mean() < 300


@pytest.mark.parametrize("word", ["train.mixup=0.4", "loss.name=mse", "probe.head=auto", "data.sampler=weighted"])
def test_what_has_no_meaning_for_a_spread_is_refused(home, capsys, word):
    assert train(["fold=0", "config=glow", "run=other", word, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] in ("unfit-for-target", "no-probe")
