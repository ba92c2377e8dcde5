"""Several files of one id: bags, channels of one picture, or masks beside it, as real competitions have them."""

import json
import zlib
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from src import prepare
from src.competition.card import load_card
from src.competition.samples import load_samples
from src.submission.sample_layout import layout_of
from tests.fixtures.deep_files import write_dicom

TRAIN, TEST = [f"x{k}" for k in range(12)], [f"x{k}" for k in range(50, 54)]
COLOURS = (8, 8, 3)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("src.reporting.preview.write_preview", lambda done: done.card.folder / "preview.html")


def image(path, shape=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(zlib.crc32(path.name.encode())).integers(0, 255, shape)
    if path.suffix == ".dcm":
        write_dicom(path, noise.astype(np.uint16))
    else:
        cv2.imwrite(str(path), noise.astype(np.uint8))


def host(root, files, shape=(8, 8), ids=(TRAIN, TEST)):
    """files(id): names of the files that belong to an id."""
    for part, held in zip(("train", "test"), ids, strict=True):
        for one in held:
            for file in files(one):
                image(root / part / file, shape)
    pd.DataFrame({"id": ids[0], "kind": ["a", "b"] * (len(ids[0]) // 2)}).to_csv(root / "train.csv", index=False)
    pd.DataFrame({"id": ids[1], "kind": "a"}).to_csv(root / "sample_submission.csv", index=False)


def told(capsys, words):
    code = prepare.main([*words, "id=c", "--json"])
    tree = json.loads(capsys.readouterr().out)
    return code, tree if code == 0 else tree["error"]


BANDS = ("B02", "B03", "B8A")


@pytest.mark.parametrize(
    ("files", "shape", "template"),
    [
        (lambda one: [f"{one}/{one}_{band}.png" for band in BANDS], (8, 8), "{id}/*"),
        (lambda one: [f"{one}_{band}.png" for band in BANDS], (8, 8), "{id}_*"),
        (lambda one: [f"{one}-{word}.png" for word in ("red", "green")], (8, 8), "{id}-*"),
        (lambda one: [f"{one}_{word}.png" for word in ("front", "back")], COLOURS, "{id}_*"),
        (lambda one: [f"{one}_{x}_{y}.png" for x in (0, 1) for y in (0, 1)], COLOURS, "{id}_*"),
    ],
    ids=["bands in folders", "bands", "dyes", "sides", "tiles"],
)
def test_files_of_the_same_names_are_asked_about(tmp_path, capsys, files, shape, template):
    root = tmp_path / "host"
    host(root, files, shape)
    code, error = told(capsys, [str(root)])
    assert (code, error["code"]) == (1, "undecided") and "bag=files" in error["message"]
    words = ["bag=files", f"train.images=train/{template}", f"test.images=test/{template}"]
    assert told(capsys, [str(root), *words])[0] == 0
    assert {len(bag) for bag in load_samples(load_card("c")).train["bag"]} == {len(files("x0"))}


@pytest.mark.parametrize(
    ("files", "shape", "guessed"),
    [
        (lambda one: [f"{one}_{k}.png" for k in range(1, 5)], (8, 8), True),  # numbers of channels, or of images
        (lambda one: [f"{one}_{k}.png" for k in range(1, 5)], COLOURS, False),
        (lambda one: [f"{one}/{k}.png" for k in range(2 + int(one[1:]) % 3)], (8, 8), False),
        (lambda one: [f"{one}/s{s}/{k}.dcm" for s in (1, 2) for k in range(3)], (8, 8), False),
        (lambda one: [f"{one}/{view}.png" for view in ("front", "back")], COLOURS, False),
    ],
    ids=["gray numbers", "colour numbers", "slices", "series", "views"],
)
def test_bags_of_files(tmp_path, capsys, files, shape, guessed):
    root = tmp_path / "host"
    host(root, files, shape)
    code, tree = told(capsys, [str(root)])
    assert code == 0 and ("bag" in tree["guesses"]) == guessed
    card = load_card("c")
    assert card.bag == "files"
    held = dict(zip(TRAIN, load_samples(card).train["bag"], strict=True))
    assert all(len(held[one]) == len(files(one)) for one in TRAIN)


def test_a_table_of_series_beside_the_studies(tmp_path, capsys):
    """Numbers of studies that end as the numbers of their slices do."""
    root, ids = tmp_path / "host", ([str(1000 + k) for k in range(12)], [str(1050 + k) for k in range(4)])
    host(root, lambda one: [f"{one}/{s}/{k}.png" for s in (11, 22) for k in range(1, 4)], ids=ids)
    for part, held in zip(("train", "test"), ids, strict=True):
        series = pd.DataFrame({"id": np.repeat(held, 2), "series": [11, 22] * len(held)})
        series.to_csv(root / f"{part}_series.csv", index=False)
    assert told(capsys, [str(root)])[0] == 0
    samples = load_samples(load_card("c"))
    assert samples.test["id"].tolist() == ids[1] and {len(bag) for bag in samples.test["bag"]} == {6}


def test_masks_in_the_folders_of_bags_are_asked_about(tmp_path, capsys):
    root = tmp_path / "host"
    host(root, lambda one: [f"{one}/{k}.jpg" for k in range(2 + int(one[1:]) % 2)] + [f"{one}/mask.png"], COLOURS)
    code, error = told(capsys, [str(root)])
    assert (code, error["code"]) == (1, "undecided") and "train/{id}/*.jpg" in error["message"]
    words = ["bag=files", "train.images=train/{id}/*.jpg", "test.images=test/{id}/*.jpg"]
    assert told(capsys, [str(root), *words])[0] == 0
    paths = [Path(path) for bag in load_samples(load_card("c")).train["bag"] for path in bag]
    assert {path.suffix for path in paths} == {".jpg"} and len(paths) == 30


def test_lists_in_brackets_are_written_so(tmp_path, capsys):
    """Pictures of one species to learn from, plots of several to answer."""
    root = tmp_path / "host"
    for species in (1355, 1362, 1400):
        for k in range(6):
            image(root / f"train/{species}/{species}{k}.jpg", COLOURS)
    for k in range(4):
        image(root / f"test/plot{k}.jpg", (20, 20, 3))
    sample = pd.DataFrame({"plot": [f"plot{k}" for k in range(4)], "species": "[1355, 1362]"})
    sample.to_csv(root / "sample_submission.csv", index=False)
    code, tree = told(capsys, [str(root)])
    assert code == 0 and "submission.kind" in tree["guesses"]
    card = load_card("c")
    assert (card.submission.kind, card.submission.label_separator, card.submission.top) == ("ranked", "[]", 2)
    samples = load_samples(card)
    layout = layout_of(card, samples)
    assert card.submission_kind.cell(["1400", "1355"]) == "[1400, 1355]"
    assert card.submission_kind.parts("[1400, 1355]") == ["1400", "1355"] and card.submission_kind.parts("[]") == []
    assert layout is not None
