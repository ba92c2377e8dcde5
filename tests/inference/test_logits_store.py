"""The store of logits: read by any program, joined by id, and refused where it does not fit."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src.inference.logits_store import aligned, load_logits, logits_file, save_logits
from src.predict import main as predict
from src.train import main as train
from tests.fixtures.codes import raises

CLASSES = ("cat", "dog", "NA")
IDS = np.array(["0001", "10", "2", "ä b"])
LOGITS = np.arange(12, dtype=np.float32).reshape(4, 3)
META = {"engine": "torch", "precision": "fp32", "size": 64, "weights": "ab"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = logits_file(tmp_path / "seed0" / "fold0", "oof", "hflip", 96)
    save_logits(file, IDS, LOGITS, CLASSES, META)
    return file


def write(path: Path, **arrays: np.ndarray) -> None:
    np.savez(path, **{"id": IDS, "logits": LOGITS, "classes": CLASSES, "meta": json.dumps(META)} | arrays)


def test_plain_numpy_reads_it(path, tmp_path):
    assert path == tmp_path / "seed0" / "fold0" / "logits" / "oof-hflip@96.npz"
    with np.load(path, allow_pickle=False) as file:
        assert file["id"].tolist() == IDS.tolist()
        assert file["logits"].dtype == np.float32
        np.testing.assert_array_equal(file["logits"], LOGITS)
        assert file["classes"].tolist() == list(CLASSES)
        assert json.loads(str(file["meta"])) == META
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_it_comes_back_as_it_was(path):
    table = load_logits(path, CLASSES)
    assert (table.classes, table.meta, table.id.tolist()) == (CLASSES, META, IDS.tolist())
    np.testing.assert_array_equal(table.logits, LOGITS)


def test_rows_are_joined_by_id(path):
    for order in ([2, 0, 3, 1], [3, 3, 1], [0], []):
        table = load_logits(path, CLASSES)
        np.testing.assert_array_equal(aligned(table, IDS[order], path), LOGITS[order])


def test_ids_are_text_even_if_they_look_like_numbers(path):
    with raises("missing-row", "'1'"):
        aligned(load_logits(path, CLASSES), np.array(["1"]), path)


def test_ids_as_pandas_holds_them_are_found(path):
    ids = pd.read_csv(pd.io.common.StringIO("id\n2\n0001\n"), dtype=str)["id"].to_numpy()
    np.testing.assert_array_equal(aligned(load_logits(path, CLASSES), ids, path), LOGITS[[2, 0]])


@pytest.mark.parametrize("table", [[0, 1, 2], []], ids=["some", "empty"])
def test_missing_ids_are_counted_and_the_first_is_named(path, table):
    write(path, id=IDS[table], logits=LOGITS[table])
    with raises("missing-row", path.name, f"{4 - len(table)} of 4"):
        aligned(load_logits(path, CLASSES), IDS, path)


def test_an_id_that_stands_twice_is_refused(path):
    write(path, id=np.array(["0001", "10", "10", "2"]))
    with raises("repeated-id", path.name):
        aligned(load_logits(path, CLASSES), np.array(["10"]), path)


@pytest.mark.parametrize("classes", [("dog", "cat", "NA"), ("cat", "dog"), ("cat", "dog", "NA", "x")])
def test_other_classes_are_refused(path, classes):
    with raises("classes-differ", path.name):
        load_logits(path, classes)


@pytest.mark.parametrize(
    "arrays",
    [{"logits": LOGITS[:3]}, {"logits": LOGITS[:, :2]}, {"logits": LOGITS[0]}],
    ids=["rows", "columns", "flat"],
)
def test_shapes_that_do_not_fit_are_refused(path, arrays):
    write(path, **arrays)
    with raises("bad-logits", path.name):
        load_logits(path, CLASSES)


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "text", "pickle", "npy", "no meta", "odd meta", "gone"])
def test_a_damaged_file_is_named(path, damage, tmp_path):
    whole = path.read_bytes()
    if damage in ("empty", "cut", "text"):
        path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "text": b"not found"}[damage])
    elif damage == "flipped":
        place = whole.index(LOGITS.tobytes()) + 5
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    elif damage == "pickle":
        np.savez(path, id=IDS.astype(object), logits=LOGITS, classes=CLASSES, meta="{}")
    elif damage == "npy":
        with path.open("wb") as file:
            np.save(file, LOGITS)
    elif damage == "no meta":
        np.savez(path, id=IDS, logits=LOGITS, classes=CLASSES)
    elif damage == "odd meta":
        write(path, meta="{")
    else:
        path.unlink()
    with raises("missing-file" if damage == "gone" else "damaged-file", path.name):
        load_logits(path, CLASSES)


def test_a_table_appears_whole_or_not_at_all(path):
    before = path.read_bytes()
    with pytest.raises(ValueError):
        save_logits(path, IDS, np.array([["x"] * 3] * 4), CLASSES, META)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


# As prediction uses it


@pytest.fixture
def predicted(tiny: Path) -> Path:
    assert train(["config=tiny", "fold=0", "train.epochs=2"]) == 0
    assert predict(["config=tiny", "--tta", "train.epochs=2"]) == 0
    return tiny / "runs" / "tiny" / "tiny+train.epochs=2" / "seed0" / "fold0"


AGAIN = ["config=tiny", "--tta", "train.epochs=2"]


def answers(tiny: Path) -> bytes:
    return (tiny / "submissions" / "tiny" / "tiny+train.epochs=2.csv").read_bytes()


def test_shuffled_rows_give_the_same_submission(tiny, predicted):
    expected = answers(tiny)
    for file in (predicted / "logits").iterdir():
        with np.load(file) as table:
            arrays = dict(table)
        order = np.random.default_rng(0).permutation(len(arrays["id"]))
        np.savez(file, **arrays | {"id": arrays["id"][order], "logits": arrays["logits"][order]})
    assert predict(AGAIN) == 0
    assert answers(tiny) == expected


def test_deleted_views_are_made_again(tiny, predicted):
    expected, file = answers(tiny), predicted / "logits" / "test-hflip.npz"
    before = file.read_bytes()
    file.unlink()
    assert predict(AGAIN) == 0
    assert answers(tiny) == expected
    assert file.read_bytes() == before


def test_what_made_a_table_is_written_in_it(predicted):
    done = json.loads((predicted / "done.json").read_text())
    names = {file.name for file in (predicted / "logits").iterdir()}
    assert names == {"oof-identity.npz", "oof-hflip.npz", "test-identity.npz", "test-hflip.npz"}
    for file in (predicted / "logits").iterdir():
        meta = load_logits(file, ("blue", "green", "red")).meta
        images = meta.pop("images")
        timed = meta.pop("seconds_per_image", None)
        assert timed is None if file.name != "oof-hflip.npz" else 0 < timed < 1  # where prediction chooses views
        assert meta == {"engine": "torch", "precision": "fp32", "size": 16, "weights": done["weights"]}
        assert images


def test_logits_of_other_pixels_are_made_again(tiny, predicted):
    """The same ids with other images: what was computed of the old ones is no answer for the new ones."""
    file, data = predicted / "logits" / "test-identity.npz", tiny / "competition" / "tiny" / "data"
    with np.load(file) as table:
        before, first = table["logits"], table["id"][0]
    other = next(image for image in (data / "train").iterdir())
    (data / "test" / f"{first}.png").write_bytes(other.read_bytes())
    assert predict(AGAIN) == 0
    with np.load(file) as table:
        assert (table["logits"][0] != before[0]).any()
        np.testing.assert_array_equal(table["logits"][1:], before[1:])


def test_logits_of_other_weights_are_not_used(tiny, predicted, capsys):
    file = predicted / "logits" / "test-identity.npz"
    with np.load(file) as table:
        arrays = dict(table)
    meta = json.loads(str(arrays["meta"])) | {"weights": "0" * 64}
    np.savez(file, **arrays | {"meta": json.dumps(meta), "logits": -arrays["logits"]})
    expected = answers(tiny)
    code = predict(AGAIN)
    assert (code == 1 and file.name in capsys.readouterr().err) or (code == 0 and answers(tiny) == expected)
