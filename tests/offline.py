"""Kaggle's machine in small: a notebook runs on mounted inputs, without the internet and without Podium's sources."""

import os
import shutil
import subprocess
import sysconfig
import venv
from pathlib import Path

RUNNER = """
import json, sys
for cell in json.load(open(sys.argv[1], encoding="utf-8"))["cells"]:
    exec(compile("".join(cell["source"]), cell["id"], "exec"), globals())
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

    def run(self, notebook: Path, *, network: bool = False) -> subprocess.CompletedProcess:
        """Run the cells one after the other as plain Python; the working folder is `working`."""
        working = self.folder / "working"
        shutil.rmtree(working, ignore_errors=True)
        working.mkdir()
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        closed = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
        environment = kept | closed | {"HOME": str(self.folder), "PODIUM_KAGGLE_INPUT": str(self.input)}
        environment |= {"OMP_NUM_THREADS": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_CONFIG_FILE": os.devnull}
        line = [str(self.python), "-c", RUNNER, str(notebook)]
        cut = [] if network else cut_off()
        return subprocess.run(
            [*cut, *line], cwd=working, env=environment, text=True, capture_output=True, timeout=900, check=False
        )

    def written(self, name: str = "submission.csv") -> Path:
        return self.folder / "working" / name


def cut_off() -> list[str]:
    """The words that start a command without any network; none where the system doesn't allow that, and then the
    closed proxies have to do."""
    words = ["unshare", "--user", "--map-root-user", "--net"]
    if shutil.which("unshare") is None or subprocess.run([*words, "true"], check=False, capture_output=True).returncode:
        return []
    return words
