"""Which kind of step is fast on this machine is tried where training takes minutes, kept, and never asked again."""

import json
import multiprocessing
import os
import re
import signal
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
import torch

from src.config.load import load
from src.core.console import messages_to
from src.core.reporter import SilentReporter
from src.core.worker_processes import run_tasks
from src.train import main
from src.training import autotune
from src.training.autotune import faster, images_tried, open_kinds, step_seconds
from src.training.machine import CHANNELS_LAST, CONTIGUOUS, TINY, Machine, Share, choose
from tests.fixtures.codes import raises
from tests.fixtures.fresh_process import trained
from tests.fixtures.notes import names_it
from tests.fixtures.warm_python import warm_python

USUAL = Machine("cpu", "bf16", 0, 8)
FULL = replace(USUAL, precision="fp32")
MANY = 10_000_000  # images: hours
BESIDE = Share(2, 2, 0)
CHOSEN = {
    "train.global_batch": "64",
    "train.batch": "16",
    "data.sampler": "plain",
    "images.size": "64",
    "train.epochs": "1",
}


def kept(home) -> dict:
    file = home / "runs" / "speeds.json"
    return json.loads(file.read_text()) if file.exists() else {}


@dataclass
class Clock:
    """Its steps take as many seconds as it holds for their kind; what was asked is noted in a file."""

    asked: Path
    seconds: dict[str, float]

    def __call__(self, kind: Machine):
        self.note("begun", kind)
        return partial(time.sleep, self.seconds[self.name(kind)])

    def timed(self, kinds: list[Machine]) -> list[float]:
        """As another process would tell."""
        for kind in kinds:
            self.note("timed", kind)
        return [self.seconds[self.name(kind)] for kind in kinds]

    def name(self, kind: Machine) -> str:
        return kind.precision if kind.layout == CHANNELS_LAST else CONTIGUOUS

    def note(self, what: str, kind: Machine) -> None:
        with self.asked.open("a") as file:
            file.write(f"{what} {self.name(kind)}\n")

    def names(self) -> list[str]:
        """Of the kinds whose steps were timed."""
        lines = self.asked.read_text().splitlines() if self.asked.exists() else []
        return [line.removeprefix("timed ") for line in lines if line.startswith("timed")]


@pytest.fixture
def clocked(monkeypatch):
    """No process is started to time the steps of a Clock, which takes seconds; others show that it is."""
    monkeypatch.setattr(autotune, "step_seconds", Clock.timed)


def tried(kinds, clock, images=MANY, words=None):
    lines: list[str] = []
    config = load("auto", CHOSEN | (words or {}), "demo-digits")
    with messages_to(lambda text, code: lines.append(text)):
        return faster(config, kinds, images, clock), lines


def test_the_usual_kind_gives_way_only_to_one_that_is_clearly_faster(home, clocked):
    assert tried([USUAL, FULL], Clock(home / "a", {"bf16": 0.1, "fp32": 0.097}))[0] == USUAL
    assert tried([USUAL, FULL], Clock(home / "b", {"bf16": 0.1, "fp32": 0.05}), words={"model": "resnet18"})[0] == FULL


def test_what_was_tried_is_told_kept_and_not_tried_again(home, clocked):
    kinds = [USUAL, FULL, replace(USUAL, layout=CONTIGUOUS)]
    seconds = {"bf16": 0.1, "fp32": 0.2, CONTIGUOUS: 0.02}
    clock = Clock(home / "first", seconds)
    best, (line,) = tried(kinds, clock)
    assert best == kinds[2] and clock.names() == list(seconds)
    assert names_it(line, 16) and re.search(r"\b6\.\d ms", line) and "speeds.json" in line
    again = Clock(home / "again", {})
    assert tried(kinds, again) == (best, []) and not again.asked.exists()
    other = Clock(home / "other", seconds)
    assert tried(kinds, other, words={"images.size": "99"})[0] == best and other.names() == list(seconds)


def test_only_kinds_that_are_not_known_are_tried_and_the_others_stay_known(home, clocked):
    """As one fold and two side by side ask in turns, each with threads of its own."""
    alone, beside = [USUAL, FULL], [replace(kind, threads=2) for kind in (USUAL, FULL)]
    seconds = {"bf16": 0.2, "fp32": 0.1, CONTIGUOUS: 0.05}
    assert tried(alone, Clock(home / "first", seconds))[0] == FULL
    second = Clock(home / "second", seconds)
    best, _ = tried([*beside, FULL], second)
    assert best == beside[1] and second.names() == ["bf16", "fp32"]
    third = Clock(home / "third", {})
    assert tried(alone, third) == (FULL, []) and tried(beside, third) == (beside[1], [])
    ((_, times),) = kept(home).items()
    assert list(times.values()) == [0.2, 0.1, 0.2, 0.1]
    fewer = Clock(home / "fewer", seconds)  # a step of fewer images says nothing of one of more
    tried(alone, fewer, words={"train.batch": "4"})
    assert fewer.names() == ["bf16", "fp32"] and len(kept(home)) == 2
    other = Clock(home / "other", seconds)  # nor does one of a wider network
    tried(alone, other, words={"model.args": "{narrow: true}"})
    assert other.names() == ["bf16", "fp32"] and len(kept(home)) == 3


def test_a_memory_that_is_torn_is_made_anew(home, clocked):
    (home / "runs").mkdir()
    memory, clock = home / "runs" / "speeds.json", Clock(home / "asked", {"bf16": 0.1, "fp32": 0.01})
    memory.write_text('["')
    assert tried([USUAL, FULL], clock)[0] == FULL
    ((key, seconds),) = kept(home).items()
    assert set(seconds) == {"bf16 channels_last all threads", "fp32 channels_last all threads"}
    for spoilt in ([], dict.fromkeys(seconds, "fast"), dict.fromkeys(seconds, float("nan"))):
        memory.write_text(json.dumps({key: spoilt}))
        assert tried([USUAL, FULL], clock)[0] == FULL and list(kept(home)[key].values()) == [0.1, 0.01]


def test_a_trial_takes_no_more_images_than_a_piece_of_a_step(home, clocked):
    """What does not fit into memory in training must not be tried either."""
    for words, wanted in (({"train.batch": "4"}, 4), ({"train.global_batch": "6"}, 6), ({"train.batch": "auto"}, 16)):
        assert images_tried(load("auto", {"train.global_batch": "64"} | words, "demo-digits")) == wanted
    (line,) = tried([USUAL, FULL], Clock(home / "a", {"bf16": 0.1, "fp32": 0.2}), words={"train.batch": "4"})[1]
    assert names_it(line, 4)


class SlowAtFirst(Clock):
    """Its first step of each kind is twenty times as slow as the next."""

    def __call__(self, kind: Machine):
        steps = iter([20.0, *[1.0] * 99])
        self.note("begun", kind)
        return lambda: time.sleep(self.seconds[self.name(kind)] * next(steps))


@pytest.mark.parametrize("share, some", [(0.8, True), (2.0, False)])
def test_what_a_trial_must_be_worth_is_the_time_of_all_cores_once_they_are_warm(
    home, clocked, monkeypatch, share, some
):
    monkeypatch.setattr(autotune, "cores", lambda: 4)
    clock = SlowAtFirst(home / "asked", {"bf16": 0.02, "fp32": 0.01})
    steps = autotune.WORTH_SECONDS / 0.02 * 4 / share
    assert bool(tried([USUAL, FULL], clock, images=int(autotune.BATCH * steps))[1]) == some


def test_a_short_training_tries_a_step_and_no_more(home):
    clock = Clock(home / "asked", {"bf16": 0.1, "fp32": 0.01})
    assert tried([USUAL, FULL], clock, images=autotune.BATCH * (autotune.WORTH_SECONDS - 1)) == (USUAL, [])
    assert clock.names() == [] and len(clock.asked.read_text().splitlines()) == 1 and kept(home) == {}


@pytest.mark.parametrize(
    ("words", "usual", "parameters", "share", "wanted"),
    [
        ({}, USUAL, 10 * TINY, BESIDE, "bf16 last 2, fp32 last 2, bf16 first 2, fp32 first 2"),
        ({"train.precision": "bf16"}, USUAL, 10 * TINY, BESIDE, "bf16 last 2, bf16 first 2"),
        ({}, FULL, 10 * TINY, BESIDE, "fp32 last 2, fp32 first 2"),
        ({"machine.layout": "channels_last"}, FULL, TINY - 1, Share(1, 4, 0), "fp32 last 1, fp32 last None"),
        ({"machine.layout": "channels_last"}, FULL, TINY, Share(1, 4, 0), "fp32 last None, fp32 last 1"),
        ({"machine.threads": "4"}, FULL, 10 * TINY, Share(1, 4, 0), "fp32 last 4, fp32 first 4"),
        ({}, replace(USUAL, device="cuda"), 10 * TINY, Share(1, 4, 4), "bf16 last None"),
    ],
)
def test_only_what_is_open_and_in_doubt_is_tried(monkeypatch, words, usual, parameters, share, wanted):
    """Each with the threads that a fold will have."""
    monkeypatch.setattr(autotune, "cores", lambda: 4)
    kinds = open_kinds(load("auto", words, "demo-digits"), usual, parameters, share)
    names = {CHANNELS_LAST: "last", CONTIGUOUS: "first"}
    seen = [f"{kind.precision} {names[kind.layout]} {kind.threads}" for kind in kinds]
    assert (kinds[0].precision, kinds[0].layout) == (usual.precision, usual.layout)
    assert seen[0] == wanted.split(", ")[0] and sorted(seen) == sorted(wanted.split(", "))


def slowly(asked, begin, kinds):
    """Steps that take a while to be tried; who tries them is noted."""
    with asked.open("a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(0.5)
    return [0.2, 0.02]


def run_beside(place, number, reporter):
    best, _ = tried([USUAL, FULL], Clock(place / f"clock{number}", {"bf16": 0.1}))
    (place / f"best{number}").write_text(best.precision)


def test_of_runs_that_begin_together_one_tries_for_all(home, monkeypatch):
    monkeypatch.setattr(autotune, "step_seconds", partial(slowly, home / "asked"))
    run_tasks([partial(run_beside, home, number) for number in range(3)], 3, SilentReporter())
    assert [(home / f"best{number}").read_text() for number in range(3)] == ["fp32"] * 3
    assert len((home / "asked").read_text().splitlines()) == 1


def test_a_torch_without_onednn_trains_in_full_precision(tmp_path, monkeypatch):
    """As on a Mac's own processor, where torch does not even know the question whether bf16 is fast."""
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    config = load("auto", {"machine.device": "cpu", "train.batch": "8"}, "demo-digits")
    assert choose(config, 10 * TINY, tmp_path / "machine.json", lambda machine: machine).precision == "fp32"


@pytest.fixture
def warm():
    """Processes for trials that have their libraries imported."""
    multiprocessing.set_executable(str(warm_python()))
    yield
    multiprocessing.set_executable(sys.executable)


def noting(where, kind):
    """A step that notes who makes it, with how many threads."""

    def step():
        with where.open("a") as file:
            file.write(f"{os.getpid()} {torch.get_num_threads()}\n")

    return step


def dying(kind):
    return partial(os._exit, 9)


def test_steps_are_timed_in_another_process_with_the_threads_of_their_kind(tmp_path, warm):
    before = torch.get_num_threads()
    seconds = step_seconds(partial(noting, tmp_path / "who"), [replace(USUAL, threads=3), replace(USUAL, threads=1)])
    who = [tuple(map(int, line.split())) for line in (tmp_path / "who").read_text().splitlines()]
    assert len(seconds) == 2 and all(0 < each < 1 for each in seconds)
    assert {pid for pid, _ in who} != {os.getpid()} and {threads for _, threads in who} == {1, 3}
    assert torch.get_num_threads() == before and multiprocessing.active_children() == []


def learning(kind):
    """A step that torch would share out among threads, of a network that has taken one with several."""
    network, images = torch.nn.Conv2d(8, 8, 3), torch.ones(16, 8, 64, 64)
    return lambda: network(images).sum().backward()


def test_steps_of_one_thread_are_timed_in_forked_processes_whatever_was_computed_before():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        learning(USUAL)()
        seconds = step_seconds(learning, [replace(FULL, threads=1)], at_once=2)
    finally:
        torch.set_num_threads(before)
    assert len(seconds) == 1 and seconds[0] > 0 and multiprocessing.active_children() == []


def sleeping(kind):
    return partial(time.sleep, 600)


def test_a_trial_is_given_up_where_training_is_stopped(warm):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            step_seconds(sleeping, [USUAL])
    finally:
        signal.signal(signal.SIGALRM, before)
    assert multiprocessing.active_children() == []


def test_a_trial_that_dies_is_told(warm):
    with raises("trial-failed"):
        step_seconds(dying, [USUAL])


EAGER = "autotune.WORTH_SECONDS = autotune.CLEARLY = 0"  # everything is worth a trial, and the fastest wins


@pytest.mark.slow  # several trainings in processes of their own
def test_training_takes_what_was_found(tiny):
    words = ["config=tiny", "fold=0", "train.epochs=1", "machine.threads=auto"]
    text = trained(*words, "run=a", cores=2, before=EAGER)
    assert names_it(text, 8)
    ((key, seconds),) = kept(tiny).items()
    assert set(seconds) == {"fp32 channels_last all threads", "fp32 channels_last one thread"} and "torch" in key
    one_thread = min(seconds, key=seconds.get).endswith("one thread")
    record = json.loads((tiny / "runs" / "tiny" / "a" / "machine.json").read_text())
    assert record["threads"] == (1 if one_thread else None)

    before = kept(tiny)
    trained(*words, "run=b", cores=2, before=EAGER)
    assert kept(tiny) == before
    assert main(["config=tiny", "fold=0", "train.epochs=1", "run=c", "machine.layout=contiguous"]) == 0
    record = json.loads((tiny / "runs" / "tiny" / "c" / "machine.json").read_text())
    assert record["layout"] == CONTIGUOUS and len(kept(tiny)) == 1
