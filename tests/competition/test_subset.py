"""A competition cut from another: the tail that is asked for, balanced rows held out, no near duplicate between."""

import fcntl
from pathlib import Path
from queue import Queue
from threading import Thread

import cv2
import pandas as pd
import pytest

from src.competition.card import load_card
from src.competition.sources.data_folder import ensure_data
from src.core.console import messages_to
from src.core.files import read_json
from src.core.paths import Run
from src.train import main as train
from tests.fixtures.codes import raises
from tests.fixtures.tiny import COLOURS

CARD = """\
title: Cut
cut: {{of: tiny, {cut}}}
train: {{table: train.csv, id: id, images: "{{path}}", label: label}}
validation: {{table: held_out.csv, id: id, images: "{{path}}", label: label}}
target: multiclass
metric: balanced_accuracy
"""


def cut(home: Path, words: str, name: str = "short") -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables of a cut, made at first use."""
    folder = home / "competition" / name
    folder.mkdir(exist_ok=True)
    (folder / "card.yaml").write_text(CARD.format(cut=words))
    data = ensure_data(load_card(name))
    held_out = data / "held_out.csv"
    empty = pd.DataFrame(columns=["id", "path", "label"])
    return pd.read_csv(data / "train.csv", dtype=str), pd.read_csv(held_out, dtype=str) if held_out.exists() else empty


def test_the_tail_is_as_long_as_asked_and_the_rest_balanced(tiny):
    kept, held_out = cut(tiny, "tail: 5, held_out: 3, seed: 1")
    assert sorted(kept["label"].value_counts()) == [4, 9, 20]
    assert held_out["label"].value_counts().to_dict() == dict.fromkeys(COLOURS, 3)
    assert not set(kept["id"]) & set(held_out["id"])
    whole = pd.read_csv(tiny / "competition" / "tiny" / "data" / "train.csv", dtype=str).set_index("image_id")["colour"]
    for table in (kept, held_out):
        assert (whole.loc[table["id"]].to_numpy() == table["label"]).all()
        assert all((tiny / "competition" / "short" / "data" / path).is_file() for path in table["path"])


def test_a_seed_is_a_cut(tiny):
    words = "tail: 5, held_out: 3, seed: {}"
    tables = [cut(tiny, words.format(seed), f"cut{i}") for i, seed in enumerate((1, 1, 2))]
    pd.testing.assert_frame_equal(tables[0][0], tables[1][0])
    pd.testing.assert_frame_equal(tables[0][1], tables[1][1])
    assert set(tables[0][1]["id"]) != set(tables[2][1]["id"])


def test_classes_can_be_left_out_and_nothing_else_is(tiny):
    kept, held_out = cut(tiny, "without: [blue]")
    assert kept["label"].value_counts().to_dict() == {"green": 14, "red": 7}
    assert not len(held_out)


def test_so_many_rows_of_each_class_as_are_asked_for(tiny):
    kept, held_out = cut(tiny, "rows: {red: 3, blue: 9}, held_out: 2")
    assert kept["label"].value_counts().to_dict() == {"blue": 9, "red": 3}
    assert held_out["label"].value_counts().to_dict() == {"blue": 2, "red": 2}
    assert not set(kept["id"]) & set(held_out["id"])


def test_a_near_duplicate_of_what_is_held_out_is_not_trained_on(tiny):
    """Every image twice, the second stored as JPEG: unless both are on one side, the network knows the answers."""
    data = tiny / "competition" / "tiny" / "data"
    table = pd.read_csv(data / "train.csv", dtype=str)
    twins = table.assign(image_id="9" + table["image_id"])
    for name in table["image_id"]:
        image = cv2.imread(str(data / "train" / f"{name}.png"))
        cv2.imwrite(str(data / "train" / f"9{name}.png"), image)
    pd.concat([table, twins]).to_csv(data / "train.csv", index=False)
    kept, held_out = cut(tiny, "held_out: 3")
    assert len(kept)
    assert not {name[-4:] for name in kept["id"]} & {name[-4:] for name in held_out["id"]}


def test_it_trains_on_the_tail_and_scores_the_balanced_rows(tiny):
    cut(tiny, "tail: 5, held_out: 3, seed: 1")
    (tiny / "configs" / "short.yaml").write_text(
        (tiny / "configs" / "tiny.yaml").read_text().replace("competition: tiny", "competition: short")
    )
    assert train(["config=short", "data.validation=host", "fold=0", "train.epochs=2", "run=r"]) == 0
    folder = Run("short", "r").member(0, 0)
    assert pd.read_csv(folder / "per_class.csv")["rows"].tolist() == [3, 3, 3]
    assert read_json(folder / "done.json")["epochs"] == 2


@pytest.mark.parametrize(
    ("words", "code", "name"),
    [
        ("tail: 30", "bad-cut", "24"),
        ("without: [bleu]", "unknown-class", "bleu"),
        ("rows: {rot: 2}", "unknown-class", "rot"),
        ("rows: {red: 6}, held_out: 2", "bad-cut", "6 of 'red'"),
        ("tail: 24, held_out: 7", "bad-cut", "cut.tail"),
    ],
)
def test_what_cannot_be_cut_is_told_and_leaves_nothing(tiny, words, code, name):
    with raises(code, name):
        cut(tiny, words)
    assert not (tiny / "competition" / "short" / "data").exists()


def test_a_cut_of_a_cut_is_refused(tiny):
    cut(tiny, "without: [blue]")
    folder = tiny / "competition" / "again"
    folder.mkdir()
    (folder / "card.yaml").write_text(CARD.format(cut="without: [red]").replace("of: tiny", "of: short"))
    with raises("cut-of-cut", "tiny"):
        ensure_data(load_card("again"), lambda _: None)


def test_who_comes_while_another_process_sets_it_up_waits(tiny):
    folder = tiny / "competition" / "short"
    folder.mkdir()
    (folder / "card.yaml").write_text(CARD.format(cut="without: [blue]"))
    said: Queue[tuple[str, str]] = Queue()
    with (folder / "lock").open("a") as lock, messages_to(lambda *told: said.put(told)):
        fcntl.flock(lock, fcntl.LOCK_EX)
        coming = Thread(target=ensure_data, args=(load_card("short"),))
        coming.start()
        while said.get(timeout=30)[1] != "waiting":
            pass
        assert not (folder / "data").exists()
    coming.join(30)
    assert (folder / "data" / "train.csv").is_file()
