"""Images that are numbers in the cells of a table: lists in JSON, in CSV and in Parquet."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from src import prepare
from src.competition.card import load_card
from src.competition.quality.cleaning import inspect
from src.competition.samples import load_samples
from src.core.paths import competition_folder
from src.images.read import read_image
from tests.fixtures.codes import refused


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("src.reporting.preview.write_preview", lambda done: done.card.folder / "preview.html")


def rows(count, first=0):
    """Two radar bands in decibels, and an angle that some rows lack."""
    rng = np.random.default_rng(first)
    return [
        {
            "id": f"x{first + k}",
            "band_1": rng.normal(-20, 5, 100).round(3).tolist(),
            "band_2": rng.normal(-25, 3, 100).round(3).tolist(),
            "angle": "na" if k % 5 == 3 else round(float(rng.uniform(30, 45)), 2),
            "is_ship": k % 2,
        }
        for k in range(count)
    ]


def as_json(path, held):
    path.with_suffix(".json").write_text(json.dumps(held))


def as_csv(path, held):
    pd.DataFrame(held).to_csv(path.with_suffix(".csv"), index=False)


def as_parquet(path, held):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pd.DataFrame(held).astype({"angle": str}).to_parquet(path.with_suffix(".parquet"))


def host(root, write, train, test):
    root.mkdir()
    write(root / "train", train)
    write(root / "test", [{key: one[key] for key in one if key != "is_ship"} for one in test])
    pd.DataFrame({"id": [one["id"] for one in test], "is_ship": 0.5}).to_csv(
        root / "sample_submission.csv", index=False
    )


@pytest.mark.parametrize("write", [as_json, as_csv, as_parquet])
def test_lists_of_two_bands_are_two_channels(tmp_path, write):
    train, test = rows(40), rows(8, 100)
    host(tmp_path / "host", write, train, test)
    assert prepare.main([str(tmp_path / "host"), "id=c"]) == 0
    facts = yaml.safe_load((competition_folder("c") / "card.yaml").read_text())
    assert facts["train"]["pixels"] == {"columns": ["band_1", "band_2"], "shape": [10, 10, 2]}
    assert facts["image"]["channels"] == 2 and facts["image"]["values"][0] < -30 < -10 < facts["image"]["values"][1]
    assert facts["metadata"] == "auto"  # the angle
    card = load_card("c")
    samples = inspect(card, load_samples(card))
    assert samples.test["id"].tolist() == [one["id"] for one in test]
    assert [samples.classes[k] for k in samples.targets] == [str(one["is_ship"]) for one in train]
    held = np.load(samples.train["path"][7])
    assert np.allclose(held[..., 1], np.reshape(train[7]["band_2"], (10, 10)))
    assert read_image(Path(samples.test["path"][0]), card.pixel_format).pixels.shape == (10, 10, 2)


def test_a_picture_of_rows_and_columns_in_json(tmp_path):
    train, test = (
        [{"id": k, "image": np.full((8, 9), k).tolist(), "is_ship": k % 2} for k in range(n)] for n in (20, 4)
    )
    host(tmp_path / "host", as_json, train, test)
    assert prepare.main([str(tmp_path / "host"), "id=c"]) == 0
    assert load_card("c").train.pixels.shape == [8, 9]
    assert (np.load(load_samples(load_card("c")).train["path"][5]) == 5).all()


def test_lists_of_other_lengths_are_told(tmp_path, capsys):
    train = rows(40)
    train[30]["band_2"] = train[30]["band_2"][:-1]
    host(tmp_path / "host", as_json, train, rows(8, 100))
    refused(capsys, prepare.main, [str(tmp_path / "host"), "id=c"], "pixel-count", "31")
