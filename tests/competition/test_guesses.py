"""Guesses stay marked until they are confirmed or edited, and every prediction repeats the open ones."""

import json
from pathlib import Path

import pandas as pd
import pytest

from src import predict, prepare, train
from src.competition.card import load_card
from src.competition.guesses import confirm, open_guesses, read_facts
from src.core.paths import competition_folder, runs_folder
from tests.fixtures.codes import raises
from tests.fixtures.layouts import csv, picture, save


@pytest.fixture
def bugs(tmp_path, monkeypatch):
    """Without a sample submission: its form and its header are guesses, and so is the metric."""
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path / "home"))
    folder = tmp_path / "bugs"
    for k in range(30):
        save(folder / "train" / f"{k}.png", picture(k % 3, k))
    for k in range(6):
        save(folder / "test" / f"t{k}.png", picture(k % 3, 500 + k))
    csv(
        folder / "train.csv",
        pd.DataFrame({"id": range(30), "kind": [("bee", "fly", "wasp")[k % 3] for k in range(30)]}),
    )
    return folder


def card_text():
    return (competition_folder("bugs") / "card.yaml").read_text()


def test_guesses_are_marked_and_told(bugs, notes):
    assert prepare.main([str(bugs)]) == 0
    guesses = set(open_guesses(load_card("bugs")))
    assert {"metric", "submission.header"} <= guesses
    for key in guesses:
        assert len([text for text in notes.texts("guess") if f" {key}=" in text]) == 1
    assert card_text().count("# guess: ") == len(guesses)
    assert notes.texts("guess", "confirm=all")


def test_confirm_all_at_once_and_later(bugs, notes):
    assert prepare.main([str(bugs), "confirm=all"]) == 0
    assert open_guesses(load_card("bugs")) == {}
    assert not notes.texts("guess")
    first = card_text()
    competition_folder("bugs").joinpath("card.yaml").unlink()
    assert prepare.main([str(bugs)]) == 0
    before = len(open_guesses(load_card("bugs")))
    assert prepare.main(["bugs", "confirm=metric"]) == 0
    assert len(open_guesses(load_card("bugs"))) == before - 1
    assert prepare.main([str(bugs), "confirm=all"]) == 0
    assert open_guesses(load_card("bugs")) == {}
    assert card_text() == first, "the same card, whenever they were confirmed"


def test_what_is_no_guess_cannot_be_confirmed(bugs, capsys):
    assert prepare.main([str(bugs), "confirm=train.table"]) == 2
    assert not (competition_folder("bugs") / "card.yaml").exists()
    assert "metric" in capsys.readouterr().err, "the guesses that there are"
    assert prepare.main([str(bugs)]) == 0
    with raises("no-such-guess"):
        confirm(load_card("bugs"), ["title"])


def test_an_edited_value_is_no_guess_any_more(bugs):
    assert prepare.main([str(bugs)]) == 0
    path = competition_folder("bugs") / "card.yaml"
    path.write_text(card_text().replace("metric: accuracy", "metric: macro_f1"))
    assert "metric" not in open_guesses(load_card("bugs")), "its mark still stands behind it"
    path.write_text(card_text().replace("macro_f1", "accuracy"))
    assert "metric" in open_guesses(load_card("bugs"))


def test_a_card_alone_keeps_its_guesses(bugs):
    """On another machine nothing is known but the card."""
    assert prepare.main([str(bugs)]) == 0
    before = open_guesses(load_card("bugs"))
    for file in runs_folder("bugs").iterdir():
        file.unlink()
    assert open_guesses(load_card("bugs")) == before
    confirm(load_card("bugs"), "all")
    assert open_guesses(load_card("bugs")) == {}
    assert load_card("bugs").metric == "accuracy"


def test_the_evidence_is_there_on_a_second_start(bugs):
    assert prepare.main([str(bugs)]) == 0
    facts = read_facts(load_card("bugs"))
    assert facts["train.table"].certainty == "sure" and facts["train.table"].told
    assert prepare.main(["bugs"]) == 0
    assert read_facts(load_card("bugs")) == facts


def test_a_program_is_told_all_of_it(bugs, capsys):
    assert prepare.main([str(bugs), "--json"]) == 0
    text = json.loads(capsys.readouterr().out)
    assert "metric" in text["guesses"]
    assert text["evidence"]["metric"]["certainty"] == "guess"
    assert text["files"]["files"] == 37 == sum(share["files"] for share in text["files"]["shares"])
    assert Path(text["preview"]).is_file()


def test_every_prediction_repeats_open_guesses(home, tiny, notes):
    """The CSV itself is the same, confirmed or not."""
    card = competition_folder("tiny") / "card.yaml"
    card.write_text(card.read_text().replace("metric: accuracy", "metric: accuracy  # guess: the usual one"))
    words = ["config=tiny", "fold=0", "train.epochs=1"]
    assert train.main(words) == 0
    notes.clear()
    assert predict.main(words) == 0
    assert notes.take().texts("guess", "metric=accuracy")
    before = {file.name: file.read_bytes() for file in (home / "submissions" / "tiny").glob("*.csv")}
    confirm(load_card("tiny"), "all")
    assert predict.main(words) == 0
    assert not notes.texts("guess")
    after = {file.name: file.read_bytes() for file in (home / "submissions" / "tiny").glob("*.csv")}
    assert after == before != {}
