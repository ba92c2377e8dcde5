"""Row: what ./run.sh takes to make .venv, beside plain pip with the same requirements; nothing is cached before.

Either side stands in a folder of its own with the files that git knows, and ends when the libraries of a training are
imported, and so compiled. Podium's side begins with a misspelt key, which is told at once.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from src.core.errors import Problem
from src.core.paths import REPOSITORY
from tests.bench.row import PODIUM, Figures, Line, Row, Trial

PIP = "python -m venv and pip install -r"
ACTIVE = ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
NEEDED = "import torch, torchvision, timm, albumentations, pandas, sklearn.metrics, openvino"
LIBRARIES = (".venv/bin/python", "-c", NEEDED)


def with_run_sh(trial: Trial) -> Figures:
    clone = trial.folder / "clone"
    names = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (REPOSITORY / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, clone / name)
    return _seconds(trial, {("./run.sh", "trian.epochs=1"): 2, LIBRARIES: 0}, clone)


def with_pip(trial: Trial) -> Figures:
    python = trial.folder / ".venv" / "bin" / "python"
    need = ["install", "-q", "--disable-pip-version-check", "-r", str(REPOSITORY / "requirements.txt")]
    base = Path(sys.base_prefix) / "bin" / "python3"
    made = (str(base), "-m", "venv", ".venv")
    return _seconds(trial, {made: 0, (str(python), "-m", "pip", *need): 0, LIBRARIES: 0}, trial.folder)


def _seconds(trial: Trial, commands: dict[tuple[str, ...], int], folder: Path) -> Figures:
    """Of commands and the codes that they are to end with."""
    kept = {name: value for name, value in os.environ.items() if name not in ACTIVE}
    caches = {"UV_CACHE_DIR": str(trial.folder / "cache"), "PIP_NO_CACHE_DIR": "1"}
    begun = time.perf_counter()
    for command, code in commands.items():
        done = subprocess.run(command, cwd=folder, env=kept | caches, capture_output=True, text=True, check=False)
        if done.returncode != code:
            raise Problem(f"{' '.join(command)} ended with code {done.returncode}: {done.stderr[-500:]}")
    return {"seconds": time.perf_counter() - begun}


ROW = Row(
    "set-up",
    {PODIUM: with_run_sh, PIP: with_pip},
    (Line("set-up: an empty .venv to imported libraries", "seconds", PIP, 2, less_is_better=True),),
    "Each fetches 3 GB, from whatever index pip is set up for. `--tiny` makes no difference.",
)
