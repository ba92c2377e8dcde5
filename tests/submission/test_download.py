"""python -m src.prepare SLUG: the unmodified kaggle command fetches the files, whatever goes wrong on the way."""

import fcntl
import hashlib
import io
import json
import random
import signal
import subprocess
import sys
import time
import zipfile

import pytest

from src import prepare
from src.competition.card import load_card
from src.core.console import noted
from src.core.paths import REPOSITORY
from src.submission.kaggle import download
from tests.fixtures.codes import assert_error
from tests.fixtures.kaggle_cup import digits_cup  # noqa: F401 (the fixture `cup`)
from tests.fixtures.kaggle_server import Competition
from tests.fixtures.layouts import picture, save
from tests.fixtures.notes import names_it

SLUG = "shapes-cup"
MB = 1 << 20  # the command writes in pieces of this size


def files_of(folder, undecided: bool = False) -> bytes:
    """A competition of 12 training and 4 test images, and a file that makes the zip several pieces long.

    Undecided: with a second table that could as well be the training table.
    """
    for k in range(16):
        part = "train" if k < 12 else "test"
        save(folder / part / f"{part}{k}.png", picture(k % 2, k))
    rows = [f"train{k}.png,{('disc', 'ring')[k % 2]}" for k in range(12)]
    (folder / "train.csv").write_text("\n".join(["id,shape", *rows]) + "\n")
    if undecided:
        (folder / "train_more.csv").write_bytes((folder / "train.csv").read_bytes())
    (folder / "sample_submission.csv").write_text(
        "\n".join(["id,shape", *(f"test{k}.png,disc" for k in range(12, 16))])
    )
    (folder / "about.pdf").write_bytes(random.Random(1).randbytes(5 * MB))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for path in sorted(folder.rglob("*.*")):
            file.write(path, path.relative_to(folder))
    return buffer.getvalue()


class Host:
    """The loopback Kaggle with one competition's files, and the door as a user calls it."""

    def __init__(self, cup, files: bytes):
        self.cup, self.server, self.files = cup, cup.server, files
        self.server.competition = Competition(SLUG, {}, files=files)
        self.folder = cup.home / "competition" / SLUG
        self.archive = self.folder / f"{SLUG}.zip"
        self.marker = self.folder / f"{SLUG}.zip.kaggle-partial"

    def prepared(self, slug: str = SLUG, *words: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of `python -m src.prepare SLUG WORDS`."""
        self.cup.notes.clear()
        with noted(self.cup.notes):
            code = prepare.main([slug, *words])
        out, err = self.cup.capsys.readouterr()
        self.cup.no_secret(out + err)
        return code, out, err

    def refused(self, error: str, *names: str, slug: str = SLUG) -> str:
        """The message of the error that the command ends with: of this code, and naming these."""
        code, out, _ = self.prepared(slug, "--json")
        assert code == 1, out
        return assert_error(out, error, *names)

    def asked(self) -> list[dict]:
        """Range and If-Range of every request for the file."""
        return [body for method, body in self.server.asked if method == "GET"]

    def begun(self, beginning: bytes):
        """What a stopped download leaves."""
        self.folder.mkdir(parents=True)
        self.archive.write_bytes(beginning)
        self.marker.write_text(json.dumps({"validator": self.tag, "size": len(self.files)}))

    @property
    def tag(self) -> str:
        return f'"{hashlib.sha256(self.files).hexdigest()[:16]}"'

    def is_whole(self) -> bool:
        return self.archive.read_bytes() == self.files and not self.marker.exists()

    def left_nothing(self) -> bool:
        return not any((self.archive.exists(), self.marker.exists(), (self.folder / "data").exists()))


@pytest.fixture
def host(cup, tmp_path):
    yield Host(cup, files_of(tmp_path / "host"))
    cup.server.gate.set()


def test_from_a_slug_to_a_card(host):
    code, _, err = host.prepared()
    assert (code, err) == (0, "")
    assert host.cup.notes.texts("downloaded", host.archive, f"{len(host.files) / 1e6:.1f}")
    assert host.is_whole() and host.asked() == [{"range": "", "if_range": ""}]
    card = load_card(SLUG)
    assert (card.kaggle, card.target, card.train.label) == (SLUG, "binary", "shape")
    host.archive.unlink()
    assert host.prepared()[0] == 0
    assert len(host.asked()) == 1, "what is unpacked is not fetched again"


def test_a_fact_that_was_missing_is_given_in_a_second_start(host):
    """The first start stops with the data here and no card."""
    host.server.competition = Competition(SLUG, {}, files=files_of(host.cup.home / "more", undecided=True))
    host.refused("undecided", "train.table=TABLE")
    assert not (host.folder / "card.yaml").exists()
    code, _, err = host.prepared(SLUG, "train.table=train.csv")
    assert (code, err) == (0, "")
    assert len(host.asked()) == 1, "what is here is not fetched again"
    card = load_card(SLUG)
    assert (card.kaggle, card.archive, card.train.table) == (SLUG, f"{SLUG}.zip", "train.csv")
    assert SLUG in (host.folder / "card.yaml").read_text().splitlines()[0]


def test_a_dropped_connection_is_gone_on_from(host):
    host.server.fault("GET", drop="mid")
    assert host.prepared()[0] == 0
    first, second = host.asked()
    start = int(second["range"].removeprefix("bytes=").removesuffix("-"))
    assert first["range"] == "" and second["if_range"] == host.tag
    assert MB <= start <= len(host.files) // 2
    assert host.is_whole()


def test_ctrl_c_keeps_what_came(host):
    host.server.fault("GET", held=True)
    line = [sys.executable, "-m", "src.prepare", SLUG]
    with subprocess.Popen(line, cwd=REPOSITORY, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as door:
        waited = time.monotonic() + 20
        while not (host.archive.exists() and host.archive.stat().st_size >= MB) and time.monotonic() < waited:
            time.sleep(0.05)
        door.send_signal(signal.SIGINT)
        said = door.communicate(timeout=20)[0]
    host.server.gate.set()
    host.cup.no_secret(said)
    assert door.returncode == 130 and "Traceback" not in said
    assert host.marker.exists() and not (host.folder / "data").exists()
    have = host.archive.stat().st_size
    assert host.prepared()[0] == 0
    # A command that goes on asks for the file first, to see whether it is the same, and reads none of it.
    assert [each["range"] for each in host.asked()] == ["", "", f"bytes={have}-"]
    assert host.asked()[-1]["if_range"] == host.tag
    assert host.is_whole()


def test_progress_is_shown_and_a_silent_connection_given_up_and_gone_on_from(host, monkeypatch):
    monkeypatch.setattr(download, "QUIET_SECONDS", 1.5)
    monkeypatch.setattr(download, "TELL_SECONDS", 0.5)
    host.server.fault("GET", held=True)
    code, out, _ = host.prepared()
    assert code == 0 and host.cup.notes.texts("download-resumed")
    assert names_it(out, f"{len(host.files) / 1e6:.1f} MB") and names_it(out, "MB/s")
    assert host.asked()[-1]["range"].startswith("bytes=")
    assert host.is_whole()


@pytest.mark.slow  # the command pauses on its own
def test_an_error_page_in_place_of_the_rest_is_no_part_of_the_zip(host):
    """Until 2.2.4 the command wrote it into the file, and would have gone on from there at the next start."""
    host.server.fault("GET", drop="mid")
    host.server.fault("GET", status=503, message="busy")
    assert host.prepared()[0] == 0
    assert len(host.asked()) > 2 and host.is_whole()


def test_a_damaged_beginning_is_found_and_fetched_anew(host):
    host.begun(b"PK" + bytes(2 * MB))
    assert host.prepared()[0] == 0 and host.cup.notes.texts("fetched-anew", host.archive.name)
    assert [each["range"] for each in host.asked()] == ["", f"bytes={2 * MB + 2}-", ""]
    assert host.is_whole()


def test_a_busy_kaggle_is_waited_out_within_limits(host):
    host.server.fault("DownloadDataFiles", status=503)
    host.server.fault("DownloadDataFiles", status=429)
    assert host.prepared()[0] == 0
    assert host.cup.notes.texts("download-resumed", 503) and host.cup.notes.texts("download-resumed", 429)
    host.cup.home.joinpath("competition", SLUG, "data").rename(host.cup.home / "away")
    (host.folder / "card.yaml").unlink()
    host.server.fault("DownloadDataFiles", times=3, status=500)
    host.refused("kaggle-fault", "500", "3")


@pytest.mark.parametrize("method", ["DownloadDataFiles", "GET"])
def test_a_pause_that_the_server_asks_for_is_kept(host, method):
    """Also for the file itself, where the command alone would wait for hours without a word."""
    host.server.fault(method, status=429, headers={"Retry-After": "1"})
    begun = time.monotonic()
    assert host.prepared()[0] == 0 and host.is_whole() and time.monotonic() - begun > 1
    host.cup.home.joinpath("competition", SLUG, "data").rename(host.cup.home / "away")
    (host.folder / "card.yaml").unlink()
    host.archive.unlink()
    asked = host.server.count(method)
    host.server.fault(method, times=9, status=429, headers={"Retry-After": "7200"})
    host.refused("too-many-requests", "120")
    assert host.server.count(method) == asked + 1


@pytest.mark.slow  # the command itself tries six times in a minute
def test_a_connection_that_breaks_before_the_first_megabyte_is_tried_again(host):
    host.server.fault("GET", times=7, drop="early")
    assert host.prepared()[0] == 0 and host.cup.notes.texts("download-resumed", "0.0")
    assert host.is_whole() and len(host.asked()) == 8


def test_the_rules_must_be_accepted(host):
    host.server.competition.entered = False
    message = host.refused("rules-not-accepted", f"https://www.kaggle.com/competitions/{SLUG}/rules")
    assert message.count("\n") == 1 and host.left_nothing()
    assert host.server.count("DownloadDataFiles") == 1


def test_rules_that_the_answer_itself_names(host):
    said = {"code": 403, "message": "You must accept this competition's rules before you can download its files."}
    host.server.do_DownloadDataFiles = lambda _: (403, said)
    host.refused("rules-not-accepted", f"competitions/{SLUG}/rules")


def test_files_that_are_refused_to_one_who_has_joined(host):
    host.server.fault("DownloadDataFiles", status=403)
    host.refused("files-refused", "403", f"{SLUG}/data")


def test_a_misspelt_slug(host):
    host.refused("unknown-competition", "shape-cups", f"{SLUG}?", slug="shape-cups")


def test_without_credentials(host, monkeypatch):
    monkeypatch.delenv("KAGGLE_KEY")
    message = host.refused("no-credentials", "kaggle auth login")
    assert message.count("\n") == 1 and host.left_nothing()


def test_without_a_network(host, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    host.refused("kaggle-unreachable")
    assert len(host.cup.notes.texts("download-resumed")) == 1, "tried once more, and then told"


def test_a_truncated_zip_is_no_download(host):
    host.server.competition.files = host.files[: len(host.files) // 2]
    host.refused("damaged-archive", host.archive.name)
    assert host.left_nothing() and len(host.asked()) == 1


def test_a_disk_that_is_too_small_is_told_while_there_is_room(host, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": MB})())
    host.server.fault("GET", held=True)
    host.refused("disk-full", "1.0 MB")
    assert 0 < host.archive.stat().st_size < len(host.files) and host.marker.exists()


def test_two_downloads_do_not_write_one_file(host):
    host.folder.mkdir(parents=True)
    with (host.folder / ".download.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        host.refused("busy", SLUG)
    assert not host.server.asked
