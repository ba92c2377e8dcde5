"""A disk that is full: one line with the file and the room that there is, and nothing half made is left.

A small file system is mounted in a process of its own, where the system allows that.
"""

import contextlib
import ctypes
import io
import json
import multiprocessing
import os
import shutil
import zipfile
from pathlib import Path

import pytest

from src.predict import main as predict
from src.prepare import main as prepare
from src.submit import main as submit
from src.train import main as train
from tests.fixtures.tiny import write_tiny

NEW_USER, NEW_MOUNTS, REFUSED = 0x10000000, 0x00020000, 77


def mounted(place: Path, size: str) -> bool:
    """Mount a file system of that size, which this process alone sees; False where that is not allowed."""
    system, user, group = ctypes.CDLL(None, use_errno=True), os.getuid(), os.getgid()
    if system.unshare(NEW_USER | NEW_MOUNTS):
        return False
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        with contextlib.suppress(OSError):
            Path("/proc/self", name).write_text(text)
    return system.mount(b"small", str(place).encode(), b"tmpfs", 0, f"size={size}".encode()) == 0


def child(place: Path, size: str, command, words: list[str], home: Path, sender) -> None:
    if not mounted(place, size):
        os._exit(REFUSED)
    os.environ["PODIUM_HOME"] = str(home)
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        command([*words, "--json"])
    left = sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())
    sender.send((json.loads(out.getvalue()), left))
    os._exit(0)


def on_a_small_disk(place: Path, size: str, command, words: str, home: Path) -> tuple[dict, list[str]]:
    """What --json tells, and the files that lie on the small disk at `place` in the end."""
    place.mkdir(parents=True, exist_ok=True)
    receiver, sender = multiprocessing.Pipe(duplex=False)
    fork = multiprocessing.get_context("fork")
    process = fork.Process(target=child, args=(place, size, command, words.split(), home, sender))
    process.start()
    process.join(120)
    if process.exitcode == REFUSED:
        pytest.skip("no file system may be mounted here")
    assert process.exitcode == 0
    return receiver.recv()


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(home))
        write_tiny(home)
        assert train(["config=tiny", "fold=0", "train.epochs=1"]) == 0
    return home


RUN = "config=tiny fold=0 train.epochs=1"


@pytest.mark.parametrize(
    ("where", "size", "command", "words", "file", "code"),
    [
        ("competition/tiny/cache", "16k", train, f"{RUN} run=new", "look.npz", "disk-full"),
        ("competition/tiny/cache", "80k", train, f"{RUN} run=new", "cache", "no-room-for-cache"),
        ("runs/tiny/new", "400k", train, f"{RUN} run=new", "checkpoint.pt", "disk-full"),
        ("submissions", "4k", predict, "config=tiny train.epochs=1", "tiny+train.epochs=1.csv", "disk-full"),
        ("competition/other", "600k", prepare, "source.zip id=other metric=accuracy", "source.zip", "disk-full"),
        ("competition/other", "600k", prepare, "source id=other metric=accuracy", "source", "disk-full"),
    ],
    ids=["index", "cache", "checkpoint", "submission", "unpacking", "copying"],
)
def test_a_full_disk_is_told_with_the_file_and_its_room(
    trained, tmp_path, monkeypatch, where, size, command, words, file, code
):
    home = tmp_path / "home"
    shutil.copytree(trained, home)
    monkeypatch.chdir(tmp_path)
    if command is prepare:
        shutil.copytree(home / "competition" / "tiny" / "data", "source")
        Path("source/more.bin").write_bytes(os.urandom(700_000))
        with zipfile.ZipFile("source.zip", "w") as archive:
            for path in Path("source").rglob("*"):
                archive.write(path, path.relative_to("source"))
    answer, left = on_a_small_disk(home / where, size, command, words, home)
    told = answer["error"]["message"]
    assert answer["error"]["code"] == code and len(told.splitlines()) == 1
    assert file in told.partition(": ")[0] and " free" in told and any(unit in told for unit in (" kB", " MB"))
    assert not [name for name in left if name.endswith((".part", ".png"))]


def test_the_ledger_of_a_full_disk_stays_whole(trained, tmp_path):
    """Its rows are told apart from what would have been lost."""
    answer, left = on_a_small_disk(trained / "submissions", "4k", submit, "--history competition=tiny", trained)
    assert "error" not in answer and left == []
