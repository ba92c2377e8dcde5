"""A command that is killed at any moment and given again ends as one that never stopped, bit for bit.

PODIUM_KILLS=200 ./run.sh test -m slow tests/core/test_kills.py -s    so many kills; what each hit is printed
"""

import contextlib
import io
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from src.core.files import read_npz, sha256_of
from src.predict import main as predict
from src.prepare import main as prepare
from src.report import main as report
from src.train import main as train
from tests.fixtures.tiny import write_tiny

KILLS = int(os.environ.get("PODIUM_KILLS", "40"))
Command = Callable[[list[str]], int]


def child(command: Command, words: list[str], home: Path) -> None:
    os.setsid()
    os.environ["PODIUM_HOME"] = str(home)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        code = command(words)
    os._exit(code)


def run(command: Command, words: list[str], home: Path, kill_after: float | None = None) -> int:
    """The exit code of a command in a process of its own; -9 where it was killed, with all that it had started."""
    process = multiprocessing.get_context("fork").Process(target=child, args=(command, words, home))
    process.start()
    process.join(kill_after)
    if process.is_alive() and kill_after is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.join(120)
    return process.exitcode


def kept(home: Path) -> dict[str, str]:
    """What a command leaves for good: cards, data, caches, folds, weights, logits, scores, submissions, pages."""
    found = {}
    for path in sorted(path for path in home.rglob("*") if path.is_file()):
        name = str(path.relative_to(home))
        if path.name in ("lock", "look.lock", ".source.json") or path.suffix in (".log", ".json") or "/report/" in name:
            continue  # they hold times, and paths of the home
        if path.name == "log.csv":
            found[name] = str([line.split(",")[:3] for line in path.read_text().splitlines()])
        elif path.suffix == ".npz" and "/logits/" in name:
            table = read_npz(path)  # its meta tells how long an image took
            found[name] = str([table[key].tobytes() for key in ("id", "logits", "classes")])
        elif path.name == "look.npz":  # its stamps tell when each file was changed, or copied
            found[name] = str([(key, value.tobytes()) for key, value in read_npz(path).items() if key != "stamp"])
        elif path.suffix == ".part":
            continue
        else:
            found[name] = sha256_of(path)
    for path in home.rglob("done.json"):
        facts = json.loads(path.read_text())
        found[str(path.relative_to(home))] = str([facts[key] for key in ("weights", "score", "epochs")])
    for path in home.rglob("report.html"):
        found[str(path.relative_to(home))] = str(path.read_text().rstrip().endswith("</html>"))
    return found


@pytest.fixture
def stages(tmp_path: Path) -> list[tuple[str, Command, list[str], Path, dict[str, str], float]]:
    """Each command with the home that it starts from, what it leaves unstopped, and its seconds."""
    source, home = tmp_path / "source", tmp_path / "home"
    write_tiny(source)
    home.mkdir()
    shutil.copytree(source / "configs", home / "configs")
    data = source / "competition" / "tiny" / "data"
    lot = [
        ("prepare", prepare, [str(data), "id=tiny", "metric=accuracy"]),
        ("train and cache", train, ["config=tiny"]),
        ("predict", predict, ["--tta", "config=tiny"]),
        ("report", report, ["config=tiny"]),
    ]
    found = []
    for name, command, words in lot:
        start = tmp_path / f"before {name}"
        shutil.copytree(home, start)
        begun = time.monotonic()
        assert run(command, words, home) == 0, name
        found.append((name, command, words, start, kept(home), time.monotonic() - begun))
    return found


@pytest.mark.slow
def test_a_killed_command_given_again_ends_as_one_that_never_stopped(stages, tmp_path):
    generator, hit, wrong = random.Random(0), Counter(), []
    for number in range(KILLS):
        name, command, words, start, right, seconds = stages[number % len(stages)]
        home = tmp_path / "killed"
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(start, home)
        moment = generator.uniform(0, seconds)
        code = run(command, words, home, moment)
        hit[name, "killed" if code == -signal.SIGKILL else "was over"] += 1
        again = run(command, words, home)
        there = kept(home)
        differ = sorted(key for key in there.keys() | right.keys() if there.get(key) != right.get(key))
        parts = [str(part.relative_to(home)) for part in home.rglob("seed*/*/.*.part")]
        if again != 0 or differ or (parts and command is train):
            wrong.append(f"{name} killed after {moment:.2f} s of {seconds:.2f}: exit code {again}, {differ}, {parts}")
    for (name, how), count in sorted(hit.items()):
        print(f"{name}: {count} {how}")
    assert not wrong, "\n".join(wrong)
    assert sum(count for (_, how), count in hit.items() if how == "killed") > KILLS / 2
