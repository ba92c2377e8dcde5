"""No folder ends prepare with a traceback: seeded trees of odd names, tables and images, read or refused in a line."""

import json
import random

import cv2
import numpy as np
import pytest

from src import prepare

NAMES = [
    "a",
    "train",
    "test",
    "val",
    "1",
    "007",
    "IMG 1",
    "é",
    "e\u0301",
    "{x}",
    "a*b",
    "x:y",
    "-r",
    "cat",
    "dog",
    "masks",
]
NAMES += [
    "a.b",
    "_",
    "sample_submission",
    "labels",
    "images",
    "Test tube",
    "a'b",
    "#1",
    "%20",
    "data",
    "{",
    "}}",
    "null",
]
ENDINGS = [".png", ".jpg", ".JPG", "", ".png?x=1", ".heic", ".dcm", ".npy", ".txt"]
CELLS = [
    "",
    "0",
    "1",
    "1.0",
    "0.5",
    "NaN",
    "-1",
    "cat",
    "dog",
    "cat dog",
    "['cat', 'dog']",
    "a,b",
    '"',
    "a|b",
    "nan",
    " x ",
]
COLUMNS = [
    "id",
    "image",
    "label",
    "",
    "target",
    "train",
    "row",
    "row0",
    "path",
    "cat",
    "0",
    "1",
    "{x}",
    "a:b",
    "id",
    "xmin",
]
PNG = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()


def path_of(rng):
    return "/".join(rng.choice(NAMES) for _ in range(rng.choice([0, 1, 1, 2, 3])))


def csv_of(rng, stems):
    columns = [rng.choice(COLUMNS) for _ in range(rng.randint(1, 4))]
    mark = rng.choice([",", ",", ";", "\t", ", ", " "])
    rows = [columns] if rng.random() < 0.8 else []
    for _ in range(rng.choice([0, 1, 5, 30])):
        rows.append(
            [rng.choice(stems) if k == 0 and rng.random() < 0.9 else rng.choice(CELLS) for k in range(len(columns))]
        )
        if rng.random() < 0.03:
            rows[-1].append("surplus")
    text = rng.choice(["\n", "\n", "\r\n", "\r"]).join(mark.join(row) for row in rows)
    return text.encode(rng.choice(["utf-8", "utf-8", "utf-16", "latin-1"]), errors="replace")


def json_of(rng, stems, depth=0):
    kind = rng.randint(0, 6 if depth < 4 else 2)
    if kind <= 2:
        return rng.choice([*stems[:5], 1, 2.5, None, True, "", "cat"])
    if kind == 3:
        return [json_of(rng, stems, depth + 1) for _ in range(rng.randint(0, 4))]
    if kind == 4:
        keys = ["images", "annotations", "categories"]
        return {key: json_of(rng, stems, depth + 1) for key in rng.sample(keys, rng.randint(1, 3))}
    if kind == 5:
        fields = ["id", "image_id", "file_name", "category_id", "label", "name"]
        return [{field: rng.choice([*stems[:4], 0, 1, None, [1]]) for field in rng.sample(fields, 3)} for _ in range(4)]
    return {rng.choice(NAMES): json_of(rng, stems, depth + 1) for _ in range(rng.randint(0, 4))}


def tree(root, rng):
    """A folder with some images, tables and other files."""
    folders, stems = [path_of(rng) for _ in range(rng.randint(1, 5))], ["zzz"]
    for _ in range(rng.choice([0, 3, 12, 40])):
        stem = rng.choice(
            [rng.choice(NAMES), f"a{rng.randint(0, 60)}", f"cat_{rng.randint(0, 9)}", str(rng.randint(0, 99))]
        )
        stems.append(stem)
        write(
            root,
            rng.choice(folders),
            stem + rng.choice(ENDINGS[: rng.choice([1, 1, 3, 9])]),
            rng.choice([PNG] * 9 + [b""]),
        )
    for _ in range(rng.randint(0, 4)):
        name = rng.choice(["train", "test", "sample_submission", "labels", "x", "_classes", "val"])
        write(root, rng.choice(["", *folders]), name + rng.choice([".csv", ".csv", ".tsv", ".txt"]), csv_of(rng, stems))
    for _ in range(rng.randint(0, 2)):
        text = json.dumps(json_of(rng, stems))[: rng.choice([None, None, 20])]
        write(root, rng.choice(["", *folders]), f"{rng.choice(NAMES)}.json", text.encode())


def write(root, folder, name, content):
    path = root / folder / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError:
        pass  # a file of this name is where a folder should be, or the other way round


def check(seeds, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PODIUM_DATA", str(tmp_path / "nothing"))
    codes = []
    for seed in seeds:
        root = tmp_path / str(seed) / "host"
        root.mkdir(parents=True)
        monkeypatch.setenv("PODIUM_HOME", str(tmp_path / str(seed) / "home"))
        tree(root, random.Random(seed))
        code = prepare.main([str(root), "id=c"])
        told = capsys.readouterr()
        assert "Traceback" not in told.err, f"seed {seed}: {told.err}"
        assert code == 0 or "error: " in told.err, f"seed {seed}: {told.err}"
        codes.append(code)
    return codes


def test_some_trees(tmp_path, monkeypatch, capsys):
    codes = check(range(40), tmp_path, monkeypatch, capsys)
    assert {0, 1} <= {*codes}  # some are read


@pytest.mark.slow
def test_many_trees(tmp_path, monkeypatch, capsys):
    check(range(1000, 2500), tmp_path, monkeypatch, capsys)
