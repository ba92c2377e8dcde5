"""Planted label errors are found, and those alone; a network that errs makes more of them seem wrong."""

import numpy as np
import pandas as pd
import pytest

from src.reporting.label_issues import format_label_issues, label_issues, one_line_an_image
from src.targets import target_type
from tests.fixtures.codes import raises
from tests.fixtures.made_up_competition import network
from tests.fixtures.notes import names_it

ONE, SETS = target_type("multiclass"), target_type("multilabel")
CLASSES = ("cat", "dog", "NA", "eel", "fox", "gnu")


def planted(seed: int, rows: int = 1500, share: float = 0.04, skill: float = 20.0) -> tuple[np.ndarray, ...]:
    """ids, true labels, labels with errors, and the probabilities of a network that follows the true ones."""
    generator = np.random.default_rng(seed)
    true = generator.integers(0, 6, rows)
    wrong = generator.random(rows) < share
    given = np.where(wrong, (true + generator.integers(1, 6, rows)) % 6, true)
    return np.array([f"{row:05d}" for row in range(rows)]), true, given, network(generator, true, 6, skill)


def test_planted_errors_are_found():
    for seed in range(5):
        ids, true, given, p = planted(seed)
        table = label_issues(ids, given, p, CLASSES, ONE)
        doubted = table["id"].astype(int).to_numpy()
        wrong = true != given
        assert wrong[doubted].mean() > 0.9, "precision"
        assert wrong[doubted].sum() / wrong.sum() > 0.8, "recall"
        assert wrong[doubted[:20]].all(), "the most doubtful come first"
        names = np.array(CLASSES)
        assert table["given"].tolist() == names[given[doubted]].tolist()
        assert (table["suggested"].to_numpy() == names[true[doubted]]).mean() > 0.9
        assert table["given_probability"].is_monotonic_increasing
        assert (table["suggested_probability"] > table["given_probability"]).all()


@pytest.mark.parametrize(
    ("skill", "right", "precision", "recall"),
    [(20.0, 0.99, 0.95, 0.95), (12.0, 0.96, 0.8, 0.9), (8.0, 0.92, 0.5, 0.8)],
)
def test_how_many_are_found_depends_on_how_often_the_networks_err(skill, right, precision, recall):
    """Of 1,500 labels 4 % are wrong; precision and recall over ten draws."""
    hits = doubts = errors = answered = 0
    for seed in range(10):
        ids, true, given, p = planted(seed, skill=skill)
        doubted = label_issues(ids, given, p, CLASSES, ONE)["id"].astype(int).to_numpy()
        wrong = true != given
        hits, doubts, errors = hits + wrong[doubted].sum(), doubts + len(doubted), errors + wrong.sum()
        answered += (p.argmax(1) == true).mean() / 10
    print(f"networks right in {answered:.3f}: precision {hits / doubts:.2f}, recall {hits / errors:.2f}")
    assert answered == pytest.approx(right, abs=0.02)
    assert hits / doubts >= precision
    assert hits / errors >= recall


def test_a_class_that_no_row_has_does_no_harm():
    ids, true, given, p = planted(0)
    without = given != 4
    table = label_issues(ids[without], given[without], p[without], CLASSES, ONE)
    doubted = table["id"].astype(int).to_numpy()
    wrong = (true != given) & without
    assert wrong[doubted].mean() > 0.8
    assert wrong[doubted].sum() / wrong.sum() > 0.6


def test_right_labels_are_hardly_doubted():
    ids, true, _, p = planted(0)
    assert len(label_issues(ids, true, p, CLASSES, ONE)) < 0.01 * len(ids)


def test_a_network_that_is_timid_of_one_class_does_not_make_its_labels_wrong():
    ids, true, given, p = planted(1)
    timid = p * [1, 1, 1, 1, 1, 0.2]
    timid /= timid.sum(axis=1, keepdims=True)
    doubted = label_issues(ids, given, timid, CLASSES, ONE)["id"].astype(int).to_numpy()
    assert (true != given)[doubted].mean() > 0.85


def test_several_classes_a_row():
    generator = np.random.default_rng(0)
    true = generator.random((1500, 6)) < 0.25
    wrong = generator.random(true.shape) < 0.02
    wrong[:, 5], true[:, 5] = False, False  # a class that no row has
    given = (true ^ wrong).astype(np.float32)
    ids = np.array([str(row) for row in range(1500)])
    table = label_issues(ids, given, network(generator, true, 6, 40.0), CLASSES, SETS)
    columns = [CLASSES.index(name.removeprefix("not ")) for name in table["given"]]
    rows = table["id"].astype(int).to_numpy()
    assert wrong[rows, columns].mean() > 0.9
    assert wrong[rows, columns].sum() / wrong.sum() > 0.8
    for row, column, name, other in zip(rows, columns, table["given"], table["suggested"], strict=True):
        assert name == ("" if given[row, column] else "not ") + CLASSES[column]
        assert other == ("not " if given[row, column] else "") + CLASSES[column]


def test_all_that_is_doubted_of_an_image_in_one_line():
    rows = [("b", "cat", "not cat", 0.1, 0.9), ("a", "dog", "not dog", 0.2, 0.8), ("b", "not dog", "dog", 0.3, 0.7)]
    columns = ["id", "given", "suggested", "given_probability", "suggested_probability"]
    table = one_line_an_image(pd.DataFrame(rows, columns=columns))
    assert table.columns.tolist() == columns
    assert table.to_numpy().tolist() == [["b", "cat, not dog", "not cat, dog", 0.1, 0.9], list(rows[1])]
    assert len(one_line_an_image(table.iloc[:0])) == 0


def test_shuffled_rows_give_the_same_table():
    ids, _, given, p = planted(2, rows=400)
    order = np.random.default_rng(0).permutation(400)
    first = label_issues(ids, given, p, CLASSES, ONE)
    second = label_issues(ids[order], given[order], p[order], CLASSES, ONE)
    assert first.to_dict("list") == second.to_dict("list")


def test_what_is_printed():
    ids, _, given, p = planted(0, rows=400)
    table = label_issues(ids, given, p, CLASSES, ONE)
    lines = format_label_issues(table, 400, shown=3)
    assert names_it(lines[0], len(table)) and names_it(lines[0], 400)
    assert len(lines) == 4
    assert names_it(lines[1], table["id"][0]) and names_it(lines[1], table["given"][0])
    (none,) = format_label_issues(table.iloc[:0], 400)
    assert names_it(none, 400)


def test_what_does_not_fit_is_refused():
    ids, _, given, p = planted(0, rows=50)
    with raises("shapes-differ"):
        label_issues(ids, given, p[:, :5], CLASSES, ONE)
    with raises("shapes-differ"):
        label_issues(ids[:40], given, p, CLASSES, ONE)
    with raises("bad-predictions", "00007"):
        label_issues(ids, given, np.where(np.arange(50)[:, None] == 7, np.nan, p), CLASSES, ONE)
    with raises("one-class"):
        label_issues(ids, np.zeros(50, dtype=int), p, CLASSES, ONE)


def test_of_numbers_the_outliers_are_doubted_and_no_others():
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 10, (2000, 2)).astype(np.float32)
    predictions = truth + rng.normal(3, [1, 4], truth.shape)
    wrong = [5, 77, 300, 1999]
    truth[wrong, 1] += 60
    truth[5, 0] -= 20
    ids = np.array([f"r{k}" for k in range(2000)], dtype=object)
    table = label_issues(ids, truth, predictions, ("light", "weight"), target_type("regression"))
    assert sorted(set(table["id"])) == sorted(f"r{k}" for k in wrong) and len(table) == 5
    assert table["id"][0] == "r5" and table["given"][0].startswith("light ")
    assert (table["deviations"].abs() > 5).all() and table["deviations"][0] == pytest.approx(-20, abs=4)
    assert len(one_line_an_image(table)) == 4
    assert "r5" in "".join(format_label_issues(table, 2000))
