"""Numbers, recognised by what stands in the tables: never by a column's name alone, and never in silence where a list
of classes would explain as much."""

import json

import numpy as np
import pandas as pd
import pytest

from src import prepare
from src.competition.card import load_card
from src.competition.folds import freeze_folds
from src.competition.samples import load_samples
from src.submission import writer
from src.submission.check import check
from tests.competition.test_odd_hosts import Host

TRAINED, ASKED = [f"a{k:02d}" for k in range(60)], [f"b{k}" for k in range(8)]
RNG = np.random.default_rng(4)
FRACTIONS, WHOLE = RNG.uniform(0, 9, 60).round(2), RNG.permutation(np.arange(60) % 45 + 3)


def images(host):
    for id in TRAINED:
        host.image(f"train/{id}.png")
    for id in ASKED:
        host.image(f"test/{id}.png")


@pytest.fixture
def read(tmp_path, monkeypatch, capsys):
    """Gives prepare a folder of these tables: its exit code, what it printed as JSON, card and samples."""
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path / "home"))

    def run(train, sample, *words, test=None):
        host = Host(tmp_path / "host")
        images(host)
        host.table("train.csv", **train)
        host.table("sample_submission.csv", **sample)
        if test:
            host.table("test.csv", **test)
        code = prepare.main([str(host.root), "id=c", "--json", *words])
        told = json.loads(capsys.readouterr().out)
        card = load_card("c") if code == 0 else None
        return code, told, card, load_samples(card) if card else None

    return run


ONE = [
    # the label, the sample's answers, whether the kind is a guess
    ("fractions", {"weight": FRACTIONS}, {"weight": 0}, False),
    ("another name in the sample", {"yield": FRACTIONS}, {"prediction": 0.5}, False),
    ("few fractions", {"stars": np.arange(60) % 9 / 2}, {"stars": 0}, True),
    ("whole numbers, a fraction asked", {"y": WHOLE}, {"y": 7.5}, False),
    ("many whole numbers with gaps", {"y": WHOLE * 2}, {"y": 0}, True),
    ("an amount by its name", {"count": WHOLE}, {"count": 0}, True),
    ("few whole numbers, a fraction asked", {"y": np.arange(60) % 5}, {"y": 2.5}, True),
]


FAST = ("fractions", "many whole numbers with gaps", "few whole numbers, a fraction asked")
CASES = [pytest.param(*rest, id=name, marks=() if name in FAST else pytest.mark.slow) for name, *rest in ONE]


@pytest.mark.parametrize(("label", "asked", "guess"), CASES)
def test_one_number(read, label, asked, guess):
    code, told, card, samples = read({"id": TRAINED} | label, {"id": ASKED} | asked)
    assert code == 0
    assert (card.target, card.submission.kind, card.metric) == ("regression", "number", "rmse")
    assert ("target" in told["guesses"]) == guess
    (values,) = label.values()
    table = dict(zip(samples.train["id"], samples.targets[:, 0], strict=True))
    assert table == pytest.approx(dict(zip(TRAINED, values, strict=True)))


CLASSES = [
    ("grades", {"diagnosis": np.arange(60) % 5}, {"diagnosis": 0}, "ordinal"),
    ("codes of classes, counted from 0", {"y": np.arange(60) % 30}, {"y": 0}, "multiclass"),
    ("named as labels", {"category_id": (np.arange(60) % 30) * 7}, {"category_id": 0}, "multiclass"),
    ("two", {"y": np.arange(60) % 2}, {"y": 0.5}, "binary"),
    ("written with a point", {"y": [f"{k % 4}.0" for k in range(60)]}, {"y": 0}, "multiclass"),
]


@pytest.mark.parametrize(("label", "asked", "kind"), [row[1:] for row in CLASSES], ids=[row[0] for row in CLASSES])
def test_numbers_that_are_classes(read, label, asked, kind):
    code, _, card, _ = read({"id": TRAINED} | label, {"id": ASKED} | asked)
    assert (code, card.target) == (0, kind)


def test_a_measure_is_not_passed_over_for_a_class_beside_it(read):
    colour = [("red", "blue")[k % 2] for k in range(60)]
    code, told, _, _ = read({"id": TRAINED, "colour": colour, "yield": FRACTIONS}, {"id": ASKED, "prediction": 0.5})
    assert (code, told["error"]["code"]) == (1, "undecided")


SEVERAL = [
    ("fractions", {"height": np.arange(60), "leaf": FRACTIONS}, {"leaf": 0.3, "height": 1.5}, False),
    ("whole numbers", {"height": WHOLE, "leaf": WHOLE[::-1]}, {"leaf": 0, "height": 0}, True),
]


@pytest.mark.parametrize(("labels", "asked", "guess"), [row[1:] for row in SEVERAL], ids=[row[0] for row in SEVERAL])
def test_several_numbers(read, labels, asked, guess):
    code, told, card, samples = read({"id": TRAINED} | labels, {"id": ASKED} | asked)
    assert (code, card.target, card.submission.kind) == (0, "regression", "numbers")
    assert ("target" in told["guesses"]) == guess
    assert samples.classes == ("leaf", "height")
    rows = samples.positions(np.array(TRAINED))
    np.testing.assert_allclose(samples.targets[rows], np.stack([labels["leaf"], labels["height"]], axis=1), rtol=1e-6)
    (block,) = writer.answers(card, samples, np.array(ASKED), np.arange(16.0).reshape(8, 2))
    assert block["leaf"].tolist() == [str(2 * k) for k in range(8)] and not check(block, card, samples)


def test_a_few_whole_numbers_in_several_columns_are_asked_about(read):
    table = {"id": TRAINED, "root": np.arange(60) % 4, "vowel": np.arange(60) % 5}
    sample = {"id": ASKED, "root": 0, "vowel": 0}
    code, told, _, _ = read(table, sample)
    assert (code, told["error"]["code"]) == (1, "undecided")
    code, _, card, _ = read(table, sample, "target=regression")
    assert (code, card.target, card.submission.kind) == (0, "regression", "numbers")


def test_an_odd_cell_among_numbers_is_told_by_its_line(read):
    values = pd.Series(FRACTIONS).astype(str)
    values[7] = "soft"
    code, told, _, _ = read({"id": TRAINED, "weight": values}, {"id": ASKED, "weight": 0})
    assert (code, told["error"]["code"]) == (1, "bad-label")
    assert "line 9" in told["error"]["message"]


ASPECTS = ["Dry_Green_g", "Dry_Dead_g", "GDM_g"]


def columns_of(rows, *names):
    return dict(zip(names, zip(*rows, strict=True), strict=True))


def long_host(host, mark="__", own_test=True):
    """A row for each image and each of three numbers, in both tables, mixed; the truth by (id, name)."""
    images(host)
    truth = {(id, name): round(float(RNG.gamma(2, 9)), 3) for id in TRAINED for name in ASPECTS}
    rows = [(f"{id}{mark}{name}", f"train/{id}.png", name, "spring", truth[id, name]) for id, name in truth]
    asked = [(f"{id}{mark}{name}", f"test/{id}.png", name) for id in ASKED for name in reversed(ASPECTS)]
    rows, asked = ([part[k] for k in RNG.permutation(len(part))] for part in (rows, asked))
    columns = dict(
        zip(("sample_id", "image_path", "target_name", "season", "target"), zip(*rows, strict=True), strict=True)
    )
    if not own_test:  # the ids alone tell which row is which
        columns = {"sample_id": columns["sample_id"], "target": columns["target"]}
    host.table("train.csv", **columns)
    if own_test:
        host.table("test.csv", **columns_of(asked, "sample_id", "image_path", "target_name"))
    host.table("sample_submission.csv", sample_id=[row[0] for row in asked], target=0.0)
    return truth


@pytest.mark.parametrize("own_test", [True, False])
def test_a_row_for_each_image_and_number(tmp_path, monkeypatch, capsys, own_test):
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path / "home"))
    host = Host(tmp_path / "host")
    truth = long_host(host, own_test=own_test)
    assert prepare.main([str(host.root), "id=c", "--json"]) == 0, capsys.readouterr().err
    card = load_card("c")
    samples = load_samples(card)
    assert (card.target, card.submission.kind, card.submission.rows) == ("regression", "numbers", "{id}__{output}")
    assert len(samples.train) == len(TRAINED) and set(samples.classes) == set(ASPECTS)
    for k, path in enumerate(samples.train["path"]):
        id = path.rpartition("/")[2].removesuffix(".png")
        assert samples.targets[k] == pytest.approx([truth[id, name] for name in samples.classes])
    assert sorted(samples.test["path"].str.rpartition("/")[2]) == sorted(f"{id}.png" for id in ASKED)
    ids = samples.test["id"].to_numpy()
    predictions = np.arange(3 * len(ids)).reshape(len(ids), 3) / 7
    blocks = list(writer.answers(card, samples, ids, predictions))
    path = writer.write_submission(blocks, card, samples, tmp_path / "out", "long")
    found = pd.read_csv(path)
    assert found["sample_id"].tolist() == pd.read_csv(card.data / "sample_submission.csv")["sample_id"].tolist()
    expected = {
        f"{id}__{name}": predictions[i, k] for i, id in enumerate(ids) for k, name in enumerate(samples.classes)
    }
    assert dict(zip(found["sample_id"], found["target"], strict=True)) == pytest.approx(expected)
    spoilt = found.astype(str)
    spoilt.loc[3, "target"] = "much"
    assert any("line 5" in fault for fault in check(spoilt, card, samples))
    assert check(found.iloc[1:], card, samples)


def test_marks_for_each_image_and_class(read):
    marks = {name: RNG.integers(0, 2, 60) for name in ("C1", "C2", "C3")}
    rows = [(f"{id}_{name}", id, name) for id in ASKED for name in marks]
    test = columns_of(rows, "row_id", "image", "prediction_type")
    sample = {"row_id": [row[0] for row in rows], "fractured": 0.5}
    code, _, card, samples = read({"image": TRAINED} | marks, sample, test=test)
    assert (code, card.target, card.submission.kind) == (0, "multilabel", "columns")
    assert card.submission.rows == "{id}_{output}" and samples.classes == ("C1", "C2", "C3")
    assert samples.test["id"].tolist() == ASKED


def test_two_rows_of_one_image_and_number_are_not_merged(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path / "home"))
    host = Host(tmp_path / "host")
    long_host(host)
    host.edit("train.csv", lambda text: text + text.splitlines()[1] + "\n")
    assert prepare.main([str(host.root), "id=c", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "undecided"


@pytest.mark.parametrize(("words", "target"), [((), "binary"), (("target=multilabel",), "multilabel")])
def test_rows_for_classes_that_exclude_each_other(read, words, target):
    marks = {"a": [0, 1] * 30, "b": [1, 0] * 30}
    sample = {"row": [f"{id}:{name}" for id in ASKED for name in marks], "value": 0.5}
    code, _, card, samples = read({"id": TRAINED} | marks, sample, *words)
    assert (code, card.target, card.submission.kind) == (0, target, "columns")
    assert card.submission.rows == "{id}:{output}"
    (block,) = writer.answers(card, samples, np.array(ASKED), np.tile([0.25, 0.75], (8, 1)))
    assert set(block["value"][:2].astype(float)) == {0.25, 0.75} and not check(block, card, samples)
    faults = check(block.assign(value="0.75"), card, samples)
    assert bool(faults) == (target == "binary")  # which must sum to 1


def test_a_sample_that_asks_for_a_number_that_no_column_holds(read):
    sample = {"id": ASKED, "height": 0.5, "leaf": 0.5, "root": 0.5}
    table = {"id": TRAINED, "height": FRACTIONS, "leaf": FRACTIONS[::-1]}
    code, told, _, _ = read(table, sample)
    assert (code, told["error"]["code"]) == (1, "undecided") and "root" in told["error"]["message"]
    code, told, _, _ = read(
        {"id": TRAINED, "height": FRACTIONS, "leaf": FRACTIONS[::-1]}, sample, "train.label=[height,leaf]"
    )
    assert (code, told["error"]["code"]) == (1, "column-without-target") and "root" in told["error"]["message"]


def test_numbers_that_are_all_alike_teach_nothing(read):
    code, told, _, _ = read({"id": TRAINED, "weight": 2.5}, {"id": ASKED, "weight": 0}, "target=regression")
    assert (code, told["error"]["code"]) == (1, "one-class")


def test_columns_that_the_sample_calls_otherwise(read):
    held = {f"X{k}_{kind}": RNG.gamma(2, 3, 60) for k in (4, 11) for kind in ("mean", "sd")}
    beside = {"WORLDCLIM_BIO1": RNG.normal(size=60)}
    test = {"id": ASKED, "WORLDCLIM_BIO1": RNG.normal(size=8)}
    code, _, card, samples = read({"id": TRAINED} | beside | held, {"id": ASKED, "X4": 1.5, "X11": 2.5}, test=test)
    assert (code, card.target, card.submission.kind) == (0, "regression", "numbers")
    assert card.train.label == ["X4_mean", "X11_mean"] and samples.classes == ("X4", "X11")
    rows = samples.positions(np.array(TRAINED))
    np.testing.assert_allclose(samples.targets[rows, 1], held["X11_mean"], rtol=1e-6)


def test_folds_of_numbers_share_out_quantiles_within_groups(read, tmp_path):
    patients = np.arange(60) % 20
    values = (patients * 10 + RNG.normal(0, 1, 60)).round(2)
    table = {"id": TRAINED, "patient_id": [f"p{k}" for k in patients], "weight": values}
    code, _, card, samples = read(table, {"id": ASKED, "weight": 0})
    assert (code, card.group) == (0, "patient_id")
    folds = freeze_folds(samples, 4, 0, tmp_path)
    held = pd.DataFrame({"fold": folds.of_row, "group": samples.train["group"], "value": samples.targets[:, 0]})
    assert (held.groupby("group")["fold"].nunique() == 1).all()
    assert np.ptp(held.groupby("fold")["value"].mean()) < 0.7 * values.std()  # 1.0 by groups alone


@pytest.mark.parametrize("labels", ["ab", "123"])
def test_several_rows_of_an_image_that_no_table_answers_are_refused(read, labels):
    sample = {"id": [f"{id}_{k}" for id in ASKED for k in (1, 2, 3)], "label": 0}
    code, told, _, _ = read({"id": TRAINED, "label": [labels[k % len(labels)] for k in range(60)]}, sample)
    assert (code, told["error"]["code"]) == (1, "unsupported-task")


PAIRED = [(id, name) for id in ASKED for name in ("height", "leaf")][::-1]


@pytest.mark.parametrize("long", [False, True])
def test_two_columns_tell_the_rows_apart(read, long):
    table = {"id": TRAINED, "height": FRACTIONS, "leaf": FRACTIONS[::-1]}
    if long:
        rows = [(id, name, table[name][k]) for k, id in enumerate(TRAINED) for name in ("leaf", "height")]
        table = columns_of(rows, "id", "question", "value")
    code, _, card, samples = read(table, columns_of(PAIRED, "id", "question") | {"value": 0.5})
    assert (code, card.target, card.submission.kind) == (0, "regression", "numbers")
    assert (card.submission.id, card.submission.rows) == ("{id}/{question}", "{id}/{output}")
    row = samples.positions(np.array(TRAINED[:1]))[0]
    truth = dict(zip(samples.classes, samples.targets[row], strict=True))
    assert truth == pytest.approx({"height": FRACTIONS[0], "leaf": FRACTIONS[-1]}, rel=1e-6)
    ids = samples.test["id"].to_numpy()
    assert set(ids) == set(ASKED)
    (block,) = writer.answers(card, samples, ids, np.arange(16.0).reshape(8, 2))
    assert block[["id", "question"]].apply(tuple, axis=1).tolist() == PAIRED and not check(block, card, samples)
    expected = {(id, samples.classes[k]): str(2 * i + k) for i, id in enumerate(ids) for k in (0, 1)}
    assert {(a, b): value for a, b, value in block.itertuples(index=False)} == expected


def test_a_column_that_may_be_the_spread_of_a_number(read):
    table, sample = {"id": TRAINED, "FVC": WHOLE}, {"id": ASKED, "FVC": 20, "Confidence": 100}
    code, told, _, _ = read(table, sample)
    assert (code, told["error"]["code"]) == (1, "undecided")
    assert "{name: laplace, spread: Confidence}" in told["error"]["message"]
    code, _, card, samples = read(table, sample, "train.label=FVC", "target={name: laplace, spread: Confidence}")
    assert (code, card.metric, card.submission.kind) == (0, "laplace_log_likelihood", "numbers")
    (block,) = writer.answers(card, samples, np.array(ASKED), np.tile([2500.0, 210.0], (8, 1)))
    assert block["Confidence"].tolist() == ["210"] * 8 and not check(block, card, samples)


UNDEFINED = [("rmsle", FRACTIONS - 5), ("mape", np.where(np.arange(60) == 7, 0, FRACTIONS + 1))]


@pytest.mark.parametrize(("metric", "values"), UNDEFINED)
def test_a_metric_that_has_no_score_for_such_numbers_is_refused(read, metric, values):
    code, told, _, _ = read({"id": TRAINED, "y": values}, {"id": ASKED, "y": 0.5}, f"metric={metric}")
    assert (code, told["error"]["code"]) == (2, "no-score")


VOTES = np.random.default_rng(5).multinomial(9, [0.3, 0.3, 0.4], 60).astype(str)
ODD_VOTES = np.where((np.arange(60)[:, None] == 4) & (np.arange(3) == 0), "-1", VOTES)
WITH_WORDS = np.where(np.arange(60) < 20, "unknown", FRACTIONS.astype(str))
WITH_NAN = np.where(np.arange(60) == 5, "nan", FRACTIONS.astype(str))
KINDS = ["cat", "dog"] * 30
TWICE = {"id": [id for id in ASKED for _ in "abc"], "question": [*"abc"] * 8, "value": 0.5}
BAD = [
    # the training columns, the sample's, the code, what the message names
    ("a word for many that lack", {"y": WITH_WORDS}, {"y": 0.5}, "bad-label", "train.missing=['unknown']"),
    ("a vote below 0", dict(zip("pqr", ODD_VOTES.T, strict=True)), dict.fromkeys("pqr", 1 / 3), "bad-label", "line 6"),
    (
        "decimal commas",
        {"y": [f"{x:.2f}".replace(".", ",") for x in FRACTIONS]},
        {"y": 0.5},
        "unsupported-task",
        "comma",
    ),
    ("no number beside classes", {"y": WITH_NAN, "x": KINDS}, {"y": 0.5, "x": "cat"}, "bad-label", "line 7"),
    ("a constant question", {"y": FRACTIONS, "x": "cat"}, {"y": 0.5, "x": "cat"}, "one-class", "x is 'cat'"),
    ("an answer without a column", {"a": FRACTIONS, "b": FRACTIONS}, TWICE, "undecided", "c: no column"),
    ("columns of other names", {"a": FRACTIONS, "b": FRACTIONS}, {"y": 0.5, "z": 0.5}, "undecided", "asks for y, z"),
]


@pytest.mark.parametrize(("columns", "asked", "error", "named"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_targets_are_told_in_a_line(read, columns, asked, error, named):
    code, told, _, _ = read({"id": TRAINED} | columns, {"id": ASKED} | asked)
    assert (code, told["error"]["code"]) == (1, error)
    assert named in told["error"]["message"]


def test_one_of_several_numbers_that_never_changes_is_noted(read):
    code, told, _, _ = read({"id": TRAINED, "y": 2.5, "x": FRACTIONS}, {"id": ASKED, "y": 0.5, "x": 0.5})
    assert code == 0 and "output-constant" in {note["code"] for note in told["notes"]}


def test_a_test_table_that_lists_long_ids_alone(read):
    rows = [(f"{id}__{name}", round(RNG.gamma(2, 3), 3)) for id in TRAINED for name in "abc"]
    asked = [f"{id}__{name}" for id in ASKED for name in "abc"]
    sample = {"sample_id": asked, "target": 0.0}
    code, _, card, samples = read(columns_of(rows, "sample_id", "target"), sample, test={"sample_id": asked})
    assert (code, card.submission.rows) == (0, "{id}__{output}")
    assert samples.test["id"].tolist() == ASKED and samples.classes == ("a", "b", "c")


def test_a_target_may_be_given_with_parameters(read):
    code, _, card, samples = read(
        {"id": TRAINED, "weight": FRACTIONS},
        {"id": ASKED, "weight": 0},
        "target={name: regression, low: 0, decimals: 1}",
    )
    assert (code, card.target, card.metric) == (0, {"name": "regression", "low": 0, "decimals": 1}, "rmse")
    (block,) = writer.answers(card, samples, np.array(ASKED), np.full((8, 1), 2.3456))
    assert block["weight"].tolist() == ["2.3"] * 8
