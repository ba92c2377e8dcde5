"""The learning-rate finder: what it makes of a curve, that its proposal trains, and that it leaves the run alone."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from src.config.request import parse
from src.experiments import lr_finder
from src.experiments.lr_finder import find_lr, marks, tried
from src.train import main as train
from tests.fixtures.codes import raises
from tests.fixtures.tiny import write_tiny


@pytest.fixture
def tiny(home: Path) -> Path:
    write_tiny(home, side=8)
    return home


def files(home: Path, run: str) -> set[str]:
    folder = home / "runs" / "tiny" / run
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def told(losses: np.ndarray) -> pd.DataFrame:
    return tried(lambda rates: iter(losses[: len(rates)]))


# What it makes of a curve

RATES = np.geomspace(lr_finder.LOWEST, lr_finder.HIGHEST, lr_finder.STEPS)


def valley(bottom: float, depth: float = 2.0, wide: float = 1.0) -> np.ndarray:
    """A loss of 4 with a valley at the rate `bottom`; `wide` in powers of ten."""
    return 4 - depth * np.exp(-((np.log10(RATES / bottom) / wide) ** 2))


@pytest.mark.parametrize("bottom", [1e-3, 1e-2, 1e-1])
def test_the_bottom_of_the_valley_is_found(bottom):
    table = told(valley(bottom))
    lowest, steepest = marks(table)
    assert bottom <= lowest < 4 * bottom  # the running mean looks back, so it is late by some steps
    assert lowest / 20 < steepest < lowest
    assert len(table) < lr_finder.STEPS  # the loss has left its valley: the rest would only cost time
    assert list(table["step"]) == list(range(1, len(table) + 1))
    np.testing.assert_allclose(table["lr"], RATES[: len(table)])


def test_a_deeper_valley_behind_a_ridge_is_not_looked_for():
    """There large rates throw the network from one place to the next, and some of them happen to be low."""
    lowest, _ = marks(told(np.minimum(valley(1e-2, wide=0.5), valley(3, depth=3, wide=0.5))))
    assert lowest < 0.1


@pytest.mark.parametrize("seed", range(5))
def test_noise_does_not_end_it_early(seed):
    noisy = valley(1e-1) + np.random.default_rng(seed).normal(0, 0.1, lr_finder.STEPS)
    lowest, _ = marks(told(noisy))
    assert 0.03 < lowest < 0.5


def test_the_running_mean_starts_unbiased():
    table = told(np.full(lr_finder.STEPS, 3.0))
    np.testing.assert_allclose(table["smoothed"], 3.0)
    assert len(table) == lr_finder.STEPS


def test_a_loss_that_is_no_number_ends_it():
    falling = np.linspace(4, 2, 40)
    table = told(falling)
    assert len(table) == 40
    assert marks(table)[0] == pytest.approx(RATES[39])
    with raises("loss-not-finite"):
        told(falling[:5])


# On a network


@pytest.mark.slow
def test_its_proposal_trains(tiny, notes):
    proposed = find_lr(parse(["config=tiny", "run=look"]))
    assert notes.texts("rate-proposed", f"optim.lr={proposed:g}")
    table = pd.read_csv(tiny / "runs/tiny/look/lr-finder.csv")
    assert table["lr"].is_monotonic_increasing
    assert proposed == pytest.approx(marks(table)[0] / 10, rel=0.05)
    assert table["smoothed"].min() < 0.8 * table["loss"].iloc[:10].median()
    assert cv2.imread(str(tiny / "runs/tiny/look/lr-finder.png")).std() > 5
    words = ["config=tiny", "fold=0", "train.epochs=8"]
    losses = {}
    for rate in (proposed, proposed / 1000):
        assert train([*words, f"optim.lr={rate}", f"run={rate}"]) == 0
        losses[rate] = pd.read_csv(tiny / f"runs/tiny/{rate}/seed0/fold0/log.csv")["held_out_loss"].iloc[-1]
    assert losses[proposed] < 0.5 < losses[proposed / 1000]


def test_the_name_stays_free(tiny, monkeypatch):
    monkeypatch.setattr(lr_finder, "STEPS", 40)
    assert train(["--find-lr", "config=tiny", "run=mine"]) == 0
    assert files(tiny, "mine") == {"lr-finder.csv", "lr-finder.png"}
    assert train(["run=mine", "fold=0"]) == 2  # there is no such run yet
    assert train(["config=tiny", "run=mine", "fold=0", "train.epochs=1", "optim.name=sgd"]) == 0
    assert {"config.yaml", "lr-finder.png"} <= files(tiny, "mine")


def test_a_run_that_was_begun_is_neither_read_nor_changed(tiny, monkeypatch):
    monkeypatch.setattr(lr_finder, "STEPS", 40)
    alone = find_lr(parse(["config=tiny", "run=alone"]))
    assert train(["config=tiny", "run=begun", "fold=0"]) == 0
    folder = tiny / "runs/tiny/begun"
    (folder / "seed0/fold0/checkpoint.pt").write_bytes(b"no checkpoint")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert find_lr(parse(["config=tiny", "run=begun"])) == alone
    assert before.items() <= {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}.items()
    assert files(tiny, "begun") - {str(path.relative_to(folder)) for path in before} == {
        "lr-finder.csv",
        "lr-finder.png",
    }


@pytest.mark.slow
def test_it_looks_at_the_fold_the_seed_and_the_optimizer_that_are_asked_for(tiny, monkeypatch):
    monkeypatch.setattr(lr_finder, "STEPS", 40)
    asked = {"plain": [], "fold": ["fold=1"], "seed": ["seed=1"], "sgd": ["optim.name=sgd"], "again": []}
    tables = {}
    for run, words in asked.items():
        find_lr(parse(["config=tiny", f"run={run}", *words]))
        tables[run] = pd.read_csv(tiny / f"runs/tiny/{run}/lr-finder.csv")
    pd.testing.assert_frame_equal(tables["plain"], tables["again"])
    for run in ("fold", "seed", "sgd"):
        assert not np.allclose(tables["plain"]["loss"].iloc[5:20], tables[run]["loss"].iloc[5:20], rtol=1e-6), run


def test_where_no_rate_makes_the_loss_fall_nothing_is_proposed(tiny):
    with raises("no-rate-found"):
        words = ["config=tiny", "run=deaf", "optim.weight_decay=0", "augment=none", "data.sampler=plain"]
        find_lr(parse(words), (1e-12, 1e-11))
    assert files(tiny, "deaf") == {"lr-finder.csv", "lr-finder.png"}  # to look at


def test_it_goes_to_the_very_end_where_the_weights_burst(tiny, monkeypatch):
    monkeypatch.setattr(lr_finder, "CLIMB", 1e9)
    monkeypatch.setattr(lr_finder, "NOTICED", 1e-9)
    find_lr(parse(["config=tiny", "run=burst", "optim.name=sgd"]), (lr_finder.LOWEST, 1e30))
    table = pd.read_csv(tiny / "runs/tiny/burst/lr-finder.csv")
    assert lr_finder.SETTLING < len(table) < lr_finder.STEPS
    assert np.isfinite(table).all().all()
