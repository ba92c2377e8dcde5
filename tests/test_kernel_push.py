"""The built notebook goes to Kaggle, with the unmodified command against a Kaggle on loopback."""

import json
import os
import shutil
from pathlib import Path

import pytest

from src.kernel import main
from src.submission import hosted, hosted_run, kaggle, ledger, push
from tests.kaggle_hosting import Kernel, Ran
from tests.kaggle_server import KEY, TOKEN, Competition, KaggleServer
from tests.test_kernel import SLUG, USER, built, shop  # noqa: F401 (a fixture)
from tests.tiny import COLOURS, TEST_EACH

ANSWERS = dict(zip([f"{number}" for number in range(501, 501 + 3 * TEST_EACH)], list(COLOURS) * TEST_EACH, strict=True))
ANSWERS = {f"{int(key):04d}": colour for key, colour in ANSWERS.items()}


class Hosted:
    """`run` calls the door; whatever it prints or writes is searched for credentials."""

    def __init__(self, home: Path, server: KaggleServer, capsys):
        self.home, self.server, self.capsys = home, server, capsys
        self.run_folder = home / "runs" / "tiny" / "tiny"

    def run(self, *words: str) -> tuple[int, str, str]:
        self.capsys.readouterr()
        code = main(["config=tiny", *words])
        out, err = self.capsys.readouterr()
        written = [path.read_bytes() for path in self.home.rglob("*") if path.is_file()]
        for secret in (KEY, TOKEN, "signature="):
            assert secret not in out + err
            assert not any(secret.encode() in each for each in written)
        return code, out, err

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
def at_kaggle(shop, tmp_path, monkeypatch, capsys):  # noqa: F811
    home = tmp_path / "home"
    for part in ("competition/tiny", "configs", "runs/tiny"):
        shutil.copytree(shop / part, home / part)
    for name in [name for name in os.environ if name.upper().startswith(("KAGGLE_", "HTTP_PROXY", "HTTPS_PROXY"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PODIUM_HOME", str(home))
    for module, name in (
        (kaggle, "PAUSES"),
        (push, "LOOKS"),
        (push, "POLLS"),
        (hosted, "LOOKS"),
        (hosted_run, "POLLS"),
    ):
        monkeypatch.setattr(module, name, (0.05, 0.05))
    with KaggleServer(Competition(SLUG, dict(ANSWERS), columns=("image_id", "colour"))) as server:
        for name, value in server.environment(tmp_path / "user").items():
            monkeypatch.setenv(name, value)
        server.execute = right
        yield Hosted(home, server, capsys)


def test_a_push_uploads_runs_and_submits_the_right_version(at_kaggle):
    server = at_kaggle.server
    server.looks_until_ready = server.looks_until_ended = 1
    code, out, err = at_kaggle.run("--push", "-m", "the first")
    assert (code, err) == (0, ""), err
    assert at_kaggle.dataset.private
    (files,) = at_kaggle.dataset.versions
    assert sorted(files) == ["card.yaml", "model.safetensors", "podium_notebook-1-py3-none-any.whl"]
    assert files["model.safetensors"] == (at_kaggle.run_folder / "export" / "tiny.safetensors").read_bytes()
    asked = at_kaggle.kernel.asked
    assert asked["isPrivate"] and asked["enableGpu"] and not asked.get("enableInternet", False)
    assert asked["competitionDataSources"] == [SLUG] and asked["datasetDataSources"] == list(server.datasets)
    assert asked["machineShape"] == "NvidiaTeslaT4"
    assert json.loads(asked["text"])["cells"][0]["source"].startswith("# Made by")
    (sent,) = [body for method, body in server.asked if method == "CreateCodeSubmission"]
    assert (sent["kernelOwner"], sent["kernelVersion"], sent["fileName"]) == (USER, 1, "submission.csv")
    assert sent["submissionDescription"].startswith("the first [podium ")
    assert "running" in out and "complete" in out and "is scored: public 1, private 1, out of fold" in out
    (entry,) = at_kaggle.entries()
    assert (entry.status, entry.public_score, entry.file) == ("COMPLETE", 1.0, f"{asked['slug']} version 1")
    assert entry.runs == "tiny" and entry.views == "identity hflip" and entry.oof_score and entry.config_hash
    # The same once more is refused, and costs no upload, no run and no submission.
    code, out, err = at_kaggle.run("--push")
    assert code == 1 and "was submitted before" in err and "--again" in err
    assert (server.count("SaveKernel"), server.count("CreateCodeSubmission"), len(at_kaggle.dataset.versions)) == (
        1,
    ) * 3
    # Another time limit is another notebook on the same dataset; its own version is submitted.
    code, out, err = at_kaggle.run("--push", "kernel.hours=2")
    assert code == 0 and "version 1 is at Kaggle already" in out, err
    assert [body.get("kernelVersion") for method, body in server.asked if method == "CreateCodeSubmission"] == [1, 2]
    assert len(at_kaggle.dataset.versions) == 1


@pytest.mark.parametrize("method", ["CreateDataset", "SaveKernel", "CreateCodeSubmission"])
def test_a_lost_answer_is_looked_up_and_nothing_is_done_twice(at_kaggle, method):
    at_kaggle.server.fault(method, status=0, drop="after")
    code, out, err = at_kaggle.run("--push")
    assert code == 0, err
    assert "it arrived" in out
    assert at_kaggle.server.count(method) == 1 or method == "CreateDataset"  # which the command repeats by itself
    assert len(at_kaggle.dataset.versions) == len(at_kaggle.kernel.runs) == len(at_kaggle.server.submissions) == 1


def test_a_push_that_was_cut_off_goes_on_where_it_was(at_kaggle):
    server = at_kaggle.server
    server.fault("GetKernelSessionStatus", status=503, times=4)  # Kaggle lapses while the notebook runs
    code, _, err = at_kaggle.run("--push")
    assert code == 1 and "503" in err and not server.submissions
    record = json.loads((at_kaggle.run_folder / "kernel.json").read_text())
    assert (record["dataset"]["version"], record["notebook"]["version"]) == (1, 1)
    # As a kill before the answer would leave it.
    for one in record.values():
        one["version"] = None
    (at_kaggle.run_folder / "kernel.json").write_text(json.dumps(record))
    code, out, err = at_kaggle.run("--push")
    assert code == 0, err
    assert out.count("an earlier push had arrived, as version 1") == 2
    assert len(at_kaggle.dataset.versions) == len(at_kaggle.kernel.runs) == len(server.submissions) == 1


def test_a_failed_run_shows_the_end_of_its_log_and_may_run_anew(at_kaggle):
    server = at_kaggle.server
    lines = [{"stream_name": "stdout", "time": 1.0, "data": f"line {n} {'k' * 3}\n"} for n in range(60)]
    lines.append(
        {"stream_name": "stderr", "time": 2.0, "data": f"RuntimeError: no GPU, Authorization: Bearer {TOKEN}\n"}
    )
    server.execute = lambda kernel: Ran("ERROR", json.dumps(lines), why="Your notebook threw an error")
    code, _, err = at_kaggle.run("--push")
    assert code == 1 and "version 1 failed: Your notebook threw an error" in err
    assert "RuntimeError: no GPU" in err and "line 59" in err and "line 10 " not in err
    assert not server.submissions and not at_kaggle.entries()
    server.execute = right
    code, _, err = at_kaggle.run("--push")
    assert code == 0, err
    assert [body["kernelVersion"] for method, body in server.asked if method == "CreateCodeSubmission"] == [2]


def test_what_kaggle_refuses_is_told_though_the_command_exits_0(at_kaggle):
    server = at_kaggle.server
    server.refuses = 'The requested title "x" is already in use.'
    code, _, err = at_kaggle.run("--push")
    assert code == 1 and "already in use" in err and not server.kernels
    server.refuses = ""
    server.fault("SaveKernel", status=400, message="You have used all of your weekly GPU quota (30 h).")
    code, _, err = at_kaggle.run("--push")
    assert code == 1 and "weekly GPU quota" in err and server.count("SaveKernel") == 1
    server.fault("CreateCodeSubmission", status=400, message="Your Notebook cannot use internet access here.")
    code, _, err = at_kaggle.run("--push")
    assert code == 1 and "cannot use internet access" in err
    assert [entry.status for entry in at_kaggle.entries()] == ["NOT PUSHED"]


def test_a_file_that_was_not_uploaded_is_noticed(at_kaggle):
    at_kaggle.server.fault("PUT", status=404, times=1)
    code, _, err = at_kaggle.run("--push")
    assert code == 1 and "the upload broke off" in err and not at_kaggle.server.kernels
    code, _, err = at_kaggle.run("--push")
    assert code == 0, err
    assert len(at_kaggle.dataset.versions[-1]) == 3


def test_without_push_and_with_dry_run_nothing_is_sent(at_kaggle):
    for words in ((), ("--push", "--dry-run")):
        code, out, _ = at_kaggle.run(f"kernel.user={USER}", *words)
        assert code == 0 and "nothing was sent" in out
    assert at_kaggle.server.asked == []
