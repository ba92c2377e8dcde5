"""The beginning and end of a command's process, seen from outside."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from src.core.paths import REPOSITORY

PROGRAM = """
import atexit, sys, threading, time
from pathlib import Path
from src.core.process import run

folder = Path(sys.argv[1])

def later():
    time.sleep(0.2)
    (folder / "thread").touch()

class Kept:
    def __del__(self):
        (folder / "taken apart").touch()

kept = Kept()

def main():
    atexit.register((folder / "atexit").touch)
    threading.Thread(target=later).start()
    print("told")
    print("warned", file=sys.stderr)
    WORK
    return CODE

run(main)
"""


def program(folder: Path, code: int = 0, work: str = "pass") -> subprocess.CompletedProcess:
    text = PROGRAM.replace("WORK", work).replace("CODE", str(code))
    command = [sys.executable, "-c", text, str(folder)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("code", [0, 1, 2, 130])
def test_it_ends_at_once_with_the_doors_code_and_nothing_lost(tmp_path, code):
    done = program(tmp_path, code)
    assert done.returncode == code
    assert (done.stdout, done.stderr) == ("told\n", "warned\n")
    assert {file.name for file in tmp_path.iterdir()} == {"thread", "atexit"}  # and the rest is left as it lies


def test_an_error_of_ours_keeps_its_traceback_and_fails(tmp_path):
    done = program(tmp_path, work="raise ValueError('ours')")
    assert done.returncode == 1
    assert done.stderr.split()[-2:] == ["ValueError:", "ours"]


def test_objects_that_hold_each_other_are_still_found(tmp_path):
    circles = """
    import weakref
    class Ring: pass
    first = weakref.ref(ring := Ring())
    for _ in range(200_000):
        ring.itself = ring
        ring = Ring()
    print("found" if first() is None else "kept")
    """
    assert "found" in program(tmp_path, work=circles.strip()).stdout


def test_what_was_imported_is_never_looked_through_and_what_comes_later_is(tmp_path):
    later = """
    import gc, weakref
    from src.core.process import imports
    class Ring: pass
    with imports():
        import fractions
        print("resting" if not gc.isenabled() else "at work")
        stays = weakref.ref(ring := Ring())
        ring.itself = ring
    first = weakref.ref(ring := Ring())
    ring.itself = ring
    del ring
    gc.collect()
    print("kept" if stays() else "looked through", "kept" if first() else "found")
    with imports():
        import fractions
        stays = weakref.ref(ring := Ring())
        ring.itself = ring
    del ring
    gc.collect()
    print("kept" if stays() else "looked through, for nothing new was imported")
    """
    told = program(tmp_path, work=later.strip()).stdout.splitlines()
    assert told[1:] == ["resting", "kept found", "looked through, for nothing new was imported"]


@pytest.mark.parametrize(("given", "expected"), [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7")])
def test_threads_that_wait_sleep_soon_unless_the_environment_says_otherwise(tmp_path, monkeypatch, given, expected):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert expected in program(tmp_path, work="import os; print(os.environ['GOMP_SPINCOUNT'])").stdout.split()


@pytest.mark.parametrize(("folder", "kept"), [(".venv", True), ("mine", False)])
def test_bytecode_is_kept_in_the_environment_that_run_sh_made(tmp_path, folder, kept):
    """Whose libraries nobody compiled: where a variable forbids to keep it, each command would compile them anew."""
    shutil.copytree(REPOSITORY / "src/core", tmp_path / "src/core", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "later.py").write_text("import os; found = os.environ.get('PYTHONDONTWRITEBYTECODE')")
    venv.create(tmp_path / folder, symlinks=True)
    text = "from src.core.process import run; run(lambda: print(__import__('later').found))"
    command = [str(tmp_path / folder / "bin/python"), "-c", text]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "None\n" if kept else "1\n")
    assert len(list(tmp_path.glob("__pycache__/later*.pyc"))) == kept
