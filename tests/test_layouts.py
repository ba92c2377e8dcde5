"""Every layout, from the host's files to samples, folds and the sample submission, without a line for any of them."""

import cv2
import numpy as np
import pytest

from src import prepare
from src.competition.card import load_card
from src.competition.folds import freeze_folds
from src.competition.inspection import inspect
from src.competition.samples import load_samples
from src.runs import read_json, runs_folder
from tests.layouts import BUILDERS


@pytest.fixture(autouse=True)
def quiet_home(tmp_path, monkeypatch):
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path / "home"))


def prepared(name, tmp_path):
    """The layout, and what the reader makes of it."""
    built = BUILDERS[name](tmp_path / "host" / name)
    assert prepare.main([str(built.source), f"id={name}", *built.prepare]) == 0
    card = load_card(name)
    return built, card, inspect(card, load_samples(card), say=lambda line: None)


def test_there_are_layouts():
    assert len(BUILDERS) >= 12


@pytest.mark.parametrize("name", BUILDERS)
def test_layout(name, tmp_path):
    built, card, samples = prepared(name, tmp_path)
    root = f"{card.data.resolve()}/"
    assert card.target == built.target
    assert list(samples.classes) == built.classes
    found = {
        path.removeprefix(root): answer for path, answer in zip(samples.train["path"], answers(samples), strict=True)
    }
    assert found == built.train
    tested = dict(zip(samples.test["id"], samples.test["path"].str.removeprefix(root), strict=True))
    assert tested == built.test
    assert len(samples.test_without_image) == built.lost
    assert (card.submission.kind if card.submission else None) == built.kind
    assert list(samples.sample.columns) == built.header
    if card.submission:
        key = card.submission.id or samples.sample.columns[0]
        assert samples.sample[key].tolist() == list(built.truth)
    check_folds(built, samples, root, tmp_path)
    assert read_json(runs_folder(name) / "overview.json")["images"]["train"] >= len(built.train)


def answers(samples):
    if samples.targets.ndim == 1:
        return [samples.classes[k] for k in samples.targets]
    return [{samples.classes[k] for k in np.flatnonzero(row)} for row in samples.targets]


def check_folds(built, samples, root, tmp_path):
    folds = freeze_folds(samples, 3, 0, tmp_path / "folds")
    assert sorted(np.concatenate([folds.rows(k)[1] for k in range(3)])) == list(range(len(samples.train)))
    if built.group is None:
        assert (samples.train["group"] == "").all()
        return
    group_of = [built.group[path.removeprefix(root)] for path in samples.train["path"]]
    held = {}
    for group, fold in zip(group_of, folds.of_row, strict=True):
        assert held.setdefault(group, fold) == fold, f"{group} straddles folds"


def test_pixels_become_the_images(tmp_path):
    built, card, samples = prepared("pixels", tmp_path)
    numbers = np.loadtxt(built.source / "train.csv", delimiter=",", skiprows=1, dtype=int)
    for row in (0, 71):
        image = cv2.imread(samples.train["path"][row], cv2.IMREAD_UNCHANGED)
        assert image.tolist() == numbers[row, 1:].reshape(14, 14).tolist()


def test_the_host_s_validation_set_is_known(tmp_path):
    _, _, samples = prepared("food", tmp_path)
    held = samples.train["part"] == "validation"
    assert held.sum() == 21
    folds = freeze_folds(samples, 5, 0, tmp_path / "folds", host=True)
    assert folds.count == 1
    assert set(folds.rows(0)[1]) == set(np.flatnonzero(held))


def test_labels_of_test_folders_are_kept_apart(tmp_path):
    built, card, _ = prepared("collection", tmp_path)
    table = (card.folder / card.test_labels).read_text().splitlines()
    assert dict(line.split(",") for line in table[1:]) == built.truth


def test_the_card_is_short_and_says_how(tmp_path):
    _, card, _ = prepared("grades", tmp_path)
    lines = (card.folder / "card.yaml").read_text().splitlines()
    assert len(lines) <= 22
    assert sum("#" in line for line in lines) >= 12
    assert any("guess" in line and line.startswith("metric") for line in lines)
