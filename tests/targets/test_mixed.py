"""A class and a number, and three grades, of one image: from a download to a checked CSV; scores by definition."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score, mean_squared_error, r2_score

from src import prepare
from src.competition.card import load_card
from src.core.errors import UsageError
from src.losses import loss_of
from src.metrics import metric
from src.predict import main as predict
from src.report import main as report
from src.targets import target_type
from src.train import main as train
from tests.competition.test_odd_hosts import Host
from tests.targets.test_regression import CONFIG, WORDS, submitted, write_host

SHADES = ["bright", "dark", "middle"]
SPEC = {"name": "mixed", "columns": {"shade": SHADES, "size": "regression"}}


def shade_of(light: pd.Series) -> np.ndarray:
    return np.select([light < 1012, light > 1024], ["dark", "bright"], "middle")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home, host = tmp_path_factory.mktemp("mixed"), tmp_path_factory.mktemp("host") / "glow"
    truth = write_host(host)
    table = pd.read_csv(host / "train.csv")
    table = table.assign(shade=shade_of(table["light"])).drop(columns="light")
    table.to_csv(host / "train.csv", index=False)
    truth[["id"]].assign(contrast=0, shade="dark").to_csv(host / "sample_submission.csv", index=False)
    (home / "configs").mkdir()
    (home / "configs/glow.yaml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(home))
        assert prepare.main([str(host), "id=glow"]) == 0
        assert train(["fold=0..2", *WORDS]) == 0
        assert predict(WORDS) == 0
        assert report(WORDS) == 0
        yield home, truth


def test_one_network_answers_both(home):
    folder, truth = home
    card = load_card("glow")
    assert card.target == {"name": "mixed", "columns": {"contrast": "regression", "shade": SHADES}}
    found = submitted(folder)
    assert list(found.columns) == ["id", "contrast", "shade"]
    assert (found["shade"] == shade_of(truth["light"])).mean() > 0.7
    assert np.corrcoef(found["contrast"], truth["contrast"])[0, 1] > 0.8
    held = [np.load(folder / f"runs/glow/r/seed0/fold{fold}/logits/oof-identity.npz") for fold in range(3)]
    logits = np.concatenate([part["logits"] for part in held])
    table = pd.read_csv(card.data / "train.csv").set_index("id")
    rows = table.loc[np.concatenate([part["id"].astype(str) for part in held])]
    told = np.array(SHADES)[logits[:, 1:].argmax(axis=1)]
    parts = r2_score(rows["contrast"], logits[:, 0]), balanced_accuracy_score(rows["shade"], told)
    (facts,) = (folder / "runs/glow/r/predictions").glob("*.json")
    assert json.loads(facts.read_text())["score"]["value"] == pytest.approx(np.mean(parts), rel=1e-4)


@pytest.mark.parametrize("word", ["train.mixup=0.4", "train.cutmix=1", "loss.name=mse", "loss.class_weights=balanced"])
def test_what_has_no_meaning_for_several_kinds_is_refused(home, capsys, word):
    assert train(["fold=0", "config=glow", "run=other", word, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "unfit-for-target"


RNG = np.random.default_rng(3)
TRUTH = np.stack([RNG.integers(0, 3, 200), RNG.normal(50, 4, 200)], axis=1).astype(np.float32)
LOGITS = np.concatenate([RNG.normal(size=(200, 3)), TRUTH[:, 1:] + RNG.normal(0, 2, (200, 1))], axis=1).astype(
    np.float32
)


def test_the_score_is_the_mean_of_the_parts():
    target = target_type(SPEC)
    p = target.predictions(LOGITS)
    shades = balanced_accuracy_score(TRUTH[:, 0], LOGITS[:, :3].argmax(axis=1))
    sizes = r2_score(TRUTH[:, 1], LOGITS[:, 3])
    assert metric("mixed", target).score(TRUTH, p) == pytest.approx((shades + sizes) / 2, rel=1e-6)
    kappa = cohen_kappa_score(TRUTH[:, 0], LOGITS[:, :3].argmax(axis=1), weights="quadratic")
    weighed = metric({"name": "mixed", "metrics": {"shade": "qwk"}, "weights": {"size": 3}}, target)
    assert weighed.score(TRUTH, p) == pytest.approx((kappa + 3 * sizes) / 4, rel=1e-6)
    draws = RNG.integers(0, 3, 200)
    rows = np.repeat(np.arange(200), draws)
    for one in (metric("mixed", target), weighed):
        assert one.weighted(TRUTH, p)(draws[None])[0] == pytest.approx(one.score(TRUTH[rows], p[rows]), rel=1e-6)


def test_the_loss_is_the_sum_of_the_parts():
    target = target_type(SPEC)
    section = SimpleNamespace(name="auto", class_weights="none", beta=0.9, smoothing=0.1)
    loss = loss_of(section, target.counts(TRUTH, 4), target, target.unit(TRUTH))
    own = F.cross_entropy(torch.from_numpy(LOGITS[:, :3]), torch.from_numpy(TRUTH[:, 0]).long()).item()
    own += mean_squared_error(TRUTH[:, 1], LOGITS[:, 3]) / TRUTH[:, 1].astype(float).var()
    assert loss(torch.from_numpy(LOGITS), torch.from_numpy(TRUTH)).item() == pytest.approx(own, rel=1e-5)


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "mixed", "metrics": {"shape": "qwk"}},
        {"name": "mixed", "metrics": {"size": "rmse"}},
        {"name": "mixed", "weights": {"size": -1}},
    ],
    ids=["no such part", "one is better lower", "a weight below 0"],
)
def test_parts_that_make_no_score_are_refused(spec):
    with pytest.raises(UsageError) as caught:
        metric(spec, target_type(SPEC))
    assert caught.value.code == "bad-parameter"


def three_conditions(host, grades):
    for id in [*(f"a{k}" for k in range(30)), *(f"b{k}" for k in range(6))]:
        host.image(f"img/{id}.png")
    columns = {
        name: [grades[(k + j * (k // 3)) % 3] for k in range(30)] for j, name in enumerate(("left", "mid", "right"))
    }
    host.table("train.csv", id=[f"a{k}" for k in range(30)], **columns)
    host.table("sample_submission.csv", id=[f"b{k}" for k in range(6)], **dict.fromkeys(columns, grades[0]))


def test_a_grade_for_each_of_three_conditions(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path / "home"))
    three_conditions(words := Host(tmp_path / "words"), ["Mild", "Normal", "Severe"])
    assert prepare.main([str(words.root), "id=words"]) == 0
    grades = {name: ["Mild", "Normal", "Severe"] for name in ("left", "mid", "right")}
    assert load_card("words").target == {"name": "mixed", "columns": grades}
    three_conditions(digits := Host(tmp_path / "digits"), [0, 1, 2])
    capsys.readouterr()
    assert prepare.main([str(digits.root), "id=digits", "--json"]) == 1  # grades, classes, or counts
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "undecided"
    spec = "{name: mixed, columns: {left: [0, 1, 2], mid: [0, 1, 2], right: [0, 1, 2]}}"
    assert prepare.main([str(digits.root), "id=digits", f"target={spec}"]) == 0
    assert load_card("digits").submission.kind == "mixed"


def test_a_class_that_is_not_listed_is_told_by_its_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path / "home"))
    three_conditions(host := Host(tmp_path / "host"), ["Mild", "Normal", "Severe"])
    spec = "{name: mixed, columns: {left: [Mild, Normal], mid: [Mild, Normal, Severe], right: [Mild, Normal, Severe]}}"
    assert prepare.main([str(host.root), "id=c", f"target={spec}", "--json"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "unknown-class" and "line 4" in error["message"]
