"""Every layout, from the host's files to a scored submission, without a line of code for any of them."""

import csv
import functools
import math

import cv2
import numpy as np
import pytest

from src import predict, prepare, train
from src.competition import labels
from src.competition.card import load_card
from src.competition.folds import freeze_folds
from src.competition.quality.cleaning import inspect
from src.competition.samples import load_samples
from src.core.files import read_json
from src.core.paths import runs_folder, submissions_folder
from tests.fixtures.layouts import BUILDERS


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    """One home: each layout is a competition of its own in it."""
    home = tmp_path_factory.mktemp("layouts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(home))
        yield home


# tests/reporting/test_preview.py looks at what is drawn.
DRAWN = ("sets", "dirty")


@pytest.fixture(autouse=True)
def _some_previews_are_drawn(request):
    if "name" in request.fixturenames and request.node.callspec.params.get("name") in DRAWN:
        request.getfixturevalue("drawn_preview")


@functools.cache
def prepared(name, home):
    """The layout, once its files are prepared."""
    built = BUILDERS[name](home / "host" / name)
    assert prepare.main([str(built.source), f"id={name}", *built.prepare]) == 0
    return built


def understood(name, home):
    """The layout, and what the reader makes of it."""
    built, card = prepared(name, home), load_card(name)
    return built, card, inspect(card, load_samples(card))


def test_there_are_layouts():
    assert len(BUILDERS) >= 12


@pytest.mark.parametrize("name", BUILDERS)
def test_layout(name, home, tmp_path):
    built, card, samples = understood(name, home)
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


def test_pixels_become_the_images(home):
    built, _, samples = understood("pixels", home)
    numbers = np.loadtxt(built.source / "train.csv", delimiter=",", skiprows=1, dtype=int)
    for row in (0, 71):
        image = cv2.imread(samples.train["path"][row], cv2.IMREAD_UNCHANGED)
        assert image.tolist() == numbers[row, 1:].reshape(14, 14).tolist()


def test_the_host_s_validation_set_is_known(home, tmp_path):
    _, _, samples = understood("food", home)
    held = samples.train["part"] == "validation"
    assert held.sum() == 21
    folds = freeze_folds(samples, 5, 0, tmp_path / "folds", host=True)
    assert folds.count == 1
    assert set(folds.rows(0)[1]) == set(np.flatnonzero(held))


@pytest.mark.parametrize("name", ["collection", "subsets", "birds"])
def test_labels_of_test_images_are_kept_apart(name, home):
    built, card, samples = understood(name, home)
    file = card.folder / card.test_labels
    assert not file.is_relative_to(card.data)
    found = labels.test_answers(card, samples.classes, samples.test["id"].to_numpy())
    assert dict(zip(samples.test["id"], [samples.classes[k] for k in found], strict=True)) == built.truth


def test_a_column_that_names_a_validation_part(home):
    _, card, samples = understood("subsets", home)
    assert (samples.train["part"] == "validation").sum() == 20
    assert card.validation.label == card.train.label == "species"


def test_the_card_is_short_and_says_how(home):
    _, card, _ = understood("grades", home)
    lines = (card.folder / "card.yaml").read_text().splitlines()
    assert len(lines) <= 22
    assert sum("#" in line for line in lines) >= 12
    assert any("guess" in line and line.startswith("metric") for line in lines)


# The whole way takes seconds each: sets of labels differ most from one class a row, which other files train. The others
# go the same way through the code, and are slow.
WHOLE = ("sets",)
TINY = "data.folds=2 data.sampler=plain model=resnet8 images.size=24 images.load_size=24 augment=none optim.lr=5e-3"
TINY += " train.epochs=10 train.batch=8 train.ema_decay=0 train.precision=fp32"
TINY += " machine.device=cpu machine.jobs=1 machine.threads=1 machine.workers=0"


def whole_way():
    answered = [name for name in BUILDERS if name != "animals"]
    return [pytest.param(name, marks=() if name in WHOLE else pytest.mark.slow) for name in answered]


@pytest.mark.parametrize("name", whole_way())
def test_the_whole_way(name, home):
    built = prepared(name, home)
    words = [f"competition={name}", "run=tiny", "fold=0..1"]
    assert train.main([*words, "config=default", *TINY.split()]) == 0
    assert predict.main(words) == 0
    with (submissions_folder(name) / "tiny.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == built.header
    place = header.index(load_card(name).submission.id or header[0])
    assert [row[place] for row in rows] == list(built.truth)
    cells = [row[place + 1 :] for row in rows]
    score, least = judge(built, header[place + 1 :], cells)
    assert score >= least, f"{built.kind}: {score:.3f}"


def judge(built, columns, cells):
    """The score of a submission as read from the file, and what it must reach: far above a constant answer's."""
    truth = list(built.truth.values())
    if built.kind == "label":
        assert {row[0] for row in cells} <= set(built.classes)
        return np.mean([row[0] == true for row, true in zip(cells, truth, strict=True)]), 0.75
    if built.kind == "probability":
        return area([float(row[0]) for row in cells], [true == built.classes[1] for true in truth]), 0.85
    if built.kind == "ranked":
        ranks = [row[0].split(" ") for row in cells]
        assert all(len(row) == len(set(row)) == 5 for row in ranks)
        return np.mean(
            [1 / (1 + row.index(true)) if true in row else 0 for row, true in zip(ranks, truth, strict=True)]
        ), 0.7
    if built.kind == "set":
        pairs = [(set(row[0].split(built.separator)), true) for row, true in zip(cells, truth, strict=True)]
        return np.mean([2 * len(a & b) / (len(a) + len(b)) for a, b in pairs]), 0.6
    chances = np.array(cells, dtype=float)
    if built.target == "multilabel":
        return np.mean([area(chances[:, k], [name in true for true in truth]) for k, name in enumerate(columns)]), 0.8
    assert np.abs(chances.sum(axis=1) - 1).max() < 1e-9
    loss = -np.mean([math.log(row[columns.index(true)]) for row, true in zip(chances, truth, strict=True)])
    return -loss, -0.75 * math.log(len(columns))


def area(chances, truth):
    """The share of pairs of a positive and a negative that are in the right order."""
    pairs = [
        (p > n) + 0.5 * (p == n)
        for p, a in zip(chances, truth, strict=True)
        if a
        for n, b in zip(chances, truth, strict=True)
        if not b
    ]
    return np.mean(pairs)
