"""One step of Podium's work, in a process of its own: python tests/bench/scale/steps.py STEP HOME prints its figures.

seconds and cpu (user and system) of the step alone; before, the gigabytes held when it begins, libraries and what
earlier steps hand it; peak, the most that the process ever held. Both are pages in memory, files that are mapped too.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WORDS = ["run=made", "predict.engine=torch"]
Work = Callable[[], object]


class FirstBatch(Exception):
    """Training has taken its first step: that is all that was wanted of it."""


class Reporter:
    def show(self, row: str, progress: Any) -> None:
        if progress.done > progress.before:
            raise FirstBatch

    def end(self, row: str, how: str = "done") -> None:
        pass


def detection(home: Path) -> Work:
    """The layout of the files, from their names and the host's tables."""
    from src.competition.detect.layout import detect

    return lambda: detect(home / "competition" / "scale" / "data", {}, "scale")


def tables(home: Path) -> Work:
    """Rows of images from the host's tables, each held against the files that are there."""
    from src.competition.card import load_card
    from src.competition.samples import load_samples

    return lambda: load_samples(load_card("scale"))


def checks(home: Path) -> Work:
    """Every file asked for its size and time, near duplicates among all images found and tied together."""
    from src.competition.quality.cleaning import inspect

    card, samples = _samples()
    return lambda: inspect(card, samples)


def overview(home: Path) -> Work:
    """The look that src.prepare prints; the search for duplicates is part of it."""
    from src.competition.quality.overview import overview

    card, samples = _samples()
    return lambda: overview(card, samples)


def folds(home: Path) -> Work:
    """Five stratified folds of independent rows."""
    return _frozen(home, None)


def grouped(home: Path) -> Work:
    """Five stratified folds of groups of two rows or so."""
    return _frozen(home, "patient")


def train_start(home: Path) -> Work:
    """What src.train does until its first optimizer step, the image cache being there."""
    from src.competition.competition import open_competition
    from src.core.distributed import ALONE
    from src.training.fold_job import FoldJob
    from src.training.machine import Machine
    from src.training.trainer import FoldTraining

    config, run = request("scale")

    def work() -> None:
        competition = open_competition(config, run)
        images, machine = competition.images(), Machine("cpu", "fp32", 0, 64)
        job = FoldJob(competition, images, run.__class__(run.competition, "tried"), machine, 0, 0, 1, 1, None, ALONE)
        try:
            FoldTraining(job, Reporter()).run()
        except FirstBatch:
            return
        raise AssertionError("training took no step")

    return work


def predict_start(home: Path) -> Work:
    """What src.predict does until its first batch of test images is answered."""
    from src.competition.competition import open_competition
    from src.inference.backend_networks import EngineNetworks
    from src.inference.trained_networks import Member

    config, run = request("answers")

    def work() -> None:
        competition = open_competition(config, run)
        networks, member = EngineNetworks(competition, run), Member(0, 0, run.member(0, 0))
        rows = networks.rows(member, "test")[:64]
        networks.logits(networks.ready(member, networks.usual), networks.usual, rows, ("identity", "hflip"))

    return work


def scores(home: Path) -> Work:
    """src.predict on stored logits: out-of-fold tables of five folds and two views, the score and its interval."""
    return _predicted("scale")


def submission(home: Path) -> Work:
    """src.predict on stored logits: test tables of five folds and two views averaged, the CSV written and checked."""
    return _predicted("answers")


def stored_runs(home: Path) -> Work:
    """The runs that are predicted, made up as training leaves them, five folds in two views; and the image caches of
    all training and test files, 16 pixels a side, built by all cores."""
    from tests.fixtures.made_up_run import write_run

    return lambda: [write_run("made", name).images() for name in ("scale", "answers")]


STEPS = {
    one.__name__: one
    for one in (detection, tables, checks, overview, folds, grouped, train_start, predict_start, scores, submission)
}
PREPARING = {stored_runs.__name__: stored_runs}


def _samples() -> tuple:
    from src.competition.card import load_card
    from src.competition.samples import load_samples

    card = load_card("scale")
    return card, load_samples(card)


def _frozen(home: Path, group: str | None) -> Work:
    from src.competition.card import load_card
    from src.competition.folds import freeze_folds
    from src.competition.samples import load_samples

    samples = load_samples(load_card("scale").model_copy(update={"group": group}))
    shutil.rmtree(home / "folds", ignore_errors=True)
    return lambda: freeze_folds(samples, 5, 0, home / "folds")


def request(name: str) -> tuple:
    """The configuration of one of the competitions, and its run."""
    from src.config.request import parse
    from src.core.paths import Run

    request = parse([f"config={name}", *WORDS])
    return request.config, Run(request.competition, request.run)


def _predicted(name: str) -> Work:
    from src.config.request import request_of
    from src.core.cli import key_values
    from src.inference.pipeline import predict

    request = request_of(key_values([f"config={name}", *WORDS]), {"--tta": ""})
    return lambda: predict(request)


def held(key: str) -> float:
    """VmRSS or VmHWM in gigabytes. Not getrusage: its peak counts what the parent held when it started this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e9 for line in lines if line.startswith(f"{key}:"))


def _processor() -> float:
    """Seconds of this process, and of its children that have ended."""
    return time.process_time() + sum(os.times()[2:4])


def main(name: str, home: Path) -> None:
    from tests.bench.scale.several import SEVERAL

    os.environ["PODIUM_HOME"] = str(home)
    work = (STEPS | PREPARING | SEVERAL)[name](home)
    before, cpu, begun = held("VmRSS"), _processor(), time.perf_counter()
    found = work()
    figures = {"seconds": time.perf_counter() - begun, "cpu": _processor() - cpu, "before": before}
    figures |= {"peak": held("VmHWM")} | (found if name in SEVERAL else {})
    print(json.dumps({key: round(value, 4) for key, value in figures.items()}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
