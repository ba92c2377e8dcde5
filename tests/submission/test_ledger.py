"""The ledger: no row lost to kills, full disks, other processes or odd bytes; and what is read out of it."""

import csv
import errno
import fcntl
import json
import random
import signal
import subprocess
import sys
import time

import pytest

from src.core.files import sha256_of
from src.submission import final, history, ledger
from src.submission.kaggle import push
from src.submission.ledger import NOT_PUSHED, PUSHING, Entry
from tests.fixtures.codes import raises
from tests.fixtures.kaggle_cup import SLUG, digits_cup, write_table  # noqa: F401 (the fixture `cup`)

WRITER = """
import sys
from src.submission.ledger import Entry, append
name, count = sys.argv[1], int(sys.argv[2])
for number in range(count):
    append(Entry(competition="cup", token=f"{name}-{number}", status="PENDING", message="m" * 300))
    print(number, flush=True)
"""


@pytest.fixture(name="home")
def ledger_home(tmp_path, monkeypatch):
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path))
    return tmp_path


def entry(number, **more):
    return Entry(**({"competition": "cup", "token": f"t{number}", "ref": str(number), "status": "COMPLETE"} | more))


def tokens():
    return [each.token for each in ledger.read()[0]]


def written():
    return ledger.ledger_file().read_bytes()


def test_rows_come_back_as_they_were_written(home):
    odd = 'two\nlines, "quotes" \u2028 é = 1\x00'
    numbers = {"public_score": 0.5, "oof_score": 0.9, "oof_low": 0.85, "oof_high": 0.95}
    texts = dict.fromkeys(set(ledger.COLUMNS) - ledger.NUMBERS, "x, y")
    full = Entry(**(texts | numbers | {"message": odd}))
    ledger.append(full, entry(2))
    first, second = ledger.read()[0]
    assert first.message == 'two lines, "quotes" é = 1'
    assert first == Entry(**(vars(full) | {"message": first.message})) and second == entry(2)
    with ledger.ledger_file().open(newline="") as file:
        assert len(list(csv.reader(file))) == 3  # any other program reads it too


def test_later_rows_fill_in_earlier_ones_and_nothing_is_overwritten(home):
    ledger.append(Entry(time="1", competition="cup", token="t", sha256="ab", status=PUSHING, reason="?"))
    before = written()
    ledger.append(Entry(time="2", competition="cup", token="t", ref="9", status="PENDING"))
    ledger.append(Entry(time="3", competition="cup", ref="9", status="COMPLETE", public_score=0.25))
    assert written().startswith(before)
    [folded] = ledger.read("cup")[0]
    assert (folded.time, folded.sha256, folded.status, folded.public_score) == ("1", "ab", "COMPLETE", 0.25)
    assert folded.reason == "" and ledger.read("other") == ([], [])


def test_bytes_submitted_before_are_known_unless_they_did_not_arrive(home):
    ledger.append(entry(1, sha256="ab" * 32), entry(2, sha256="cd" * 32, status=NOT_PUSHED))
    assert ledger.submitted_before("cup", "ab" * 32).ref == "1"
    assert ledger.submitted_before("cup", "cd" * 32) is None
    assert ledger.submitted_before("other", "ab" * 32) is None


def test_a_cut_at_any_byte_loses_no_whole_row(home):
    ledger.append(*(entry(number, file="f.csv", message='a "b", c') for number in range(4)))
    whole = written()
    ends = [place + 1 for place, byte in enumerate(whole) if byte == 10]
    for cut in range(len(whole)):
        ledger.ledger_file().write_bytes(whole[:cut])
        before = max(0, sum(end <= cut for end in ends) - 1)
        assert tokens()[:before] == [f"t{number}" for number in range(before)]
        ledger.append(entry(9))
        assert tokens()[:before] + tokens()[-1:] == [*(f"t{number}" for number in range(before)), "t9"]
        assert all(
            each.status in ("COMPLETE", "") for each in ledger.read()[0]
        )  # no cut value is taken for a whole one


def test_fuzz_of_the_file_loses_no_whole_row(home):
    chance = random.Random(1)
    odd = [b"\0", b'"', b",", b"\r", b"\xff\xfe", b'"""', b"\x1b[31m", "é\u2028".encode(), b";", b"\xef\xbb\xbf"]
    for _ in range(150):
        ledger.ledger_file().unlink(missing_ok=True)
        ledger.append(*(entry(number) for number in range(6)))
        lines = written().split(b"\n")
        harmed = chance.randrange(1, 6)
        for _ in range(chance.randrange(1, 6)):
            line, place = lines[harmed], chance.randrange(len(lines[harmed]) + 1)
            lines[harmed] = line[:place] + chance.choice(odd) + line[place + chance.randrange(9) :]
        if chance.random() < 0.3:
            lines.insert(chance.randrange(1, 6), bytes(chance.randrange(32, 256) for _ in range(chance.randrange(60))))
        ledger.ledger_file().write_bytes(b"\n".join(lines))
        ledger.append(entry(7))
        assert {f"t{number}" for number in (*range(6), 7) if number != harmed - 1} <= set(tokens())


def test_a_line_that_cannot_be_read_is_named(home, notes):
    ledger.append(entry(1))
    with ledger.ledger_file().open("a") as file:
        file.write("what is this\n")
    history.history("cup")
    assert notes.texts("ledger-line-unreadable", "ledger.csv", 3)


def test_nothing_that_a_terminal_obeys_is_shown(home, capsys):
    ledger.append(entry(1, file="a\x1b]0;title\x07.csv", reason="\x1b[2Jgone\x9b1m", status="ERROR"))
    with ledger.ledger_file().open("a") as file:  # as another program may write it
        file.write(ledger.ledger_file().read_text().splitlines()[1].replace("t1", "t2").replace("a ]0", "b\x1b]0"))
        file.write("\n")
    history.history("cup")
    shown = capsys.readouterr().out
    assert "title" in shown and "b ]0" in shown and not set(shown) & set("\x1b\x07\x9b")


def test_processes_write_at_once(home):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, name, "60"], stdout=subprocess.DEVNULL) for name in "abc"
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert sorted(tokens()) == sorted(f"{name}-{number}" for name in "abc" for number in range(60))
    assert written().count(b"\n") == 181


def test_a_writer_waits_for_another_to_end(home):
    ledger.append(entry(1))
    with ledger.ledger_file().open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        before = written()
        writer = subprocess.Popen([sys.executable, "-c", WRITER, "a", "1"], stdout=subprocess.DEVNULL)
        time.sleep(0.5)
        assert writer.poll() is None and written() == before
    assert writer.wait(30) == 0 and tokens() == ["t1", "a-0"]


def test_killed_writers_lose_nothing_that_was_noted(home):
    for name in "abc":
        writer = subprocess.Popen([sys.executable, "-c", WRITER, name, "100000"], stdout=subprocess.PIPE, text=True)
        writer.stdout.readline()
        time.sleep(0.05)
        writer.send_signal(signal.SIGKILL)
        noted = [int(line) for line in writer.communicate()[0].splitlines()]
        assert {f"{name}-{number}" for number in noted} <= set(tokens())
    ledger.append(entry(1))
    assert tokens()[-1] == "t1" and ledger.read()[1] == []


def test_a_full_disk_leaves_the_ledger_as_it_was(home):
    ledger.append(entry(1))
    before = written()
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) + 100},) * 2)\n{WRITER}"
    line = [sys.executable, "-c", limited, "a", "1"]
    done = subprocess.run(line, check=False, capture_output=True, text=True)
    assert done.returncode == 1 and f"[Errno {errno.ENOSPC}]" in done.stderr
    assert written() == before


def test_a_column_removed_by_hand_is_told(home):
    ledger.ledger_file().parent.mkdir()
    ledger.ledger_file().write_text("time,competition,sha256,status\n")
    with raises("missing-column", "file"):
        ledger.append(entry(1))


def test_columns_moved_by_hand_are_followed(home):
    ledger.append(entry(1, public_score=0.5))
    with ledger.ledger_file().open(newline="") as file:
        turned = [row[::-1] for row in csv.reader(file)]
    write_table(ledger.ledger_file(), turned)
    ledger.append(entry(2))
    assert [each.ref for each in ledger.read()[0]] == ["1", "2"] and ledger.read()[0][0].public_score == 0.5


def synced(cup):
    """What --sync finds new."""
    code, out, _ = cup.run("--sync", f"competition={SLUG}", "--json")
    assert code == 0
    return json.loads(out)["competitions"][SLUG]


def test_sync_takes_in_submissions_made_by_hand_on_every_page(cup):
    file = cup.file()
    digest = sha256_of(file)
    kept = file.rename(file.with_name(f"net-{digest[:8]}.csv"))
    cup.noted(kept)
    for number in range(203):
        cup.server.store(f"old{number}.csv", b"id,label\n", "by hand")
    cup.server.store(kept.name, kept.read_bytes(), "by hand, from our file\nof two lines")
    assert len(synced(cup)) == 204
    entries = cup.entries()
    assert len(entries) == 204 and entries[0].status == "ERROR" and entries[0].file == "old0.csv"
    assert entries[0].reason
    assert (entries[-1].sha256, entries[-1].oof_score, entries[-1].public_score) == (digest, 0.95, 1.0)
    assert synced(cup) == [] and len(cup.entries()) == 204
    cup.refused("already-submitted", kept)
    assert push.find(SLUG, "", entries[-2].ref).file == "old202.csv"  # one without a token is found by its ref


def scored(number, oof, public, half=0.02, **more):
    return entry(number, file=f"f{number}.csv", oof_score=oof, oof_low=oof - half, oof_high=oof + half,
                 public_score=public, **more)  # fmt: skip


def told(notes, *entries):
    """The notes that history makes of these submissions."""
    ledger.ledger_file().unlink(missing_ok=True)
    ledger.append(*entries)
    history.history("cup")
    return notes.take()


def test_history_says_what_few_scores_cannot_tell(home, notes):
    found = told(notes, *(scored(number, 0.9 + number / 100, 0.9) for number in range(5)))
    assert found.texts("correlation-unknown", 5)
    assert {"correlation-unknown", "gap-unknown"} == {*told(notes, entry(1)).codes}
    ledger.ledger_file().unlink()
    history.history("cup")
    assert notes.texts("no-submissions", "cup")


def test_history_tells_a_correlation_with_its_interval(home, notes):
    rising = [scored(number, 0.5 + number / 20, 0.48 + number / 20) for number in range(8)]
    assert told(notes, *rising).texts("correlation-positive", "+1.00", 8)
    falling = [scored(number, 0.5 + number / 20, 0.9 - number / 20) for number in range(8)]
    assert told(notes, *falling).texts("correlation-negative", "-1.00")
    mixed = [scored(number, 0.5 + number / 20, 0.5 + (number * 5 % 8) / 20) for number in range(8)]
    assert told(notes, *mixed).texts("correlation-uncertain")
    close = [scored(number, 0.9 + number / 1000, 0.9 + number / 1000) for number in range(8)]
    assert {"correlation-positive", "scores-alike"} <= {*told(notes, *close).codes}


@pytest.mark.parametrize(
    ("gap", "code"),
    [(0.02, "gap-noise"), (-0.05, "gap-unsure"), (-0.2, "gap-warning")],
)
def test_history_parts_noise_from_warnings(home, notes, gap, code):
    # Half an interval of 0.02: noise is up to sqrt(2) times that, and certainly more than noise is over 3 times it.
    assert told(notes, scored(1, 0.9, 0.9 + gap)).texts(code, f"{gap:+.4f}")


def test_one_submission_apart_from_the_others_is_named(home, notes):
    found = told(notes, *(scored(number, 0.9, 0.7 if number == 3 else 0.9) for number in range(5)))
    assert len(found.texts("gap-warning")) == len(found.texts("gap-warning", 3, "-0.2000")) == 1
    assert found.texts("gap-noise", "+0.0000")


def final_entries(cup):
    """Three alike within the noise, of which 3 differs from 1 by more answers than 2 does, and a worse one."""
    for number, oof, wrong in ((1, 0.95, 0), (2, 0.945, 1), (3, 0.94, 8), (4, 0.80, 20)):
        file = cup.file(wrong, f"f{number}.csv")
        public = 0.99 if number == 4 else 0.9
        ledger.append(scored(number, oof, public, competition=SLUG, sha256=sha256_of(file)))


def test_the_final_two_are_the_best_and_the_one_that_differs_most(cup):
    final_entries(cup)
    code, out, _ = cup.run("--final")
    assert code == 0
    assert cup.notes.texts("final-best", "f1.csv", "0.9500")
    assert cup.notes.texts("final-most-different", "f3.csv", "40.0%")
    assert cup.notes.texts("public-best-left-out", "f4.csv")
    assert f"competitions/{SLUG}/submissions" in out


def test_the_final_two_where_lower_is_better(home, notes):
    ledger.append(scored(1, 0.5, 0.5), scored(2, 0.3, 0.6), scored(3, 0.4, 0.2), entry(4, public_score=0.1))
    chosen = final.final_two("cup", "cup", higher_is_better=False)
    assert [each.ref for each in chosen] == ["2", "3"]
    assert notes.texts("final-safeguard", "f3.csv") and notes.texts("public-best-left-out", 4)
    ledger.ledger_file().unlink()
    ledger.append(entry(4, public_score=0.1))
    assert final.final_two("cup", "cup", True) == [] and notes.texts("nothing-to-choose")


CLASSES, PROBABILITY, SET, SIZES = ("id", "a", "b"), ("id", "p"), ("id", "set"), ("id", "width", "height")


def ranks(step):
    return [PROBABILITY, *((number, number * step) for number in range(9))]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([CLASSES, ("x", 0.9, 0.1), ("y", 0.4, 0.6)], [CLASSES, ("y", 0.6, 0.4), ("x", 0.7, 0.3)], 0.5),
        (ranks(0.1), ranks(0.05), 0.0),
        (ranks(0.1), ranks(-0.05), 1.0),
        ([SIZES, ("x", 9, 1), ("y", 8, 2), ("z", 7, 3)], [SIZES, ("x", 90, 1), ("y", 80, 5), ("z", 70, 4)], 0.25),
        ([SET, ("x", "a b"), ("y", "")], [SET, ("x", "a"), ("y", "")], 0.5),
        ([PROBABILITY, ("x", 1)], [PROBABILITY, ("z", 1)], None),
    ],
)
def test_how_far_two_submissions_differ(home, first, second, expected):
    entries = []
    for name, rows in (("one", first), ("two", second)):
        file = write_table(home / "submissions" / "cup" / f"{name}.csv", rows)
        entries.append(Entry(competition="cup", file=file.name, sha256=sha256_of(file)))
    assert final.difference("cup", *entries) == (None if expected is None else pytest.approx(expected))
    (home / "submissions" / "cup" / "two.csv").write_text("id,p\n")  # written over since
    assert final.difference("cup", *entries) is None


@pytest.mark.parametrize("interval", [{"oof_low": 0.93, "oof_high": 0.97}, {}], ids=["interval", "no interval"])
def test_of_equal_scores_none_is_called_the_worse(home, notes, interval):
    for ref, public in enumerate((0.80, 0.90, 0.90), 1):
        scores = {"oof_score": 0.95, "public_score": public, "sha256": f"{ref}{ref}"}
        ledger.append(
            Entry(competition="cup", ref=str(ref), file=f"f{ref}.csv", status="COMPLETE", **scores, **interval)
        )
    chosen = final.final_two("cup", "cup", higher_is_better=True)
    assert [each.ref for each in chosen] == ["2", "3"], "of equals the better public scores"
    assert notes.texts("final-best", 2)
    assert not notes.texts("public-best-left-out") and not notes.texts("final-safeguard")


def test_cells_that_a_spreadsheet_would_compute_are_defused_and_read_back(home):
    odd = ["=1+1", "+1", "-1", "@sum", "'=1", "''@x", "'quoted'", "plain"]
    ledger.append(*(entry(number, message=text, file=text) for number, text in enumerate(odd)))
    with ledger.ledger_file().open(newline="") as file:
        cells = [cell for row in csv.DictReader(file) for cell in (row["message"], row["file"])]
    assert {cell for cell in cells if cell[0] in "=+-@"} == {"+1", "-1"}, "numbers compute nothing"
    assert [(each.message, each.file) for each in ledger.read()[0]] == list(zip(odd, odd, strict=True))


def test_names_in_kaggles_list_and_in_errors_move_no_terminal(cup):
    cup.server.store("\x1b[2Jevil.csv", b"id,label\n", "=cmd()\x9b31m")
    code, out, _ = cup.run("--sync", f"competition={SLUG}")
    assert code == 0 and "evil.csv" in out
    file = cup.file(name="\x1b]0;title\x07.csv")
    file.write_text(file.read_text().replace("label", "la\x1b[31mbel", 1))
    code, more, err = cup.run(file)
    assert code == 1 and "bel" in err
    assert not any(character in out + more + err for character in "\x1b\x07\x9b")
    assert all("\x1b" not in each.file and each.message[:1] == "=" for each in cup.entries())
