"""The live table of progress: its rows and times, on terminals of every kind, and gone when the work is over."""

import os
import re
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from src.config.request import parse
from src.core import progress_table as room
from src.core.paths import REPOSITORY, Run
from src.core.progress_rows import ProgressRows
from src.core.progress_table import clock, drawn
from src.core.reporter import EPOCH, PacedReporter, RowProgress, RowReporter
from src.launchers.ray.cell import train_cell
from src.launchers.ray.message_board import Board
from src.launchers.ray.runs import Nobody, Work
from src.launchers.ray.storage import storage_held
from src.training.run import train_within
from tests.fixtures.terminal_screen import seen
from tests.fixtures.warm_python import warm_python

WORK = """
import threading, time
from src.core.reporter import RowProgress
from src.core.console import ProgressReporter, log

rows = {rows!r}
with ProgressReporter(what={what!r}) as terminal:
    for row in rows:
        terminal.show(row, RowProgress(40))
    for step in range(41):
        for row in rows:
            facts = {{"epoch": f"{{step // 10 + 1}}/4", "loss": "0.5", "accuracy": "0.75"}}
            terminal.show(row, RowProgress(40, step, 0, facts))
            if step % 10 == 9:
                log.info(f"{{row}} told an epoch")
        time.sleep(0.01)
    assert threading.active_count() == 1, "folds are forked off this process"
    for row in rows:
        terminal.end(row)
print("over")
"""


def work(*rows: str, what: str = "training") -> list[str]:
    return ["-c", WORK.format(rows=rows, what=what)]


def shares(pictures: list[str], row: str) -> list[int]:
    """The per cent of a row, from picture to picture."""
    found = [re.findall(rf"^{re.escape(row)} .* (\d+) %", picture, re.M) for picture in pictures]
    assert all(len(one) < 2 for one in found), "a table that was not taken away"
    return [int(one[0]) for one in found if one]


def told(rows: ProgressRows, width: int = 100, height: int = 30) -> list[str]:
    """The table's lines, as a terminal of this size has them."""
    from rich.console import Console

    console = Console(width=width, height=height, color_system=None)
    with console.capture() as capture:
        console.print(drawn(rows, "training", width, height))
    return [line.rstrip() for line in capture.get().splitlines()]


# Rows and times


def at(epoch: str) -> dict[str, str]:
    return {EPOCH: epoch, "loss": "0.5731", "accuracy": "0.9908", "images/s": "812"}


def test_the_time_left_is_told_by_what_was_done_here_and_of_late():
    rows = ProgressRows()
    rows.show("fold 0", RowProgress(1000), 0)
    rows.show("fold 1", RowProgress(1000), 0)
    assert rows.under_way() == [] and rows.left_of_all() is None
    for second in range(11):  # goes on at 500, 10 steps a second
        rows.show("fold 0", RowProgress(1000, 500 + 10 * second, 500, at("1/2")), second)
    assert rows.left("fold 0") == pytest.approx(40)
    assert rows.left_of_all() == pytest.approx(140)
    for second in range(11, 200):  # larger images now: one step a second
        rows.show("fold 0", RowProgress(1000, 589 + second, 500, at("2/2")), second)
    assert rows.left("fold 0") == pytest.approx(1000 - 788)
    rows.end("fold 0", "done")  # early: what was not needed took no time
    assert (rows.done(), rows.total()) == (1000, 2000)
    rows.show("fold 1", RowProgress(1000, 1, 0, at("1/2")), 200)
    assert 900 < rows.left_of_all() < 1100
    assert [clock(seconds) for seconds in (None, 5.4, 751, 11045)] == ["", "0:05", "12:31", "3:04:05"]


def test_rows_of_which_nothing_is_known_yet_count_like_the_others():
    rows = ProgressRows(count=10)
    assert rows.total() is None
    rows.show("trial 0", RowProgress(100, 50, 0, at("1/2")), 0)
    rows.show("trial 1", RowProgress(300, 50, 0, at("1/2")), 1)
    rows.show("trial 2", RowProgress(), 1)
    assert rows.total() == 2000
    rows.end("trial 1", "failed")
    rows.show("trial 1", RowProgress(300, 60, 0, at("1/2")), 2)  # told late, by another machine
    assert rows.state("trial 1") == "failed" and rows.total() == 750
    assert rows.others(["trial 0"]) == {"failed": 1, "waiting": 8}


def test_rows_with_nothing_left_to_do_say_nothing_of_the_others():
    rows = ProgressRows(count=10)
    for number in range(5):
        rows.end(f"trained before {number}", "done")
    assert rows.total() == 0
    rows.show("new", RowProgress(100, 0, 0, at("1/2")), 0)
    assert rows.total() == 500


def test_a_part_sums_its_rows():
    shown = []
    hear = SimpleNamespace(show=lambda row, progress: shown.append((row, progress)))
    part = RowReporter(hear, "1e-2")
    part.show("fold 0", RowProgress(100))
    assert shown[-1] == ("1e-2", RowProgress(100))
    part.show("fold 1", RowProgress(50))
    part.show("fold 0", RowProgress(100, 30, 20, at("2/4")))
    assert shown[-1] == ("1e-2", RowProgress(150, 30, 20, at("fold 0 2/4")))
    part.end("fold 0")
    part.show("fold 1", RowProgress(50, 10, 0, at("1/4")))
    assert shown[-1] == ("1e-2", RowProgress(150, 110, 90, at("fold 1 1/4")))


def test_what_is_told_too_often_is_passed_over():
    shown = []
    hear = SimpleNamespace(show=lambda row, progress: shown.append(row), end=print)
    seldom, always = PacedReporter(hear, 60), PacedReporter(hear, 0)
    for reporter in (seldom, always):
        for step in range(3):
            reporter.show("fold 0", RowProgress(3, step))
            reporter.show("fold 1", RowProgress(3, step))
    assert shown == ["fold 0", "fold 1"] * 4


# The picture


def cells(count: int, going: int) -> ProgressRows:
    rows = ProgressRows()
    for cell in range(count):
        rows.show(f"cell {cell}", RowProgress(), 0)
    for cell in range(going):
        rows.show(f"cell {cell}", RowProgress(40, 4 * cell, 0, at(f"fold 0 {cell}/8")), 0)
    return rows


def test_fifty_cells_fit_on_a_screen():
    rows = cells(50, 9)
    rows.end("cell 0", "done")
    rows.end("cell 1", "failed")
    for height in range(2, 60):
        lines = told(rows, height=height)
        assert len(lines) < height, "the cursor needs a line of its own"
        assert any(line.startswith("all ") for line in lines)
    lines = told(rows, height=24)
    assert [line.split("  ")[0] for line in lines] == [
        "training",
        *(f"cell {n}" for n in range(2, 9)),
        "all",
        lines[-1],
    ]
    assert re.findall(r"\d+", lines[-1]) == ["1", "1", "41"]
    assert re.findall(r"\d+", told(rows, height=8)[-1]) == ["4", "1", "1", "41"]
    assert len(told(rows, height=200)) == 52


def test_a_narrow_screen_shows_what_matters_most():
    rows = cells(3, 2)
    for width in range(1, 120):
        assert all(len(line) <= width for line in told(rows, width=width)), width
    assert told(rows, 100)[0].split() == ["training", "epoch", "loss", "accuracy", "images/s", "left"]
    assert told(rows, 48)[0].split() == ["training", "epoch", "accuracy", "left"]
    assert "━" in told(rows, 100)[2] and "━" not in "".join(told(rows, 48))
    assert told(rows, 30)[1].split() == ["cell", "0", "0", "%"]


def test_names_are_text_and_nothing_else():
    rows = cells(0, 0)
    for name in ("[red]augment=[]", "\x1b[2J\nname", "x" * 500, ":smile:"):
        rows.show(name, RowProgress(4, 1, 0, at("1/4")), 0)
    lines = told(rows)
    assert [line.split("  ")[0] for line in lines[1:3]] == ["[red]augment=[]", "?[2J?name"]
    assert lines[3].startswith("xxxx") and "…" in lines[3]
    assert lines[4].startswith(":smile:")
    assert all(line.isprintable() for line in lines)


# On a terminal


def test_rows_move_and_lines_stay_whole():
    found = seen(work("one", "two", "three"))
    assert found.code == 0 and found.cursor
    for row in ("one", "two", "three", "all"):
        per_cent = shares(found.pictures, row)
        assert per_cent == sorted(per_cent) and len(set(per_cent)) > 3, per_cent
        assert per_cent[-1] == 100
    *lines, over = found.last.splitlines()
    assert over == "over"
    assert lines == [f"{row} told an epoch" for _ in range(4) for row in ("one", "two", "three")]


@pytest.mark.parametrize(
    ("width", "height", "environment"),
    [
        (0, 0, {}),
        (40, 3, {"NO_COLOR": "1", "COLUMNS": "200", "LINES": "50"}),
        (100, 2, {"FORCE_COLOR": "", "TTY_INTERACTIVE": "0"}),
    ],
)
def test_terminals_of_every_size(width, height, environment):
    found = seen(work("one", "two"), width, height, **environment)
    assert found.code == 0 and found.cursor
    assert any("%" in picture for picture in found.pictures)
    assert len(found.last.splitlines()) == 9 and "%" not in found.last


def test_a_terminal_that_cannot_go_up_gets_lines():
    words = ["-c", "import src.core.console; src.core.console.LINES_SECONDS = 0.1\n" + work("one", "two")[1]]
    found = seen(words, TERM="dumb")
    assert found.code == 0
    assert any(re.search(r"^training: \d+ \w+ 80 ", picture, re.M) for picture in found.pictures)


def test_a_log_gets_a_line_now_and_then():
    words = ["-c", "import src.core.console; src.core.console.LINES_SECONDS = 0.1\n" + work("one", "two")[1]]
    poll = {"capture_output": True, "text": True, "timeout": 60}
    done = subprocess.run([sys.executable, *words], cwd=REPOSITORY, check=True, **poll)
    assert done.stdout.splitlines() == [f"{row} told an epoch" for _ in range(4) for row in ("one", "two")] + ["over"]
    lines = [re.fullmatch(r"training: (\d+) of 80 steps, .*, [\d:]+ left", line) for line in done.stderr.splitlines()]
    assert len(lines) > 1 and all(lines), done.stderr


def test_what_an_earlier_command_did_is_no_part_of_the_pace_in_a_log():
    script = work("one", "two")[1].replace(
        "RowProgress(40, step, 0, facts)", "RowProgress(9040, 9000 + step, 9000, facts)"
    )
    words = ["-c", "import src.core.console; src.core.console.LINES_SECONDS = 0.1\n" + script]
    poll = {"capture_output": True, "text": True, "timeout": 60}
    done = subprocess.run([sys.executable, *words], cwd=REPOSITORY, check=True, **poll)
    paces = [float(pace) for pace in re.findall(r"of 18080 steps, ([\d.]+) steps/s", done.stderr)]
    assert len(paces) > 1 and max(paces) < 1000, done.stderr  # two rows of at most a hundred steps a second


def test_a_row_alone_needs_no_sum():
    lines = told(cells(1, 1))
    assert [line.split("  ")[0] for line in lines] == ["training", "cell 0"]


def test_a_burst_of_steps_is_no_burst_of_pictures(monkeypatch, capfd):
    pictures = []
    monkeypatch.setattr(room, "drawn", lambda *_: pictures.append(1) or "picture")
    view, rows = room.LiveTable("training"), ProgressRows()
    for step in range(1000):
        rows.show("fold 0", RowProgress(1000, step, 0, at("1/1")), step)
        view.draw(rows)
    view.close()
    assert 1 <= len(pictures) < 20
    assert "\x1b[?25h" in capfd.readouterr().err


# Real work


def test_folds_side_by_side(tiny):
    log = tiny / "log"
    words = ["-m", "src.train", "config=tiny", "fold=0..1", "train.epochs=12", "machine.jobs=2"]
    found = seen(words, out=log, python=warm_python())
    assert found.code == 0 and found.cursor and found.last == ""
    for row in ("fold 0", "fold 1", "all"):
        per_cent = shares(found.pictures, row)
        assert per_cent == sorted(per_cent) and len(set(per_cent)) > 3 and per_cent[-1] == 100, per_cent
    assert any(re.search(r"^fold 1 +\d+/12 +\d\.\d{4} +[01]\.\d{4} ", picture, re.M) for picture in found.pictures)
    heads = [line.split() for line in "\n".join(found.pictures).splitlines() if line.startswith("training ")]
    assert any({"epoch", "loss", "accuracy", "images/s"} <= set(head) for head in heads)
    lines = log.read_text().splitlines()
    for fold in range(2):
        assert sum(bool(re.match(rf"fold {fold} .* \d+/12 ", line)) for line in lines) == 12
    assert all(line.isprintable() for line in lines)


@pytest.mark.slow
def test_ctrl_c_in_a_sweep_leaves_the_terminal_clean(tiny):
    words = ["-m", "src.sweep", "config=tiny", "optim.lr=1e-2,1e-3", "train.epochs=2000", "fold=0..1"]

    def press(written: str) -> str:
        return "\x03" if re.search(r"1e-2 +fold 0 [^\n]*\n1e-3 +fold 0 ", written.replace("\r", "")) else ""

    found = seen(words, press=press)
    assert found.code == 130 and found.cursor
    tables = [picture for picture in found.pictures if re.search(r"^1e-3 +fold 0 \d+/2000 .* \d %", picture, re.M)]
    assert tables, found.pictures[-5:]
    assert found.last.strip(), "that it stopped is told"
    assert "%" not in found.last and "━" not in found.last


class Noted:
    """A reporter that stops its own process at a step."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at, self.shown, self.ended = stop_at, [], []

    def show(self, row: str, progress: RowProgress) -> None:
        self.shown.append(progress)
        if progress.done == self.stop_at:
            os.kill(os.getpid(), signal.SIGINT)

    def end(self, row: str, how: str = "done") -> None:
        self.ended.append((row, how))


def test_a_fold_that_goes_on_begins_at_its_steps(tiny):
    request = parse(["config=tiny", "fold=0"])
    with pytest.raises(KeyboardInterrupt):
        train_within(request, first := Noted(stop_at=6))
    waiting, begun = first.shown[:2]
    assert waiting == RowProgress(begun.total) and begun == RowProgress(12, 0, 0, {EPOCH: "1/3"})
    assert not first.ended
    train_within(request, second := Noted())
    assert (second.shown[1].done, second.shown[1].before) == (6, 6)
    assert second.shown[1].facts[EPOCH] == "2/3" and set(second.shown[1].facts) >= {"loss", "accuracy", "images/s"}
    assert second.shown[-1].done == 12 and second.ended == [("fold 0", "done")]


class Actor:
    """A Board as Ray hands it out, in this process."""

    def __init__(self, board: Board) -> None:
        self.board = board

    def __getattr__(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(remote=getattr(self.board, name))


def test_a_cell_on_a_cluster_tells_how_far_it_is(tiny, monkeypatch):
    request, board = parse(["config=tiny", "fold=0..1", "machine.jobs=1"]), Board()
    monkeypatch.setattr("src.launchers.ray.cell.SHOWN_SECONDS", 0.0)
    with storage_held():
        assert train_cell(request, Actor(board), "1e-2") is None
    assert Run(request.competition, request.run).finished(0, 1)
    assert set(board.progress) == {"1e-2"}, "the latest word of each cell is enough"
    reporter = Noted()
    ray = SimpleNamespace(wait=lambda running, **_: (running, []), get=lambda value: value)
    work = Work(ray, Actor(board), [], reporter, Nobody())
    work.running, work.requests = {None: "1e-2"}, {"1e-2": request}
    work.poll()
    assert reporter.shown[-1].done == reporter.shown[-1].total == 24
    assert reporter.shown[-1].facts[EPOCH] == "fold 1 3/3"
    assert reporter.ended == [("1e-2", "done")] and not work.problems
    assert board.take() == ([], {})
