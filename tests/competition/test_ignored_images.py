"""data.ignore: rows are left out or no longer scored, every other row keeps its fold, and a run keeps its rows."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src.competition.folds import freeze_folds
from src.competition.quality.ignored_images import leave_out, read_ignored
from src.competition.samples import Samples
from src.config.request import parse
from src.evaluation.held_out import RunTable, joined
from src.predict import main as predict
from src.review import main as review
from src.sweep import main as sweep
from src.targets import target_type
from src.train import main as train
from tests.fixtures.codes import raises, refused
from tests.fixtures.notes import Notes, names_it
from tests.fixtures.older_runs import without_keys
from tests.fixtures.planted_faults import ROWS, WORDS, planted, write_planted

SHORT = ["config=tiny", "train.epochs=1"]
PLANTED = [word for word in WORDS if not word.startswith("run=")]
MISLED = [*PLANTED, "data.ignore=null"]  # as a sweep over data.ignore calls it


def samples(rows: int = 60, classes: int = 2, group: object = "", part: object = "train") -> Samples:
    train = pd.DataFrame({"id": [f"{row:04d}" for row in range(rows)], "path": "x"}, dtype=object)
    train = train.assign(group=group, part=part, cluster="")
    names = tuple(f"c{k}" for k in range(classes))
    return Samples(train, pd.DataFrame(), np.arange(rows) % classes, names, pd.DataFrame(), target_type("multiclass"))


def write(home: Path, text: str) -> str:
    (home / "mine.csv").write_text(text)
    return "mine.csv"


def left(home: Path, data: Samples, text: str, folds: int = 3):
    """Samples and folds before, then after the rows of `text` are ignored."""
    whole = freeze_folds(data, folds, 0, home)
    return whole, *leave_out(data, whole, read_ignored(write(home, text), data))


def fold_of(data: Samples, folds) -> dict[str, int]:
    return dict(zip(data.train["id"], folds.of_row.tolist(), strict=True))


# What the file may say


def test_rows_are_left_out_or_trained_on_and_the_others_keep_their_folds(home):
    data = samples()
    whole, kept, folds = left(home, data, "id,use\n0004,never\n0007,train\n0010,\n")
    before, after = fold_of(data, whole), fold_of(kept, folds)
    assert set(before) - set(after) == {"0004", "0010"}
    assert after["0007"] == -1
    assert all(after[id_] == before[id_] for id_ in after if id_ != "0007")
    assert folds.hash == whole.hash
    assert len(kept.targets) == len(folds.of_row) == 58
    assert [kept.targets[kept.positions(np.array([id_]))[0]] for id_ in ("0003", "0011")] == [1, 1]
    for fold in range(3):
        seen, held = (set(kept.train["id"].iloc[rows]) for rows in folds.rows(fold))
        assert "0007" in seen and "0007" not in held
        assert not seen & held and seen | held == set(after)
        assert held == {id_ for id_, own in after.items() if own == fold}
    assert Notes(kept.notes).texts("rows-ignored", 2, 60, 1)


def test_a_row_that_is_only_trained_on_does_not_show_what_its_group_holds_out(home):
    group = np.array([str(row // 3) for row in range(60)], dtype=object)  # three rows each
    data = samples(group=group)
    whole, kept, folds = left(home, data, "id,use\n0000,train\n0003,train\n0004,train\n0005,train\n")
    own = fold_of(data, whole)["0000"]
    for fold in range(3):
        seen, held = (set(kept.train["id"].iloc[rows]) for rows in folds.rows(fold))
        assert ("0000" in seen) == (fold != own), "0001 and 0002 of its group are held out in its fold"
        assert {"0003", "0004", "0005"} <= seen, "nothing of their group is held out"
        assert not held & {"0000", "0003", "0004", "0005"}


def test_extra_columns_any_order_and_windows_files_are_read(home):
    data = samples()
    _, kept, _ = left(home, data, "\ufefffile,use,id,given\r\nx.png, train ,0007,c1\r\ny.png,,0004,c0\r\n")
    assert set(data.train["id"]) - set(kept.train["id"]) == {"0004"}
    first = read_ignored("mine.csv", data)
    again = read_ignored(write(home, "id,use\n0004,never\n0007,train\n"), data)
    other = read_ignored(write(home, "id,use\n0004,train\n0007,train\n"), data)
    assert first.digest == again.digest != other.digest
    assert read_ignored(str(home / "mine.csv"), data) == other


@pytest.mark.parametrize(
    ("text", "code", "names"),
    [
        ("id\n0004\n9999\n8888\n", "bad-ignore-list", ["line 3", "'9999'", "2 "]),
        ("id\n4\n", "bad-ignore-list", ["line 2", "'4'"]),
        ("id\n0004\n0005\n0004\n", "bad-ignore-list", ["line 4", "'0004'"]),
        ("id,use\n0004,never\n0005,sometimes\n", "bad-ignore-list", ["line 3", "'sometimes'"]),
        ("id,use\n,never\n", "bad-ignore-list", ["line 2"]),
        ("name\n0004\n", "missing-column", ["'id'", "'name'"]),
        ("id\n", "no-rows", []),
        ("", "unreadable-table", []),
        ("id,use\n0004,never,really\n", "unreadable-table", []),
    ],
)
def test_a_wrong_file_is_told_with_the_row(home, text, code, names):
    with raises(code, str(home / "mine.csv"), *names):
        read_ignored(write(home, text), samples())


def test_a_missing_file_is_told(home):
    with raises("no-such-file", "data.ignore=absent.csv"):
        read_ignored("absent.csv", samples())


def test_what_leaves_too_little_is_refused(home):
    data = samples(12)
    folds = fold_of(data, freeze_folds(data, 3, 0, home))
    with raises("empty-fold", "mine.csv", "fold 1"):
        left(home, data, "id\n" + "\n".join(id_ for id_, fold in folds.items() if fold == 1))
    with raises("one-class", "mine.csv"):
        left(home, data, "id\n" + "\n".join(f"{row:04d}" for row in range(0, 12, 2)))
    *_, kept, _ = left(home, samples(12, classes=3), "id\n0002\n0005\n0008\n0011\n")
    assert Notes(kept.notes).texts("rows-ignored", "c2")
    assert kept.classes == ("c0", "c1", "c2"), "the answers keep their columns"


# Through the doors


def member(home: Path, run: str, fold: int) -> Path:
    return home / "runs" / "tiny" / run / "seed0" / f"fold{fold}"


def held_out(home: Path, run: str, fold: int) -> set[str]:
    with np.load(member(home, run, fold) / "logits" / "oof-identity.npz") as file:
        return set(file["id"].tolist())


def record(home: Path, run: str) -> dict:
    return json.loads((home / "runs" / "tiny" / run / "run.json").read_text())


def answers(home: Path, run: str, folds: int) -> RunTable:
    parts = [np.load(member(home, run, fold) / "logits" / "oof-identity.npz") for fold in range(folds)]
    ids, logits = (np.concatenate([part[name] for part in parts]) for name in ("id", "logits"))
    return RunTable(run, record(home, run)["folds"], ids, logits)


@pytest.fixture(scope="module")
def once_trained(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("planted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(home))
        write_planted(home)
        assert train(MISLED) == 0
    return home


@pytest.fixture
def misled(once_trained, home, monkeypatch) -> Path:
    """A home with a run that was trained with the wrong labels. Reviews draw no galleries."""
    shutil.copytree(once_trained, home, dirs_exist_ok=True)
    monkeypatch.setattr("src.reporting.review.write_gallery", lambda path, *_: path.write_bytes(b"not drawn"))
    return home


def test_from_wrong_labels_to_a_run_without_them(misled, capsys, notes):
    """Train, review, ignore what the review wrote, train again: the wrong labels are gone, all else is where it was."""
    home, first = misled, parse(MISLED).run
    assert review([f"run={first}"]) == 0
    file = f"runs/tiny/{first}/review/label_issues.csv"
    issues, truth = set(pd.read_csv(home / file, dtype=str)["id"]), planted(home)
    assert truth.loc[list(issues), "wrong"].mean() >= 0.9
    capsys.readouterr()
    assert train([*PLANTED, f"data.ignore={file}", "run=planted-reviewed"]) == 0
    assert notes.texts("rows-ignored", len(issues), ROWS)
    for fold in range(2):
        assert held_out(home, "planted-reviewed", fold) == held_out(home, first, fold) - issues
    assert record(home, "planted-reviewed")["folds"] == record(home, first)["folds"]

    runs = [answers(home, run, 2) for run in (first, "planted-reviewed")]
    ids, tables = joined(runs, runs[0].id, runs[0].folds, shared=True)
    assert set(ids) == set(truth.index) - issues
    right = [
        (np.array(["blue", "green", "red"])[t.argmax(1)] == truth.loc[ids, "true"]).mean() for t in tables.values()
    ]
    assert min(right) > 0.95, "by the true labels, on the images that both runs held out"

    capsys.readouterr()
    assert predict(["run=planted-reviewed"]) == 0
    assert names_it(capsys.readouterr().out, ROWS - len(issues))
    assert review(["run=planted-reviewed"]) == 0
    assert len(pd.read_csv(home / "submissions" / "tiny" / "planted-reviewed.csv")) == 120


def test_a_run_belongs_to_the_rows_that_were_ignored(tiny, capsys):
    words = [*SHORT, "data.ignore=mine.csv", "run=mine"]
    write(tiny, "id,use,why\n0003,never,a\n0009,train,b\n")
    assert train([*words, "fold=0"]) == 0
    write(tiny, "why,id,use\nz,0009,train\ny,0003,\n")  # the same rows, told otherwise
    assert train([*words, "fold=1"]) == 0
    kept = {path: path.read_bytes() for path in (tiny / "runs").rglob("*") if path.is_file()}
    for text in ("id,use\n0003,never\n0009,never\n", "id\n0003\n"):
        write(tiny, text)
        for door, more in ((train, ["fold=2"]), (predict, []), (review, [])):
            refused(capsys, door, [*words, *more], "run-ignored-differ", "mine.csv", "run mine", "run=NEWNAME")
    assert kept == {path: path.read_bytes() for path in (tiny / "runs").rglob("*") if path.is_file()}
    shutil.copy(tiny / "runs" / "tiny" / "mine" / "ignored.csv", tiny / "mine.csv")  # as the message advises
    assert train([*words, "fold=2"]) == 0
    refused(capsys, train, [*SHORT, "run=mine"], "run-config-differs", "data.ignore", "mine.csv", "None")


def test_a_run_made_before_anything_could_be_ignored_goes_on(tiny):
    assert train([*SHORT, "fold=0", "run=old"]) == 0
    folder = tiny / "runs" / "tiny" / "old"
    without_keys(folder, "data.ignore")
    facts = record(tiny, "old")
    del facts["ignored"]
    (folder / "run.json").write_text(json.dumps(facts))
    assert train(["run=old", "fold=1"]) == 0
    assert predict(["run=old"]) == 0


@pytest.mark.slow
def test_a_sweep_compares_runs_on_the_images_that_both_held_out(misled):
    """The run that ignores the wrong labels is spared them, and must not look better for that."""
    home, truth = misled, planted(misled)
    wrong = truth.index[truth["wrong"]]
    pd.DataFrame({"id": wrong}).to_csv(home / "wrong.csv", index=False)
    assert sweep([*PLANTED, "data.ignore=null,wrong.csv"]) == 0
    folder = next((home / "runs" / "tiny" / "sweeps").iterdir())
    summary = pd.read_csv(folder / "summary.csv", keep_default_na=False).set_index("label")
    members = pd.read_csv(folder / "members.csv", keep_default_na=False)
    assert members.groupby("label")["rows"].sum().tolist() == [ROWS - len(wrong)] * 2
    assert pd.read_csv(folder / "per_class.csv")["rows"].sum() == ROWS - len(wrong)
    assert summary.loc["null", "accuracy"] > 0.97, "without the wrong labels, which it was trained with"
    runs = sorted(path.name for path in (home / "runs" / "tiny").glob("tiny+*"))
    right = {}
    for run in runs:
        table = answers(home, run, 2)
        rows = ~np.isin(table.id, wrong)
        names = np.array(["blue", "green", "red"])[table.probabilities.argmax(1)]
        right["wrong.csv" if "wrong.csv" in run else "null"] = (names == truth.loc[table.id, "true"])[rows].mean()
    gains = pd.to_numeric(summary["gain"], errors="coerce").dropna()
    assert len(gains) == 1, "one of the two is held against the other"
    other = {"null": "wrong.csv", "wrong.csv": "null"}[gains.index[0]]
    assert gains.iloc[0] == pytest.approx(right[gains.index[0]] - right[other], abs=1e-6)
