"""The notebooks that run at Kaggle, as text: settings, an installation without the internet, and one call of Podium.

Their cells are plain Python. Inputs are looked for in both places where Kaggle is known to mount them.
"""

import json
from typing import Any

ROOT = "PODIUM_KAGGLE_INPUT"  # where the inputs are, for a notebook that runs elsewhere than at Kaggle

INSTALL = f"""\
import os, subprocess, sys, time
from pathlib import Path

BEGUN = time.monotonic()
ROOT = Path(os.environ.get("{ROOT}", "/kaggle/input"))


def mounted(*places):
    for place in places:
        if (ROOT / place).is_dir() and any((ROOT / place).iterdir()):
            return ROOT / place
    raise RuntimeError(f"an input is not attached to this notebook: none of {{places}} is in {{ROOT}}")


PARTS = mounted(f"datasets/{{DATASET}}", DATASET.split("/")[1])
DATA = mounted(f"competitions/{{COMPETITION}}", COMPETITION)
WHEELS = [str(wheel) for wheel in sorted(PARTS.glob("*.whl"))]
PIP = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", f"--find-links={{PARTS}}"]
installed = subprocess.run([*PIP, *WHEELS], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
if installed.returncode:
    raise RuntimeError(f"pip could not install {{WHEELS}}:\\n{{installed.stdout}}")
print(f"{{len(WHEELS)}} wheels installed in {{time.monotonic() - BEGUN:.0f}} s")
"""

PREDICT = """\
from src.export.hidden_test import main

left = max(HOURS - (time.monotonic() - BEGUN) / 3600, 0.001)
code = main([str(PARTS), str(DATA), f"hours={left}", "out=submission.csv"])
if code:
    raise RuntimeError(f"no submission.csv was written (exit code {code}): the reason stands above")
"""

# A notebook that fails may lose its output. Where anything was learned it ends well, and run.carried tells the rest.
TRAIN = """\
from src.launchers.kaggle_notebook.remote_training import FILE, main

left = max(HOURS - (time.monotonic() - BEGUN) / 3600, 0.001)
code = main([str(PARTS), str(DATA), f"hours={left}", "out=."])
if code and not Path(FILE).exists():
    raise RuntimeError(f"training failed (exit code {code}): the reason stands above")
"""


def notebook_of(settings: dict[str, Any], contents: str, call: str) -> dict[str, Any]:
    """A notebook in the layout of nbformat 4: `settings` become its first lines, `call` is its last cell.

    contents: the hash of the parts that it is made for, by which a pushed notebook is known again.
    """
    lines = [f"# Made by python -m src.kernel. Contents: {contents}"]
    lines += [f"{name} = {value!r}" for name, value in settings.items()]
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "language_info": {"name": "python"},
        },
        "cells": [_cell(name, text) for name, text in zip(NAMES, ("\n".join(lines), INSTALL, call), strict=True)],
    }


NAMES = ("settings", "install", "run")


def _cell(name: str, text: str) -> dict[str, Any]:
    source = text.rstrip("\n").splitlines(keepends=True)
    return {"cell_type": "code", "id": name, "metadata": {}, "outputs": [], "execution_count": None, "source": source}


def as_text(notebook: dict[str, Any]) -> str:
    """The bytes of a notebook's file, the same for the same notebook."""
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
