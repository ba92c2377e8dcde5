"""The script for GPUs, tried on a processor at a tiny size, so that it is whole on the day a GPU is at hand."""

import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

import tests.gpu.__main__ as script
from src.core.paths import REPOSITORY
from tests.gpu.__main__ import LEFT_OUT, run_step, table, write
from tests.gpu.place import Place
from tests.gpu.steps import STEPS, Step

QUICK = (
    "machine",
    "resume in fp32",
    "learning options",
    "checkpointing",
    "largest batch",
    "input",
    "training resnet50",
)
NEEDS_GPU = {"resume in fp16", "out of memory", "waits for the GPU", "folds side by side", "butterflies-100 at 112 px"}


def run(out: Path, *steps: str) -> dict:
    words = [sys.executable, "-m", "tests.gpu", str(out), "device=cpu", "--tiny", *steps]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    tree = json.loads((out / "results.json").read_text())
    assert done.returncode == 0, [step for step in tree["steps"] if step["status"] in ("failed", "ended")]
    assert len((out / "table.md").read_text().splitlines()) == 6 + len(tree["steps"])
    return {step["name"]: step for step in tree["steps"]}


@pytest.mark.slow
def test_the_script_runs_on_a_processor(tmp_path):
    steps = run(tmp_path / "out", *QUICK)
    assert {name: step["status"] for name, step in steps.items()} == dict.fromkeys(QUICK, "done")
    assert steps["resume in fp32"]["figures"]["same_bits"] is True
    speeds = steps["training resnet50"]["figures"]
    assert speeds["share_of_tensors"] == pytest.approx(
        speeds["podium_images_a_second"] / speeds["tensors_images_a_second"]
    )


@pytest.mark.slow
def test_every_step_runs_or_says_what_it_needs(tmp_path):
    steps = run(tmp_path / "out")
    absent = {name for name, step in steps.items() if step["status"] == "absent"}
    assert list(steps) == list(STEPS)
    assert absent == NEEDS_GPU | {"two processes"}
    assert steps["views, export, page"]["figures"]["rows_of_csv"] == 16


def failing(place, tell):
    tell(found=1.5)
    raise ValueError("no such thing")


def dying(place, tell):
    os._exit(3)


def hanging(place, tell):
    tell(found=2)
    if os.fork() == 0:
        (place.home / "child").write_text(str(os.getpid()))
        time.sleep(60)
    time.sleep(60)


@pytest.mark.parametrize(
    ("work", "status", "figures"),
    [(failing, "failed", {"found": 1.5}), (dying, "failed", {}), (hanging, "ended", {"found": 2})],
)
def test_a_step_that_fails_or_hangs_leaves_the_table_whole(tmp_path, monkeypatch, work, status, figures):
    monkeypatch.setitem(STEPS, "odd", Step("odd", 6, work))
    place = Place(tmp_path, "cpu", tiny=True)
    result = run_step("odd", place, tmp_path / "log.txt", left=100)
    assert (result.status, result.figures) == (status, figures) and result.seconds < 10
    write(tmp_path, [result], place, 1.0)
    tree = json.loads((tmp_path / "results.json").read_text())
    assert table(tree).count("| odd |") == 1
    if work is hanging:
        child = int((tmp_path / "child").read_text())
        state, until = Path(f"/proc/{child}/stat"), time.monotonic() + 20
        while state.exists() and state.read_text().split()[2] != "Z" and time.monotonic() < until:
            time.sleep(0.05)  # it was told to end; the kernel takes its time on a loaded machine
        assert not state.exists() or state.read_text().split()[2] == "Z"  # ended with the step


@pytest.mark.slow
def test_packages_that_are_missing_come_from_files(tmp_path, monkeypatch, capfd):
    (tmp_path / "wheels").mkdir()
    with zipfile.ZipFile(tmp_path / "wheels" / "far_package-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("far_package.py", "ANSWER = 42\n")
        wheel.writestr("far_package-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: far-package\nVersion: 1.0\n")
        wheel.writestr(
            "far_package-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("far_package-1.0.dist-info/RECORD", "")
    monkeypatch.setattr(script, "_requirements", lambda: ["far-package==1.0", "nowhere==1.0", "pytest"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", "")
    script._install(str(tmp_path / "wheels"), tmp_path / "out")
    code = "import far_package; print(far_package.ANSWER)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "42\n"
    told = [line for line in capfd.readouterr().out.splitlines() if "nowhere" in line]
    assert len(told) == 2 and not any("far-package" in line for line in told)


def test_without_time_nothing_is_begun(tmp_path, monkeypatch):
    monkeypatch.setitem(STEPS, "odd", Step("odd", 6, failing))
    assert run_step("odd", Place(tmp_path, "cpu", True), tmp_path / "log.txt", left=2).status == LEFT_OUT


@pytest.mark.parametrize(
    "words",
    [
        ["out", "no such step"],
        *(pytest.param(words, marks=pytest.mark.slow) for words in ([], ["out", "--huge"], ["out", "devise=cpu"])),
    ],
)
def test_wrong_words_end_with_code_2(tmp_path, words):
    command = [sys.executable, "-m", "tests.gpu", *words]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    assert subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False).returncode == 2
