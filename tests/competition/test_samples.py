"""Cards and tables to samples: every source of labels and files, and one clear Problem for each fault."""

import json

import numpy as np
import pandas as pd
import pytest

from src.competition import labels as labels_module
from src.competition.card import check_card, load_card
from src.competition.samples import load_samples
from src.competition.templates import fields, fill, pattern
from tests.fixtures.codes import raises
from tests.fixtures.layouts import csv, picture, save
from tests.fixtures.notes import Notes

TRAIN = {"table": "train.csv", "id": "id", "images": "train/{id}.png", "label": "kind"}
TEST = {"table": "sample.csv", "id": "id", "images": "test/{id}.png"}


@pytest.fixture
def data(tmp_path, monkeypatch):
    """data/ of a competition called c, with six training images and two test images."""
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path))
    folder = tmp_path / "competition" / "c" / "data"
    for k in range(6):
        save(folder / "train" / f"00{k}.png", picture(k % 2, k))
    for k in range(2):
        save(folder / "test" / f"t{k}.png", picture(k, 50 + k))
    csv(folder / "train.csv", pd.DataFrame({"id": [f"00{k}" for k in range(6)], "kind": ["NA", "moth"] * 3}))
    csv(folder / "sample.csv", pd.DataFrame({"id": ["t1", "t0"], "kind": "moth"}))
    return folder


def card(train=None, test=None, **facts):
    base = {"title": "c", "train": TRAIN | (train or {}), "test": TEST | (test or {}), "target": "multiclass"}
    base |= {"metric": "accuracy", "submission": {"sample": "sample.csv", "kind": "label"}}
    return check_card("c", base | facts, "card.yaml")


def problem(made, code, *names):
    with raises(code, *names):
        load_samples(made)


def labels(samples):
    return [samples.classes[k] for k in samples.targets]


def test_text_stays_text(data):
    samples = load_samples(card())
    assert samples.train["id"].tolist() == [f"00{k}" for k in range(6)]
    assert samples.classes == ("NA", "moth")
    assert labels(samples) == ["NA", "moth"] * 3
    assert samples.sample["id"].tolist() == ["t1", "t0"]
    assert samples.positions(np.array(["003", "000"])).tolist() == [3, 0]
    assert samples.counts.tolist() == [3, 3]
    assert samples.shares.tolist() == [0.5, 0.5]


def test_numbers_are_sorted_by_value(data):
    csv(data / "train.csv", pd.DataFrame({"id": [f"00{k}" for k in range(6)], "kind": [10, 2, 1] * 2}))
    csv(data / "sample.csv", pd.DataFrame({"id": ["t1", "t0"], "kind": 1}))
    assert load_samples(card()).classes == ("1", "2", "10")


@pytest.mark.parametrize(
    ("table", "code", "words"),
    [
        ({"id": ["000", "000"], "kind": ["a", "b"]}, "label-conflict", ["'000'", "on_conflict: drop"]),
        ({"id": ["000", ""], "kind": ["a", "b"]}, "empty-id", ["line 3"]),
        ({"id": ["000", "001"], "kind": ["a", ""]}, "empty-label", ["line 3", "kind", "train.empty_label: drop"]),
        (
            {"id": ["000", "999"], "kind": ["a", "b"]},
            "missing-image",
            ["1 of 2", "train/999.png", "on_bad_image: drop"],
        ),
        ({"id": ["000", "../x"], "kind": ["a", "b"]}, "path-outside-data", ["line 3", "'train/../x.png'"]),
        ({"name": ["000"], "kind": ["a"]}, "missing-column", ["'id'", "'name', 'kind'"]),
    ],
)
def test_faults_of_the_training_table(data, table, code, words):
    csv(data / "train.csv", pd.DataFrame(table))
    problem(card(), code, *words)


@pytest.mark.parametrize(
    ("table", "code", "words"),
    [
        ({"id": ["t0", "t0"], "kind": "moth"}, "bad-sample-id", ["line 3", "'t0'"]),
        ({"id": ["t0", "t1"], "kind": ["moth", "bird"]}, "unknown-class", ["line 3", "'bird'"]),
    ],
)
def test_faults_of_the_sample(data, table, code, words):
    csv(data / "sample.csv", pd.DataFrame(table))
    problem(card(), code, *words)


def test_a_sample_id_without_image_is_no_test_row(data):
    csv(data / "listed.csv", pd.DataFrame({"id": ["t0"]}))
    problem(card(test={"table": "listed.csv"}), "bad-sample-id", "line 2", "'t1'")


def test_missing_images_are_dropped_on_request_and_test_ids_kept(data):
    (data / "train" / "001.png").unlink()
    (data / "test" / "t0.png").unlink()
    samples = load_samples(card(on_bad_image="drop"))
    assert samples.train["id"].tolist() == ["000", "002", "003", "004", "005"]
    assert labels(samples) == ["NA", "NA", "moth", "NA", "moth"]
    assert samples.test["id"].tolist() == ["t1"]
    assert samples.test_without_image == ("t0",)
    assert Notes(samples.notes).texts("images-missing", 1, "train/001.png")
    assert Notes(samples.notes).texts("test-images-missing", 1)


def test_surplus_images_are_told(data):
    save(data / "train" / "extra.png", picture(0, 9))
    assert Notes(load_samples(card()).notes).texts("images-unused", 1, "train/extra.png")


def test_repeated_rows_that_agree_are_one(data):
    csv(data / "train.csv", pd.DataFrame({"id": ["000", "001", "000"], "kind": ["a", "b", "a"]}))
    csv(data / "sample.csv", pd.DataFrame({"id": ["t0"], "kind": ["a"]}))
    samples = load_samples(card())
    assert samples.train["id"].tolist() == ["000", "001"]
    assert Notes(samples.notes).texts("rows-repeated", 1)


def test_unknown_label_of_a_fixed_list(data):
    problem(card(classes=["moth", "bird"]), "unknown-class", "'NA'")


def test_classes_may_translate(data):
    csv(data / "sample.csv", pd.DataFrame({"id": ["t0", "t1"], "kind": ["2", "1"]}))
    samples = load_samples(card(classes={"moth": "1", "NA": "2"}))
    assert samples.classes == ("1", "2")
    assert labels(samples) == ["2", "1"] * 3


def test_label_columns(data):
    marks = {"a": [1, 0, 0, 1, 0, 1], "b": [0, 1, 1, 1, 0, 0]}
    csv(data / "train.csv", pd.DataFrame({"id": [f"00{k}" for k in range(6)], **marks}))
    csv(data / "sample.csv", pd.DataFrame({"id": ["t0"], "a": 0, "b": 0}))
    many = {"target": "multilabel", "submission": {"sample": "sample.csv", "kind": "columns"}}
    samples = load_samples(card(train={"label": ["a", "b"]}, **many))
    assert samples.targets.dtype == np.float32
    assert samples.targets.T.tolist() == [marks["a"], marks["b"]]
    assert samples.counts.tolist() == [3, 3]
    problem(card(train={"label": ["a", "b"]}), "bad-label", "line 5")
    csv(data / "train.csv", pd.DataFrame({"id": ["000"], "a": [0.5], "b": [0]}))
    problem(card(train={"label": ["a", "b"]}, **many), "bad-label", "'0.5'")


def test_sets_in_a_cell_and_in_several_rows(data):
    many = {"target": "multilabel", "submission": {"sample": "sample.csv", "kind": "set"}}
    csv(data / "sample.csv", pd.DataFrame({"id": ["t0"], "kind": "a b"}))
    csv(data / "train.csv", pd.DataFrame({"id": ["000", "001", "002"], "kind": ["a|b", "", "b"]}))
    cells = load_samples(card(train={"label_separator": "|"}, **many))
    csv(data / "train.csv", pd.DataFrame({"id": ["000", "002", "000"], "kind": ["b", "b", "a"]}))
    rows = load_samples(card(**many))
    assert cells.targets.tolist() == [[1, 1], [0, 0], [0, 1]]
    assert rows.targets.tolist() == [[1, 1], [0, 1]]


def test_side_table_and_filter(data):
    csv(
        data / "train.csv",
        pd.DataFrame({"id": [f"00{k}" for k in range(6)], "code": [1, 2] * 3, "part": list("tttttv")}),
    )
    csv(data / "codes.csv", pd.DataFrame({"number": [2, 1], "kind": ["moth", "bee"]}))
    join = {"join": [{"table": "codes.csv", "by": "code", "key": "number"}], "where": {"part": "t"}}
    samples = load_samples(card(train=join))
    assert labels(samples) == ["bee", "moth", "bee", "moth", "bee"]
    csv(data / "codes.csv", pd.DataFrame({"number": [2], "kind": ["moth"]}))
    problem(card(train=join), "missing-row", "codes.csv", "'1'")


def test_validation_and_extra_tables(data):
    for k in range(2):
        save(data / "more" / f"m{k}.png", picture(k, 70 + k))
    csv(data / "more.csv", pd.DataFrame({"id": ["m0", "m1"], "kind": ["moth", "NA"], "who": ["x", "y"]}))
    other = TRAIN | {"table": "more.csv", "images": "more/{id}.png"}
    both = card(validation=other)
    assert load_samples(both).train["part"].tolist() == ["train"] * 6 + ["validation"] * 2
    extra = card(extra={"web": other})
    assert len(load_samples(extra).train) == 6
    assert load_samples(extra, extra=("web",)).train["part"].tolist()[-2:] == ["web", "web"]
    with raises("no-such-table", "other"):
        load_samples(extra, extra=("other",))


def test_any_folder_and_any_extension(data):
    (data / "train" / "deep").mkdir()
    (data / "train" / "000.png").rename(data / "train" / "deep" / "000.PNG")
    anywhere = card(train={"images": "train/**/{id}.*"})
    assert load_samples(anywhere).train["path"][0].endswith("train/deep/000.PNG")
    save(data / "train" / "000.jpg", picture(0, 1))
    problem(anywhere, "several-files", "000.jpg")


def test_json_records_and_coco(data):
    records = [{"id": f"00{k}", "kind": k % 2} for k in range(6)]
    (data / "train.json").write_text(json.dumps(records))
    csv(data / "sample.csv", pd.DataFrame({"id": ["t0"], "kind": [0]}))
    assert labels(load_samples(card(train={"table": "train.json"}))) == ["0", "1"] * 3
    images = [{"id": k, "file_name": f"00{k}.png"} for k in range(6)]
    notes = [{"id": 90 + k, "image_id": k, "category_id": 7 + k % 2} for k in range(6)]
    kinds = [{"id": 7, "name": "bee"}, {"id": 8, "name": "moth"}]
    (data / "coco.json").write_text(json.dumps({"images": images, "annotations": notes, "categories": kinds}))
    csv(data / "sample.csv", pd.DataFrame({"id": ["t0"], "kind": ["bee"]}))
    coco = {"table": "coco.json", "id": "file_name", "images": "train/{file_name}", "label": "category.name"}
    assert labels(load_samples(card(train=coco))) == ["bee", "moth"] * 3


def test_encoding_and_separator(data):
    table = pd.DataFrame({"id": ["000", "001"], "kind": ["Bär", "Käfer, groß"]})
    csv(data / "train.csv", table, sep=";", encoding="cp1252")
    csv(data / "sample.csv", pd.DataFrame({"id": ["t0"], "kind": ["Bär"]}), encoding="utf-8-sig")
    assert load_samples(card(train={"separator": ";", "encoding": "cp1252"})).classes == ("Bär", "Käfer, groß")
    problem(card(train={"separator": ";"}), "unreadable-table", "train.csv")


def test_a_row_with_too_many_cells(data):
    (data / "train.csv").write_text("id,kind\n000,red, green\n001,blue\n")
    problem(card(), "unreadable-table", "line 2")
    (data / "train.csv").write_text("id,kind\n000,red,\n001,moth,\n")
    csv(data / "sample.csv", pd.DataFrame({"id": ["t0"], "kind": ["red"]}))
    assert labels(load_samples(card())) == ["red", "moth"]


def test_without_sample_the_test_listing_is_it(data):
    listed = {"table": None, "files": "test/{name}.png", "id": "name", "images": "{path}"}
    samples = load_samples(card(test=listed, submission={"kind": "label", "header": ["Id", "Answer"]}))
    assert samples.sample.columns.tolist() == ["Id", "Answer"]
    assert samples.sample["Id"].tolist() == ["t0", "t1"]


def test_cards_are_strict(data):
    with raises("bad-card", "trian"):
        card(trian=1)
    with raises("bad-card", "train"):
        card(train={"table": None})
    with raises("unknown-competition", "nowhere"):
        load_card("nowhere")


def test_templates():
    table = pd.DataFrame({"a": ["x/1_left.jpg", "y\\2.right.PNG"], "b c": ["7", "12"]})
    assert fill("{a:name}", table) == ["1_left.jpg", "2.right.PNG"]
    assert fill("{a:stem}", table) == ["1_left", "2.right"]
    assert fill("{a:folder}/{b c:03}", table) == ["x/007", "y/012"]
    assert fill("{a:without x/}", table) == ["1_left.jpg", "y\\2.right.PNG"]
    assert fill("{a:before _}", table) == ["x/1", "y\\2.right.PNG"]
    assert fill("{a:posix}", table) == ["x/1_left.jpg", "y/2.right.PNG"]
    with raises("bad-template", "stern"):
        fill("{a:stern}", table)


def test_patterns():
    text = "train/{label}/{label}_{number:d}.jpg"
    assert fields(text) == ["label", "number"]
    assert pattern(text).fullmatch("train/a_b/a_b_12.jpg").groups() == ("a_b", "12")
    assert pattern(text).fullmatch("train/a/b_12.jpg") is None
    assert pattern("{label}.{n:d}.jpg").fullmatch("a.b.3.jpg").groups() == ("a.b", "3")
    assert pattern("x/**/{file}").fullmatch("x/1/2/f.png").groups() == ("f.png",)
    assert pattern("{label}/{rest:path}").fullmatch("a/b/c.png").groups() == ("a", "b/c.png")


# Answers of the test rows, kept apart


def kept_apart(data, text, **facts):
    """The answers to t0 and t1 as the file says, by a card with these facts."""
    file = data.parent / "answers" / "test.csv"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    made = card(test_labels="answers/test.csv", **facts)
    return labels_module.test_answers(made, load_samples(made).classes, np.array(["t0", "t1"], dtype=object))


def test_a_card_without_answers_has_none(data):
    made = card()
    assert labels_module.test_answers(made, load_samples(made).classes, np.array(["t0"], dtype=object)) is None


def test_answers_of_one_class_come_in_the_order_asked_for(data):
    found = kept_apart(data, "id,kind\nt9,unknown\nt1,NA\nt0,moth\n")
    assert (found.tolist(), found.dtype) == ([1, 0], np.int64)
    assert kept_apart(data, "id,remark,kind\nt1,NA,moth\nt0,NA,NA\n").tolist() == [0, 1], "the label's own column"


@pytest.mark.parametrize(("first", "second"), [("moth", "NA"), ("m", "n")])
def test_answers_may_bear_the_names_of_the_submission(data, first, second):
    found = kept_apart(data, f"id,kind\nt1,{second}\nt0,{first}\n", classes={"moth": "m", "NA": "n"})
    assert found.tolist() == [0, 1]


def test_answers_of_several_classes(data):
    csv(data / "train.csv", pd.DataFrame({"id": [f"00{k}" for k in range(6)], "kind": ["a|b c", "", "d"] * 2}))
    csv(data / "sample.csv", pd.DataFrame({"id": ["t1", "t0"], "kind": "a"}))
    words = {"train": {"label_separator": "|"}, "target": "multilabel", "metric": "sample_f1"}
    words["submission"] = {"sample": "sample.csv", "kind": "set", "label_separator": "|"}
    found = kept_apart(data, "id,kind\nt1,\nt0,b c|d\n", **words)
    assert (found.tolist(), found.dtype) == ([[0, 1, 1], [0, 0, 0]], np.float32)
    assert kept_apart(data, "id,other\nt1,a\nt0,d\nt0,a\n", **words).tolist() == [[1, 0, 1], [1, 0, 0]]


def test_answers_in_columns_of_0_and_1(data):
    marks = {"moth": [1, 0] * 3, "NA": [0, 1] * 3}
    csv(data / "train.csv", pd.DataFrame({"id": [f"00{k}" for k in range(6)]} | marks))
    assert kept_apart(data, "id,NA,moth\nt1,1,0\nt0,0,1\n", train={"label": ["moth", "NA"]}).tolist() == [0, 1]
    assert kept_apart(data, "id,label\nt1,moth\nt0,NA\n", train={"label": ["moth", "NA"]}).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "code", "names"),
    [
        ("id,kind\nt1,NA\n", "missing-label", ["'t0'", "1 of 2"]),
        ("id,kind\nt1,NA\nt0,wasp\n", "unknown-class", ["line 3", "'wasp'", "'t0'"]),
        ("id,kind\nt1,NA\nt0,moth\nt1,NA\n", "repeated-id", ["'t1'"]),
        ("id\nt1\nt0\n", "missing-column", []),
    ],
)
def test_answers_that_cannot_be_scored(data, text, code, names):
    with raises(code, "answers/test.csv", *names):
        kept_apart(data, text)
