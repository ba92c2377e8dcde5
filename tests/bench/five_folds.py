"""Row: training five folds of resnet18 at 64 pixels, images a second from the command to its end.

Podium trains them with one command, its cache not built yet. The peer is a loop over five trainings as timm's
train.py does them (see peer/timm_train.py), on the same folds: once as it comes, in fp32, once in bf16, channels last.
"""

import csv
import os
import shutil
from functools import partial
from pathlib import Path

from src.core.errors import Problem
from src.training.machine import cores
from tests.bench.photos import NAME, bench_home
from tests.bench.process import peer, podium
from tests.bench.row import Figures, Line, Row, Trial

FOLDS, EPOCHS = 5, 2


def with_podium(trial: Trial) -> Figures:
    home, run = bench_home(trial.tiny), f"bench-five-folds-{trial.repeat}"
    folder = home / "runs" / NAME / run
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(home / "competition" / NAME / "cache", ignore_errors=True)
    seconds = podium(home, "src.train", "config=five-folds", f"run={run}", "fold=0..4", f"train.epochs={EPOCHS}")
    images = EPOCHS * sum(len(train) for train, _ in folds(home))
    shutil.rmtree(folder)
    return {"images/s": images / seconds, "command": seconds}


def with_timm(trial: Trial, bf16: bool) -> Figures:
    home = bench_home(trial.tiny)
    if not folds(home):
        raise Problem("Podium's side has to be measured first: it deals the folds that both train on")
    words = ["--epochs", EPOCHS, "--workers", cores(), *(["--bf16"] if bf16 else [])]
    images = seconds = 0.0
    for number, (train, held_out) in enumerate(folds(home)):
        data = trial.folder / str(number)
        link(home, train, data / "train")
        link(home, held_out, data / "validation")
        figures = peer("timm_train.py", data, *words)
        images += figures["images"]
        seconds += figures["command"]
    return {"images/s": images / seconds, "command": seconds}


def folds(home: Path) -> list[tuple[list[Path], list[Path]]]:
    """The photos that each fold trains on and holds out, below data/, from the table that Podium froze."""
    tables = list((home / "runs" / NAME).glob("folds-*.csv"))
    paths = {}
    for part in ("train", "valid"):
        with (home / "competition" / NAME / "data" / f"{part}.csv").open(encoding="utf-8", newline="") as file:
            paths |= {row["id"]: Path(row["path"]) for row in csv.DictReader(file)}
    for table in tables:
        with table.open(encoding="utf-8", newline="") as file:
            of_photo = {paths[row["id"]]: int(row["fold"]) for row in csv.DictReader(file)}
        if set(of_photo.values()) == set(range(FOLDS)):  # and not the host's single one
            return [
                (
                    [path for path, fold in of_photo.items() if fold != k],
                    [p for p, fold in of_photo.items() if fold == k],
                )
                for k in range(FOLDS)
            ]
    return []


def link(home: Path, paths: list[Path], target: Path) -> None:
    """Hard links to these photos, a folder a species, as ImageFolder wants them."""
    for path in paths:
        (target / path.parent.name).mkdir(parents=True, exist_ok=True)
        os.link(home / "competition" / NAME / "data" / path, target / path.parent.name / path.name)


TITLE = "five folds of resnet18 at 64 px, 2 epochs, command to end"
ROW = Row(
    "five-folds",
    {
        "Podium": with_podium,
        "timm's loop, fp32": partial(with_timm, bf16=False),
        "timm's loop, bf16, channels last": partial(with_timm, bf16=True),
    },
    (
        Line(TITLE, "images/s", "timm's loop, fp32", 2.5),
        Line(TITLE, "images/s", "timm's loop, bf16, channels last", 2),
    ),
    "timm's wheel holds no train.py: the loop is written from timm's own loaders, optimizer, schedule and saver with "
    "train.py's defaults. Podium builds its cache within the time. Network, batch, optimizer and kinds of augmentation "
    "are the same; timm loads with as many workers as there are cores.",
)
