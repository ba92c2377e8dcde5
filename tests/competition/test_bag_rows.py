"""Rows that share an answer: prepare reads them as bags where the sample submission says so, and tells what it took."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from src import prepare
from src.competition.card import load_card
from src.competition.quality.cleaning import inspect
from src.competition.samples import load_samples
from src.core.paths import competition_folder, runs_folder
from tests.fixtures.codes import raises
from tests.fixtures.notes import Notes


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("src.reporting.preview.write_preview", lambda done: done.card.folder / "preview.html")


def views(root, part, people):
    """Two sides of each person from two views; the answer belongs to a side."""
    rng, rows = np.random.default_rng(people[0]), []
    (root / part).mkdir(parents=True)
    for person in people:
        for side in "LR":
            cancer = int(rng.random() < 0.5)
            for view in ("CC", "MLO"):
                image = f"{rng.integers(1 << 40):013d}"
                noise = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
                cv2.imwrite(str(root / part / f"{image}.png"), noise)
                rows.append((str(person), image, side, view, cancer))
    return pd.DataFrame(rows, columns=["patient_id", "image_id", "side", "view", "cancer"])


def host(root, test_first=100, by="{patient_id}_{side}", test_id="prediction_id"):
    """by: what the answer belongs to. test_id: the column that says so in the test table, empty without one."""
    train, test = views(root, "train", range(1, 17)), views(root, "test", range(test_first, test_first + 5))
    ids = test["patient_id"] + ("_" + test["side"] if "side" in by else "")
    if "side" not in by:
        train["cancer"] = train["patient_id"].astype(int) % 2
    if test_id:
        test[test_id] = ids
    train.to_csv(root / "train.csv", index=False)
    test.drop(columns="cancer").to_csv(root / "test.csv", index=False)
    pd.DataFrame({"id": sorted(set(ids)), "cancer": 0.5}).to_csv(root / "sample_submission.csv", index=False)
    return train, test, ids


@pytest.mark.parametrize(
    ("words", "train_id", "test_id"),
    [
        ({}, "{patient_id}_{side}", "prediction_id"),
        ({"test_id": ""}, "{patient_id}_{side}", "{patient_id}_{side}"),
        ({"by": "patient_id", "test_id": ""}, "patient_id", "patient_id"),
        ({"by": "patient_id", "test_id": "", "test_first": 1}, "patient_id", "patient_id"),  # ids as train has them
    ],
)
def test_rows_of_one_id_are_a_bag(tmp_path, words, train_id, test_id):
    root = tmp_path / "host"
    train, test, ids = host(root, **words)
    assert prepare.main([str(root), "id=c"]) == 0
    facts = yaml.safe_load((competition_folder("c") / "card.yaml").read_text())
    assert (facts["bag"], facts["train"]["id"], facts["test"]["id"]) == ("rows", train_id, test_id)
    samples = load_samples(load_card("c"))
    names = [[path.rpartition("/")[2] for path in bag] for bag in samples.test["bag"]]
    expected = test["image_id"].add(".png").groupby(ids).agg(sorted)
    assert dict(zip(samples.test["id"], names, strict=True)) == expected.to_dict()
    keys = train["patient_id"] + ("_" + train["side"] if "side" in train_id else "")
    answers = train["cancer"].astype(str).groupby(keys).first().to_dict()
    read = [samples.classes[k] for k in samples.targets]
    assert dict(zip(samples.train["id"], read, strict=True)) == answers


def test_cells_that_differ_within_a_bag_are_no_metadata_of_it(tmp_path):
    root = tmp_path / "host"
    for name, table in zip(("train", "test"), host(root)[:2], strict=True):
        ages = table["patient_id"].astype(int) * 37 % 50 + 30
        views = np.random.default_rng(1).permutation(np.arange(len(table)) % 3)  # of each image
        told = table.drop(columns=["cancer"] if name == "test" else []).assign(age=ages, view=views)
        told.to_csv(root / f"{name}.csv", index=False)
    assert prepare.main([str(root), "id=c", "metadata=auto"]) == 0
    samples = load_samples(load_card("c"))
    cells = samples.metadata.of(samples.train)
    names = [column.name for column in samples.metadata.columns]
    assert not np.isnan(cells[:, names.index("age")]).any()
    table = pd.read_csv(root / "train.csv", dtype=str)
    differs = table.groupby(table["patient_id"] + "_" + table["side"])["view"].nunique()[samples.train["id"]] > 1
    assert differs.any() and (np.isnan(cells[:, names.index("view")]) == differs.to_numpy()).all()


def test_one_answer_an_image_makes_no_bag(tmp_path):
    root = tmp_path / "host"
    _, test, _ = host(root)
    pd.DataFrame({"id": test["image_id"], "cancer": 0.5}).to_csv(root / "sample_submission.csv", index=False)
    assert prepare.main([str(root), "id=c"]) == 0
    card = load_card("c")
    assert (card.bag, card.train.id, card.test.id) == (None, "image_id", "image_id")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda train: train.drop(columns=["patient_id"]), "undecided"),  # nothing tells it of a training image
        (lambda train: train.assign(cancer=np.arange(len(train)) % 2), "bag-labels-differ"),
    ],
)
def test_bags_that_the_training_table_contradicts(tmp_path, capsys, change, code):
    root = tmp_path / "host"
    train, _, _ = host(root)
    change(train).to_csv(root / "train.csv", index=False)
    assert prepare.main([str(root), "id=c", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == code


def prepared_bags(root, **more):
    """Card `c` of bags by patient and side, with these words more, and its training table."""
    train, _, _ = host(root)
    assert prepare.main([str(root), "id=c"]) == 0
    card = competition_folder("c") / "card.yaml"
    card.write_text(card.read_text() + "".join(f"{key}: {value}\n" for key, value in more.items()))
    return train


def written(table):
    table.to_csv(competition_folder("c") / "data/train.csv", index=False)


def ids_of(table):
    return table["patient_id"] + "_" + table["side"]


@pytest.mark.parametrize("part", ["train", "test"])
def test_an_image_that_a_bag_lacks_is_told(tmp_path, part):
    root = tmp_path / "host"
    prepared_bags(root)
    data = competition_folder("c") / "data"
    lost = pd.read_csv(data / f"{part}.csv", dtype=str)["image_id"][2]
    (data / part / f"{lost}.png").unlink()
    with raises("missing-image", lost):
        load_samples(load_card("c"))
    card = competition_folder("c") / "card.yaml"
    card.write_text(card.read_text() + "on_bad_image: drop\n")
    samples = load_samples(load_card("c"))
    assert Notes(samples.notes).texts("images-missing", lost)
    held = [path for bag in getattr(samples, part)["bag"] for path in bag]
    assert len(held) == (63 if part == "train" else 19) and len(samples.train) == 32 and len(samples.test) == 10


@pytest.mark.parametrize("way", ["stop", "drop", "first", "majority"])
def test_labels_that_differ_within_a_bag_go_by_the_card(tmp_path, way):
    train = prepared_bags(tmp_path / "host", on_conflict=way)
    more = train.iloc[[0]].assign(image_id=train["image_id"][4])  # a third image of the first bag
    train = pd.concat([train, more], ignore_index=True).astype({"cancer": int})
    first = int(train["cancer"][0])
    train.loc[0, "cancer"] = 1 - first
    written(train)
    if way == "stop":
        with raises("bag-labels-differ", ids_of(train)[0]):
            load_samples(load_card("c"))
        return
    samples = load_samples(load_card("c"))
    assert Notes(samples.notes).texts("label-conflict", ids_of(train)[0])
    labels = dict(zip(samples.train["id"], (samples.classes[k] for k in samples.targets), strict=True))
    expected = {"drop": None, "first": str(1 - first), "majority": str(first)}[way]
    assert labels.get(ids_of(train)[0]) == expected and len(labels) == 32 - (way == "drop")


@pytest.mark.parametrize("column", ["group", "weight"])
def test_rows_of_a_bag_in_two_groups_or_of_two_weights_are_refused(tmp_path, column):
    train = prepared_bags(tmp_path / "host", **({"weight": "counts"} if column == "weight" else {}))
    card = competition_folder("c") / "card.yaml"
    facts = yaml.safe_load(card.read_text()) | {column: "counts"}
    card.write_text(yaml.safe_dump(facts))
    written(train.assign(counts=ids_of(train).factorize()[0] + 1))
    assert len(load_samples(load_card("c")).train) == 32
    written(train.assign(counts=np.arange(len(train)) + 1))
    with raises("bag-rows-differ", ids_of(train)[0]):
        load_samples(load_card("c"))


def test_a_bag_in_two_parts_is_refused_and_an_image_that_it_lists_again_is_told(tmp_path):
    train = prepared_bags(tmp_path / "host")
    test = competition_folder("c") / "data/test.csv"
    table = pd.read_csv(test, dtype=str)
    pd.concat([table, table[:2]]).to_csv(test, index=False)
    written(pd.concat([train, train.iloc[[3]]]))
    samples = load_samples(load_card("c"))
    told = Notes(samples.notes)
    assert told.texts("images-repeated", "train.csv", 1) and told.texts("images-repeated", "test.csv", 2)
    assert sum(map(len, samples.train["bag"])) == 64 and sum(map(len, samples.test["bag"])) == 20
    written(train[1:])
    card = competition_folder("c") / "card.yaml"
    facts = yaml.safe_load(card.read_text())
    train[:1].to_csv(competition_folder("c") / "data/val.csv", index=False)
    card.write_text(yaml.safe_dump(facts | {"validation": facts["train"] | {"table": "val.csv"}}))
    with raises("bag-rows-differ", ids_of(train)[0]):
        load_samples(load_card("c"))


def test_bags_that_show_the_same_image_stay_in_one_fold(tmp_path):
    """The third image of one series is the first of another, smaller and darker; every series ends with a black one."""
    rng, root = np.random.default_rng(0), tmp_path / "host"
    for part, letter, count in (("train", "a", 44), ("test", "b", 4)):
        for k in range(count):
            folder = root / part / f"{letter}{k:02d}"
            folder.mkdir(parents=True)
            for j in range(3):
                coarse = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
                scan = cv2.resize(coarse, (64, 64), interpolation=cv2.INTER_CUBIC)
                if (letter, k, j) == ("a", 5, 2):
                    twin = scan
                if (letter, k, j) == ("a", 31, 0):
                    scan = (cv2.resize(twin, (48, 48)) * 0.97).astype(np.uint8)
                cv2.imwrite(str(folder / f"{j}.png"), scan)
            cv2.imwrite(str(folder / "9.png"), np.zeros((64, 64, 3), np.uint8))
    train = pd.DataFrame({"id": [f"a{k:02d}" for k in range(44)], "kind": ["x", "y"] * 22})
    train.to_csv(root / "train.csv", index=False)
    test = pd.DataFrame({"id": [f"b{k:02d}" for k in range(4)], "kind": "x"})
    test.to_csv(root / "sample_submission.csv", index=False)
    assert prepare.main([str(root), "id=c"]) == 0
    card = load_card("c")
    assert card.bag == "files"
    samples = inspect(card, load_samples(card))
    cluster = samples.train.set_index("id")["cluster"]
    assert cluster["a05"] == cluster["a31"] != ""
    assert set(cluster.drop(["a05", "a31"])) == {""}
    assert Notes(samples.notes).texts("images-alike", 44)
    doubles = json.loads((runs_folder("c") / "overview.json").read_text())["duplicates"]
    assert doubles["near"] == 1
