"""The peers' environment: fastai, and Podium's own torch, torchvision and timm, so that only the code around differs.

It is made once, in runs/bench/peers, from the package index that pip is set to. A .pth file lets it see Podium's
packages: pip then finds torch there and does not bring another one.
"""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from src.core.errors import Problem
from src.core.files import write_text
from tests.bench.photos import workplace

PACKAGES = ("fastai==2.8.12",)
MARK = "peers.txt"  # written last, so its existence means that the environment is whole


def peers_python() -> Path:
    """The interpreter of the peers' environment, made at first use. Raises Problem where that fails."""
    folder = workplace() / "peers"
    python, mark = folder / "bin" / "python", folder / MARK
    if not mark.exists() or mark.read_text() != _wanted():
        shutil.rmtree(folder, ignore_errors=True)
        print(f"setting up the peers' environment in {folder} (once)", flush=True)
        _must([sys.executable, "-m", "venv", str(folder)])
        site = _must([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()
        write_text(Path(site) / "podium.pth", sysconfig.get_path("purelib") + "\n")
        _must([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES])
        write_text(mark, _wanted())
    return python


def _wanted() -> str:
    return "\n".join([*PACKAGES, sys.executable, ""])


def _must(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        text = "\n".join(done.stderr.strip().splitlines()[-8:])
        raise Problem(f"the peers' environment cannot be made: {' '.join(command[1:5])} ...:\n{text}")
    return done.stdout
