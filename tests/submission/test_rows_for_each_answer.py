"""Samples with a row for each image and answer, in any order: several kinds of target, answers that depend on each
other, probabilities of several questions, and ids that stand in two columns. Written by the id, checked by the line."""

import numpy as np
import pandas as pd
import pytest
import yaml

from src.competition.card import load_card
from src.competition.samples import load_samples
from src.core.errors import UsageError
from src.submission.check import check
from src.submission.sample_layout import layout_of
from src.submission.writer import answers, write_submission
from tests.competition.test_odd_hosts import Host

TRAINED, ASKED = [f"a{k:02d}" for k in range(12)], [f"b{k}" for k in range(5)]
GRADES = ["Normal", "Moderate", "Severe"]
KINDS = {"shade": ["dark", "light"], "grade": {"name": "ordinal", "classes": [0, 1, 2]}, "size": "regression"}
KINDS["marks"] = {"name": "multilabel", "classes": ["cat", "dog", "owl"]}
MIXED = {"name": "mixed", "columns": KINDS}
TABLE = {"Normal/Mild": "Normal", "Moderate": "Moderate", "Severe": "Severe"}  # cells of the table, sample's names
SEVERITY = {"name": "ordinal", "classes": TABLE}
PLACES = {"name": "mixed", "columns": {"left": SEVERITY, "right": SEVERITY}}


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """Gives a competition with these training columns, card keys and sample: its card and samples."""
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path))

    def make(columns, sample, **facts):
        host = Host(tmp_path / "competition/c/data")
        for id in TRAINED:
            host.image(f"train/{id}.png")
        for id in ASKED:
            host.image(f"test/{id}.png")
        host.table("train.csv", id=TRAINED, **columns)
        host.table("test.csv", id=ASKED)
        sample.to_csv(host.root / "sample.csv", index=False)
        label = list(columns) if len(columns) > 1 else next(iter(columns))
        card = {
            "title": "c",
            "train": {"table": "train.csv", "id": "id", "images": "train/{id}.png", "label": label},
            "test": {"table": "test.csv", "id": "id", "images": "test/{id}.png"},
        } | facts
        (tmp_path / "competition/c/card.yaml").write_text(yaml.safe_dump(card, sort_keys=False))
        card = load_card("c")
        return card, load_samples(card)

    return make


def mixed_columns():
    return {
        "shade": ["dark", "light"] * 6,
        "grade": [0, 1, 2] * 4,
        "size": np.arange(12) / 4,
        "marks": ["cat", "", "cat owl", "dog"] * 3,
    }


def long_sample(questions, **cells):
    """Rows in an order of no kind."""
    rows = [(f"{id}__{one}", *cells.values()) for id in ASKED for one in questions]
    return pd.DataFrame(rows, columns=["row_id", *cells]).sample(frac=1, random_state=1)


def written(card, samples, predictions, folder):
    path = write_submission(
        answers(card, samples, np.array(ASKED, dtype=object), predictions), card, samples, folder, "s"
    )
    return path, pd.read_csv(path, dtype=str, keep_default_na=False)


LOGITS = np.random.default_rng(7).normal(0, 2, (len(ASKED), 9))


def test_rows_of_several_kinds(opened, tmp_path):
    sample = long_sample(KINDS, answer="0")
    submission = {"sample": "sample.csv", "kind": "mixed", "rows": "{id}__{output}"}
    card, samples = opened(mixed_columns(), sample, target=MIXED, metric="mixed", submission=submission)
    target = card.target_type
    path, table = written(card, samples, target.predictions(LOGITS), tmp_path)
    assert table["row_id"].tolist() == sample["row_id"].tolist()
    found = table.set_index("row_id")["answer"]
    for k, id in enumerate(ASKED):
        assert found[f"{id}__shade"] == ["dark", "light"][LOGITS[k, :2].argmax()]
        assert found[f"{id}__grade"] == str(LOGITS[k, 2:5].argmax())
        assert float(found[f"{id}__size"]) == pytest.approx(LOGITS[k, 5])
        assert found[f"{id}__marks"] == " ".join(np.array(["cat", "dog", "owl"])[LOGITS[k, 6:] > 0])
    assert check(path, card, samples) == []
    faults = {"b1__shade": "grey", "b2__grade": "3", "b3__size": "inf", "b0__marks": "cat fish", "b4__shade": ""}
    for row, cell in faults.items():
        wrong = table.assign(answer=table["answer"].where(table["row_id"] != row, cell))
        (fault,) = check(wrong, card, samples)
        assert fault.startswith(f"line {table['row_id'].tolist().index(row) + 2}:")


def test_truth_of_several_kinds_is_read_and_scored(opened):
    submission = {"sample": "sample.csv", "kind": "mixed", "rows": "{id}__{output}"}
    _, samples = opened(
        mixed_columns(), long_sample(KINDS, answer="0"), target=MIXED, metric="mixed", submission=submission
    )
    assert samples.targets.shape == (12, 6) and samples.classes[5:7] == ("size", "marks=cat")
    assert samples.targets[:4, 3:].tolist() == [[1, 0, 0], [0, 0, 0], [1, 0, 1], [0, 1, 0]]
    assert samples.counts.tolist() == [6, 6, 4, 4, 4, 12, 6, 3, 3]


def test_probabilities_of_several_questions_in_rows(opened, tmp_path):
    """As RSNA 2024, lumbar spine: a row for each study and place, a column for each severity."""
    sample = long_sample(["left", "right"], **dict.fromkeys(GRADES, 1 / 3))
    submission = {"sample": "sample.csv", "kind": "mixed_probabilities", "rows": "{id}__{output}"}
    columns = {"left": [*TABLE] * 4, "right": [*TABLE][::-1] * 4}
    card, samples = opened(columns, sample, target=PLACES, metric="mixed", submission=submission)
    assert samples.targets[:3].tolist() == [[0, 2], [1, 1], [2, 0]]
    p = card.target_type.predictions(LOGITS[:, :6])
    path, table = written(card, samples, p, tmp_path)
    assert table["row_id"].tolist() == sample["row_id"].tolist() and list(table.columns) == ["row_id", *GRADES]
    found = table.set_index("row_id").astype(float)
    np.testing.assert_allclose(found.loc[[f"{id}__right" for id in ASKED]], p[:, 3:], atol=1e-9)
    assert check(path, card, samples) == []
    off = table.assign(Severe=["0.99", *table["Severe"][1:]])
    assert check(off, card, samples) == [fault for fault in check(off, card, samples) if fault.startswith("line 2:")]
    assert len(check(off, card, samples)) == 1


def test_one_column_for_classes_that_sum_to_one(opened, tmp_path):
    classes = ["cat", "dog", "owl"]
    sample = long_sample(classes, probability=0.5)
    submission = {"sample": "sample.csv", "kind": "columns", "rows": "{id}__{output}"}
    card, samples = opened({"kind": classes * 4}, sample, target="multiclass", metric="log_loss", submission=submission)
    p = card.target_type.predictions(LOGITS[:, :3])
    path, table = written(card, samples, p, tmp_path)
    found = table.set_index("row_id")["probability"].astype(float)
    np.testing.assert_allclose(found.loc[[f"{id}__owl" for id in ASKED]], p[:, 2], atol=1e-9)
    assert check(path, card, samples) == []
    wrong = table.assign(probability=table["probability"].where(table["row_id"] != "b3__dog", "0.9999"))
    (fault,) = check(wrong, card, samples)
    assert "b3" in fault


@pytest.mark.parametrize("keys", [["id", "target_name"], ["target_name", "id"]])
def test_ids_in_two_columns(opened, tmp_path, keys):
    rows = [(id, one, 0) for id in ASKED for one in ("height", "width")]
    sample = pd.DataFrame(rows, columns=["id", "target_name", "value"]).sample(frac=1, random_state=2)
    sample = sample[[*keys, "value"]]
    submission = {"sample": "sample.csv", "kind": "numbers", "id": "{id}/{target_name}", "rows": "{id}/{output}"}
    columns = {"height": np.arange(12) / 2, "width": np.arange(12) / 3}
    card, samples = opened(columns, sample, target="regression", metric="rmse", submission=submission)
    path, table = written(card, samples, LOGITS[:, :2], tmp_path)
    assert list(table.columns) == [*keys, "value"]
    assert table[keys].to_numpy().tolist() == sample[keys].to_numpy().tolist()
    for id, one, value in table[["id", "target_name", "value"]].itertuples(index=False):
        assert float(value) == pytest.approx(LOGITS[ASKED.index(id), ["height", "width"].index(one)])
    assert check(path, card, samples) == []
    moved = table.iloc[[1, 0, *range(2, len(table))]]
    assert len(check(moved, card, samples)) == 2
    assert len(check(table.assign(target_name="height"), card, samples)) > 2
    twice = pd.concat([table, table.head(1)])
    assert any(fault.startswith(f"line {len(table) + 2}:") for fault in check(twice, card, samples))


def test_a_person_and_a_week(opened, tmp_path):
    """As OSIC, where one picture has several rows: the key of a row is made of two columns of the table."""
    sample = pd.DataFrame([(id, week, 0) for week in (7, 12) for id in ASKED[::-1]], columns=["id", "week", "value"])
    test = {"table": "sample.csv", "id": "{id}_{week}", "images": "test/{id}.png"}
    submission = {"sample": "sample.csv", "kind": "number", "id": "{id}_{week}"}
    card, samples = opened(
        {"value": np.arange(12) / 2}, sample, test=test, target="regression", metric="rmse", submission=submission
    )
    ids = samples.test["id"].to_numpy()
    assert len(ids) == 10 and samples.test["path"].nunique() == 5
    path = write_submission(answers(card, samples, ids, np.arange(10.0)[:, None]), card, samples, tmp_path, "s")
    table = pd.read_csv(path)
    assert table["value"].tolist() == list(range(10)) and check(path, card, samples) == []
    assert check(table.assign(week=table["week"] + 1).astype(str), card, samples)


REFUSED = [
    # the target, the kind, the rows, the code
    (MIXED, "mixed_probabilities", "{id}__{output}", "unfit-for-target"),
    ("multiclass", "label", "{id}__{output}", "bad-card"),
]


@pytest.mark.parametrize(("target", "kind", "rows", "code"), REFUSED)
def test_rows_that_a_kind_cannot_fill_are_refused(opened, target, kind, rows, code):
    columns = mixed_columns() if isinstance(target, dict) else {"kind": ["cat", "dog", "owl"] * 4}
    questions = KINDS if isinstance(target, dict) else ["kind"]
    submission = {"sample": "sample.csv", "kind": kind, "rows": rows}
    metric = "mixed" if isinstance(target, dict) else "accuracy"
    with pytest.raises(UsageError) as caught:
        layout_of(
            *opened(columns, long_sample(questions, answer=0), target=target, metric=metric, submission=submission)
        )
    assert caught.value.code == code
