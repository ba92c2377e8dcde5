"""A new kind of target is one file in PODIUM_HOME/extensions: from the card to the CSV and the page, nothing else
is edited."""

import json

import numpy as np
import pandas as pd
import pytest

from src.predict import main as predict
from src.report import main as report
from src.train import main as train
from tests.fixtures.pages import sections
from tests.fixtures.recipes import recipe
from tests.fixtures.tiny import COLOURS, write_tiny

# One class a row whose classes are judged one by one: what is answered is the class that stands out most from how
# often it is usual. Its labels are written as "a picture of red".
KIND = recipe("Target type")
WORDS = ["config=tiny", "train.epochs=6"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The three colours as a competition of the new kind, trained and predicted."""
    home = tmp_path_factory.mktemp("new-target")
    write_tiny(home)
    (home / "extensions").mkdir()
    (home / "extensions" / "one_by_one.py").write_text(KIND)
    folder = home / "competition" / "tiny"
    card = (folder / "card.yaml").read_text().replace("target: multiclass", "target: one_by_one")
    (folder / "card.yaml").write_text(card)
    for file in (folder / "data" / "train.csv", folder / "answers" / "test.csv"):
        table = pd.read_csv(file, dtype=str)
        table.assign(colour="a picture of " + table["colour"]).to_csv(file, index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(home))
        assert train(["fold=0..2", *WORDS]) == 0
        assert predict(["--tta", *WORDS]) == 0
        assert report(WORDS) == 0
        yield home


def test_its_labels_become_classes_and_its_predictions_the_answers(home):
    facts = json.loads(next((home / "runs/tiny").glob("*/predictions/*.json")).read_text())
    assert facts["score"]["value"] > 0.6
    text = pd.read_csv(home / "submissions/tiny" / facts["file"], dtype=str)
    truth = pd.read_csv(home / "competition/tiny/answers/test.csv", dtype=str)
    assert set(text["colour"]) <= set(COLOURS)
    both = text.merge(truth, on="image_id")
    assert ("a picture of " + both["colour_x"] == both["colour_y"]).mean() > 0.6


def test_its_page_has_the_sections_that_it_names(home):
    page = next((home / "runs/tiny").glob("*/report/*.html")).read_text()
    assert {"answer", "learning", "trust"} <= sections(page)
    assert "mistakes" not in sections(page)


def test_its_predictions_are_its_own(home):
    table = next((home / "runs/tiny").glob("*/seed-0/fold-0/logits/oof-identity.npz"), None)
    table = table or next((home / "runs/tiny").glob("**/oof-identity.npz"))
    from src.targets import target_type

    with np.load(table) as stored:
        logits = stored["logits"]
    each = 1 / (1 + np.exp(-logits.astype(float)))
    np.testing.assert_allclose(target_type("one_by_one").predictions(logits), each / each.sum(1, keepdims=True))


def test_without_its_file_the_card_is_refused(home, monkeypatch, capsys, tmp_path):
    write_tiny(tmp_path)
    (tmp_path / "competition/tiny/card.yaml").write_text((home / "competition/tiny/card.yaml").read_text())
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path))
    assert train(["fold=0", *WORDS]) == 2
    assert "one_by_one" in capsys.readouterr().err
