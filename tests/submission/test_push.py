"""The push, with the unmodified kaggle command against a Kaggle on loopback: the good path and all that goes wrong."""

import base64
import contextlib
import hashlib
import importlib.metadata
import json
import random
import shutil
import socket
import time
from datetime import datetime, timedelta

import pytest

from src.core.files import sha256_of
from src.submission import ledger
from src.submission.kaggle import command, sync
from src.submission.kaggle.command import Call, Failed
from tests.fixtures.kaggle_cup import SLUG, digits_cup, write_table  # noqa: F401 (the fixture `cup`)
from tests.fixtures.kaggle_server import TOKEN, USER
from tests.fixtures.kaggle_words import aged, prints
from tests.fixtures.notes import names_it
from tests.fixtures.warm_python import KILL


def test_a_push_is_checked_uploaded_scored_and_noted(cup):
    file = cup.file(wrong=1)
    cup.noted(file)
    cup.server.looks_until_scored = 2
    code, _, err = cup.run(file, "-m", "first try")
    assert (code, err) == (0, "")
    assert cup.notes.texts("submissions-left", 5, 0)
    assert cup.notes.texts("submission-scored", 40000000, 1, 0.9, 0.95)
    [stored] = cup.server.submissions
    assert stored["bytes"] == file.read_bytes()
    assert stored["description"].startswith("first try [podium ")
    [entry] = cup.entries()
    assert (entry.status, entry.ref, entry.public_score, entry.private_score) == ("COMPLETE", "40000000", 1.0, 0.9)
    assert (entry.runs, entry.views, entry.config_hash, entry.commit) == (
        "net",
        "identity hflip",
        "abcd1234",
        "1f2e3d4c",
    )
    assert (entry.oof_score, entry.oof_low, entry.oof_high) == (0.95, 0.93, 0.97)
    assert entry.sha256 == sha256_of(file)


def test_the_command_is_the_installed_one_unmodified():
    distribution = importlib.metadata.distribution("kaggle")
    hashed = [file for file in distribution.files if file.hash and file.suffix == ".py"]
    assert {"cli.py", "kaggle_api_extended.py"} <= {file.name for file in hashed}
    for file in hashed:
        digest = hashlib.new(file.hash.mode, file.locate().read_bytes()).digest()
        assert base64.urlsafe_b64encode(digest).decode().rstrip("=") == file.hash.value, file
    call = command.run("--version")
    assert call.exit == 0 and distribution.version in call.out


def test_the_latest_csv_of_a_configuration_is_pushed_under_its_lasting_name(cup):
    (cup.home / "configs").mkdir()
    (cup.home / "configs" / "net.yaml").write_text(f"competition: {SLUG}\n")
    cup.refused("no-submission", "config=net", names=["net.csv"])
    file = cup.file()
    kept = file.with_name(f"net-{sha256_of(file)[:8]}.csv")
    kept.write_bytes(file.read_bytes())
    assert cup.run("config=net")[0] == 0
    assert cup.server.submissions[0]["fileName"] == kept.name


NOTEBOOKS = "This competition only accepts Submissions from Notebooks."
ALLOWANCE = "Submission not allowed:  Your team has used its daily Submission allowance (5) today, please try again"
NAMED = 'Submission files must be named "submission.csv" for this Competition.'
RULES = "You must accept this competition's rules before you'll be able to submit."
PHONE = "Phone verification is required to use a GPU in a Notebook."
INTERNET = "Your Notebook cannot use internet access in this competition."
SITE = "https://www.kaggle.com"
CLOSED = "This competition is closed and no longer accepts submissions."


# What Kaggle says, and what is made of it.
REFUSALS = {
    error: (method, status, said, remedy)
    for method, status, said, error, remedy in [
        ("CreateSubmission", 400, ALLOWANCE, "no-submissions-left", "00:00 UTC"),
        ("StartSubmissionUpload", 400, NOTEBOOKS, "notebooks-only", "python -m src.kernel --push config=NAME"),
        ("CreateSubmission", 400, PHONE, "phone-not-verified", f"{SITE}/settings"),
        ("CreateSubmission", 400, "Maximum batch GPU session count of 2 reached.", "too-many-sessions", f"{SITE}/code"),
        ("CreateSubmission", 400, "Your weekly GPU quota is used up.", "quota-used-up", f"{SITE}/settings"),
        ("CreateSubmission", 400, INTERNET, "internet-refused", "python -m src.kernel"),
        ("CreateSubmission", 400, NAMED, "wrong-file-name", "submission.csv && python -m src.submit"),
        ("StartSubmissionUpload", 403, RULES, "rules-not-accepted", f"{SITE}/competitions/{SLUG}/rules"),
        ("CreateSubmission", 400, CLOSED, "deadline-passed", f"{SITE}/competitions/{SLUG}/overview"),
        ("CreateSubmission", 400, "The moon!", "kaggle-refused", f"{SITE}/competitions/{SLUG}/submissions"),
    ]
}
QUICK = ("no-submissions-left", "notebooks-only", "rules-not-accepted", "kaggle-refused")


@pytest.mark.parametrize(
    "error", [pytest.param(error, marks=() if error in QUICK else pytest.mark.slow) for error in REFUSALS]
)
def test_a_refusal_is_told_in_the_servers_words_with_a_remedy(cup, error):
    method, status, said, remedy = REFUSALS[error]
    cup.server.fault(method, status=status, message=said)
    first, second = cup.refused(error, cup.file()).strip().splitlines()
    assert " ".join(said.split()) in first and remedy in second
    assert cup.server.count(method) == 1  # never repeated to read the reason
    assert [entry.status for entry in cup.entries()] == ["NOT PUSHED"]


@pytest.mark.parametrize(
    ("facts", "error", "name"),
    [
        pytest.param({"notebooks_only": True}, "notebooks-only", SLUG, marks=pytest.mark.slow),
        ({"deadline": "2020-01-01T00:00:00Z"}, "deadline-passed", "2020-01-01"),
        ({}, "kaggle-refused", "403"),
    ],
)
def test_a_bare_refusal_is_explained_by_questions_that_only_read(cup, facts, error, name):
    vars(cup.server.competition).update(facts)
    cup.server.fault("CreateSubmission", status=403)
    cup.refused(error, cup.file(), names=[name])
    assert cup.server.count("StartSubmissionUpload") == cup.server.count("CreateSubmission") == 1


def test_nothing_is_pushed_when_no_submission_is_left(cup):
    cup.server.used_before = 5
    cup.refused("no-submissions-left", cup.file(), names=["5 of today's"])
    assert cup.server.count("StartSubmissionUpload") == 0 and cup.entries() == []


def test_rules_that_are_not_accepted_are_named_with_the_page_to_open(cup):
    cup.server.competition.entered = False
    cup.refused("rules-not-accepted", cup.file(), names=[f"competitions/{SLUG}/rules"])
    assert cup.server.count("StartSubmissionUpload") == 0


def test_a_wrong_slug(cup):
    cup.server.competition.slug = "another-cup"
    cup.refused("unknown-competition", cup.file(), names=[SLUG, "kaggle: NAME"])


def test_without_credentials_two_lines_tell_what_to_do(cup, monkeypatch):
    monkeypatch.delenv("KAGGLE_KEY")
    told = cup.refused("no-credentials", cup.file(), names=["kaggle auth login", "access_token"])
    assert len(told.splitlines()) == 2, "the command's own pages of help"


def test_a_wrong_key(cup):
    cup.server.key_works = False
    cup.refused("credentials-refused", cup.file(), names=["KAGGLE_USERNAME", "KAGGLE_KEY"])


def test_a_token_serves_and_an_expired_one_is_named(cup, monkeypatch):
    monkeypatch.delenv("KAGGLE_KEY")
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    monkeypatch.setenv("VERBOSE", "1")  # with it the command by itself prints the Authorization header
    call = command.run("competitions", "submissions", SLUG, "-v")
    assert call.exit == 0 and "Authorization" not in call.out + call.err
    assert cup.run(cup.file())[0] == 0
    cup.server.token_works = False
    cup.refused("credentials-refused", cup.file(wrong=1), names=["KAGGLE_API_TOKEN", "kaggle.com/settings/api"])


def test_no_network(cup, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed.getsockname()[1]}")
        cup.refused("kaggle-unreachable", cup.file(), names=["proxy"])
    assert cup.entries() == []


def test_busy_answers_are_waited_out_and_the_push_is_made_once(cup):
    cup.server.fault("ListSubmissions", status=429)
    cup.server.fault("GetSubmissionLimits", status=503, times=2)
    cup.server.fault("StartSubmissionUpload", status=502)
    cup.server.fault("CreateSubmission", status=429, headers={"Retry-After": "0.2"})
    assert cup.run(cup.file())[0] == 0
    assert cup.notes.texts("asking-again", 503) and cup.notes.texts("trying-again", 502)
    assert len(cup.server.submissions) == 1


@pytest.mark.parametrize(
    ("fault", "asked", "error"),
    [
        pytest.param({"status": 503}, 3, "kaggle-fault", marks=pytest.mark.slow),
        (
            {"status": 429, "headers": {"Retry-After": "7200"}},
            1,
            "too-many-requests",
        ),
    ],
)
def test_waiting_has_limits(cup, fault, asked, error):
    cup.server.fault("GetSubmissionLimits", times=99, **fault)
    cup.refused(error, cup.file(), names=[str(fault["status"])])
    assert cup.server.count("GetSubmissionLimits") == asked and not cup.server.submissions


def test_a_question_whose_answer_is_cut_is_asked_again(cup):
    cup.server.fault("GetSubmissionLimits", drop="answer")
    assert cup.run(cup.file())[0] == 0
    assert cup.server.count("GetSubmissionLimits") >= 2
    cup.server.fault("ListSubmissions", drop="answer", times=99)
    cup.refused("kaggle-unreachable", "--sync")


def test_a_failed_upload_is_tried_again_and_told(cup):
    cup.server.fault("PUT", status=500, times=3)
    cup.refused("upload-broke-off", cup.file(), names=["net.csv"])
    assert (cup.server.count("PUT"), cup.server.count("CreateSubmission")) == (3, 0)
    assert [entry.status for entry in cup.entries()] == ["NOT PUSHED"]


COULD_NOT = "Could not submit to competition\n"


@pytest.mark.parametrize(
    ("printed", "complained", "exit"),
    [pytest.param(COULD_NOT, "", 0, id="2.2.4", marks=pytest.mark.slow), pytest.param("", COULD_NOT, 1, id="2.2.5")],
)
def test_a_broken_upload_is_no_refusal_in_the_words_of_either_version(cup, monkeypatch, printed, complained, exit):
    left = prints(monkeypatch, cup.home, "competitions submit", printed, complained, exit, times=2)
    assert cup.run(cup.file())[0] == 0
    assert len(cup.notes.texts("trying-again")) == 2
    assert left.read_text() == "" and len(cup.server.submissions) == 1


def test_an_upload_that_dies_is_told_while_it_is_sent_again(cup):
    cup.server.fault("PUT", drop="mid", times=2)
    assert cup.run(cup.file())[0] == 0 and len(cup.server.submissions) == 1
    told = cup.notes.texts("upload-sent-again")
    assert [names_it(text, attempt) for text, attempt in zip(told, (2, 3), strict=True)] == [True, True]
    assert cup.server.count("StartSubmissionUpload") == 1, "the command itself sent it again"


@pytest.mark.slow
def test_a_server_that_dies_in_the_middle_of_the_upload(cup):
    cup.server.fault("PUT", drop="mid")
    file = cup.file()
    assert cup.run(file)[0] == 0
    assert [stored["bytes"] for stored in cup.server.submissions] == [file.read_bytes()]


@pytest.mark.parametrize(
    "fault", [{"drop": "after"}, pytest.param({"drop": "after", "slow": 0.5}, marks=pytest.mark.slow)]
)
def test_an_answer_lost_after_the_submission_was_stored(cup, fault):
    cup.server.fault("CreateSubmission", **fault)
    assert cup.run(cup.file())[0] == 0 and cup.notes.texts("push-arrived", 40000000)
    assert cup.server.count("CreateSubmission") == 1


def test_a_push_of_unknown_fate_is_looked_up_before_the_next(cup):
    file = cup.file()
    cup.server.fault("CreateSubmission", drop="before")
    cup.refused("push-unsure", file)
    assert [entry.status for entry in cup.entries()] == ["PUSHING"]
    cup.server.store(file.name, file.read_bytes(), cup.entries()[0].message)  # it had arrived after all
    assert cup.run(file)[0] == 0 and cup.notes.texts("earlier-push-arrived")
    assert len(cup.server.submissions) == 1 == cup.server.count("CreateSubmission")


def statuses(cup):
    return [entry.status for entry in cup.entries()]


def test_a_push_that_did_not_arrive_is_made_again_when_the_list_can_be_believed(cup, monkeypatch):
    file = cup.file()
    cup.server.fault("CreateSubmission", status=500)
    for _ in range(2):  # at once, the list proves nothing
        assert cup.run(file)[0] == 1 and statuses(cup) == ["PUSHING"]
    assert cup.server.count("CreateSubmission") == 1
    # Of a teammate, which explains why Kaggle counts one more.
    cup.server.store("of a teammate.csv", file.read_bytes(), "[podium 0123456789ab-cdef]")
    aged(monkeypatch)
    assert cup.run(file)[0] == 0
    assert statuses(cup) == ["NOT PUSHED", "COMPLETE", "COMPLETE"]
    assert cup.server.count("CreateSubmission") == 2 and len(cup.server.submissions) == 2


@pytest.mark.parametrize("drop", ["after", pytest.param("answer", marks=pytest.mark.slow)])
def test_a_stored_submission_that_is_listed_late_is_not_pushed_twice(cup, monkeypatch, drop):
    """The connection drops, or the answer is cut, when Kaggle has it; its list shows it later."""
    file = cup.file()
    cup.server.lag = 3600.0
    cup.server.fault("CreateSubmission", drop=drop)
    cup.refused("push-unsure", file, names=["counted 0", "counts 1"])
    assert cup.run(file)[0] == 1
    aged(monkeypatch)  # the count is believed even when the list never shows it
    cup.refused("push-unsure", file, names=["--again"])
    assert statuses(cup) == ["PUSHING"] and cup.server.count("StartSubmissionUpload") == 1
    cup.server.lag = 0.0
    assert cup.run(file)[0] == 0
    assert statuses(cup) == ["COMPLETE"] and len(cup.server.submissions) == 1


@pytest.mark.slow
def test_an_unsure_push_is_made_again_when_told(cup):
    file = cup.file()
    cup.server.fault("CreateSubmission", status=503)
    assert cup.run(file)[0] == 1
    assert cup.run(file, "--again")[0] == 0
    assert cup.server.count("CreateSubmission") == 2 and len(cup.server.submissions) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["net.csv", "submission (3).csv"])
def test_a_submission_without_our_token_may_be_the_one(cup, monkeypatch, name):
    """As where Kaggle lost the message, or the name too; or pushed by hand meanwhile."""
    file = cup.file()
    cup.server.fault("CreateSubmission", status=503)
    assert cup.run(file)[0] == 1
    aged(monkeypatch)
    cup.server.store(name, file.read_bytes(), "")
    code, _, err = cup.run(file)
    assert code == 1 and "submission 40000000" in err and "--again" in err
    assert cup.server.count("CreateSubmission") == 1


@pytest.mark.slow
def test_a_submission_listed_under_another_name_and_time_is_ours_by_its_token(cup):
    """In the time of another zone, and beyond the end of the day."""
    file = cup.file()
    cup.server.fault("CreateSubmission", drop="after")
    cup.server.hidden = True
    assert cup.run(file)[0] == 1
    cup.server.submissions[0] |= {"fileName": "submission (3).csv", "date": "2020-01-01T00:00:00+14:00"}
    cup.server.hidden = False
    assert cup.run(file)[0] == 0 and cup.notes.texts("earlier-push-arrived")
    assert cup.server.count("CreateSubmission") == 1 and statuses(cup) == ["COMPLETE"]


@pytest.mark.parametrize(
    "how", ["deleted", *(pytest.param(how, marks=pytest.mark.slow) for how in ("spoilt", "put back from before"))]
)
def test_a_ledger_that_was_lost_hides_no_push(cup, how):
    """Kaggle has the file, does not list it yet, and what the ledger told is gone."""
    file, book = cup.file(), ledger.ledger_file()
    ledger.append(ledger.Entry(competition="other", ref="1"))
    before = book.read_bytes()
    cup.server.lag = 3600.0
    cup.server.fault("CreateSubmission", drop="after")
    assert cup.run(file)[0] == 1
    if how == "deleted":
        book.unlink()
    else:
        book.write_bytes(bytes(len(before)) if how == "spoilt" else before)
    assert cup.run(file)[0] == 1 and cup.notes.texts("ledger-mended", file.name) and statuses(cup) == ["PUSHING"]
    cup.server.lag = 0.0
    cup.run(file)
    assert len(cup.server.submissions) == 1 == cup.server.count("CreateSubmission")


@pytest.mark.slow
@pytest.mark.parametrize("hours", [-30, 30])
def test_a_clock_that_is_put_makes_no_second_push(cup, monkeypatch, hours):
    """After the push was lost, the clock of this machine is put on or back over the end of a day."""
    file, now, since = cup.file(), ledger.now, ledger.seconds_since
    cup.server.lag = 3600.0
    cup.server.fault("CreateSubmission", drop="after")
    assert cup.run(file)[0] == 1
    monkeypatch.setattr(ledger, "seconds_since", lambda time: since(time) + hours * 3600)
    shifted = (datetime.fromisoformat(now()) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")
    monkeypatch.setattr(ledger, "now", lambda: shifted)
    assert cup.run(file)[0] == 1
    cup.server.lag = 0.0
    assert cup.run(file)[0] == 0
    assert len(cup.server.submissions) == 1 == cup.server.count("CreateSubmission")


@pytest.mark.slow
def test_another_home_is_told_of_a_push_that_is_not_listed_yet(cup, monkeypatch):
    cup.server.lag = 3600.0
    assert cup.run(cup.file(), "--wait=0")[0] == 1
    shutil.move(cup.folder, cup.home / "elsewhere")
    ledger.ledger_file().unlink()
    cup.run(cup.file(), "--wait=0")
    assert cup.notes.texts("counts-differ", 1, 0)


@pytest.mark.slow
def test_a_ledger_without_the_count_serves(cup, monkeypatch):
    """One made before Podium noted how many submissions Kaggle had counted."""
    columns = [name for name in ledger.COLUMNS if name not in ledger.LATER]
    write_table(ledger.ledger_file(), [columns])
    file = cup.file()
    cup.server.fault("CreateSubmission", status=503)
    assert cup.run(file)[0] == cup.run(file)[0] == 1
    assert cup.server.count("CreateSubmission") == 1
    aged(monkeypatch)
    assert cup.run(file)[0] == 0
    assert statuses(cup) == ["NOT PUSHED", "COMPLETE"]


def test_a_server_that_never_answers_is_not_waited_for_for_ever(cup, monkeypatch):
    monkeypatch.setattr(command, "UPLOAD_SECONDS", 1.5)
    cup.server.fault("CreateSubmission", held=True)
    file = cup.file()
    cup.refused("push-unsure", file)
    cup.server.gate.set()
    wait_for(lambda: cup.server.submissions)  # the slow server stores it at last
    assert cup.run(file)[0] == 0 and cup.notes.texts("earlier-push-arrived")
    assert len(cup.server.submissions) == 1


def test_a_scoring_error_is_told_with_its_reason(cup):
    cup.server.competition.answers["9999"] = "0"
    cup.refused("scoring-failed", cup.file(), names=["Submission must have 21 rows"])
    assert [(entry.status, entry.ref) for entry in cup.entries()] == [("ERROR", "40000000")]
    cup.refused("already-submitted", cup.file(), names=["must have 21 rows"])


def test_a_score_that_does_not_come_in_time_is_fetched_later(cup):
    cup.server.looks_until_scored = 99
    file = cup.file(wrong=20)
    cup.refused("not-scored-yet", file, "--wait=0.005", names=["40000000", "--sync"])
    cup.server.submissions[0]["looks"] = 0
    code, out, _ = cup.run("--sync", "--json")
    [row] = json.loads(out)["competitions"][SLUG]
    assert code == 0 and (row["status"], row["public_score"], row["private_score"]) == ("COMPLETE", 0, 0)
    assert [entry.status for entry in cup.entries()] == ["COMPLETE"]
    assert json.loads(cup.run("--sync", "--json")[1])["competitions"][SLUG] == []


def test_not_waiting_at_all(cup):
    cup.server.looks_until_scored = 99
    assert cup.run(cup.file(), "--wait=0")[0] == 0
    assert cup.notes.texts("submission-arrived", 40000000, "--sync")


def test_successfully_submitted_is_not_believed_without_the_list(cup):
    cup.server.hidden = True
    cup.refused("not-scored", cup.file(), "--wait=0.01")


def test_the_same_bytes_are_refused(cup):
    file = cup.file()
    assert cup.run(file)[0] == 0
    asked = len(cup.server.asked)
    cup.refused("already-submitted", file.rename(file.with_name("copy.csv")), names=["copy.csv", "--again"])
    assert len(cup.server.asked) == asked
    (cup.home / "submissions" / "ledger.csv").unlink()  # as from another clone: the token in the list tells
    cup.refused("already-submitted", cup.folder / "copy.csv")
    assert cup.run(cup.folder / "copy.csv", "--again")[0] == 0
    assert len(cup.server.submissions) == 2


def test_a_killed_push_keeps_its_lock_until_the_command_ends(cup):
    file = cup.file()
    cup.server.fault("CreateSubmission", held=True)
    door = cup.started(file)
    wait_for(lambda: cup.server.count("CreateSubmission"))
    door.send_signal(KILL)
    door.wait()
    door.stdout.close()
    cup.refused("busy", file, names=[SLUG])
    cup.server.gate.set()
    told = []
    wait_for(lambda: told.append(cup.run(file)) or told[-1][0] == 0)  # when the orphaned command has ended
    assert cup.notes.texts("earlier-push-arrived")
    assert len(cup.server.submissions) == 1


def test_two_processes_with_one_file_push_it_once(cup):
    file = cup.file()
    doors = [cup.started(file) for _ in range(2)]
    told = [door.communicate(timeout=60)[0] for door in doors]
    assert sorted(door.returncode for door in doors) in ([0, 0], [0, 1]), told
    assert len(cup.server.submissions) == 1


def test_dry_run_checks_and_asks_nothing_of_kaggle(cup):
    assert cup.run(cup.file(), "--dry-run")[0] == 0
    assert cup.notes.codes == ["file-checked", "nothing-sent"]
    assert cup.server.asked == [] and cup.entries() == []


def test_a_file_that_does_not_fit_the_sample_is_not_pushed(cup):
    file = cup.file()
    file.write_text(file.read_text().replace("0003", "0004"))
    cup.refused("invalid-submission", file, names=["0004"])
    assert cup.server.asked == []


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--wait=soon"], "flag-value"),
        (["-m"], "usage"),
        (["-m", "--dry-run"], "usage"),
        (["-m=one", "-m", "two"], "given-twice"),
        (["nowhere.csv"], "no-such-file"),
        (["--push"], "unknown-flag"),
        (["--sync", "--final"], "one-action"),
        (["--again=yes"], "flag-takes-no-value"),
        (["--final", "competition=demo-digits"], "not-at-kaggle"),
    ],
)
def test_wrong_usage_is_exit_2(cup, words, error):
    code, out, _ = cup.run(*words, "--json")
    assert code == 2 and json.loads(out)["error"]["code"] == error


def test_without_the_listener_the_push_works_and_reasons_are_looked_up(cup, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "LISTENER", tmp_path)
    file = cup.file()
    cup.server.fault("CreateSubmission", status=400, message=ALLOWANCE)
    cup.refused("kaggle-refused", file, names=["400"])
    assert cup.run(file)[0] == 0


def test_the_listener_gives_way_to_another_sitecustomize(cup, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(f"open({str(tmp_path / 'loaded')!r}, 'w').close()")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    call = command.run("competitions", "submission-limits", SLUG, "--json")
    assert call.exit == 0 and call.asked("GetSubmissionLimits")
    assert (tmp_path / "loaded").exists()


def test_what_is_quoted_from_the_command_holds_no_credential():
    told = command.clean(
        f"Authorization: Basic {base64.b64encode(USER.encode()).decode()} {TOKEN} http://x/up?sig=1&b=2 end"
    )
    assert told == "Authorization: *** *** http://x/up?*** end"
    told = command.clean("via http://me:pass%40word@proxy:3128/ with KGAT_a-b.c, \x1b[2J\x1b]0;title\x07two\nlines")
    assert told == "via http://***@proxy:3128/ with ***,  [2J ]0;title two\nlines"


def wait_for(happened, seconds=30):
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def printed(out):
    return Call(("competitions", "submissions"), 0, out, "", ())


def test_warnings_and_odd_characters_around_the_table():
    text = (
        "Warning: Your Kaggle API key is readable by other users on this system! Run 'chmod 600 x'\r\n"
        "Using competition: digits-cup\nNext Page Token = abc\n"
        "ref,fileName,date,description,status,publicScore,privateScore\r\n"
        '7,"a,b.csv",2026-01-01 10:00:00,"two\nlines, ""quoted"" \u2028 é",SubmissionStatus.COMPLETE,0.5,\r\n'
        "6,b.csv,2026-01-01 09:00:00,,SubmissionStatus.ERROR,None,nan\r\n"
        "5,c.csv,2026-01-01 08:00:00,cut"
    )
    first, second, third = command.parse_submissions(printed(text))
    assert (first.file, first.status, first.public_score, first.private_score) == ("a,b.csv", "COMPLETE", 0.5, None)
    assert first.message == 'two\nlines, "quoted" \u2028 é'
    assert (second.ref, second.status, second.public_score) == ("6", "ERROR", None)
    assert (third.ref, third.status, third.message) == ("5", "", "cut")
    assert command.parse_submissions(printed("Using competition: x\nNo submissions found\n")) == []
    with pytest.raises(Failed):
        command.parse_submissions(printed("Traceback (most recent call last):"))


def test_fuzz_of_what_the_command_prints():
    table = "ref,fileName,date,description,status,publicScore,privateScore\r\n" + "".join(
        f'{ref},f{ref}.csv,2026-01-01 10:00:00,"m, {ref}",SubmissionStatus.COMPLETE,0.{ref},0.{ref}\r\n'
        for ref in range(50, 59)
    )
    limits = '{\n  "numToday": 2,\n  "numTotal": 9,\n  "numAllowedNow": 3\n}\n'
    chance = random.Random(0)
    odd = ["\0", '"', "\n", "\r", ",", "{", "}", "\ud7ff", "\x1b[31m", "Warning: {x}\n", "é" * 9]
    for _ in range(3000):
        for text, read in ((table, command.parse_submissions), (limits, command.parse_limits)):
            broken = text[: chance.randrange(len(text) + 1)] if chance.random() < 0.5 else text
            for _ in range(chance.randrange(4)):
                place = chance.randrange(len(broken) + 1)
                broken = broken[:place] + chance.choice(odd) + broken[place + chance.randrange(3) :]
            with contextlib.suppress(Failed):  # told to the user as a reason; any other exception fails here
                read(printed(broken))
    for cut in range(table.index("\n") + 1, len(table)):
        whole = table[:cut].count("\r\n") - 1
        assert len(command.parse_submissions(printed(table[:cut]))) >= whole
    for before in ("", "Warning: {an} outdated version\n", "{}[]\n"[2:]):
        assert command.parse_limits(printed(before + limits + "\nWarning: {")) == command.Limits(2, 9, 3)


def test_a_token_is_found_again_and_the_message_stays_one_line():
    token = sync.new_token("ab" * 32)
    message = sync.with_token("two\nlines " + "x" * 999, token)
    assert sync.token_in(message) == token and "\n" not in message and len(message) < 300
    assert sync.token_in("made by hand [podium x]") == ""
