"""Which kind of step is fast on this machine is tried where training takes minutes, kept, and never asked again."""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import pytest
import torch

from src.config import load
from src.errors import Problem
from src.runs import REPOSITORY
from src.training import speed
from src.training.machine import CHANNELS_LAST, CONTIGUOUS, TINY, Machine
from src.training.speed import faster, open_kinds, step_seconds

USUAL = Machine("cpu", "bf16", 0, 8)
FULL = replace(USUAL, precision="fp32")
MANY = 10_000_000  # images: hours


def kept(home) -> dict:
    file = home / "runs" / "speeds.json"
    return json.loads(file.read_text()) if file.exists() else {}


class Clock:
    """Tells a time for each kind, and remembers what was asked."""

    def __init__(self, **seconds: float) -> None:
        self.seconds, self.asked = seconds, []

    def __call__(self, kind: Machine) -> float:
        self.asked.append(kind)
        return self.seconds[kind.precision if kind.layout == CHANNELS_LAST else CONTIGUOUS]


def tried(kinds, clock, images=MANY, words=None):
    lines = []
    config = load("auto", words or {}, "demo-digits")
    return faster(config, kinds, images, clock, lines.append), lines


def test_the_usual_kind_gives_way_only_to_one_that_is_clearly_faster(home):
    assert tried([USUAL, FULL], Clock(bf16=1.0, fp32=0.9))[0] == USUAL
    assert tried([USUAL, FULL], Clock(bf16=1.0, fp32=0.7), words={"model": "resnet18"})[0] == FULL


def test_what_was_tried_is_told_kept_and_not_tried_again(home):
    kinds = [USUAL, FULL, replace(USUAL, layout=CONTIGUOUS)]
    clock = Clock(bf16=1.6, fp32=3.2, contiguous=0.8)
    best, (line,) = tried(kinds, clock)
    assert best == kinds[2] and clock.asked == kinds
    assert "bf16 channels_last all threads 100.0 ms" in line and "speeds.json" in line
    again = Clock()
    assert tried(kinds, again) == (best, []) and again.asked == []
    other = Clock(bf16=1.6, fp32=3.2, contiguous=0.8)
    assert tried(kinds, other, words={"images.size": "99"})[0] == best and other.asked == kinds


def test_a_memory_that_is_torn_is_made_anew(home):
    kinds = [USUAL, FULL]
    for torn in ("{", "[1]", '{"x": 3}'):
        (home / "runs").mkdir(exist_ok=True)
        (home / "runs" / "speeds.json").write_text(torn)
        assert tried(kinds, Clock(bf16=9.0, fp32=1.0))[0] == FULL
        assert any("bf16 channels_last all threads" in one for one in kept(home).values() if isinstance(one, dict))


def test_a_short_training_tries_one_step_and_no_more(home):
    clock = Clock(bf16=1.0, fp32=0.1)
    assert tried([USUAL, FULL], clock, images=speed.BATCH * (speed.WORTH_SECONDS - 1)) == (USUAL, [])
    assert clock.asked == [USUAL] and kept(home) == {}


@pytest.mark.parametrize(
    ("words", "usual", "parameters", "jobs", "wanted"),
    [
        ({}, USUAL, 10 * TINY, 2, {("bf16", CHANNELS_LAST, None), ("fp32", CHANNELS_LAST, None)}),
        ({"train.precision": "bf16"}, USUAL, 10 * TINY, 2, {("bf16", CHANNELS_LAST, None)}),
        ({}, FULL, 10 * TINY, 2, {("fp32", CHANNELS_LAST, None)}),
        ({"machine.layout": "channels_last"}, FULL, TINY - 1, 1, {("fp32", CHANNELS_LAST, None)}),
        ({}, replace(USUAL, device="cuda"), 10 * TINY, 1, set()),
    ],
)
def test_only_what_is_open_and_in_doubt_is_tried(monkeypatch, words, usual, parameters, jobs, wanted):
    monkeypatch.setattr(speed, "cores", lambda: 4)
    config = load("auto", words, "demo-digits")
    kinds = open_kinds(config, usual, parameters, jobs)
    seen = {(kind.precision, kind.layout, kind.threads) for kind in kinds[1:]}
    usual_one = (usual.precision, usual.layout, None)
    if config.machine.layout == "auto" and usual.device == "cpu" and parameters >= TINY:
        wanted = wanted | {(precision, CONTIGUOUS, threads) for precision, _, threads in wanted}
    if jobs == 1 and usual.device == "cpu":
        wanted = wanted | {(precision, layout, 1) for precision, layout, _ in wanted}
    assert kinds[0] == usual and seen == wanted - {usual_one}


def sleeper(where, kind):
    """A step that takes 20 ms, and notes who made it, with how many threads."""

    def step():
        with where.open("a") as file:
            file.write(f"{os.getpid()} {torch.get_num_threads()}\n")
        time.sleep(0.02)

    return step


def test_a_step_is_timed_in_another_process(tmp_path):
    before = torch.get_num_threads()
    seconds = step_seconds(partial(sleeper, tmp_path / "who"), replace(USUAL, threads=3))
    who = {tuple(map(int, line.split())) for line in (tmp_path / "who").read_text().splitlines()}
    assert 0.02 <= seconds < 2
    ((pid, threads),) = who
    assert pid != os.getpid() and threads == 3 and torch.get_num_threads() == before
    assert multiprocessing.active_children() == []


def test_a_trial_that_dies_is_told():
    with pytest.raises(Problem, match="name train"):
        step_seconds(lambda kind: os._exit(9), USUAL)


EAGER = """
import sys
from src.train import main
from src.training import machine, speed
machine.cores = speed.cores = lambda: 2
speed.WORTH_SECONDS = speed.CLEARLY = 0
sys.exit(main(sys.argv[1:]))
"""


def trained(*words: str) -> str:
    """What training tells where everything is worth a trial and the fastest wins; in a process of its own, for one
    that has had threads can not fork well."""
    line = [sys.executable, "-c", EAGER, "config=tiny", "fold=0", "train.epochs=1", *words]
    done = subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_training_takes_what_was_found(tiny):
    told = trained("run=a", "machine.threads=auto")
    assert "tried on 16 images" in told
    ((key, seconds),) = kept(tiny).items()
    assert set(seconds) == {"fp32 channels_last all threads", "fp32 channels_last one thread"} and "torch" in key
    one_thread = min(seconds, key=seconds.get).endswith("one thread")
    record = json.loads((tiny / "runs" / "tiny" / "a" / "machine.json").read_text())
    assert record["threads"] == (1 if one_thread else None)
    assert f", {'one thread' if one_thread else '2 threads'}" in told

    assert "tried on" not in trained("run=b", "machine.threads=auto")
    trained("run=c", "machine.threads=1", "machine.layout=contiguous")
    record = json.loads((tiny / "runs" / "tiny" / "c" / "machine.json").read_text())
    assert record["layout"] == CONTIGUOUS and len(kept(tiny)) == 1
