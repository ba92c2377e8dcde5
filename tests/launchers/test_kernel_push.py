"""The built notebook goes to Kaggle, with the unmodified command against a Kaggle on loopback."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from src.core.console import noted
from src.core.paths import REPOSITORY
from src.kernel import main
from src.submission import ledger
from tests.fixtures.codes import assert_error
from tests.fixtures.kaggle_hosting import Kernel, Ran
from tests.fixtures.kaggle_server import KEY, TOKEN, KaggleServer
from tests.fixtures.kernel_home import ANSWERS, ME, SLUG, USER, loopback
from tests.fixtures.notes import Notes

pytest_plugins = ["tests.fixtures.kernel_fixtures"]


class Hosted:
    """`run` calls the door; whatever it prints or writes is searched for credentials."""

    def __init__(self, home: Path, server: KaggleServer, capsys):
        self.home, self.server, self.capsys = home, server, capsys
        self.run_folder = home / "runs" / "tiny" / "tiny"
        self.notes = Notes()

    def run(self, *words: str) -> tuple[int, str, str]:
        self.capsys.readouterr()
        self.notes.clear()
        with noted(self.notes):
            code = main(["config=tiny", *words])
        out, err = self.capsys.readouterr()
        written = [path.read_bytes() for path in self.home.rglob("*") if path.is_file()]
        for secret in (KEY, TOKEN, "signature="):
            assert secret not in out + err
            assert not any(secret.encode() in each for each in written)
        return code, out, err

    def refused(self, error: str, *words: str, names: tuple[str, ...] = ()) -> str:
        """The message of the error that the command ends with: of this code, and naming these."""
        code, out, _ = self.run(*words, "--json")
        assert code == 1, out
        return assert_error(out, error, *names)

    def started(self, *words: str) -> subprocess.Popen:
        """The same as a process of its own."""
        line = [sys.executable, "-m", "src.kernel", "config=tiny", *words]
        return subprocess.Popen(line, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def entries(self):
        return ledger.read("tiny")[0]

    @property
    def dataset(self):
        (one,) = self.server.datasets.values()
        return one

    @property
    def kernel(self) -> Kernel:
        (one,) = self.server.kernels.values()
        return one


def right(kernel: Kernel) -> Ran:
    rows = "".join(f"{key},{colour}\n" for key, colour in ANSWERS.items())
    return Ran(output={"submission.csv": f"image_id,colour\n{rows}".encode()})


@pytest.fixture
def at_kaggle(shop, tmp_path, monkeypatch, capsys):
    with loopback(tmp_path, monkeypatch) as server:
        server.execute = right
        yield Hosted(shop, server, capsys)


@pytest.mark.slow  # many calls of the kaggle command
def test_a_failed_run_is_told_and_the_next_one_is_submitted(at_kaggle):
    server = at_kaggle.server
    server.looks_until_ready = server.looks_until_ended = 1
    server.execute = lambda kernel: Ran("ERROR", "RuntimeError: no GPU", why="Your notebook threw an error")
    names = ("version 1", "Your notebook threw an error", "RuntimeError: no GPU")
    at_kaggle.refused("kernel-run-failed", "--push", "-m", "the first", names=names)
    assert not server.submissions and not at_kaggle.entries()
    server.execute = right
    code, _, err = at_kaggle.run("--push", "-m", "the first", ME)
    assert (code, err) == (0, ""), err
    assert at_kaggle.dataset.private
    (files,) = at_kaggle.dataset.versions
    assert sorted(files) == ["card.yaml", "model.safetensors", "podium_notebook-1-py3-none-any.whl"]
    assert files["model.safetensors"] == (at_kaggle.run_folder / "export" / "tiny.safetensors").read_bytes()
    asked = at_kaggle.kernel.asked
    assert asked["isPrivate"] and asked["enableGpu"] and not asked.get("enableInternet", False)
    assert asked["competitionDataSources"] == [SLUG] and asked["datasetDataSources"] == list(server.datasets)
    assert asked["machineShape"] == "NvidiaTeslaT4"
    assert json.loads(asked["text"])["cells"][0]["source"]
    (sent,) = [body for method, body in server.asked if method == "CreateCodeSubmission"]
    assert (sent["kernelOwner"], sent["kernelVersion"], sent["fileName"]) == (USER, 2, "submission.csv")
    assert sent["submissionDescription"].startswith("the first [podium ")
    assert at_kaggle.notes.texts("at-kaggle-already", 1), "the dataset"
    assert len(at_kaggle.notes.texts("notebook-status", 2)) == 2, "running, then complete"
    assert at_kaggle.notes.texts("submission-scored", 1)
    (entry,) = at_kaggle.entries()
    assert (entry.status, entry.public_score, entry.file) == ("COMPLETE", 1.0, f"{asked['slug']} version 2")
    assert (
        (entry.runs, entry.views.split()) == ("tiny", ["identity", "hflip"]) and entry.oof_score and entry.config_hash
    )
    # The same once more is refused, and asks nothing of Kaggle.
    before = len(server.asked)
    at_kaggle.refused("already-submitted", "--push", ME, names=("--again",))
    assert len(server.asked) == before
    assert len(list(at_kaggle.run_folder.glob("kernel-*.json"))) == 1
    # With --again the version that is at Kaggle already is submitted once more.
    code, _, err = at_kaggle.run("--push", "--again", ME)
    assert code == 0, err
    assert [body["kernelVersion"] for method, body in server.asked if method == "CreateCodeSubmission"] == [2, 2]
    assert (server.count("SaveKernel"), len(at_kaggle.dataset.versions)) == (2, 1)


def test_lost_answers_are_looked_up_and_nothing_is_done_twice(at_kaggle):
    methods = ("CreateDataset", "SaveKernel", "CreateCodeSubmission")
    for method in methods:
        at_kaggle.server.fault(method, status=0, drop="after")
    code, _, err = at_kaggle.run("--push", ME)
    assert code == 0, err
    assert len(at_kaggle.notes.texts("push-arrived")) >= 2 and [
        at_kaggle.server.count(method) for method in methods[1:]
    ] == [1, 1]
    assert len(at_kaggle.dataset.versions) == len(at_kaggle.kernel.runs) == len(at_kaggle.server.submissions) == 1


@pytest.mark.slow  # waits for a process that was killed
def test_a_killed_push_keeps_its_folder_until_the_command_ends(at_kaggle):
    """The command goes on after the kill: only when it has ended is it known whether another version is needed."""
    server = at_kaggle.server
    server.fault("SaveKernel", held=True)
    door = at_kaggle.started("--push", ME)
    wait_for(lambda: server.count("SaveKernel"))
    before = (at_kaggle.run_folder / "kernel" / "notebook" / "podium.ipynb").read_bytes()
    door.send_signal(signal.SIGKILL)
    door.wait()
    for words in (("--push",), ("kernel.hours=2",)):
        at_kaggle.refused("busy", ME, *words)
    assert (at_kaggle.run_folder / "kernel" / "notebook" / "podium.ipynb").read_bytes() == before
    server.gate.set()
    wait_for(lambda: at_kaggle.run(ME)[0] == 0)
    refusal = "Your Notebook cannot use internet access here."
    server.fault("CreateCodeSubmission", status=400, message=refusal)
    code, _, err = at_kaggle.run("--push", ME)
    assert at_kaggle.notes.texts("earlier-push-arrived", 1)
    assert len(at_kaggle.dataset.versions) == len(at_kaggle.kernel.runs) == 1
    # What Kaggle has against this notebook is told and noted.
    assert code == 1 and refusal in err and not server.submissions
    assert [entry.status for entry in at_kaggle.entries()] == ["NOT PUSHED"]


def wait_for(done) -> None:
    end = time.monotonic() + 120
    while not done():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)


def test_where_the_rules_are_not_accepted_nothing_is_uploaded(at_kaggle):
    at_kaggle.server.competition.entered = False
    code, _, err = at_kaggle.run("--push", ME)
    assert code == 1 and f"competitions/{SLUG}/rules" in err
    assert {method for method, _ in at_kaggle.server.asked} == {"GetSubmissionLimits", "ListCompetitions"}


def test_a_folder_that_another_process_built_anew_is_not_uploaded(at_kaggle, monkeypatch):
    """Between this command's build and its upload."""
    monkeypatch.setattr(
        "src.launchers.kaggle_notebook.inference_notebook.look_ahead",
        lambda slug: main(["config=tiny", ME, "kernel.hours=3"]),
    )
    at_kaggle.refused("changed-meanwhile", "--push", ME)
    assert not at_kaggle.server.datasets


def test_without_push_and_with_dry_run_nothing_is_sent(at_kaggle):
    for words in ((), ("--push", "--dry-run")):
        assert at_kaggle.run(ME, *words)[0] == 0 and at_kaggle.notes.texts("nothing-sent")
    assert at_kaggle.server.asked == []


def test_without_credentials_the_remedies_are_told(at_kaggle, monkeypatch):
    monkeypatch.delenv("KAGGLE_KEY")
    at_kaggle.refused("no-credentials", names=("kaggle auth login", "kernel.user=NAME"))
    at_kaggle.refused("no-credentials", "--push", ME)


def test_an_expired_token_is_named(at_kaggle, monkeypatch):
    monkeypatch.delenv("KAGGLE_KEY")
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    at_kaggle.server.token_works = False
    at_kaggle.refused("credentials-refused", "--push", ME, names=("KAGGLE_API_TOKEN",))


def test_without_a_network_it_is_told(at_kaggle, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed.getsockname()[1]}")
        at_kaggle.refused("kaggle-unreachable", "--push", ME)
