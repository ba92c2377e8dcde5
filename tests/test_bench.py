"""The bench: a table from recorded measurements, a stopped row that goes on, and a split that is sound."""

import csv
import json
import os
import re
import zipfile
from collections import Counter
from pathlib import Path

import pytest

import tests.bench
from src.core.errors import Problem
from src.core.paths import REPOSITORY
from tests.bench import __main__ as door
from tests.bench import fast_recipe, five_folds, photos, rows
from tests.bench.measure import measure, missing
from tests.bench.record import Measurement, Results
from tests.bench.row import PODIUM, Line, Row
from tests.bench.table import BETTER, MISSED, NOT_MEASURED, NOT_RUN, REACHED, line_cells, table
from tests.fixtures.codes import raises
from tests.fixtures.pages import cells as cells_of

PEER, ABSENT, DEFECT = "a peer", "the archive is absent", "a defect"
LINE = Line("speed", "images/s", PEER, 3)


def results_in(folder: Path, tiny: bool = False, machine: str = "this machine") -> Results:
    return Results(folder / "results.jsonl", machine, tiny)


def row(line: Line = LINE, **sides) -> Row:
    made = sides or {PODIUM: lambda trial: {"images/s": 1.0}, PEER: lambda trial: {"images/s": 1.0}}
    return Row("made-up", made, (line,), "a note")


def record(results: Results, side: str, *values: dict[str, float]) -> None:
    for repeat, figures in enumerate(values):
        results.add(Measurement("made-up", side, repeat, results.tiny, results.machine, "abc", "now", figures))


def rates(*values: float) -> list[dict[str, float]]:
    return [{"images/s": value} for value in values]


def cells(line: Line, results: Results) -> dict[str, str]:
    (made,) = line_cells(row(line), results)
    return dict(zip(("title", "figure", "podium", "peer", "theirs", "advantage", "goal", "share"), made, strict=True))


def test_the_table_tells_medians_ranges_and_ratios_of_pairs(tmp_path):
    results = results_in(tmp_path)
    record(results, PODIUM, *rates(300, 500, 900))
    record(results, PEER, *rates(100, 125, 450))
    told = cells(LINE, results)
    assert told["podium"] == "500 (300 to 900)"
    assert told["theirs"] == "125 (100 to 450)"
    assert told["advantage"] == "3 (2 to 4)"  # 3, 4 and 2: the median of the ratios, not the ratio of the medians
    assert told["goal"] == f"3 {REACHED}"
    text = table([row()], results, "2026-01-31")
    assert all(word in text.splitlines()[0] for word in (results.machine, "2026-01-31", "abc"))
    assert [*told.values()] in cells_of(text)


def test_less_is_better_in_seconds_and_a_goal_missed_is_told(tmp_path):
    results = results_in(tmp_path)
    record(results, PODIUM, {"seconds": 60.0})
    record(results, PEER, {"seconds": 90.0})
    told = cells(Line("time", "seconds", PEER, 2, less_is_better=True), results)
    assert (told["advantage"], told["goal"], told["podium"]) == ("1.5", f"2 {MISSED}", "60; once")


def test_a_time_to_accuracy_does_not_count_below_that_accuracy(tmp_path):
    results, line = results_in(tmp_path), Line("time", "seconds", PEER, 2, less_is_better=True, provided="test")
    record(results, PODIUM, *({"seconds": 30.0, "test": accuracy} for accuracy in (0.70, 0.80)))
    record(results, PEER, *({"seconds": 90.0, "test": accuracy} for accuracy in (0.75, 0.76)))
    told = cells(line, results)
    assert told["advantage"].endswith(" test") and told["goal"] == f"2 {MISSED}"
    assert "test 0.75" in told["podium"] and "test 0.755" in told["theirs"]


def test_a_difference_comes_with_its_interval(tmp_path):
    results, line = results_in(tmp_path), Line("accuracy", "test", PEER, 0, difference=True)
    record(results, PODIUM, {"test": 0.81}, {"test": 0.82}, {"test": 0.83})
    record(results, PEER, {"test": 0.80}, {"test": 0.80}, {"test": 0.80})
    told = cells(line, results)
    # Student with two degrees of freedom: 4.303 times 0.01 / sqrt(3), about 0.02.
    assert re.findall(r"[+-]\d\.\d{3}", told["advantage"]) == ["+0.020", "-0.005", "+0.045"]
    assert told["goal"] == f"{BETTER} {REACHED}"


def test_what_failed_or_was_not_run_says_so(tmp_path):
    results = results_in(tmp_path)
    assert cells(LINE, results)["podium"] == f"{NOT_MEASURED}{NOT_RUN}"
    results.add(Measurement("made-up", PEER, 0, False, "this machine", "", "now", {}, "a | b"))
    told = cells(LINE, results)
    assert told["theirs"] == f"{NOT_MEASURED}a / b" and told["advantage"] == ""


def test_a_stopped_row_measures_only_what_is_missing_and_in_turns(tmp_path):
    taken, results = [], results_in(tmp_path)

    def side(name):
        def once(trial):
            assert not list(trial.folder.iterdir())
            taken.append((trial.repeat, name))
            return {"images/s": 2.0}

        return once

    work = row(**{PODIUM: side(PODIUM), PEER: side(PEER)})
    record(results, PODIUM, *rates(5, 6))
    results.file.write_bytes(results.file.read_bytes() + b'{"row": "made-up", "side": "a pe')  # cut off by a crash
    assert measure(work, results, 3, tmp_path / "work", print)
    assert taken == [(0, PEER), (1, PEER), (2, PODIUM), (2, PEER)]
    assert sorted(results.of("made-up", PODIUM)) == sorted(results.of("made-up", PEER)) == [0, 1, 2]
    assert results.of("made-up", PODIUM)[0] == {"images/s": 5}
    taken.clear()
    assert measure(work, results, 3, tmp_path / "work", print) and not taken
    assert not list((tmp_path / "work").iterdir())


def test_another_machine_or_size_is_measured_anew(tmp_path):
    record(results_in(tmp_path), PODIUM, *rates(5))
    for other in (results_in(tmp_path, tiny=True), results_in(tmp_path, machine="another")):
        assert missing(row(), other, 1) == [(0, PODIUM), (0, PEER)]


def test_a_side_that_fails_is_noted_and_the_others_go_on(tmp_path, capsys):
    def broken(trial):
        raise Problem(ABSENT)

    def defect(trial):
        raise ValueError(DEFECT)

    results = results_in(tmp_path)
    work = row(**{PODIUM: broken, PEER: lambda trial: {"images/s": 2.0}, "third": defect})
    assert not measure(work, results, 2, tmp_path / "work", print)
    assert results.failure("made-up", PODIUM) == ABSENT
    assert results.failure("made-up", "third") == f"ValueError: {DEFECT}"
    assert len(results.of("made-up", PEER)) == 2
    assert len([one for one in results.all() if one.failed]) == 2  # not tried again in the same run
    assert missing(work, results, 1) == [(0, PODIUM), (0, "third")]  # but in the next


def test_forgetting_takes_one_row_of_one_machine(tmp_path):
    results, other = results_in(tmp_path), results_in(tmp_path, machine="another")
    record(results, PODIUM, *rates(5, 6))
    record(other, PODIUM, *rates(7))
    results.forget({"made-up"})
    assert not results.all() and other.of("made-up", PODIUM) == {0: {"images/s": 7}}


def test_the_door_refuses_an_unknown_row_and_writes_the_table_of_what_there_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path))
    assert door.main(["no-such-row"]) == 2
    assert "five-folds" in capsys.readouterr().err
    assert door.main(["--table"]) == 0
    text = (tmp_path / "runs" / "bench" / "table.md").read_text()
    assert len([line for line in text.splitlines() if line.startswith("| ")]) == 2 + sum(
        len(one.lines) for one in door.ROWS.values()
    )


def test_every_line_compares_sides_that_its_row_measures():
    for one in door.ROWS.values():
        for line in one.lines:
            assert {line.side, line.peer} - {None} <= set(one.sides), one.name


def test_every_row_stands_on_the_page_with_its_goals():
    page = (REPOSITORY / "tests" / "README.md").read_text(encoding="utf-8")
    assert not [name for name in door.ROWS if f"| `{name}` |" not in page]


def test_a_new_row_is_one_new_file(tmp_path, monkeypatch):
    (tmp_path / "own_row.py").write_text("from tests.test_bench import row\n\nROWS = (row(),)\n")
    monkeypatch.setattr(tests.bench, "__path__", [*tests.bench.__path__, str(tmp_path)])
    assert set(rows.found()) == {*door.ROWS, "made-up"}


def test_the_split_is_sound():
    rows = photos.split()
    species = sorted({label for _, label, _ in rows})
    assert len(species) == 20
    assert len({path for path, _, _ in rows}) == len(rows)
    for part, each in (("test", 20), ("valid", 15)):
        assert Counter(label for _, label, one in rows if one == part) == dict.fromkeys(species, each)
    assert {part for _, _, part in rows} == {"test", "valid", "left_out"}


def archive(folder: Path, rows: list[tuple[str, str]]) -> Path:
    """A stand-in for the archive: the listed rows and some to train on, each photo a few bytes."""
    with zipfile.ZipFile(folder / "butterflies-100.zip", "w") as zipped:
        zipped.writestr("train.csv", "filepath,label\n" + "".join(f"{path},{label}\n" for path, label in rows))
        for path, _ in rows:
            zipped.writestr(path, b"a photo")
    return folder


def test_the_bench_s_home_holds_each_part_once(tmp_path, monkeypatch):
    listed = photos.split()
    species = sorted({label for _, label, _ in listed})
    fresh = [(f"train/fresh{k}.jpg", label) for k, label in enumerate(species)]
    other = [("train/stranger.jpg", "NO SUCH SPECIES")]
    monkeypatch.setenv("PODIUM_DATA", str(archive(tmp_path, [(p, s) for p, s, _ in listed] + fresh + other)))
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path / "bench"))
    data = photos.bench_home() / "competition" / photos.NAME / "data"
    held = {}
    for part in photos.PARTS:
        with (data / f"{part}.csv").open(newline="") as file:
            held[part] = {row["path"]: row["label"] for row in csv.DictReader(file)}
        assert all((data / path).is_file() for path in held[part])
    assert {part: len(rows) for part, rows in held.items()} == {"train": 20, "valid": 300, "test": 400}
    names = [Path(path).name for rows in held.values() for path in rows]
    assert len(set(names)) == len(names)
    assert "stranger.jpg" not in names
    left_out = {Path(path).name for path, _, part in listed if part == "left_out"}
    assert left_out and not left_out & set(names)


def test_without_the_archive_a_row_says_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PODIUM_DATA", str(tmp_path))
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path / "bench"))
    results = results_in(tmp_path)
    assert not measure(five_folds.ROW, results, 1, tmp_path / "work", print)
    assert "butterflies-100.zip" in results.failure("five-folds", PODIUM)
    assert "PODIUM_DATA" in results.failure("five-folds", PODIUM)


def test_the_split_fits_the_real_archive():
    found = Path(os.environ.get("PODIUM_DATA") or REPOSITORY / ".." / "shared" / "data") / "butterflies-100.zip"
    if not found.is_file():
        pytest.skip(f"{found} is not here")
    with zipfile.ZipFile(found) as zipped:
        lines = zipped.read("train.csv").decode().splitlines()
    of_photo = {row["filepath"]: row["label"] for row in csv.DictReader(lines)}
    listed = photos.split()
    assert sorted({label for _, label, _ in listed}) == sorted(set(of_photo.values()))[::5]
    assert all(of_photo[path] == label for path, label, _ in listed)
    assert Counter(part for _, _, part in photos.rows_of(lines))["train"] == 1901


def test_the_recipe_is_stretched_to_the_time_that_is_left(home):
    short, theirs = [{"seconds": 70.0, "training": 60.0}], [{"seconds": 160.0}]
    assert fast_recipe.stretch(short, theirs) == 2.5  # 150 s of training where 60 were, 10 s beside it
    words = fast_recipe.stretched(home, 2.5)
    once = fast_recipe.stretched(home, 1.0)
    epochs = [json.loads(json.dumps(word)).count("epochs") for word in (words[0], once[0])]
    assert epochs[0] == epochs[1] >= 1 and words[0] != once[0]
    with raises("not-measured-yet", "fastai"):
        fast_recipe.stretch([], theirs)


def test_a_figure_without_a_peer_is_held_against_its_goal(tmp_path):
    results = results_in(tmp_path)
    record(results, PODIUM, *({"seconds": seconds} for seconds in (300.0, 350.0, 500.0)))
    told = cells(Line("time", "seconds", None, 360, less_is_better=True), results)
    assert (told["podium"], told["peer"], told["goal"]) == ("350 (300 to 500)", "-", f"360 {REACHED}")
    assert cells(Line("time", "seconds", None, 349, less_is_better=True), results)["goal"] == f"349 {MISSED}"
    assert cells(Line("score", "seconds", None, 351), results)["goal"] == f"351 {MISSED}"


def test_the_share_of_a_limit_is_told_and_no_goal_is_none(tmp_path):
    results = results_in(tmp_path)
    record(results, PODIUM, *({"seconds": seconds, "of it": seconds / 60} for seconds in (15.0, 30.0, 60.0)))
    told = cells(Line("time", "seconds", None, None, share="of it"), results)
    assert (told["goal"], told["share"]) == ("", "50%")
    assert cells(Line("time", "seconds", None, None), results)["share"] == "-"
