"""Votes as the truth: from a download to a checked CSV, scored by votes; metrics and losses by their definitions."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import entropy

from src import prepare
from src.competition.card import load_card
from src.losses import loss_of
from src.metrics import metric
from src.predict import main as predict
from src.report import main as report
from src.targets import target_type
from src.train import main as train
from src.training.probes import probes_of
from tests.competition.test_odd_hosts import Host
from tests.fixtures.pages import sections

CONFIG = """\
competition: votes
data: {folds: 3}
images: {size: 16, load_size: 16}
model: resnet8
augment: none
optim: {lr: 1e-2}
train: {epochs: 8, batch: 8, precision: fp32}
machine: {device: cpu, threads: 1}
"""
WORDS = ["config=votes", "run=r"]
NAMES = ["seizure_vote", "lpd_vote", "other_vote"]


def shares_of(light: float) -> np.ndarray:
    """What experts say of a picture so bright, 0 to 1."""
    strength = np.exp(4 * np.array([light, 0.5, 1 - light]))
    return strength / strength.sum()


def write_host(folder) -> pd.DataFrame:
    """Pictures of a drawn brightness; 1 to 20 votes on each, and the shares that they are drawn from of the test."""
    rng, tables = np.random.default_rng(1), {}
    for part, count in (("train", 72), ("test", 24)):
        (folder / part).mkdir(parents=True)
        rows = []
        for i in range(count):
            light = rng.uniform()
            noise = rng.normal(40 + 170 * light, 12, (16, 16, 1)).repeat(3, axis=2)
            cv2.imwrite(str(folder / part / f"{part}{i}.png"), noise.clip(0, 255).astype(np.uint8))
            shares = shares_of(light)
            rows.append((f"{part}{i}", *(rng.multinomial(rng.integers(1, 21), shares) if part == "train" else shares)))
        tables[part] = pd.DataFrame(rows, columns=["eeg_id", *NAMES])
    kinds = tables["train"][NAMES].idxmax(axis=1).str.removesuffix("_vote")
    tables["train"].assign(consensus=kinds).to_csv(folder / "train.csv", index=False)
    tables["test"][["eeg_id"]].assign(**dict.fromkeys(NAMES, 0.3333)).to_csv(
        folder / "sample_submission.csv", index=False
    )
    return tables["test"]


@pytest.fixture(scope="module")
def votes(tmp_path_factory):
    home, host = tmp_path_factory.mktemp("votes"), tmp_path_factory.mktemp("host") / "votes"
    truth = write_host(host)
    (home / "configs").mkdir()
    (home / "configs/votes.yaml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(home))
        assert prepare.main([str(host), "id=votes"]) == 0
        assert train(["fold=0..2", *WORDS]) == 0
        assert predict(WORDS) == 0
        assert report(WORDS) == 0
        yield home, truth


def test_prepare_reads_votes(votes):
    card = load_card("votes")
    assert (card.target, card.submission.kind, card.metric) == ("soft_labels", "columns", "kl_divergence")
    assert card.train.label == NAMES


def test_the_csv_holds_shares_near_those_that_were_drawn_from(votes):
    home, truth = votes
    found = pd.read_csv(home / "submissions/votes/r.csv")
    assert list(found.columns) == ["eeg_id", *NAMES] and found["eeg_id"].tolist() == truth["eeg_id"].tolist()
    np.testing.assert_allclose(found[NAMES].sum(axis=1), 1, atol=1e-6)
    usual = truth[NAMES].mean().to_numpy()
    ours, chance = (entropy(truth[NAMES].to_numpy(), p, axis=1).mean() for p in (found[NAMES].to_numpy(), usual[None]))
    assert ours < 0.4 * chance


def test_the_page_has_sections_for_shares_and_none_for_classes(votes):
    page = (votes[0] / "runs/votes/r/report/report.html").read_text()
    assert {"answer", "data", "learning", "trust"} <= sections(page)
    assert "mistakes" not in sections(page) and "nan" not in page.split("<script")[0].casefold().split()


def test_rows_count_as_they_have_votes(votes):
    home, _ = votes
    (facts,) = (home / "runs/votes/r/predictions").glob("*.json")
    score = json.loads(facts.read_text())["score"]["value"]
    table, scored = pd.read_csv(home / "competition/votes/data/train.csv").set_index("eeg_id"), []
    for fold in range(3):
        held = np.load(home / f"runs/votes/r/seed0/fold{fold}/logits/oof-identity.npz", allow_pickle=False)
        counted = table.loc[held["id"].astype(str), NAMES].to_numpy(float)
        p = torch.from_numpy(held["logits"].astype(float)).softmax(1).numpy()
        each = entropy(counted, p, axis=1)
        scored.append(np.stack([each * counted.sum(axis=1), counted.sum(axis=1), each]))
    weighted, mass, plain = np.concatenate(scored, axis=1)
    assert score == pytest.approx(weighted.sum() / mass.sum(), rel=1e-4)
    assert score != pytest.approx(plain.mean(), rel=1e-3)


def test_folds_share_out_the_likeliest_classes(votes):
    home, _ = votes
    (file,) = (home / "runs/votes").glob("folds-*.csv")
    rows = pd.read_csv(file).merge(
        pd.read_csv(home / "competition/votes/data/train.csv"), left_on="id", right_on="eeg_id"
    )
    counts = pd.crosstab(rows["fold"], rows[NAMES].to_numpy().argmax(axis=1))
    assert (counts.max() - counts.min()).max() <= 1


@pytest.mark.parametrize(("cells", "word"), [((-1, 2, 2), "line 4"), ((0, 0, 0), "line 4"), (("x", 1, 1), "line 4")])
def test_a_row_that_is_no_share_is_refused(votes, tmp_path, monkeypatch, capsys, cells, word):
    home, _ = votes
    folder = tmp_path / "competition/votes"
    folder.mkdir(parents=True)
    (folder / "card.yaml").write_text((home / "competition/votes/card.yaml").read_text())
    (folder / "data").mkdir()
    for name in ("train", "test", "sample_submission.csv"):
        (folder / "data" / name).symlink_to(home / "competition/votes/data" / name)
    table = pd.read_csv(home / "competition/votes/data/train.csv", dtype=str)
    table.loc[2, NAMES] = [str(cell) for cell in cells]
    table.to_csv(folder / "data/train.csv", index=False)
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path))
    assert prepare.main(["votes", "--json"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "bad-label" and word in error["message"]


RNG = np.random.default_rng(2)
SHARES = RNG.dirichlet([1, 1, 1], 24)
READ = [
    ("probabilities", SHARES, 1 / 3, "soft_labels"),
    ("votes that sum to ten", RNG.multinomial(10, [0.2, 0.3, 0.5], 24), 0.3333, "soft_labels"),
    ("votes, and nothing told by the sample", RNG.multinomial(10, [0.2, 0.3, 0.5], 24), 0, "soft_labels"),
    ("lengths", RNG.uniform(1, 9, (24, 3)), 0, "regression"),
    ("lengths, of which the sample shows a third each", RNG.uniform(1, 9, (24, 3)), 1 / 3, "regression"),
    ("marks of one class", np.eye(3, dtype=int)[np.arange(24) % 3], 1 / 3, "multiclass"),
]


@pytest.mark.parametrize(("cells", "asked", "kind"), [row[1:] for row in READ], ids=[row[0] for row in READ])
def test_which_columns_are_shares(tmp_path, monkeypatch, cells, asked, kind):
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path / "home"))
    host = Host(tmp_path / "host")
    for id in [*(f"a{k}" for k in range(24)), *(f"b{k}" for k in range(6))]:
        host.image(f"img/{id}.png")
    host.table("train.csv", id=[f"a{k}" for k in range(24)], **dict(zip("xyz", cells.T, strict=True)))
    host.table("sample_submission.csv", id=[f"b{k}" for k in range(6)], **dict.fromkeys("xyz", asked))
    assert prepare.main([str(host.root), "id=c"]) == 0
    assert load_card("c").target == kind


def test_metrics_and_losses_by_their_definitions():
    target = target_type("soft_labels")
    truth, logits = SHARES.astype(np.float32), RNG.normal(size=(24, 3)).astype(np.float32)
    p, weights = target.predictions(logits), RNG.integers(1, 5, 24)
    each = {"kl_divergence": entropy(truth, p, axis=1), "brier": np.square(truth - p).sum(axis=1)}
    rows = np.repeat(np.arange(24), weights)
    for name, values in each.items():
        one = metric(name, target)
        assert one.score(truth, p) == pytest.approx(values.mean(), rel=1e-5)
        assert one.weighted(truth, p)(weights[None])[0] == pytest.approx(values[rows].mean(), rel=1e-5)
    losses = {"kl_divergence": each["kl_divergence"], "soft_cross_entropy": -(truth * np.log(p)).sum(axis=1)}
    for name, values in losses.items():
        loss = loss_of(
            SimpleNamespace(name=name, class_weights="none", beta=0.9, smoothing=0.1), target.counts(truth, 3), target
        )
        sent = torch.from_numpy(logits), torch.from_numpy(truth)
        assert loss(*sent).item() == pytest.approx(values.mean(), rel=1e-5)
        weighed = loss(*sent, torch.from_numpy(weights / weights.mean())).item()
        assert weighed == pytest.approx(values[rows].mean(), rel=1e-5)


def test_a_head_on_frozen_features_learns_shares():
    rng, target = np.random.default_rng(4), target_type("soft_labels")
    features = torch.from_numpy(rng.normal(size=(400, 5)).astype(np.float32))
    shares = (features @ torch.from_numpy(rng.normal(size=(5, 3)).astype(np.float32))).softmax(1)
    (probe,) = probes_of("auto", target)
    *_, head = probe.path(features, shares, 3, probe.strengths)
    found = target.predictions(head.logits(features).numpy())
    assert entropy(shares.numpy(), found, axis=1).mean() < 0.01
    assert probe.weighs_rows
