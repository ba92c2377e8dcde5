"""The columns beside the pictures: which are taken, what becomes of their cells, and what is told of them."""

import numpy as np
import pandas as pd
import pytest

from src import prepare
from src.competition.card import load_card
from src.competition.guesses import open_guesses
from src.competition.samples import load_samples
from src.core.paths import competition_folder
from tests.fixtures.beside import Beside, write_beside
from tests.fixtures.codes import raises
from tests.fixtures.notes import Notes

CARD = """\
title: reef
train: {table: train.csv, id: id, images: "train/{id}.png", label: value}
test: {table: test.csv, id: id, images: "test/{id}.png"}
target: regression
metric: rmse
submission: {sample: sample_submission.csv, kind: number}
metadata: auto
"""


@pytest.fixture
def reef(home) -> Beside:
    """A home with competition `reef` and its card."""
    found = write_beside(home / "competition" / "reef" / "data", rows=60, tests=20)
    (competition_folder("reef") / "card.yaml").write_text(CARD)
    return found


def loaded(**facts):
    return load_samples(load_card("reef").model_copy(update=facts))


def changed(reef: Beside, name: str, change) -> None:
    """One of the tables after `change(table)`."""
    table = pd.read_csv(reef.source / name, dtype=str, keep_default_na=False)
    change(table)
    table.to_csv(reef.source / name, index=False)


def codes(samples) -> set[str]:
    return {note.code for note in samples.notes}


def test_columns_become_numbers_and_what_tells_nothing_is_left_out(reef):
    samples = loaded()
    found = samples.metadata
    assert {column.name: column.kind for column in found.columns} == {
        "depth": "number",
        "site": "category",
        "taken": "date",
    }
    assert set(found.left_out) == {"number", "file", "camera"}
    train, test = found.of(samples.train), found.of(samples.test)
    table = pd.read_csv(reef.source / "train.csv").set_index("id").loc[samples.train["id"]]
    assert np.array_equal(train[:, 0], table["depth"], equal_nan=True) and np.isnan(train[:, 0]).sum() == 3
    assert np.array_equal(train[:, 1], [["bay", "cape", "delta"].index(site) + 1 for site in table["site"]])
    assert train[0, 2] == 7305 and test.shape == (20, 3)  # 2020-01-01 after 2000-01-01
    # Dates go on in the test part, and the comment stands in the training table alone.
    assert {"metadata", "metadata-left-out", "metadata-train-only", "metadata-shift"} <= codes(samples)
    assert loaded(metadata="none").metadata is None


def test_what_the_card_lists_is_taken(reef):
    samples = loaded(metadata=["number", "site"])
    assert [column.name for column in samples.metadata.columns] == ["number", "site"]
    with raises("missing-column", "comment"):
        loaded(metadata=["site", "comment"])  # which the test table lacks
    changed(reef, "train.csv", lambda table: table.drop(columns="site", inplace=True))
    with raises("missing-column", "site"):
        loaded(metadata=["site"])
    assert "metadata-test-only" in codes(loaded())


def test_a_collection_without_test_images(reef):
    samples = loaded(metadata=["site"], test=None, submission=None)
    assert samples.metadata.of(samples.train).shape == (60, 1) and samples.metadata.of(samples.test).shape == (0, 1)
    assert not loaded(test=None, submission=None).metadata


def test_a_category_that_training_never_had(reef):
    def other(table):
        table.loc[3, "site"], table.loc[4, "depth"] = "atoll", "deep"

    changed(reef, "test.csv", other)
    samples = loaded()
    cells = samples.metadata.of(samples.test)
    assert cells[3, 1] == 0 and np.isnan(cells[4, 0])
    assert {"metadata-unknown", "metadata-odd-cells"} <= codes(samples)


def test_a_changed_cell_is_known(reef):
    before = loaded().metadata.digest
    assert loaded().metadata.digest == before
    changed(reef, "train.csv", lambda table: table.__setitem__("site", table["site"].replace("cape", "cap")))
    assert loaded().metadata.digest != before


def test_a_column_that_gives_the_answer_away(reef):
    for name in ("train.csv", "test.csv"):
        answers = pd.read_csv(reef.source / name).get("value", pd.Series(reef.truth))
        changed(
            reef, name, lambda table, answers=answers: table.__setitem__("grade", (answers * 1000).round().astype(int))
        )
    samples = loaded()
    assert "grade" in samples.metadata.left_out and [d.name for d in samples.metadata.doubts if d.leak] == ["grade"]
    samples = loaded(metadata=["site", "grade"])
    assert len(samples.metadata.columns) == 2 and "metadata-leak" in codes(samples)


def test_days_or_months_first(reef):
    def turned(table):
        table["taken"] = ["03/04/2021", "05/06/2021"] * (len(table) // 2)

    for name in ("train.csv", "test.csv"):
        changed(reef, name, turned)
    samples = loaded()
    assert "metadata-date-order" in codes(samples)
    assert set(samples.metadata.of(samples.train)[:, 2]) == {7763.0, 7826.0}  # the 3rd of April, the 5th of June


def test_prepare_finds_the_columns(home, tmp_path, monkeypatch, notes: Notes):
    host = write_beside(tmp_path / "reef", rows=60, tests=20)
    monkeypatch.setenv("PODIUM_DATA", str(tmp_path / "nothing"))
    assert prepare.main([str(host.source)]) == 0
    card = load_card("reef")
    assert card.metadata == "auto" and "metadata" not in open_guesses(card)
    # A leak is no fact but a guess: it is asked for.
    answers = pd.read_csv(host.source / "train.csv")["value"].tolist() + host.truth.tolist()
    leaky = write_beside(tmp_path / "leaky", rows=60, tests=20, mark=np.round(np.array(answers) * 1000).astype(int))
    assert prepare.main([str(leaky.source), "metric=rmse"]) == 0
    assert list(open_guesses(load_card("leaky"))) == ["metadata"]
