"""Numbers as a target: from a download to a checked CSV, the page, an ensemble and an exported file."""

import json
import re

import cv2
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from src.core.errors import UsageError
from src.export.predict import main as predict_with
from src.metrics import metric
from src.predict import main as predict
from src.prepare import main as prepare
from src.report import main as report
from src.review import main as review
from src.sweep import main as sweep
from src.train import main as train
from tests.fixtures.pages import sections

CONFIG = """\
competition: glow
data: {folds: 3}
images: {size: 16, load_size: 16}
model: resnet8
augment: none
optim: {lr: 1e-2}
train: {epochs: 8, batch: 8, precision: fp32}
machine: {device: cpu, threads: 1}
"""
CARD = """\
title: Light and contrast
train: {table: train.csv, id: id, images: "train/{id}.png", label: [light, contrast]}
test: {table: sample_submission.csv, id: id, images: "test/{id}.png"}
target: {name: regression, low: 3}
metric: r2
submission: {sample: sample_submission.csv, kind: numbers}
"""
WORDS = ["config=glow", "run=r"]


def write_host(folder, train_rows: int = 60, test_rows: int = 20) -> pd.DataFrame:
    """Gray images of a drawn brightness and contrast; the truth of the test part."""
    rng, parts = np.random.default_rng(0), {}
    for part, count in (("train", train_rows), ("test", test_rows)):
        (folder / part).mkdir(parents=True)
        rows = []
        for i in range(count):
            light, contrast = rng.uniform(40, 210), rng.uniform(5, 60)
            noise = rng.normal(0, contrast, (16, 16, 1)).repeat(3, axis=2)
            cv2.imwrite(str(folder / part / f"{part}{i}.png"), (light + noise).clip(0, 255).astype(np.uint8))
            rows.append((f"{part}{i}", round(1000 + light / 7, 3), round(contrast / 9, 3)))
        parts[part] = pd.DataFrame(rows, columns=["id", "light", "contrast"])
    parts["train"].to_csv(folder / "train.csv", index=False)
    return parts["test"]


@pytest.fixture(scope="module")
def glow(tmp_path_factory):
    """A home with the host's files prepared, trained, predicted, exported and reported; and the truth of the test."""
    home, host = tmp_path_factory.mktemp("glow"), tmp_path_factory.mktemp("host") / "glow"
    truth = write_host(host)
    pd.read_csv(host / "train.csv").drop(columns="contrast").to_csv(host / "train.csv", index=False)
    truth[["id"]].assign(light=0).to_csv(host / "sample_submission.csv", index=False)
    (home / "configs").mkdir()
    (home / "configs/glow.yaml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(home))
        assert prepare([str(host), "id=glow"]) == 0
        assert train(["fold=0..2", *WORDS]) == 0
        assert predict(["--tta", "--export", *WORDS]) == 0
        assert report(WORDS) == 0
        assert review(WORDS) == 0
        yield home, truth


def submitted(home, run: str = "r") -> pd.DataFrame:
    return pd.read_csv(home / f"submissions/glow/{run}.csv")


def test_the_csv_holds_numbers_near_the_truth(glow):
    home, truth = glow
    found = submitted(home)
    assert found["id"].tolist() == truth["id"].tolist()
    error = np.sqrt(np.square(found["light"] - truth["light"]).mean())
    assert error < 0.7 * truth["light"].std()
    (facts,) = (home / "runs/glow/r/predictions").glob("*.json")
    score = json.loads(facts.read_text())["score"]
    assert score["low"] < score["value"] < score["high"] < truth["light"].std()


def test_each_fold_learns_in_units_of_its_own_training_rows(glow):
    home, _ = glow
    (table,) = (home / "runs/glow").glob("folds-*.csv")
    rows = pd.read_csv(table).merge(pd.read_csv(home / "competition/glow/data/train.csv"))
    for fold in range(3):
        seen = rows["light"][rows["fold"] != fold]
        weights = load_file(home / f"runs/glow/r/seed0/fold{fold}/model.safetensors")
        np.testing.assert_allclose(weights["output_mean"], [seen.mean()], rtol=1e-5)
        np.testing.assert_allclose(weights["output_unit"], [seen.std(ddof=0)], rtol=1e-4)
    means = rows.groupby("fold")["light"].mean()
    assert np.ptp(means) < 0.35 * rows["light"].std()  # folds share the quantiles out


def test_the_page_shows_residuals_and_no_classes(glow):
    home, _ = glow
    folder = home / "runs/glow/r/report"
    page = (folder / "report.html").read_text()
    assert {"answer", "data", "seen", "learning", "residuals", "trust"} <= sections(page)
    assert "mistakes" not in sections(page) and not (folder / "calibration.csv").exists()
    scatter = pd.read_csv(folder / "scatter_1.csv")
    assert len(scatter) == 60 and np.corrcoef(scatter["truth"], scatter["prediction"])[0, 1] > 0.8
    assert not (home / "runs/glow/r/seed0/fold0/per_class.csv").exists()


def test_a_review_lists_residual_outliers(glow):
    folder = glow[0] / "runs/glow/r/review"
    table = pd.read_csv(folder / "label_issues.csv")
    assert {"id", "given", "suggested", "deviations"} <= set(table.columns)
    assert json.loads((folder / "review.json").read_text())["label_issues"] == len(table) < 6


def test_an_exported_file_answers_as_the_run_did(glow, tmp_path):
    home, _ = glow
    (file,) = (home / "runs/glow/r/export").glob("*.safetensors")
    out = tmp_path / "answers.csv"
    assert predict_with([str(file), str(home / "competition/glow/data/test"), f"out={out}", "device=cpu"]) == 0
    answers = pd.read_csv(out)
    answers["id"] = answers["file"].str.extract(r"(test\d+)\.png")
    both = answers.merge(submitted(home), on="id", suffixes=("_file", "_run"))
    np.testing.assert_allclose(both["light_file"], both["light_run"], rtol=1e-4)


def test_a_sweep_and_an_ensemble(glow, capsys):
    home, truth = glow
    words = ["config=glow", "fold=0..2", "optim.lr=1e-2,3e-3", "train.epochs=2"]
    assert sweep(words) == 0
    (summary,) = home.glob("**/summary.csv")
    table = pd.read_csv(summary)
    assert len(table) == 2 and {"rmse", "gain", "held_out_loss"} <= set(table.columns)
    assert not (summary.parent / "per_class.csv").exists()
    runs = [folder.name for folder in (home / "runs/glow").iterdir() if (folder / "seed0").exists()]
    assert predict(["competition=glow", f"runs={','.join(runs)}"]) == 0
    (facts,) = (home / "runs/glow/blends").glob("*/predictions/*.json")
    blend = pd.read_csv(home / "submissions/glow" / json.loads(facts.read_text())["file"])
    assert np.corrcoef(blend["light"], truth["light"])[0, 1] > 0.8


@pytest.mark.parametrize("cell", ["bright", "nan", "inf", ""])
def test_a_cell_that_is_no_finite_number_is_refused(glow, tmp_path, monkeypatch, capsys, cell):
    home, _ = glow
    host = home / "competition/glow"
    folder = tmp_path / "competition/glow"
    folder.mkdir(parents=True)
    (folder / "data").mkdir()
    for name in ("train", "test", "sample_submission.csv"):
        (folder / "data" / name).symlink_to(host / "data" / name)
    table = pd.read_csv(host / "data/train.csv", dtype=str)
    table.loc[3, "light"] = cell
    table.to_csv(folder / "data/train.csv", index=False)
    (folder / "card.yaml").write_text((host / "card.yaml").read_text())
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/glow.yaml").write_text(CONFIG)
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path))
    assert train(["fold=0", "--json", *WORDS]) == 1
    out = capsys.readouterr().out
    error = json.loads(out)["error"]
    assert error["code"] == "bad-label" if cell else error["code"].startswith("empty")
    assert "line 5" in error["message"]


@pytest.mark.slow
def test_several_numbers_of_bounded_size_in_rows_of_their_own(tmp_path, monkeypatch):
    host = tmp_path / "host"
    truth = write_host(host)
    long = {}
    for part, table in (("train", pd.read_csv(host / "train.csv")), ("test", truth)):
        rows = table.melt("id", var_name="target_name", value_name="target").sample(frac=1, random_state=0)
        rows.insert(0, "sample_id", rows["id"] + "__" + rows["target_name"])
        long[part] = rows.assign(image_path=part + "/" + rows.pop("id") + ".png")
    long["train"].to_csv(host / "train.csv", index=False)
    long["test"].drop(columns="target").to_csv(host / "test.csv", index=False)
    long["test"][["sample_id"]].assign(target=0.0).to_csv(host / "sample_submission.csv", index=False)
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path))
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/glow.yaml").write_text(CONFIG)
    metric = "metric={name: weighted_r2, weights: [0.5, 0.5]}"
    assert prepare([str(host), "id=glow", metric, "target={name: regression, low: 3}"]) == 0
    words = ["fold=0..2", "loss.name={name: huber, delta: 2}", *WORDS]
    assert train(words) == 0
    assert predict(words) == 0
    found = submitted(tmp_path)
    assert found["sample_id"].tolist() == long["test"]["sample_id"].tolist()
    both = found.merge(long["test"], on="sample_id", suffixes=("", "_true"))
    light, contrast = (both[both["target_name"] == name] for name in ("light", "contrast"))
    assert contrast["target"].min() >= 3 and light["target"].between(1000, 1035).all()
    assert np.corrcoef(light["target"], light["target_true"])[0, 1] > 0.8


def test_metrics_of_numbers_are_those_of_scikit_learn():
    from scipy.stats import spearmanr
    from sklearn import metrics as reference

    rng = np.random.default_rng(0)
    truth = rng.gamma(2, 3, (50, 2)).astype(np.float32)
    answers = truth + rng.normal(0, 1, truth.shape)
    expected = {
        "rmse": reference.root_mean_squared_error(truth, answers),
        "mae": reference.mean_absolute_error(truth, answers),
        "rmsle": reference.root_mean_squared_log_error(truth, answers.clip(0)),
        "r2": reference.r2_score(truth, answers),
        "pearson": np.mean([np.corrcoef(t, a)[0, 1] for t, a in zip(truth.T, answers.T, strict=True)]),
        "mape": reference.mean_absolute_percentage_error(truth, answers),
        "pinball": reference.mean_pinball_loss(truth, answers),
        "spearman": np.mean([spearmanr(t, a)[0] for t, a in zip(truth.T, answers.T, strict=True)]),
    }
    weights = rng.integers(0, 3, len(truth)).astype(float)
    rows = np.repeat(np.arange(len(truth)), weights.astype(int))
    for name, value in expected.items():
        one = metric(name, "regression")
        assert one.score(truth, answers) == pytest.approx(value, rel=1e-6)
        resampled = one.weighted(truth, answers)(weights[None])[0]
        assert resampled == pytest.approx(one.score(truth[rows], answers[rows]), rel=1e-6)


def test_metrics_with_parameters_by_their_definitions():
    from sklearn import metrics as reference

    rng = np.random.default_rng(1)
    truth = rng.gamma(2, 3, (50, 3)).astype(np.float32)
    answers = truth + rng.normal(0, 1, truth.shape)
    weights, draws = np.array([0.2, 0.5, 0.0]), rng.integers(0, 3, len(truth))
    cells = np.broadcast_to(weights, truth.shape).ravel()
    above = reference.mean_pinball_loss(truth, answers, alpha=0.8)
    both = reference.r2_score(truth.ravel(), answers.ravel(), sample_weight=cells)
    specs = (
        ({"name": "pinball", "quantile": 0.8}, above),
        ({"name": "weighted_r2", "weights": weights.tolist()}, both),
    )
    for spec, expected in specs:
        one = metric(spec, "regression")
        assert one.score(truth, answers) == pytest.approx(expected, rel=1e-6)
        rows = np.repeat(np.arange(len(truth)), draws)
        drawn = one.weighted(truth, answers)(draws[None])[0]
        assert drawn == pytest.approx(one.score(truth[rows], answers[rows]), rel=1e-6)


WRONG = [
    ({"name": "pinball", "quantile": 1.5}, "bad-parameter"),
    ({"name": "weighted_r2", "weights": [0.0, 0.0]}, "bad-parameter"),
    ({"name": "weighted_r2"}, "missing-parameter"),
    ("accuracy", "unfit-for-target"),
]


@pytest.mark.parametrize(("spec", "code"), WRONG)
def test_a_metric_that_makes_no_sense_of_numbers_is_refused(spec, code):
    with pytest.raises(UsageError) as caught:
        metric(spec, "regression")
    assert caught.value.code == code


def test_weights_of_another_number_of_outputs_are_refused():
    with pytest.raises(UsageError) as caught:
        metric({"name": "weighted_r2", "weights": [1.0]}, "regression").check_outputs(("light", "contrast"))
    assert caught.value.code == "bad-parameter"


@pytest.mark.slow
def test_numbers_in_a_range_by_scaled_cross_entropy_and_rounded(tmp_path, monkeypatch):
    host = tmp_path / "host"
    truth = write_host(host)
    truth.assign(contrast=0)[["id", "contrast"]].to_csv(host / "sample_submission.csv", index=False)
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path))
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/glow.yaml").write_text(CONFIG)
    (tmp_path / "competition/glow").mkdir(parents=True)
    host.rename(tmp_path / "competition/glow/data")
    card = CARD.replace("label: [light, contrast]", "label: contrast").replace("kind: numbers", "kind: number")
    card = card.replace("{name: regression, low: 3}", "{name: bounded, low: 0, high: 7, decimals: 0}")
    (tmp_path / "competition/glow/card.yaml").write_text(card.replace("metric: r2", "metric: rmse"))
    assert train(["fold=0..2", *WORDS]) == 0
    assert predict(WORDS) == 0
    found = submitted(tmp_path)["contrast"]
    assert found.between(0, 7).all() and (found % 1 == 0).all()
    assert np.corrcoef(found, truth["contrast"])[0, 1] > 0.8
    held = [np.load(tmp_path / f"runs/glow/r/seed0/fold{k}/logits/oof-identity.npz") for k in range(3)]
    table = pd.read_csv(tmp_path / "competition/glow/data/train.csv").set_index("id")["contrast"]
    told = np.concatenate([7 / (1 + np.exp(-part["logits"][:, 0].astype(float))) for part in held])
    right = table.loc[np.concatenate([part["id"].astype(str) for part in held])].to_numpy()
    (facts,) = (tmp_path / "runs/glow/r/predictions").glob("*.json")
    score = json.loads(facts.read_text())["score"]["value"]
    assert score == pytest.approx(np.sqrt(np.square(told.round() - right).mean()), rel=1e-3)


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("{name: bounded, low: 0}", "bad-card"),
        ("{name: bounded, low: 9, high: 0}", "bad-card"),
        ("{name: bounded, low: 0, high: 3}", "bad-label"),
    ],
)
def test_a_range_that_does_not_hold_the_numbers_is_refused(glow, tmp_path, monkeypatch, capsys, target, code):
    home, _ = glow
    folder = tmp_path / "competition/glow"
    folder.mkdir(parents=True)
    (folder / "data").symlink_to(home / "competition/glow/data")
    card = (home / "competition/glow/card.yaml").read_text()
    (folder / "card.yaml").write_text(re.sub("target: regression", f"target: {target}", card))
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path))
    assert prepare(["glow", "--json"]) in (1, 2)
    assert json.loads(capsys.readouterr().out)["error"]["code"] == code
