"""Submissions of every kind, written to real files, read back with the csv module alone, and broken on purpose."""

import csv
import errno
import re
import resource
import signal
import subprocess
import tracemalloc
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from src.competition.card import Card
from src.competition.sample_submission import class_columns
from src.competition.samples import Samples
from src.core.errors import Problem
from src.core.files import sha256_of
from src.core.paths import REPOSITORY
from src.submission import check as check_module
from src.submission import writer as table_module
from src.submission.check import check, checked
from src.submission.writer import answers, write_submission
from tests.fixtures.codes import raises
from tests.fixtures.warm_python import warm_python

IDS = ["0010", "2", "0001", "a.b.c", "NA"]  # the sample's, in no order


def competition(kind, classes, sample, target="multiclass", targets=None, **submission):
    """A card, and samples whose sample submission is `sample`, a dict of columns."""
    table = {"table": "train.csv", "id": "id", "images": "{id}.png"}
    card = Card(
        id="cup",
        title="Cup",
        train={**table, "label": "label"},
        test=table,
        target=target,
        metric="accuracy",
        submission={"sample": "sample.csv", "kind": kind, **submission},
    )
    sample = pd.DataFrame(sample, dtype=str)
    test = pd.DataFrame({"id": sorted(IDS), "path": ""})
    targets = np.zeros(4, np.int64) if targets is None else np.asarray(targets, np.float32)
    return card, Samples(
        train=test[:4], test=test, targets=targets, classes=tuple(classes), sample=sample, target=card.target_type
    )


def one_column(kind, classes, **facts):
    return competition(kind, classes, {"id": IDS, "label": ["?"] * 5}, **facts)


def probabilities(rows, classes, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(classes), rows)


def cells(path, delimiter=","):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file, delimiter=delimiter))


def write(card, samples, p, tmp_path, *, decisions=None, ids=IDS):
    return write_submission(answers(card, samples, ids, p, decisions), card, samples, tmp_path, "run")


# What is written


def test_labels_stand_by_id_in_the_order_of_the_sample(tmp_path):
    card, samples = one_column("label", ["0", "03", "NA"])
    order = [3, 0, 4, 2, 1]  # the predictions come in an order of their own
    best = np.array([0, 1, 2, 2, 1])
    path = write(card, samples, np.eye(3)[best][order], tmp_path, ids=np.array(IDS)[order])
    assert cells(path) == [["id", "label"], *zip_rows(IDS, ["0", "03", "NA", "NA", "03"])]
    assert b"\r" not in path.read_bytes() and path.read_bytes().endswith(b"\n")


def zip_rows(*columns):
    return [list(row) for row in zip(*columns, strict=True)]


def test_decisions_take_the_place_of_the_likeliest_class(tmp_path):
    card, samples = one_column("label", ["a", "b", "c"], target="ordinal")
    path = write(card, samples, probabilities(5, 3), tmp_path, decisions=np.array([2, 1, 0, 2, 1]))
    assert [row[1] for row in cells(path)[1:]] == ["c", "b", "a", "c", "b"]


def test_columns_match_by_name_and_sum_to_one_as_printed(tmp_path):
    classes = [f"breed {i}" for i in range(7)]
    shuffled = [classes[i] for i in (4, 0, 6, 2, 1, 5, 3)]
    card, samples = competition("columns", classes, {"id": IDS, **{name: ["0"] * 5 for name in shuffled}})
    p = probabilities(5, 7).astype(np.float32)
    p[0] = 1 / 7
    p[1] = np.eye(7)[2]
    header, *rows = cells(write(card, samples, p, tmp_path))
    assert header == ["id", *shuffled] and [row[0] for row in rows] == IDS
    for row, expected in zip(rows, p, strict=True):
        assert sum(map(Decimal, row[1:])) == 1
        told = dict(zip(header[1:], map(float, row[1:]), strict=True))
        np.testing.assert_allclose([told[name] for name in classes], expected, atol=1e-6)


def test_columns_of_sets_are_independent_and_keep_small_differences(tmp_path):
    card, samples = competition(
        "columns", ["x", "y"], {"id": IDS, "y": "0", "x": "0"}, target="multilabel", targets=[[1, 1], [0, 0]]
    )
    p = np.array([[0.9, 0.8], [1e-12, 2e-12], [0, 1], [0.5, 0.25], [1 / 3, 1e-9]])
    rows = cells(write(card, samples, p, tmp_path))[1:]
    np.testing.assert_allclose([[float(x), float(y)] for _, y, x in rows], p, rtol=1e-8)
    decided = cells(write(card, samples, p, tmp_path, decisions=p >= 0.3))[1:]
    assert [row[1:] for row in decided] == [["1", "1"], ["0", "0"], ["1", "0"], ["0", "1"], ["0", "1"]]


def test_one_probability_is_the_positive_class_s(tmp_path):
    card, samples = one_column("probability", ["no", "yes"], target="binary")
    p = probabilities(5, 2)
    rows = cells(write(card, samples, p, tmp_path))[1:]
    np.testing.assert_allclose([float(row[1]) for row in rows], p[:, 1], rtol=1e-8)


@pytest.mark.parametrize(("kind", "written"), [("ranked", "blue sky|tree"), ("set", "tree|blue sky")])
def test_lists_are_parted_as_the_card_says(tmp_path, kind, written):
    facts = {"target": "multilabel", "targets": [[1, 0, 1]], "label_separator": "|", "top": 2}
    card, samples = one_column(kind, ["tree", "snow", "blue sky"], **facts)
    path = write(card, samples, np.tile([0.7, 0.1, 0.9], (5, 1)), tmp_path)
    assert [row[1] for row in cells(path)[1:]] == [written] * 5
    path.write_text(path.read_text().replace("|", " "))
    assert repr(written.replace("|", " ")) in check(path, card, samples)[0]


def test_ranked_names_the_likeliest_first_and_no_more_than_asked_for(tmp_path):
    card, samples = one_column("ranked", ["w1", "w2", "w3", "new"], top=3)
    p = np.array([[0.1, 0.2, 0.3, 0.4], [0.25] * 4, [0, 0, 1, 0], [0.4, 0.3, 0.2, 0.1], [0.3, 0.3, 0.3, 0.1]])
    told = [row[1] for row in cells(write(card, samples, p, tmp_path))[1:]]
    assert told == ["new w3 w2", "w1 w2 w3", "w3 w1 w2", "w1 w2 w3", "w1 w2 w3"]
    card, samples = one_column("ranked", ["a", "b"], top=5)  # fewer classes than places
    assert cells(write(card, samples, np.eye(2)[[0, 1, 1, 0, 1]], tmp_path))[2][1] == "b a"


@pytest.mark.parametrize(("targets", "empty"), [([[1, 0, 1], [0, 1, 0]], "y"), ([[1, 0, 1], [0, 0, 0]], "")])
def test_a_set_is_empty_only_where_training_rows_can_be(tmp_path, targets, empty):
    card, samples = one_column("set", ["x", "y", "z"], target="multilabel", targets=targets)
    p = np.array([[0.9, 0.1, 0.5], [0.1, 0.3, 0.2], [1, 1, 1], [0, 0, 0.7], [0.6, 0.4, 0.4]])
    path = write(card, samples, p, tmp_path)
    assert [row[1] for row in cells(path)[1:]] == ["x z", empty, "x y z", "z", "x"]
    decided = np.array([[0, 0, 1], [0, 0, 0], [1, 1, 0], [1, 0, 0], [0, 1, 0]], bool)
    path = write(card, samples, p, tmp_path, decisions=decided)
    assert [row[1] for row in cells(path)[1:]] == ["z", empty, "x y", "x", "y"]


@pytest.mark.parametrize(
    ("kind", "target", "targets", "expected"),
    [
        ("label", "multiclass", None, ["z"]),
        ("columns", "multiclass", None, ["0.100000000000", "0.200000000000", "0.700000000000"]),
        ("set", "multilabel", [[1, 0, 1], [0, 0, 1], [1, 1, 0], [0, 0, 1]], ["x z"]),
    ],
)
@pytest.mark.parametrize("decided", [False, True])
def test_a_test_row_without_an_image_gets_the_shares_of_the_classes(tmp_path, kind, target, targets, expected, decided):
    classes = ["x", "y", "z"]
    sample = {"id": IDS, **({name: "0" for name in classes} if kind == "columns" else {"label": "?"})}
    card, samples = competition(kind, classes, sample, target=target, targets=targets)
    if targets is None:
        samples = replace(samples, targets=np.repeat([0, 1, 2], [1, 2, 7]))
    samples = replace(samples, test_without_image=("2",))
    p = np.eye(3)[[0, 1, 1, 1]]
    decisions = None
    if decided:
        decisions = p > 0.5 if target == "multilabel" else p.argmax(axis=1)
        expected = ["0", "0", "1"] if kind == "columns" else expected
    path = write(card, samples, p, tmp_path, ids=[key for key in IDS if key != "2"], decisions=decisions)
    rows = dict((row[0], row[1:]) for row in cells(path))
    assert rows["2"] == expected
    assert rows["NA"] != expected


def test_an_index_an_id_further_right_and_other_columns_stay_as_they_are(tmp_path):
    sample = {"": list("01234"), "Usage": list("ababb"), "label": "?", "image": IDS}
    card, samples = competition("label", ["cat", 'a "b", c'], sample, id="image", separator=";")
    path = write(card, samples, np.eye(2)[[0, 1, 0, 0, 1]], tmp_path)
    labels = ["cat", 'a "b", c', "cat", "cat", 'a "b", c']
    assert cells(path, ";") == [["", "Usage", "label", "image"], *zip_rows("01234", "ababb", labels, IDS)]
    broken = path.with_name("broken.csv")
    broken.write_text(path.read_text().replace("2;a;cat", "2;c;cat").replace("1;b;", "7;b;"))
    assert list(map(named, check(broken, card, samples))) == [
        "3 '' '7' '1'",
        "4 'Usage' 'c' 'a'",
    ]


@pytest.mark.parametrize("start", [0, 1])
def test_an_index_beside_the_answer_is_no_answer(tmp_path, start):
    index = [str(start + row) for row in range(5)]
    card, samples = competition("label", ["a", "b"], {"image": IDS, "Predicted": "?", "n": index})
    path = write(card, samples, np.eye(2)[[0, 1, 0, 0, 1]], tmp_path)
    assert cells(path) == [["image", "Predicted", "n"], *zip_rows(IDS, "abaab", index)]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["b", "a", "x"], ("a", "b")),
        (["prob_b", "prob_a"], ("prob_a", "prob_b")),
        (["P(a)", "P(b)"], ("P(a)", "P(b)")),
        ([" B", "A "], ("A ", " B")),
        (["a", "b", "xa", "xb"], ("a", "b")),  # the plain name comes first
        (["xa", "xb", "ya", "yb"], None),  # two ways: no guess
        (["a", "c"], None),
    ],
)
def test_the_column_of_a_class(columns, expected):
    assert class_columns(["a", "b"], columns) == expected


def test_labels_that_differ_in_capitals_only_keep_their_columns():
    assert class_columns(["a", "A"], ["A", "a"]) == ("a", "A")
    assert class_columns(["a", "A"], ["a", "b"]) is None


# What is refused before anything is written


@pytest.mark.parametrize(
    ("ids", "change", "code", "names"),
    [
        ([*IDS[:3], "zz", "NA"], None, "missing-row", ["1 of 5", "5", "a.b.c"]),
        ([*IDS[:4], "2"], None, "repeated-id", ["'2'"]),
        (IDS, np.nan, "bad-predictions", ["0001"]),
        (IDS, 1.5, "bad-predictions", ["0001"]),
        (IDS, -0.1, "bad-predictions", ["0001"]),
    ],
)
def test_predictions_that_cannot_answer_the_sample_are_refused(ids, change, code, names):
    card, samples = one_column("label", ["a", "b"])
    p = probabilities(5, 2)
    if change is not None:
        p[2, 1] = change
    with raises(code, *names):
        answers(card, samples, ids, p)


def test_rows_that_are_far_from_one_are_refused_and_not_rescaled():
    card, samples = competition("columns", ["a", "b"], {"id": IDS, "a": "0", "b": "0"})
    with raises("bad-predictions", "0010"):
        answers(card, samples, IDS, np.full((5, 2), 0.9))
    with raises("shapes-differ", "(5, 3)"):
        answers(card, samples, IDS, probabilities(5, 3))


@pytest.mark.parametrize(
    ("kind", "classes", "target", "code", "names"),
    [
        ("label", ["a", "b"], "multilabel", "submission-kind", ["multilabel"]),
        ("probability", ["a", "b", "c"], "multiclass", "submission-kind", [" 3 "]),
        ("set", ["a", "b c"], "multilabel", "label-separator", ["b c", "submission.label_separator"]),
        ("ranked", ["a", "b c"], "multiclass", "label-separator", ["b c", "submission.label_separator"]),
    ],
)
def test_a_kind_that_does_not_fit_the_target_is_refused(kind, classes, target, code, names):
    card, samples = one_column(kind, classes, target=target)
    with raises(code, *names):
        answers(card, samples, IDS, probabilities(5, len(classes)))


def test_a_sample_that_does_not_fit_is_refused_with_its_columns():
    card, samples = competition("columns", ["a", "b"], {"id": IDS, "a": "0", "c": "0"})
    with raises("missing-column", "'b'", "'a', 'c'"):
        answers(card, samples, IDS, probabilities(5, 2))
    card, samples = competition("label", ["a", "b"], {"id": IDS, "one": "0", "two": "0"})
    with raises("several-columns", "one", "two"):
        answers(card, samples, IDS, probabilities(5, 2))


KINDS = {
    "columns": ({"id": IDS, "b": "0", "a": "0", "c": "0"}, ["a", "b", "c"], {}),
    "probability": ({"n": list("01234"), "id": IDS, "label": "0"}, ["a", "b"], {"target": "binary", "id": "id"}),
    "label": ({"id": IDS, "label": "?"}, ["a", "b é", "c"], {"encoding": "utf-16"}),
    "ranked": ({"id": IDS, "label": "?"}, ["a", "b,", "c"], {"top": 2}),
}


def rows_at_a_time(monkeypatch, count):
    """As of a table too long to be held as text."""
    for module in (table_module, check_module):
        monkeypatch.setattr(module, "BLOCK", count)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_written_by_and_by_are_those_of_one_table(tmp_path, kind, monkeypatch):
    sample, classes, facts = KINDS[kind]
    card, samples = competition(kind, classes, sample, **facts)
    p = probabilities(5, len(classes))
    [whole] = answers(card, samples, IDS, p)
    wanted = whole.to_csv(index=False, lineterminator="\n").encode(card.submission.encoding)
    rows_at_a_time(monkeypatch, 2)
    assert [len(block) for block in answers(card, samples, IDS, p)] == [2, 2, 1]
    path = write(card, samples, p, tmp_path)
    assert path.read_bytes() == wanted and check(path, card, samples) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("NA,1,0", "NA,1,0.1", "6 1.1 1"),
        ("0001,1,0", "0001,1,0,0", "3 4 4"),
        ("0001,1,0\n", "", "'0001' 4"),
        ("NA,1,0\n", "NA,1,0\nNA,1,0\n", "6 5"),
        ("a.b.c,1,0\nNA", "NA,1,0\na.b.c", "5 'NA' 'a.b.c'"),
    ],
)
def test_a_fault_is_found_wherever_it_stands(tmp_path, old, new, fault, monkeypatch):
    rows_at_a_time(monkeypatch, 2)
    card, samples = competition("columns", ["a", "b"], {"id": IDS, "a": "0", "b": "0"})
    text = "id,a,b\n" + "".join(f"{key},1,0\n" for key in IDS)
    assert faults(tmp_path, card, samples, text) == []
    assert old in text and fault in "\n".join(faults(tmp_path, card, samples, text.replace(old, new)))


def test_many_rows_are_never_all_text_at_once(tmp_path, monkeypatch):
    """30,000 rows of ten cells take 19 MB as text."""
    rows_at_a_time(monkeypatch, 500)
    ids, classes = [f"{row:05d}" for row in range(30_000)], list("abcdefghij")
    card, samples = competition("columns", classes, {"id": ids, **dict.fromkeys(classes, "0")})
    p = probabilities(len(ids), len(classes))
    tracemalloc.start()
    try:
        path = write(card, samples, p, tmp_path, ids=ids)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(1 for _ in path.open()) == 30_001 and peak < 12e6, peak


# What the check finds


@pytest.fixture
def labelled(tmp_path):
    """A card, samples and a sound submission of labels as text."""
    card, samples = one_column("label", ["a", "b"])
    path = write(card, samples, probabilities(5, 2), tmp_path)
    assert check(path, card, samples) == []
    return card, samples, path.read_text()


def named(fault):
    """What a fault names, in its order: lines and other numbers, and what stands in quotes."""
    return " ".join(re.findall(r"'[^']*'|(?<![\w-])\d[\d.]*", fault))


def faults(tmp_path, card, samples, text):
    """What each fault of a submission names: the sentences may be mended."""
    path = tmp_path / "foreign.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    found = check(path, card, samples)
    if found:
        with pytest.raises(Problem) as raised:
            checked(path, card, samples)
        assert str(path) in str(raised.value) and all(fault in str(raised.value) for fault in found)
    return list(map(named, found))


GOOD = "id,label\n0010,a\n2,b\n0001,a\na.b.c,a\nNA,b\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD, []),
        (GOOD.replace("\n", "\r\n"), []),
        ("\ufeff" + GOOD, []),
        ("", [""]),
        (b"id,label\n\xff\xfe,a\n", [""]),
        (GOOD.replace("2,b", "2,b,b"), ["2 3 3"]),
        (
            GOOD.replace("id,label", "Id,label"),
            ["'id'", "'Id'"],
        ),
        (
            GOOD.replace("id,label\n", ""),
            [
                "'id'",
                "'label'",
                "'0010'",
                "'a'",
            ],
        ),
        ("label,id\na,0010\nb,2\na,0001\na,a.b.c\nb,NA\n", ["1 'label' 'id'"]),
        (
            GOOD.replace("id,label", "id,label,label").replace("\n2,b", "\n2,b,"),
            ["3 2"],
        ),
        (
            GOOD.replace("0010", "10"),
            ["2 '10'", "'0010' 2"],
        ),
        (GOOD + "2,a\n", ["6 5", "7 '2'"]),
        (GOOD.replace("2,b\n", ""), ["4 5", "'2' 3"]),
        (
            "id,label\n2,b\n0010,a\n0001,a\na.b.c,a\nNA,b\n",
            ["2 '2' '0010'", "3 '0010' '2'"],
        ),
        (GOOD.replace("2,b", "2,c"), ["3 'c'"]),
        (GOOD.replace("2,b", "2,"), ["3"]),
        (GOOD.replace("2,b", "2"), ["3"]),
        (GOOD.replace("2,b", "2,a "), ["3 'a '"]),
        (GOOD + "\n", ["6 5", "7", "7"]),
        (
            "id,label\n",
            [
                "0 5",
                *[f"{key!r} {line}" for line, key in enumerate(IDS, 2)],
            ],
        ),
    ],
)
def test_every_fault_of_a_file_is_named_with_its_line(tmp_path, text, expected):
    assert faults(tmp_path, *one_column("label", ["a", "b"]), text) == expected


def test_a_file_that_is_not_there_is_a_fault(tmp_path):
    assert "none.csv" in check(tmp_path / "none.csv", *one_column("label", ["a", "b"]))[0]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("0.5", []),
        ("1e-3", []),
        ("", ["4 ''"]),
        ("nan", ["4 'nan'"]),
        ("0,5", ["2 4 3"]),  # cells where 2 belong, in line 4, not 3
        ("high", ["4 'high'"]),
        ("inf", ["4 'inf'"]),
        ("1.01", ["4 0 1 '1.01'"]),
        ("-1e-9", ["4 0 1 '-1e-9'"]),
    ],
)
def test_a_probability_that_is_none_is_named(tmp_path, cell, expected):
    card, samples = one_column("probability", ["a", "b"], target="binary")
    found = faults(
        tmp_path, card, samples, GOOD.replace(",a", ",0").replace(",b", ",1").replace("0001,0", f"0001,{cell}")
    )
    assert found == expected


@pytest.mark.parametrize("block", [2, 1000])
@pytest.mark.parametrize(
    ("cells", "right"),
    [
        (("0.5", "0.5"), True),
        (("1", "0"), True),
        ((" 1", "0 "), True),
        (("1e-3", "0.999"), True),
        (('"0.25"', '"0.75"'), True),
        (("0.5000009", "0.5"), True),
        (("0.5000011", "0.5"), False),
        (("True", "False"), False),
        (("true", "FALSE"), False),
        (("", "1"), False),
        (("nan", "1"), False),
        (("inf", "0"), False),
        (("-inf", "1"), False),
        (("1_0", "0"), False),
        (("0x1", "0"), False),
        (("2", "-1"), False),
        (("18446744073709551615", "0"), False),
    ],
)
@pytest.mark.parametrize("rows", ["every row", "one row"])
def test_the_quick_way_and_the_way_by_text_agree_on_cells(tmp_path, monkeypatch, block, cells, right, rows):
    text = "id,a,b\n" + "".join(
        f"{key},{','.join(cells if rows == 'every row' or key == '0001' else ('1', '0'))}\n" for key in IDS
    )
    card, samples = competition("columns", ["a", "b"], {"id": IDS, "a": "0", "b": "0"})
    assert both_ways(tmp_path, card, samples, text, monkeypatch, block) == right


@pytest.mark.parametrize("block", [2, 1000])
@pytest.mark.parametrize(
    ("old", "new", "right"),
    [
        ("", "", True),
        ("0.2,2,\n", '"0.2","2",""\n', True),
        ("0.2,2,\n", "0.2,2\n", True),  # the last cell is empty in the sample: a row without it reads the same
        ("0.2,2,\n", "0.2\n", False),
        ("0.3,0001,b\n", "0.3,0001\n", False),
        ("0.2,2,\n", "0.2,2,,\n", False),
        ("0.1,0010,a\n", "0.1,0010,a,\n", False),
        ("0.3,0001,b\n", "0.3,2,\n", False),
        ("0.1,0010,a\n0.2,2,\n", "0.2,2,\n0.1,0010,a\n", False),
        ("0.5,NA,\n", "", False),
        ("0.5,NA,\n", "0.5,NA,\n\n", False),
        ("0.3,0001,b\n", "0.3,1,b\n", False),
    ],
)
def test_the_quick_way_and_the_way_by_text_agree_on_rows(tmp_path, monkeypatch, block, old, new, right):
    """The answer stands first, then the id, then a column that is kept."""
    text = "label,id,Usage\n0.1,0010,a\n0.2,2,\n0.3,0001,b\n0.4,a.b.c,b\n0.5,NA,\n"
    sample = {"label": "0", "id": IDS, "Usage": ["a", "", "b", "b", ""]}
    card, samples = competition("probability", ["a", "b"], sample, target="binary", id="id")
    assert old in text
    assert both_ways(tmp_path, card, samples, text.replace(old, new), monkeypatch, block) == right


def both_ways(tmp_path, card, samples, text, monkeypatch, block):
    """Whether a file has no fault, on which the quick check and the check by text must agree."""
    rows_at_a_time(monkeypatch, block)
    quick = faults(tmp_path, card, samples, text)
    monkeypatch.setattr(check_module, "_plainly_right", lambda *_: False)
    assert quick == faults(tmp_path, card, samples, text)
    return not quick


def test_rows_must_sum_to_one_only_where_one_class_is_true(tmp_path):
    text = "id,a,b\n" + "".join(f"{key},0.5,{0.4999 if key == '2' else 0.5}\n" for key in IDS)
    sample = {"id": IDS, "a": "0", "b": "0"}
    assert faults(tmp_path, *competition("columns", ["a", "b"], sample), text) == ["3 0.9999 1"]
    several = competition("columns", ["a", "b"], sample, target="multilabel", targets=[[1, 1]])
    assert faults(tmp_path, *several, text) == []


def test_ranks_and_sets_are_checked_word_by_word(tmp_path):
    ranked = one_column("ranked", ["a", "b", "c"], top=2)
    text = "id,label\n0010,a b\n2,c\n0001,a a\na.b.c,a b c\nNA,a d\n"
    assert faults(tmp_path, *ranked, text) == [
        "6 'd'",
        "4 'a a'",
        "5 3 2",
    ]
    text = "id,label\n0010,a b c\n2,\n0001,b\na.b.c,c  a\nNA,a,\n".replace("NA,a,", "NA,a")
    never = one_column("set", ["a", "b", "c"], target="multilabel", targets=[[1, 1, 0]])
    assert faults(tmp_path, *never, text) == ["3", "5 ''"]
    may_be = one_column("set", ["a", "b", "c"], target="multilabel", targets=[[0, 0, 0]])
    assert faults(tmp_path, *may_be, text) == ["5 ''"]


def test_of_each_kind_five_are_listed_and_all_are_counted():
    ids = [f"{i:03d}" for i in range(40)]
    card, samples = competition("label", ["a", "b"], {"id": ids, "label": "a"})
    table = samples.sample.copy()
    table.loc[10:29, "label"] = "z"
    table.loc[33, "label"] = None
    assert list(map(named, check(table, card, samples))) == [
        "35",
        *[f"{row} 'z'" for row in range(12, 17)],
        "20",
    ]


# How it appears


def test_the_file_bears_its_hash_and_the_latest_is_a_copy(tmp_path):
    card, samples = one_column("label", ["a", "b"])
    first = write(card, samples, np.eye(2)[[0, 0, 0, 0, 0]], tmp_path)
    assert first.name == f"run-{sha256_of(first)[:8]}.csv"
    assert (tmp_path / "run.csv").read_bytes() == first.read_bytes()
    before = first.read_bytes()
    second = write(card, samples, np.eye(2)[[1, 0, 0, 0, 0]], tmp_path)
    assert second != first and first.read_bytes() == before
    assert (tmp_path / "run.csv").read_bytes() == second.read_bytes()
    assert write(card, samples, np.eye(2)[[0, 0, 0, 0, 0]], tmp_path) == first  # the same again is no conflict
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([first.name, second.name, "run.csv"])


def test_another_file_of_that_name_is_never_overwritten(tmp_path):
    card, samples = one_column("label", ["a", "b"])
    path = write(card, samples, np.eye(2)[[0, 0, 0, 0, 0]], tmp_path)
    edited = "submitted and then edited"
    path.write_text(edited)
    (tmp_path / "run.csv").unlink()
    with raises("file-in-the-way", path.name):
        write(card, samples, np.eye(2)[[0, 0, 0, 0, 0]], tmp_path)
    assert path.read_text() == edited and not (tmp_path / "run.csv").exists()


def test_nothing_appears_where_the_check_fails(tmp_path):
    card, samples = one_column("label", ["a", "b"])
    [table] = answers(card, samples, IDS, probabilities(5, 2))
    table.loc[2, "label"] = "c"
    with raises("invalid-submission", "line 4: 'c'"):
        write_submission([table], card, samples, tmp_path, "run")
    assert list(tmp_path.iterdir()) == []


def test_a_name_cannot_lead_out_of_the_folder(tmp_path):
    card, samples = one_column("label", ["a", "b"])
    with raises("bad-name", "../run"):
        write_submission(answers(card, samples, IDS, probabilities(5, 2)), card, samples, tmp_path, "../run")


SHORT_OF_SPACE = """
import sys
from pathlib import Path
import numpy as np
from tests.submission import test_writer_and_check as t
card, samples = t.one_column("label", ["a", "b"])
t.limit_files_to(int(sys.argv[2]))
t.write(card, samples, np.eye(2)[[0, 0, 0, 0, 0]], Path(sys.argv[1]))
"""


def limit_files_to(size):
    """Let no file of this process grow beyond `size` bytes, as a full disk would."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize(("size", "appears"), [(20, False), (1000, True)])
def test_nothing_appears_where_the_disk_is_full(tmp_path, size, appears):
    command = [warm_python(), "-B", "-c", SHORT_OF_SPACE, str(tmp_path), str(size)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (f"[Errno {errno.EFBIG}]" in done.stderr) is not appears, done.stderr
    assert bool(list(tmp_path.iterdir())) is appears
