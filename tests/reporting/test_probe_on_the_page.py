"""What a probe and its features bring to the pages of a competition's other runs: a floor, and a map."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from safetensors.torch import save_file

from src.competition.competition import open_competition
from src.config.request import parse
from src.core.files import read_json
from src.core.paths import Run
from src.models.zoo import register_networks
from src.report import main as report
from src.reporting import probe_floor
from src.sweep import main as sweep
from src.train import main as train
from tests.fixtures.tiny import write_tiny


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A run of two folds, too little trained; another of one epoch less; and a probe of all folds."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(folder))
        write_tiny(folder)
        register_networks()
        torch.manual_seed(3)
        save_file(timm.create_model("resnet8", num_classes=5).state_dict(), folder / "own.safetensors")
        probe = ["model.stem=stock", f"model.pretrained={folder / 'own.safetensors'}", "probe.head=logistic"]
        poor = ["config=tiny", "train.epochs=2", "optim.lr=1e-3", "fold=0..1"]
        assert train([*poor, "run=r"]) == 0 and train([*poor, "seed=1", "run=other"]) == 0
        assert report(["run=r"]) == 0
        (folder / "runs/tiny/r/report").rename(folder / "without")
        assert train(["config=tiny", *probe, "fold=0..2", "run=p"]) == 0
        assert report(["run=r"]) == 0 and report(["run=p"]) == 0 and report(["--compare", "r", "other"]) == 0
        assert sweep(["config=tiny", "train.epochs=1", "optim.lr=1e-2,1e-3", "fold=0..1"]) == 0
        yield folder


def table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / f"{name}.csv", dtype={"id": str})


def section(folder: Path, key: str) -> str:
    return re.search(rf'<section id="{key}".*?</section>', (folder / "report.html").read_text(), flags=re.S)[0]


def probe_score(home: Path) -> float:
    """Of folds 0 and 1, by rows, from what the folds noted."""
    members = [home / f"runs/tiny/p/seed0/fold{fold}" for fold in (0, 1)]
    rows = [pd.read_csv(member / "per_class.csv")["rows"].sum() for member in members]
    return np.average([read_json(member / "done.json")["score"] for member in members], weights=rows)


def test_a_probe_is_the_floor_of_the_other_runs(home):
    scores = table(home / "runs/tiny/r/report", "scores").set_index(["name", "series"])
    line = scores.loc[("probe, run p", "plain")]
    assert line["value"] == pytest.approx(probe_score(home)) and line["low"] <= line["value"] <= line["high"]
    assert line["rows"] == scores.loc[("out of fold", "plain"), "rows"]
    curve = table(home / "runs/tiny/r/report", "score")
    assert curve["probe"].to_numpy() == pytest.approx(probe_score(home)) and set(curve["epoch"]) == {1, 2}
    compared = table(home / "runs/tiny/comparisons/r+other", "scores").set_index("name")
    assert compared.loc["probe, run p", "value"] == pytest.approx(probe_score(home))
    (floor,) = home.glob("runs/tiny/sweeps/*/floor.csv")
    assert pd.read_csv(floor).set_index("run").loc["p", "accuracy"] == pytest.approx(probe_score(home))


def test_without_a_probe_and_on_its_own_page_there_is_no_floor(home):
    assert not table(home / "without", "scores")["name"].str.contains("probe").any()
    assert "probe" not in table(home / "without", "score")
    assert not table(home / "runs/tiny/p/report", "scores")["name"].str.contains("probe").any()


def test_the_map_shows_every_held_out_image_and_crosses_the_mistakes(home):
    drawn = table(home / "runs/tiny/r/report", "map")
    scores = table(home / "runs/tiny/r/report", "scores").set_index(["name", "series"])
    overall = scores.loc[("out of fold", "plain")]
    assert len(drawn) == drawn["id"].nunique() == overall["rows"]
    assert drawn["right"].mean() == pytest.approx(overall["value"])
    # Colours are told apart by any convolutions, so that images of one class lie together.
    assert drawn["beside_own"].mean() > 0.9
    middles = drawn.groupby("class")[["x", "y"]].mean()
    away = np.linalg.norm(drawn[["x", "y"]].to_numpy()[:, None] - middles.to_numpy(), axis=2)
    assert (middles.index[away.argmin(axis=1)] == drawn["class"]).mean() > 0.8


def test_nothing_is_computed_for_a_map(home):
    assert not (home / "without" / "map.csv").exists() and "src.review" in section(home / "without", "map")


def test_a_probe_s_map_is_of_its_own_features(home):
    """Though others of the same network and size, with other weights, were kept later."""
    before = table(home / "runs/tiny/p/report", "map")
    torch.manual_seed(4)
    save_file(timm.create_model("resnet8", num_classes=5).state_dict(), home / "other.safetensors")
    words = ["model.stem=stock", f"model.pretrained={home / 'other.safetensors'}", "probe.head=logistic"]
    assert train(["config=tiny", *words, "fold=0..2", "run=q"]) == 0
    assert report(["run=p"]) == 0 and report(["run=q"]) == 0
    pd.testing.assert_frame_equal(table(home / "runs/tiny/p/report", "map"), before)
    other = table(home / "runs/tiny/q/report", "map").set_index("id").loc[before["id"]]
    assert not np.allclose(other[["x", "y"]], before[["x", "y"]])


def test_features_that_others_took_the_place_of_are_not_drawn(home):
    ids = {part: pd.read_csv(home / f"competition/tiny/data/{file}.csv", dtype=str)["image_id"].to_numpy()
           for part, file in (("train", "train"), ("test", "sample_submission"))}  # fmt: skip
    folder, generator = home / "brought", np.random.default_rng(0)
    folder.mkdir()

    def bring() -> None:
        for part, names in ids.items():
            features = generator.normal(size=(len(names), 8))
            np.savez(folder / f"{part}-identity.npz", id=names.astype(np.str_), features=features)

    bring()
    words = ["probe.head=logistic", "probe.features=brought", "run=b"]
    assert train(["config=tiny", *words, "fold=0..2"]) == 0 and report(["run=b"]) == 0
    drawn = home / "runs/tiny/b/report/map.csv"
    assert drawn.exists()
    bring()
    assert report(["run=b"]) == 0 and not drawn.exists()


def test_runs_that_fitted_no_head_are_not_opened(home, monkeypatch):
    """A competition may have hundreds; a configuration takes long to read."""
    opened = []
    read = probe_floor.run_config.read
    monkeypatch.setattr(
        probe_floor.run_config, "read", lambda folder, *more: opened.append(folder.name) or read(folder, *more)
    )
    competition = open_competition(parse(["config=tiny"]).config, Run("tiny", "r"))
    opened.clear()
    assert probe_floor.probe_floor(competition, None, ("p", "q", "b")) is None and not opened
