"""./run.sh as a user starts it: real processes. What it would download with is a stub, so nothing is ever fetched."""

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import timm
import torch

from src.core.paths import REPOSITORY
from src.models.zoo import register_networks
from tests.fixtures.tiny import write_tiny
from tests.fixtures.warm_python import warm_python

TOOLS = ("bash", "dirname", "cksum", "tr", "sed", "rm", "touch", "mkdir", "chmod", "cat")

# Notes its name and words in $LOG. FAIL names the call that is to fail.
HEAD = """#!/bin/bash
words="${0##*/} $*"
echo "$words" >> "$LOG"
case $words in *"${FAIL:-no such call}"*) failing=1 ;; *) failing=0 ;; esac
"""
# Inside .venv: what run.sh asks of the finished environment, where pip can bring uv.
INNER = (
    HEAD
    + """
case $words in
  *" uv=="*) if [ $failing = 0 ]; then cat "$INNER" > "${0%/*}/uv"; chmod +x "${0%/*}/uv"; fi ;;
esac
exit $failing
"""
)
# Makers of environments leave a python behind even where they fail half-way, as Debian's does without its package.
MAKER = """
folder="${@: -1}"
case $words in
  *" venv "*)
    mkdir -p "$folder/bin"
    if [ $failing = 1 ]; then printf '#!/bin/bash\\nexit 1\\n' > "$folder/bin/python"
    else cat "$INNER" > "$folder/bin/python"; fi
    chmod +x "$folder/bin/python" ;;
esac
exit $failing
"""


def executable(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return file


class Bare:
    """A machine with nothing but the shell's own tools and the stubs named; the clone lies in a folder with a blank."""

    def __init__(self, folder: Path, *stubs: str) -> None:
        self.clone, self.log, self.bin = folder / "a clone", folder / "log", folder / "bin"
        self.clone.mkdir()
        self.bin.mkdir()
        for name in ("run.sh", "requirements.txt"):
            shutil.copy(REPOSITORY / name, self.clone / name)
        for name in TOOLS:
            (self.bin / name).symlink_to(shutil.which(name))
        inner = executable(folder / "inner", INNER)
        for name in stubs:
            executable(self.bin / name, HEAD + MAKER)
        self.environment = {"PATH": str(self.bin), "LOG": str(self.log), "INNER": str(inner), "HOME": str(folder)}

    @property
    def marks(self) -> list[Path]:
        return list(self.clone.glob(".venv/requirements.*"))

    def start(self, *words: str, **environment: str) -> tuple[subprocess.CompletedProcess, list[str]]:
        """Run ./run.sh; gives the process and what was called, in order."""
        self.log.write_text("")
        command = [str(self.bin / "bash"), str(self.clone / "run.sh"), *words]
        environment = {**self.environment, **environment}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
        return done, self.log.read_text().splitlines()


WORK = "python -m src.run fold=0"


@pytest.fixture
def bare(tmp_path: Path) -> Bare:
    return Bare(tmp_path, "uv", "python3")


# Words


NONSENSE = ("fold", "0..4", "fold=", "=0", "--fast", "fold=0 --tta", "fold=0 tset", "fold=0 test", "FOLD=0", "")


@pytest.mark.parametrize("words", [words.split(" ") for words in NONSENSE])
def test_nonsense_is_one_line_and_no_set_up(bare, words):
    done, calls = bare.start(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ") and words[-1] in done.stderr and "./run.sh fold=0..4" in done.stderr
    assert calls == [] and not (bare.clone / ".venv").exists()


def test_help_needs_no_set_up(bare):
    done, calls = bare.start("--help")
    assert done.returncode == 0 and calls == []
    assert "./run.sh fold=0..4" in done.stdout and "./run.sh test" in done.stdout


def test_no_words_are_the_five_folds_of_the_demo(bare):
    bare.start("fold=0")
    _, calls = bare.start()
    assert calls == ["python -m src.run fold=0..4"]


def test_words_are_handed_on_as_they_are(bare):
    bare.start("fold=0")
    _, calls = bare.start("fold=0", "launcher=ray", "run=two", "--json")
    assert calls == ["python -m src.run fold=0 launcher=ray run=two --json"]


def test_tests_get_their_own_words(bare):
    done, calls = bare.start("test", "-k", "two words")
    assert done.returncode == 0
    assert calls[-1] == "python -m pytest -k two words"


# Set-up


@pytest.mark.parametrize(
    ("maker", "failing", "installer"),
    [
        ("uv", "", "uv pip install"),
        ("python3", "", "uv pip install"),  # pip brings uv
        ("python3", " uv==", "python -m pip install"),  # it cannot
        ("python3", "uv pip", "python -m pip install"),  # that one finds nothing
    ],
)
def test_the_environment_is_made_once(tmp_path, maker, failing, installer):
    bare = Bare(tmp_path, *{maker, "python3"})
    done, calls = bare.start("fold=0", **({"FAIL": failing} if failing else {}))
    assert done.returncode == 0, done.stderr
    venv = bare.clone / ".venv"
    assert str(venv) in done.stderr, "it must say what it does"
    made = next(k for k, call in enumerate(calls) if " venv " in call)
    installed = max(k for k, call in enumerate(calls) if " install " in call)
    assert made < installed < calls.index(WORK)
    assert calls[made].startswith(maker) and calls[made].endswith(str(venv))
    assert calls[installed].endswith(f"-r {bare.clone / 'requirements.txt'}")
    assert calls[installed].startswith(installer)
    assert calls[-1] == WORK and len(bare.marks) == 1

    done, calls = bare.start("fold=0")
    assert calls == [WORK], "a second start must not set up again"
    assert done.stderr == ""

    with (bare.clone / "requirements.txt").open("a") as file:
        file.write("another==1.0\n")
    _, calls = bare.start("fold=0")
    assert [call for call in calls if " install " in call] and len(bare.marks) == 1


@pytest.mark.parametrize("maker", ["uv", "python3"])
@pytest.mark.parametrize("failing", [" venv ", " install "])
def test_a_set_up_that_failed_is_not_taken_for_whole(tmp_path, maker, failing):
    """Neither by a mark, nor by the python that a half-made environment already holds."""
    bare = Bare(tmp_path, *{maker, "python3"})
    done, calls = bare.start("fold=0", FAIL=failing)
    assert done.returncode not in (0, 2)
    assert not bare.marks
    assert WORK not in calls
    done, calls = bare.start("fold=0")
    assert done.returncode == 0, done.stderr
    assert calls[-1] == WORK and len(bare.marks) == 1


def test_an_environment_that_lost_its_python_is_made_anew(bare):
    """As when the system's Python, which it points to, was replaced by another version."""
    bare.start("fold=0")
    (bare.clone / ".venv" / "bin" / "python").unlink()
    done, calls = bare.start("fold=0")
    assert done.returncode == 0, done.stderr
    assert calls[-1] == WORK


def test_a_machine_without_a_python_that_fits_is_told_so(tmp_path):
    (tmp_path / "none").mkdir()
    done, calls = Bare(tmp_path / "none").start("fold=0")
    assert done.returncode == 1 and calls == []
    assert "Python 3.11" in done.stderr and len(done.stderr.splitlines()) == 1
    (tmp_path / "old").mkdir()
    done, calls = Bare(tmp_path / "old", "python3").start("fold=0", FAIL="version_info")
    assert done.returncode == 1
    assert "3.11" in done.stderr
    assert not any("venv" in call for call in calls)


def test_a_system_that_cannot_make_environments_is_told_what_to_install(tmp_path):
    done, _ = Bare(tmp_path, "python3").start("fold=0", FAIL=" venv ")
    assert done.returncode == 1
    assert "python3-venv" in done.stderr


def test_an_active_environment_that_lacks_something_is_told_and_not_used(bare, tmp_path):
    active = tmp_path / "active"
    executable(active / "bin" / "python", '#!/bin/bash\necho "active $*" >> "$LOG"\necho "torch==0.1"\n')
    done, calls = bare.start("fold=0", VIRTUAL_ENV=str(active))
    assert done.returncode == 0
    assert "torch==0.1" in done.stderr and str(bare.clone / ".venv") in done.stderr
    assert not any(call.startswith("active -m src") for call in calls)
    assert calls[-1] == WORK


@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_an_active_environment_that_has_all_is_used(bare, tmp_path, variable):
    active = tmp_path / "active"
    executable(active / "bin" / "python", HEAD + "exit 0\n")
    done, calls = bare.start("fold=0", **{variable: str(active)})
    assert done.returncode == 0 and done.stderr == ""
    assert calls[-1] == WORK and not any("uv" in call for call in calls)
    assert not (bare.clone / ".venv").exists()


def test_a_failure_is_its_exit_code(bare):
    bare.start("fold=0")
    done, calls = bare.start("fold=0", FAIL="src.run")
    assert done.returncode == 1
    assert calls == [WORK]


# The real thing


@pytest.fixture
def real(tmp_path: Path) -> dict[str, str]:
    """The environment of a user whose active Python is the one of these tests; a set-up would only meet stubs."""
    write_tiny(tmp_path)
    for name in ("uv", "python3", "python"):
        executable(tmp_path / "stubs" / name, "#!/bin/bash\necho a set-up was begun >&2\nexit 97\n")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return {
        **kept,
        "PATH": f"{tmp_path / 'stubs'}:{os.environ['PATH']}",
        "VIRTUAL_ENV": sys.prefix,
        "PODIUM_HOME": str(tmp_path),
    }


@pytest.mark.slow
def test_one_fold_from_another_folder_with_a_relative_path(real, tmp_path):
    """In a folder whose own modules are named like ours and like Python's."""
    elsewhere = tmp_path / "elsewhere"
    for name in ("src/__init__.py", "src/run.py", "random.py", "numpy.py"):
        executable(elsewhere / name, "raise SystemExit('the wrong module')\n")
    register_networks()
    torch.save(timm.create_model("resnet8", num_classes=3).state_dict(), elsewhere / "start.pth")
    words = [str(REPOSITORY / "run.sh"), "fold=0", "config=tiny", "run=there", "model.weights=start.pth"]
    done = subprocess.run(words, cwd=elsewhere, env=real, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    sample = pd.read_csv(tmp_path / "competition" / "tiny" / "data" / "sample_submission.csv", dtype=str)
    ours = pd.read_csv(tmp_path / "submissions" / "tiny" / "there.csv", dtype=str)
    assert list(ours["image_id"]) == list(sample["image_id"])
    assert "python -m src.submit" in done.stdout
    assert "Traceback" not in done.stderr
    assert "wrong module" not in done.stdout + done.stderr, "a module of that folder was taken for Python's"


def test_a_word_that_only_training_understands_is_one_line_too(real):
    words = [str(REPOSITORY / "run.sh"), "fold=0", "config=tiny", "optim.lrr=1"]
    done = subprocess.run(words, env=real, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert "optim.lrr" in done.stderr


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_the_same_command_goes_on(real, tmp_path):
    """Two folds, side by side where there are two cores."""
    words = [str(REPOSITORY / "run.sh"), "fold=0..1", "config=tiny", "train.epochs=10", "train.batch=1", "run=long"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, env=real, start_new_session=True, **pipes) as process:
        for line in process.stdout:
            if "epoch  2/10" in line:
                break
        time.sleep(0.03)  # into the middle of an epoch of thirty steps
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the shell and all that it runs
        told, err = process.stdout.read(), process.stderr.read()
    assert "epoch 10/10" not in told, "lines come late where no terminal listens: each must come when it is made"
    assert process.returncode in (130, -signal.SIGINT), err  # a shell calls both 130
    assert "Traceback" not in err and len(err.strip().splitlines()) == 1, err
    assert not (tmp_path / "submissions" / "tiny" / "long.csv").exists()

    warm = f'[ "$1" = -m ] && exec {warm_python()} "$@"\nexec {sys.executable} "$@"\n'
    executable(tmp_path / "warm" / "bin" / "python", f"#!/bin/bash\n{warm}")
    again = real | {"VIRTUAL_ENV": str(tmp_path / "warm")}
    done = subprocess.run(words, env=again, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    steps = [int(step) for step in re.findall(r"\d+/10, \w+ (\d+)/30", done.stdout)]
    assert max(steps) > 1, "the steps since the last epoch's end were lost"
    assert (tmp_path / "submissions" / "tiny" / "long.csv").exists()


def test_a_schedulers_sigterm_keeps_the_steps_too(real, tmp_path):
    words = [warm_python(), "-m", "src.train", "fold=0..1", "config=tiny", "train.epochs=40", "train.batch=1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, env=real, cwd=REPOSITORY, **pipes) as process:
        for line in process.stdout:
            if "epoch  2/40" in line:
                break
        time.sleep(0.03)
        process.terminate()
        process.stdout.read()
        err = process.stderr.read()
    assert process.returncode == 130 and len(err.strip().splitlines()) == 1, err
    assert "Traceback" not in err
    progress = [torch.load(file, weights_only=True)["progress"] for file in tmp_path.rglob("checkpoint.pt")]
    assert len(progress) == 2 and max(one["step"] for one in progress) > 0
