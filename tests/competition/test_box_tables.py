"""Tables of boxes in the layouts that hosts use: each box an image of its own where boxes are answered, else asked."""

import json
import re
import zlib
from itertools import groupby

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from src import prepare
from src.competition.card import load_card
from src.competition.guesses import open_guesses
from src.competition.samples import load_samples
from src.core.paths import competition_folder
from src.images.regions import split_region
from src.predict import main as predict
from src.train import main as train

KINDS = ("crab", "fish", "star")
COLUMNS = ["photo", "n", "kind", "x", "y", "w", "h"]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("src.reporting.preview.write_preview", lambda done: done.card.folder / "preview.html")


def boxes(first, photos, each=lambda k: 2):
    return [
        (f"p{k}", j, KINDS[(k + j + k // 3) % 3], 2 + 20 * j, 3 + j, 14, 15)
        for k in range(first, first + photos)
        for j in range(each(k))
    ]


TRAIN, VALID, TEST = boxes(0, 20), boxes(50, 6), boxes(100, 6)


def photos(folder, rows):
    folder.mkdir(parents=True, exist_ok=True)
    for name in {row[0] for row in rows}:
        noise = np.random.default_rng(zlib.crc32(name.encode())).integers(0, 255, (40, 60, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{name}.png"), noise)


def sample(root, ids, answer="crab", column="id"):
    pd.DataFrame({column: list(ids), "kind": answer}).to_csv(root / "sample_submission.csv", index=False)


def each_file(folder, rows, ending, text):
    folder.mkdir(parents=True, exist_ok=True)
    for name, held in groupby(rows, lambda row: row[0]):
        (folder / f"{name}{ending}").write_text(text(list(held)))


def voc(folder, rows, named=True):
    def text(held):
        objects = ""
        for _, _, kind, x, y, w, h in held:
            corners = f"<xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax>"
            objects += f"<object>{f'<name>{kind}</name>' * named}<bndbox>{corners}</bndbox></object>"
        return f"<annotation><filename>old.jpg</filename>{objects}</annotation>"

    each_file(folder, rows, ".xml", text)


def yolo(folder, rows, polygons=False, key_points=0):
    """key_points: numbers of each of four, x, y and where there are three how well it is seen."""

    def text(held):
        lines = []
        for _, _, kind, x, y, w, h in held:
            shares = [(x + w / 2) / 60, (y + h / 2) / 40, w / 60, h / 40]
            if polygons:
                ends = (x / 60, y / 40), ((x + w) / 60, y / 40), ((x + w / 2) / 60, (y + h) / 40)
                shares = [one for end in ends for one in end]
            for k, at in enumerate((0.3, 0.4, 0.6, 0.7) if key_points else ()):
                shares += [(x + at * w) / 60, (y + 0.5 * h) / 40, 0 if k == 1 else 2][:key_points]
            lines.append(" ".join([str(KINDS.index(kind)), *(f"{one:.5f}" for one in shares)]))
        return "\n".join(lines)

    each_file(folder, rows, ".txt", text)


def runs(x, y, w, h, as_text=False):
    """A mask of 40 x 60 pixels that is this box, as COCO has it."""
    counts = [x * 40 + y, *([h, 40 - h] * w)][:-1]
    counts.append(40 * 60 - sum(counts))
    if as_text:
        text, steps = "", [one - (counts[k - 2] if k > 2 else 0) for k, one in enumerate(counts)]
        for one in steps:
            left, more = one, True
            while more:
                bits, left = left & 31, left >> 5
                more = left != (-1 if bits & 16 else 0)
                text += chr(48 + bits + 32 * more)
        counts = text
    return {"size": [40, 60], "counts": counts}


def coco(file, rows, first, named=True, polygons=None):
    names = list(dict.fromkeys(row[0] for row in rows))
    notes = []
    for k, (name, _, kind, x, y, w, h) in enumerate(rows):
        corners = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        place = {"bbox": [x, y, w, h]}
        if polygons:
            place = {"segmentation": corners if polygons == "polygons" else runs(x, y, w, h, polygons == "text")}
        kinds = {"category_id": KINDS.index(kind)} if named else {}
        notes.append({"id": first + k, "image_id": names.index(name)} | place | kinds)
    kinds = {"categories": [{"id": k, "name": kind} for k, kind in enumerate(KINDS)]} if named else {}
    images = [{"id": k, "file_name": f"{name}.png"} for k, name in enumerate(names)]
    file.write_text(json.dumps({"images": images, "annotations": notes} | kinds))


def table(file, rows, ids, named=True):
    cells = pd.DataFrame(rows, columns=COLUMNS).drop(columns=["n"] if named else ["n", "kind"])
    cells.insert(0, "id", ids)
    cells.to_csv(file, index=False)


def numbered(rows, start=0):
    return [f"{row[0]}_{row[1] + start}" for row in rows]


def voc_boxes(root):
    for part, rows in (("train", TRAIN), ("test", TEST)):
        photos(root / part / "images", rows)
        voc(root / part / "annotations", rows, part == "train")
    sample(root, numbered(TEST))


def yolo_boxes(root, *shapes):
    for part, rows in (("train", TRAIN), ("test", TEST)):
        photos(root / "images" / part, rows)
        yolo(root / "labels" / part, rows, *shapes)
    (root / "labels/train/p3.txt").write_text("")  # a photo without boxes
    (root / "data.yaml").write_text("nc: 3\nnames: [crab, fish, star]\n")
    sample(root, numbered(TEST, 1))


def coco_boxes(root, polygons=None):
    for part, rows, first in (("train", TRAIN, 100), ("test", TEST, 900)):
        photos(root / part, rows)
        coco(root / f"{part}.json", rows, first, part == "train", polygons)
    sample(root, range(900, 900 + len(TEST)), column="annotation_id")


def csv_boxes(root):
    for part, rows in (("train", TRAIN), ("valid", VALID), ("test", boxes(100, 6, lambda k: 1))):
        photos(root / part, rows)
        table(root / f"{part}.csv", rows, numbered(rows), part != "test")
    sample(root, numbered(boxes(100, 6, lambda k: 1)))


def places_of(samples):
    """Left, top, width and height of each training box, in pixels."""
    ends = (split_region(path)[1].ends(40, 60) for path in samples.train["path"])
    return np.array([(left, top, right - left, bottom - top) for top, bottom, left, right in ends])


@pytest.mark.parametrize(
    "build",
    [
        lambda root: yolo_boxes(root, False, 3),
        lambda root: yolo_boxes(root, False, 2),
        lambda root: coco_boxes(root, "runs"),
        lambda root: coco_boxes(root, "text"),
    ],
    ids=["yolo pose", "yolo pose without visibility", "coco run lengths", "coco run lengths as text"],
)
def test_the_box_is_found_among_key_points_and_in_masks(tmp_path, build):
    build(tmp_path / "host")
    assert prepare.main([str(tmp_path / "host"), "id=c"]) == 0
    samples = load_samples(load_card("c"))
    names = [re.search(r"p\d+(?=\.png)", path)[0] for path in samples.train["path"]]
    expected = sorted((row[0], *row[3:]) for row in TRAIN if row[0] in names)
    found = sorted((name, *box) for name, box in zip(names, places_of(samples), strict=True))
    assert [row[0] for row in found] == [row[0] for row in expected] and len(found) >= 38
    apart = [np.subtract(one[1:], other[1:]) for one, other in zip(found, expected, strict=True)]
    assert np.abs(apart).max() <= 1


@pytest.mark.parametrize(
    ("build", "form", "train", "id"),
    [
        (voc_boxes, "/corners={xmin},{ymin},{xmax},{ymax}", TRAIN, "{file}_{object0}"),
        (yolo_boxes, "/yolo={x_center},{y_center},{width},{height}", TRAIN, "{file}_{object}"),
        (lambda root: yolo_boxes(root, True), "/yolo={x_center},{y_center},{width},{height}", TRAIN, "{file}_{object}"),
        (coco_boxes, "/box={bbox}", TRAIN, "annotation_id"),
        (lambda root: coco_boxes(root, "polygons"), "/box={bbox}", TRAIN, "annotation_id"),
        (csv_boxes, "/box={x},{y},{w},{h}", TRAIN + VALID, "id"),
    ],
    ids=["voc", "yolo", "yolo polygons", "coco", "coco polygons", "csv with validation"],
)
def test_each_box_is_an_image(tmp_path, build, form, train, id):
    build(tmp_path / "host")
    assert prepare.main([str(tmp_path / "host"), "id=c"]) == 0
    facts = yaml.safe_load((competition_folder("c") / "card.yaml").read_text())
    for part in {"train", "validation", "test"} & facts.keys():
        assert facts[part]["images"].endswith(form), part
    assert facts["test"]["id"] == id
    samples = load_samples(load_card("c"))
    empty = "p3" if facts["train"]["table"] == "labels/train/*.txt" else ""
    read = zip(samples.train["path"], samples.targets, strict=True)
    found = sorted((re.search(r"p\d+(?=\.png)", path)[0], samples.classes[k]) for path, k in read)
    assert found == sorted((row[0], row[2]) for row in train if row[0] != empty)
    assert samples.train["id"].is_unique and (samples.train.groupby("group").size() == 2).all()
    asked = pd.read_csv(tmp_path / "host/sample_submission.csv", dtype=str).iloc[:, 0]
    assert samples.test["id"].tolist() == asked.tolist()


SHIFT = (18, 10, 0, 0)  # boxes that could be read otherwise, too


def in_one_table(root, change):
    """Boxes of columns, changed: (rows, corners) -> the columns that stand in their place."""
    for part, rows in (("train", TRAIN), ("test", TEST)):
        photos(root / part, rows)
        cells = pd.DataFrame(rows, columns=COLUMNS).drop(columns="n" if part == "train" else ["n", "kind"])
        cells.insert(0, "id", numbered(rows))
        box = cells[["x", "y", "w", "h"]].to_numpy() + SHIFT
        box = cells.drop(columns=["x", "y", "w", "h"]), *box.T
        change(*box).to_csv(root / f"{part}.csv", index=False)
    sample(root, numbered(TEST))


def open_images(cells, x, y, w, h):
    return cells.assign(XMin=x / 60, XMax=(x + w) / 60, YMin=y / 40, YMax=(y + h) / 40)


def shares_of_corner(cells, x, y, w, h):
    return cells.assign(x=x / 60, y=y / 40, w=w / 60, h=h / 40)


def shares_in_a_cell(cells, x, y, w, h):
    lists = np.stack([x / 60, y / 40, w / 60, h / 40], 1).tolist()
    return cells.assign(bbox=[*map(str, lists)])


def corners_in_a_cell(cells, x, y, w, h):
    lists = np.stack([x / 60, y / 40, (x + w) / 60, (y + h) / 40], 1).tolist()
    return cells.assign(bbox=[*map(str, lists)])


def middle_in_pixels(cells, x, y, w, h):
    return cells.assign(x_center=x + w / 2, y_center=y + h / 2, width=w, height=h)


def shares_of_middle(cells, x, y, w, h):
    return cells.assign(x_center=(x + w / 2) / 60, y_center=(y + h / 2) / 40, width=w / 60, height=h / 40)


def one_without_a_box(cells, x, y, w, h):
    made = cells.assign(x=x, y=y, w=w, h=h).astype(str)
    if "kind" in cells:
        made.loc[7, ["x", "y", "w", "h"]] = ""
    return made


@pytest.mark.parametrize(
    ("change", "form", "guess"),
    [
        (open_images, "corners={XMin},{YMin},{XMax},{YMax},shares", False),
        (shares_of_corner, "box={x},{y},{w},{h},shares", True),  # or the middle?
        (shares_in_a_cell, "box={bbox},shares", True),
        (corners_in_a_cell, "corners={bbox},shares", False),  # read otherwise some would leave the picture
        (middle_in_pixels, "center={x_center},{y_center},{width},{height}", False),
        (shares_of_middle, "yolo={x_center},{y_center},{width},{height}", False),
        (one_without_a_box, "box={x},{y},{w},{h}", False),
    ],
)
def test_boxes_are_read_in_their_unit(tmp_path, change, form, guess):
    in_one_table(tmp_path / "host", change)
    assert prepare.main([str(tmp_path / "host"), "id=c"]) == 0
    card = load_card("c")
    assert card.train.images.endswith(f"/{form}") and card.test.images.endswith(f"/{form}")
    assert ("train.images" in open_guesses(card)) == guess
    samples, empty = load_samples(card), 7 if change is one_without_a_box else None
    for place, (row, path) in enumerate(zip(TRAIN, samples.train["path"], strict=True)):
        region = split_region(path)[1]
        if place == empty:
            with pytest.raises(ValueError, match="box"):
                region.ends(40, 60)
        else:
            top, bottom, left, right = region.ends(40, 60)
            assert np.abs(np.subtract((left, top, right - left, bottom - top), np.add(row[3:], SHIFT))).max() <= 1, path


NET = ["model.name=resnet8", "model.pretrained=false", "images.size=16", "images.load_size=16", "data.folds=2"]
NET += ["train.batch=16", "machine.threads=1", "machine.device=cpu", "train.precision=fp32", "augment.transforms=[]"]


@pytest.mark.parametrize(
    "build",
    [
        yolo_boxes,
        pytest.param(voc_boxes, marks=pytest.mark.slow),
        pytest.param(coco_boxes, marks=pytest.mark.slow),
        pytest.param(lambda root: in_one_table(root, open_images), marks=pytest.mark.slow),
    ],
    ids=["yolo", "voc", "coco", "shares in columns"],
)
def test_boxes_are_answered_in_a_checked_submission(tmp_path, build):
    build(tmp_path / "host")
    assert prepare.main([str(tmp_path / "host"), "id=c"]) == 0
    assert train(["fold=0..1", "competition=c", "run=r", "train.epochs=1", *NET]) == 0
    assert predict(["competition=c", "run=r"]) == 0
    (csv,) = (tmp_path / "home/submissions/c").glob("r-*.csv")
    asked = pd.read_csv(tmp_path / "host/sample_submission.csv", dtype=str)
    found = pd.read_csv(csv, dtype=str)
    assert found.iloc[:, 0].tolist() == asked.iloc[:, 0].tolist() and set(found["kind"]) <= set(KINDS)


def test_boxes_in_two_units_are_asked_about(tmp_path, capsys):
    def mixed(cells, x, y, w, h):
        by = np.where(np.arange(len(x)) % 3 == 0, 60.0, 1.0)
        return cells.assign(left=x / by, top=y / by, width=w / by, height=h / by)

    in_one_table(tmp_path / "host", mixed)
    assert prepare.main([str(tmp_path / "host"), "id=c", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "undecided"


def voc_pictures(root):
    voc_boxes(root)
    sample(root, sorted({row[0] for row in TEST}))


def coco_pictures(root):
    coco_boxes(root)
    (root / "test.json").unlink()
    sample(root, sorted(f"{row[0]}.png" for row in TEST[::2]))


def csv_pictures(root):
    """One label for all boxes of a picture."""
    for part, rows in (("train", TRAIN), ("test", TEST)):
        photos(root / part, rows)
    table(root / "train.csv", [(*row[:2], KINDS[int(row[0][1:]) % 3], *row[3:]) for row in TRAIN], numbered(TRAIN))
    sample(root, sorted({row[0] for row in TEST}), column="photo")


@pytest.mark.parametrize("build", [voc_pictures, coco_pictures, csv_pictures])
@pytest.mark.parametrize("whole", [True, False])
def test_boxes_to_learn_from_and_pictures_to_answer_are_asked_about(tmp_path, build, whole, capsys):
    build(tmp_path / "host")
    words = [str(tmp_path / "host"), "id=c", "--json"]
    assert prepare.main(words) == 1
    told = json.loads(capsys.readouterr().out)["error"]
    assert told["code"] == "undecided"
    templates = [
        one.removeprefix("train.images='").partition("'")[0] for one in told["message"].split("Say it: ")[1].split("; ")
    ]
    words += [
        f"train.images={templates[whole]}",
        *(["target=multilabel"] if whole and build is not csv_pictures else []),
    ]
    assert prepare.main(words) == 0
    assert len(load_samples(load_card("c")).train) == (20 if whole else 40)


@pytest.mark.parametrize("write", [voc, yolo])
def test_one_box_a_picture_labels_the_picture(tmp_path, write):
    root, train, test = tmp_path / "host", boxes(0, 20, lambda k: 1), boxes(100, 6, lambda k: 1)
    photos(root / "train", train)
    photos(root / "test", test)
    write(root / "train_labels", train)
    (root / "classes.txt").write_text("\n".join(KINDS))
    sample(root, [row[0] for row in test])
    assert prepare.main([str(root), "id=c"]) == 0
    samples = load_samples(load_card("c"))
    found = zip(samples.train["path"], samples.targets, strict=True)
    assert {path.rpartition("/")[2][:-4]: samples.classes[k] for path, k in found} == {row[0]: row[2] for row in train}
    assert len(samples.test) == 6


def test_boxes_without_a_sample_are_refused_with_the_words_that_read_them(tmp_path, capsys):
    root = tmp_path / "host"
    for part, rows in (("train", TRAIN), ("valid", VALID), ("test", TEST)):
        photos(root / part / "images", rows)
        yolo(root / part / "labels", rows)
    words = [str(root), "id=c", "--json"]
    assert prepare.main(words) == 1
    told = json.loads(capsys.readouterr().out)["error"]
    assert told["code"] == "unsupported-task" and "train.table='train/labels/*.txt'" in told["message"]
    assert prepare.main([*words, "train.table=train/labels/*.txt"]) == 0
    samples = load_samples(load_card("c"))
    assert (len(samples.train), len(samples.test)) == (52, 12)


def test_a_broken_file_of_boxes_is_named(tmp_path, capsys):
    voc_boxes(tmp_path / "host")
    (tmp_path / "host/train/annotations/p7.xml").write_text("<annotation><object><name>crab</name>")
    assert prepare.main([str(tmp_path / "host"), "id=c", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)["error"]
    assert told["code"] == "unreadable-table" and "p7" in told["message"]


@pytest.mark.parametrize("ending", [".xml", ".csv"])
def test_a_picture_may_have_any_number_of_boxes(tmp_path, ending):
    """Twenty cells of one smear are usual."""
    root = tmp_path / "smears"
    rows = [(name, n, kind, 2 + n % 20, 3, 14, 15) for name, n, kind, *_ in boxes(0, 20, lambda k: 20)]
    photos(root / "JPEGImages", rows)
    if ending == ".xml":
        voc(root / "Annotations", rows)
    else:
        table(root / "cells.csv", rows, range(len(rows)), True)
    words = ["train.table=Annotations/*.xml"] if ending == ".xml" else ["train.table=cells.csv"]
    assert prepare.main([str(root), "id=smears", "metric=accuracy", *words]) == 0
    samples = load_samples(load_card("smears"))
    assert len(samples.train) == 400 and len(samples.test) == 0
    assert all(split_region(path)[1] for path in samples.train["path"])
    assert samples.train["group"].nunique() == 20
