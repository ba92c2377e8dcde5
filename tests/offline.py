"""Kaggle's machine in small: a notebook runs on mounted inputs, without the internet and without Podium's sources."""

import functools
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

RUNNER = """
import json, sys
for cell in json.load(open(sys.argv[1], encoding="utf-8"))["cells"]:
    exec(compile("".join(cell["source"]), cell["id"], "exec"), globals())
"""
CALLER = """
import socket, sys
socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
"""


class Machine:
    """A Python of its own, which sees the installed packages but not Podium: cwd and path are elsewhere."""

    def __init__(self, folder: Path):
        self.folder = folder
        venv.create(folder / "venv", with_pip=False, symlinks=True)
        self.python = folder / "venv" / "bin" / "python"
        site = next((folder / "venv" / "lib").glob("python*/site-packages"))
        (site / "image.pth").write_text(sysconfig.get_path("purelib") + "\n")
        self.input = folder / "input"

    def mount(self, source: Path, place: str) -> None:
        goal = self.input / place
        goal.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, goal)

    def run(self, notebook: Path) -> subprocess.CompletedProcess:
        """Run the cells one after the other as plain Python; the working folder is `working`."""
        working = self.folder / "working"
        shutil.rmtree(working, ignore_errors=True)
        working.mkdir()
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        environment = kept | {"HOME": str(self.folder), "PODIUM_KAGGLE_INPUT": str(self.input)}
        environment |= {"OMP_NUM_THREADS": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_CONFIG_FILE": os.devnull}
        return subprocess.run(
            [*cut_off(), str(self.python), "-c", RUNNER, str(notebook)],
            cwd=working,
            env=environment,
            text=True,
            capture_output=True,
            timeout=900,
            check=False,
        )

    def written(self, name: str = "submission.csv") -> Path:
        return self.folder / "working" / name


@functools.cache
def cut_off() -> list[str]:
    """The words that start a command without any network, proved by a listener that such a command cannot reach. The
    test is skipped where the system does not allow it."""
    words = ["unshare", "--user", "--map-root-user", "--net"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        call = [sys.executable, "-c", CALLER, str(listener.getsockname()[1])]
        assert subprocess.run(call, check=False).returncode == 0, "the listener must be reachable from here"
        try:
            alone = subprocess.run([*words, *call], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("a notebook is run without a network by `unshare`, which is not installed")
    if "unshare" in alone.stderr.partition(":")[0]:
        pytest.skip(f"this system allows no process without a network: {alone.stderr.strip()}")
    assert alone.returncode != 0 and "Error" in alone.stderr, "a cut-off process reached the listener"
    return words
