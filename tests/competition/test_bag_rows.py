"""Rows that share an answer: prepare reads them as bags where the sample submission says so, and tells what it took."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from src import prepare
from src.competition.card import load_card
from src.competition.samples import load_samples
from src.core.paths import competition_folder


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("src.reporting.preview.write_preview", lambda done: done.card.folder / "preview.html")


def views(root, part, people):
    """Two sides of each person from two views; the answer belongs to a side."""
    rng, rows = np.random.default_rng(people[0]), []
    (root / part).mkdir(parents=True)
    for person in people:
        for side in "LR":
            cancer = int(rng.random() < 0.5)
            for view in ("CC", "MLO"):
                image = f"{rng.integers(1 << 40):013d}"
                noise = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
                cv2.imwrite(str(root / part / f"{image}.png"), noise)
                rows.append((str(person), image, side, view, cancer))
    return pd.DataFrame(rows, columns=["patient_id", "image_id", "side", "view", "cancer"])


def host(root, test_first=100, by="{patient_id}_{side}", test_id="prediction_id"):
    """by: what the answer belongs to. test_id: the column that says so in the test table, empty without one."""
    train, test = views(root, "train", range(1, 17)), views(root, "test", range(test_first, test_first + 5))
    ids = test["patient_id"] + ("_" + test["side"] if "side" in by else "")
    if "side" not in by:
        train["cancer"] = train["patient_id"].astype(int) % 2
    if test_id:
        test[test_id] = ids
    train.to_csv(root / "train.csv", index=False)
    test.drop(columns="cancer").to_csv(root / "test.csv", index=False)
    pd.DataFrame({"id": sorted(set(ids)), "cancer": 0.5}).to_csv(root / "sample_submission.csv", index=False)
    return train, test, ids


@pytest.mark.parametrize(
    ("words", "train_id", "test_id"),
    [
        ({}, "{patient_id}_{side}", "prediction_id"),
        ({"test_id": ""}, "{patient_id}_{side}", "{patient_id}_{side}"),
        ({"by": "patient_id", "test_id": ""}, "patient_id", "patient_id"),
        ({"by": "patient_id", "test_id": "", "test_first": 1}, "patient_id", "patient_id"),  # ids as train has them
    ],
)
def test_rows_of_one_id_are_a_bag(tmp_path, words, train_id, test_id):
    root = tmp_path / "host"
    train, test, ids = host(root, **words)
    assert prepare.main([str(root), "id=c"]) == 0
    facts = yaml.safe_load((competition_folder("c") / "card.yaml").read_text())
    assert (facts["bag"], facts["train"]["id"], facts["test"]["id"]) == ("rows", train_id, test_id)
    samples = load_samples(load_card("c"))
    names = [[path.rpartition("/")[2] for path in bag] for bag in samples.test["bag"]]
    expected = test["image_id"].add(".png").groupby(ids).agg(list)
    assert dict(zip(samples.test["id"], names, strict=True)) == expected.to_dict()
    keys = train["patient_id"] + ("_" + train["side"] if "side" in train_id else "")
    answers = train["cancer"].astype(str).groupby(keys).first().to_dict()
    read = [samples.classes[k] for k in samples.targets]
    assert dict(zip(samples.train["id"], read, strict=True)) == answers


def test_one_answer_an_image_makes_no_bag(tmp_path):
    root = tmp_path / "host"
    _, test, _ = host(root)
    pd.DataFrame({"id": test["image_id"], "cancer": 0.5}).to_csv(root / "sample_submission.csv", index=False)
    assert prepare.main([str(root), "id=c"]) == 0
    card = load_card("c")
    assert (card.bag, card.train.id, card.test.id) == (None, "image_id", "image_id")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda train: train.drop(columns=["patient_id"]), "undecided"),  # nothing tells it of a training image
        (lambda train: train.assign(cancer=np.arange(len(train)) % 2), "bag-labels-differ"),
    ],
)
def test_bags_that_the_training_table_contradicts(tmp_path, capsys, change, code):
    root = tmp_path / "host"
    train, _, _ = host(root)
    change(train).to_csv(root / "train.csv", index=False)
    assert prepare.main([str(root), "id=c", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == code
