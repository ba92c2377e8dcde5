"""A hidden test set as its host may give it: with no image in it yet, in archives, or judged by a metric of its own."""

import gzip
import shutil
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import yaml

from src.export.hidden_test import main as hidden
from src.kernel import main as kernel
from src.launchers.kaggle_notebook.remote_training import main as away
from tests.fixtures.codes import refused
from tests.fixtures.kernel_home import ME, built, hidden_data, said
from tests.fixtures.notes import names_it
from tests.fixtures.tiny import CARD

pytest_plugins = ["tests.fixtures.kernel_fixtures"]
LISTED = 'test: {files: "test/{image_id}.png", id: image_id}'
OWN = '''
"""How often the answer is right."""


def score(truth, answers):
    return float((truth == answers).mean())


higher_is_better = True
needs = "labels"
'''


@pytest.fixture
def parts(shop) -> Path:
    """What a notebook is given, without the wheel."""
    return built(shop) / "dataset"


def answered(parts: Path, data: Path, *words: str) -> tuple[str, pd.DataFrame]:
    text = said(hidden, str(parts), str(data), f"out={parts}/submission.csv", *words)
    return text, pd.read_csv(parts / "submission.csv", dtype=str)


@pytest.mark.parametrize(
    "listed", [pytest.param(False, id="a table"), pytest.param(True, id="a listing", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("kept", [0, 2, None], ids=["empty", "two", "no folder"])
def test_a_test_set_without_images_is_answered_by_the_shares(parts, tmp_path, notes, kept, listed):
    """As a public test set is where the notebook's rerun brings the real one."""
    data = tmp_path / "hidden"
    hidden_data(tmp_path / "home" / "competition" / "tiny" / "data", data, 9)
    if listed:
        card = yaml.safe_load((parts / "card.yaml").read_text()) | yaml.safe_load(LISTED)
        (parts / "card.yaml").write_text(yaml.safe_dump(card))
    for path in sorted((data / "test").iterdir())[kept or 0 :]:
        path.unlink()
    if kept is None:
        (data / "test").rmdir()
    text, table = answered(parts, data)
    assert table.shape == (9, 2) and (table["colour"] == "blue").sum() >= 7
    assert names_it(text, kept or 0) and names_it(text, 9 - (kept or 0)) and names_it(text, 9)
    assert ("no-test-images" in notes.codes) == (not kept)


@pytest.mark.slow
def test_views_are_left_out_where_the_hours_are_short(parts, tmp_path, notes):
    data = tmp_path / "hidden"
    hidden_data(tmp_path / "home" / "competition" / "tiny" / "data", data, 202)
    _, table = answered(parts, data, "hours=0.00001")
    told = notes.take()
    assert told.texts("views-left-out", "identity", "hflip", 1, 3)
    assert told.texts("too-slow") and len(table) == 202
    text, table = answered(parts, data, "hours=2")
    assert names_it(text, "102.0") or names_it(text, "101.9")
    assert not notes.texts("views-left-out") and table["colour"].nunique() == 3


def test_files_in_archives_are_unpacked_beside_and_a_metric_of_its_own_travels(shop, tmp_path):
    folder = shop / "competition" / "tiny"
    (folder / "card.yaml").write_text((folder / "card.yaml").read_text().replace("metric: accuracy", "metric: own"))
    (folder / "metric.py").write_text(OWN)
    parts, data = built(shop) / "dataset", tmp_path / "hidden"
    assert (parts / "metric.py").read_text() == OWN
    hidden_data(folder / "data", data, 12)
    _, plain = answered(parts, data)
    with zipfile.ZipFile(data / "test.zip", "w") as archive:
        for path in (data / "test").iterdir():
            archive.write(path, f"test/{path.name}")
    shutil.rmtree(data / "test")
    table = data / "sample_submission.csv"
    Path(f"{table}.gz").write_bytes(gzip.compress(table.read_bytes()))
    table.unlink()
    before = sorted(path.name for path in data.iterdir())
    text, packed = answered(parts, data)
    assert names_it(text, "test.zip") and packed.equals(plain)
    assert sorted(path.name for path in data.iterdir()) == before, "the host's files stay as they are"


@pytest.mark.parametrize("door", [hidden, away])
def test_folders_that_are_not_there_are_named(door, tmp_path, capsys):
    refused(capsys, door, [tmp_path / "nowhere", tmp_path], "no-such-folder", f"{tmp_path}/nowhere")
    assert door([str(tmp_path), str(tmp_path), "hours=0"]) == 2


def test_a_folder_that_was_not_made_for_training_is_named(tmp_path, capsys):
    refused(capsys, away, [tmp_path, tmp_path], "no-request", "request.json")


def test_a_card_without_test_images_has_no_notebook(shop, capsys):
    card = yaml.safe_load(CARD) | {"kaggle": "three-colours"}
    del card["test"], card["submission"], card["test_labels"]
    (shop / "competition" / "tiny" / "card.yaml").write_text(yaml.safe_dump(card))
    refused(capsys, kernel, ["config=tiny", ME], "no-test-images", "tiny")
