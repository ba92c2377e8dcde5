"""Datasets and notebooks at Kaggle, one step at a time, and what goes wrong with each."""

import contextlib
import json
import random
import time
from pathlib import Path

import pytest

from src.core.errors import Problem
from src.launchers.kaggle_notebook.preflight import look_ahead
from src.submission.kaggle import command, kernels, push
from src.submission.kaggle.command import Call, Failed
from src.submission.kaggle.kernels import (
    DATASET,
    KERNEL,
    await_dataset,
    await_run,
    fetch_output,
    push_once,
    read_dataset_state,
    read_kernel_version,
    read_log,
    read_run_state,
)
from tests.fixtures.codes import raises
from tests.fixtures.kaggle_hosting import Kernel, Ran
from tests.fixtures.kaggle_server import TOKEN
from tests.fixtures.kaggle_words import aged, prints
from tests.fixtures.kernel_home import SLUG, USER, loopback
from tests.fixtures.notes import Notes

ADDRESS = f"{USER}/podium-parts"


class Pushed:
    """A dataset's and a notebook's folder; `push` lets the Kaggle at hand have one of them."""

    def __init__(self, folder: Path, server, notes: Notes):
        self.folder, self.server, self.notes = folder, server, notes
        self.record = folder / "kernel.json"
        for name in ("dataset", "notebook"):
            (folder / name).mkdir()
        (folder / "dataset" / "words.txt").write_text("words")
        facts = {"title": "podium parts", "id": ADDRESS, "licenses": [{"name": "other"}]}
        (folder / "dataset" / "dataset-metadata.json").write_text(json.dumps(facts))
        facts = {"id": ADDRESS, "title": "podium parts", "code_file": "code.ipynb", "language": "python"}
        facts |= {"kernel_type": "notebook", "competition_sources": [SLUG]}
        (folder / "notebook" / "kernel-metadata.json").write_text(json.dumps(facts))
        (folder / "notebook" / "code.ipynb").write_text(json.dumps({"cells": []}))

    def push(self, kind, contents: str = "a", again: bool = False) -> int:
        folder = self.folder / kind.name
        return push_once(kind, SLUG, folder, ADDRESS, contents, self.record, again=again)

    def runs(self, *runs: Ran) -> None:
        """Kaggle has a notebook of this address that ran so."""
        self.server.kernels[ADDRESS] = Kernel({"text": "{}"}, list(runs))


@pytest.fixture
def pushed(tmp_path, monkeypatch, notes):
    with loopback(tmp_path, monkeypatch) as server:
        yield Pushed(tmp_path, server, notes)


def test_the_same_is_pushed_once_and_something_else_as_a_version(pushed):
    assert [pushed.push(DATASET), pushed.push(DATASET), pushed.push(DATASET, "b")] == [1, 1, 2]
    assert pushed.notes.texts("at-kaggle-already", 1) and len(pushed.server.datasets[ADDRESS].versions) == 2


def test_a_push_whose_answer_never_came_is_known_again(pushed):
    """As a kill leaves it: noted before, and arrived."""
    pushed.push(KERNEL)
    noted = json.loads(pushed.record.read_text())
    noted["notebook"]["version"] = None
    pushed.record.write_text(json.dumps(noted))
    assert pushed.push(KERNEL) == 1
    assert pushed.notes.texts("earlier-push-arrived", 1) and pushed.server.count("SaveKernel") == 1


def test_a_notebook_of_which_it_is_not_known_whether_it_arrived_is_not_pushed_again_at_once(pushed, monkeypatch):
    pushed.server.fault("SaveKernel", status=503)
    for _ in range(2):
        with raises("push-unsure"):
            pushed.push(KERNEL)
    assert pushed.server.count("SaveKernel") == 1
    aged(monkeypatch)
    assert pushed.push(KERNEL) == 1 and pushed.server.count("SaveKernel") == 2


def test_a_version_that_shows_late_is_not_pushed_twice(pushed):
    pushed.server.late_runs = 1
    pushed.server.fault("SaveKernel", drop="after")
    for _ in range(2):
        with raises("push-unsure"):
            pushed.push(KERNEL)
    pushed.server.late_runs = 0
    assert pushed.push(KERNEL) == 1 and pushed.server.count("SaveKernel") == 1


def test_an_unsure_notebook_is_pushed_again_when_told(pushed):
    pushed.server.fault("SaveKernel", status=503)
    with raises("push-unsure"):
        pushed.push(KERNEL)
    assert pushed.push(KERNEL, again=True) == 1 and pushed.server.count("SaveKernel") == 2


def test_too_many_requests_are_waited_out(pushed):
    pushed.server.fault("SaveKernel", status=429, headers={"Retry-After": "0.1"})
    assert pushed.push(KERNEL) == 1 and pushed.notes.texts("trying-again", 429)
    pushed.server.fault("SaveKernel", status=429, headers={"Retry-After": "7200"})
    with raises("too-many-requests"):
        pushed.push(KERNEL, "b")
    assert len(pushed.server.kernels[ADDRESS].runs) == 1


def test_what_kaggle_refuses_is_told_though_the_command_exits_0(pushed):
    pushed.server.refuses = 'The requested title "x" is already in use.'
    for kind in (DATASET, KERNEL):
        with raises("not-pushed", kind.name, 'The requested title "x"'):
            pushed.push(kind)
    pushed.server.refuses = ""
    pushed.server.fault("SaveKernel", status=400, message="You have used all of your weekly GPU quota (30 h).")
    with raises("quota-used-up", "weekly GPU quota (30 h)"):
        pushed.push(KERNEL)
    assert pushed.server.kernels == {} and pushed.server.datasets == {}


def test_a_file_that_was_not_uploaded_is_noticed(pushed, monkeypatch):
    """Version 2.2.4 goes on without the file, and the data set is there; 2.2.5 stops, and it is sent again."""
    pushed.server.fault("PUT", status=404)
    with contextlib.suppress(Problem):
        pushed.push(DATASET)
    assert pushed.push(DATASET) == len(pushed.server.datasets[ADDRESS].versions)
    assert pushed.server.datasets[ADDRESS].versions[-1] == {"words.txt": b"words"}


STOPPED = "Upload unsuccessful: words.txt\n"
WENT_ON = f"{STOPPED}Your private Dataset is being created. Please check progress at x\n"


@pytest.mark.parametrize(
    ("out", "err", "exit"),
    [(WENT_ON, "", 0), ("", STOPPED, 1)],
    ids=["2.2.4", "2.2.5"],
)
def test_an_upload_that_broke_off_is_no_refusal_in_the_words_of_either_version(
    pushed, monkeypatch, tmp_path, out, err, exit
):
    left = prints(monkeypatch, tmp_path, "datasets create", out, err, exit, times=3)
    with raises("not-pushed" if exit else "upload-incomplete", "words.txt") as caught:
        pushed.push(DATASET)
    assert "refused" not in str(caught.value)
    left.write_text("")
    pushed.push(DATASET)
    assert pushed.server.datasets[ADDRESS].versions[-1] == {"words.txt": b"words"}


def test_inputs_that_are_not_attached_are_named_and_the_next_push_is_another_one(pushed):
    pushed.server.not_attached = [SLUG]
    with raises("inputs-not-attached", SLUG):
        pushed.push(KERNEL)
    pushed.server.not_attached = []
    assert pushed.push(KERNEL) == 2


@pytest.mark.parametrize("text", ['{"dataset": {"addr', '{"dataset": 7}', "[]"])
def test_a_damaged_record_is_named_and_pushes_nothing(pushed, text):
    pushed.record.write_text(text)
    with raises("damaged-file", "kernel.json"):
        pushed.push(DATASET)
    assert pushed.server.datasets == {}


def test_a_dataset_that_fails_or_does_not_get_ready_is_told(pushed, monkeypatch):
    pushed.push(DATASET)
    pushed.server.dataset_ends = "FAILED"
    with raises("dataset-failed", ADDRESS):
        await_dataset(SLUG, ADDRESS, 1)
    pushed.server.dataset_ends = "BLOBS_RECEIVED"
    monkeypatch.setattr(kernels, "READY_SECONDS", 0.0)
    with raises("not-ready", ADDRESS, "blobs_received"):
        await_dataset(SLUG, ADDRESS, 1)


def test_a_lapse_does_not_end_the_wait_for_a_run_unless_it_lasts(pushed, monkeypatch):
    pushed.runs(Ran())
    pushed.server.kernels[ADDRESS].looks_until_ended = 1
    monkeypatch.setattr(command, "PAUSES", ())  # a question is asked once
    pushed.server.fault("GetKernelSessionStatus", status=503, times=2)
    pushed.server.fault("GetKernelSessionStatus", drop="before", times=4)  # each of which the command tries again
    await_run(SLUG, ADDRESS, 1, 9)
    assert len(pushed.notes.texts("no-response")) == 1
    assert len(pushed.notes.texts("notebook-status", 1)) == 2, "running, then complete"
    pushed.server.fault("GetKernelSessionStatus", status=503)
    monkeypatch.setattr(kernels, "LAPSE_SECONDS", 0.0)
    with raises("kaggle-fault", "503"):
        await_run(SLUG, ADDRESS, 1, 9)


def test_what_is_refused_ends_the_wait_at_once(pushed):
    pushed.runs(Ran())
    pushed.server.key_works = False
    begun = time.monotonic()
    with raises("credentials-refused"):
        await_run(SLUG, ADDRESS, 1, 9)
    assert pushed.server.count("GetKernelSessionStatus") == 1 and time.monotonic() - begun < 60


def test_a_run_that_takes_too_long_is_left_to_itself(pushed, monkeypatch):
    pushed.runs(Ran("RUNNING"))
    monkeypatch.setattr(kernels, "SPARE_SECONDS", 0.0)
    with raises("not-ready", "RUNNING"):
        await_run(SLUG, ADDRESS, 1, 0)


def test_a_failed_run_shows_the_end_of_its_log_without_credentials(pushed):
    lines = [{"stream_name": "stdout", "time": 1.0, "data": f"line {n}\n"} for n in range(60)]
    lines.append({"stream_name": "stderr", "data": f"RuntimeError: no GPU, Authorization: Bearer {TOKEN}\n"})
    pushed.runs(Ran("ERROR", json.dumps(lines), why="Your notebook threw an error"))
    with raises("kernel-run-failed", "version 1", "Your notebook threw an error", "no GPU", "line 59") as failed:
        await_run(SLUG, ADDRESS, 1, 9)
    assert "line 10\n" not in str(failed.value) and TOKEN not in str(failed.value)


def test_the_run_of_another_version_is_not_taken_for_ours(pushed):
    pushed.runs(Ran("ERROR"), Ran())
    with raises("changed-meanwhile", "version 2", "version 1"):
        await_run(SLUG, ADDRESS, 1, 9)
    await_run(SLUG, ADDRESS, 2, 9)


def test_an_output_comes_whole_and_once(pushed, tmp_path):
    pushed.runs(Ran(output={"kept.txt": b"kept", "other.txt": b"other"}))
    asked = (SLUG, ADDRESS, "kept.txt", tmp_path / "out", lambda path: path.read_bytes() == b"kept")
    pushed.server.fault("GET", status=503)  # until 2.2.4 the command kept the page that tells of the error
    file = fetch_output(*asked)
    assert file.read_bytes() == b"kept" and pushed.notes.texts("asking-again", 503)
    assert [path.name for path in file.parent.iterdir()] == ["kept.txt"]
    before = len(pushed.server.asked)
    assert fetch_output(*asked) == file and len(pushed.server.asked) == before


def test_an_output_that_is_not_there_or_never_whole_is_told(pushed, tmp_path):
    pushed.runs(Ran(log="it ended early", output={"kept.txt": b"half"}))
    with raises("kernel-no-output", "run.carried", "it ended early"):
        fetch_output(SLUG, ADDRESS, "run.carried", tmp_path / "out", lambda path: True)
    with raises("kernel-output-damaged", "kept.txt"):
        fetch_output(SLUG, ADDRESS, "kept.txt", tmp_path / "out", lambda path: False)
    assert not (tmp_path / "out" / "kept.txt").exists()


# Before anything is pushed


def test_a_competition_that_takes_nothing_is_told_before(pushed, monkeypatch):
    competition = pushed.server.competition
    competition.entered = False
    with raises("rules-not-accepted"):
        look_ahead(SLUG)
    competition.entered, competition.deadline, competition.daily = True, "2020-01-01T00:00:00Z", 0
    with raises("deadline-passed", "2020-01-01"):
        look_ahead(SLUG)
    with raises("unknown-competition", "another"):
        look_ahead("another")
    competition.daily = 5  # late submissions are taken
    look_ahead(SLUG)
    assert not pushed.notes


def test_that_none_is_left_today_is_only_said(pushed):
    pushed.server.used_before = 5
    look_ahead(SLUG)
    assert pushed.notes.texts("no-submissions-left", 5)


# What the command prints


def test_fuzz_of_what_the_command_prints_about_datasets_and_notebooks():
    chance = random.Random(3)
    printed = ['{"status": "ready", "current_version_number": 3}', f'{ADDRESS} has status "KernelWorkerStatus.ERROR"']
    printed += ['Failure message: "no"', '[{"stream_name": "stdout", "data": "line"}]']
    heard = [{"answer": {"metadata": {"currentVersionNumber": 4}}}, {"answer": None}, {"method": "GetKernel"}]
    odd = ["Infinity", "NaN", "1e999", "null", "[]", "{}", "-1", '"', "{" * 3000, "[" * 100_000, "\0", "\u2028", "true"]
    odd_heard = [[], {}, None, 7, "x", {"metadata": []}, {"metadata": {"currentVersionNumber": "4"}}, [[{}]]]
    for _ in range(400):
        text = "\n".join(chance.sample(printed, chance.randrange(1, 5)))
        for _ in range(chance.randrange(4)):
            place = chance.randrange(len(text) + 1)
            text = text[:place] + chance.choice(odd) + text[place + chance.randrange(8) :]
        answers = [*chance.sample(heard, 2), {"answer": chance.choice(odd_heard)}]
        call = Call(("kernels",), 0, text, "", tuple(chance.sample(answers, 3)))
        for read in (read_dataset_state, read_kernel_version):
            with contextlib.suppress(Failed):
                read(call)
        status, why = read_run_state(call)
        assert isinstance(status, str) and isinstance(why, str) and isinstance(read_log(text), str)


@pytest.mark.parametrize("number", ["Infinity", "1e999", "[3]", '"three"', '{"a": 1}'])
def test_a_version_that_is_no_number_is_a_failed_question(number):
    call = Call((), 0, f'{{"status": "ready", "current_version_number": {number}}}', "", ())
    with pytest.raises(Failed):
        read_dataset_state(call)


@pytest.mark.parametrize("answer", [{"metadata": [1]}, {"metadata": None}, {"metadata": {"currentVersionNumber": "2"}}])
def test_a_notebook_whose_version_is_not_told_has_none(answer):
    assert read_kernel_version(Call((), 0, "", "", ({"answer": answer},))) == 0
    with pytest.raises(Failed):
        read_kernel_version(Call((), 0, "", "", ({"answer": [answer]},)))


def test_the_ref_that_a_newer_command_prints_is_taken(tmp_path, monkeypatch):
    """Kaggle's command prints it since version 2.2.5."""
    out = f"Successfully submitted to {SLUG}\nSubmission ref: 40000077\n"
    file = tmp_path / "net.csv"
    file.write_text("id,label\n")
    monkeypatch.setattr(command, "submit", lambda *words: Call((), 0, out, "", ()))
    assert push.send(SLUG, file, "words", "token") == "40000077"


def test_no_part_of_podium_downloads_a_leaderboard():
    """`leaderboard -d` writes SLUG.zip over the competition's own archive; so does nothing here."""
    sources = [path.read_text() for path in Path(kernels.__file__).parents[2].rglob("*.py")]
    assert len(sources) > 100 and not [text for text in sources if '"leaderboard"' in text or "'leaderboard'" in text]
