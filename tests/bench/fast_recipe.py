"""Rows: time to the accuracy of fastai's fit_one_cycle, and accuracy after its time; resnet18 from scratch at 64 px.

fastai trains eight epochs with its defaults. Podium trains configs/fast.yaml, and then the same recipe with its
epochs lengthened to what fits into fastai's time on this machine. Each repeat is a seed of both. Seconds run from the
command's start to the end of the training, the cache being built within; accuracy is on the test rows, in one view,
with the last weights. Recipes were chosen on other rows: the test was never looked at for that.
"""

import csv
import math
import shutil
from pathlib import Path

from src.config.load import load
from src.core.errors import Problem
from src.core.files import read_json
from src.core.paths import Run
from tests.bench.photos import NAME, at_home, bench_home
from tests.bench.process import peer, podium
from tests.bench.row import PODIUM, Figures, Line, Row, Trial

FASTAI, LONGER = "fastai, 8 epochs", "Podium, as long as fastai"
RECIPE = "fast"


def with_podium(trial: Trial) -> Figures:
    return _trained(trial, RECIPE, 1.0)


def with_podium_as_long(trial: Trial) -> Figures:
    """The recipe stretched once, by the first repeat's times, and the same for all that follow."""
    before = trial.earlier(LONGER)
    factor = before[0]["stretch"] if before else stretch(trial.earlier(PODIUM), trial.earlier(FASTAI))
    return _trained(trial, f"{RECIPE}-long", factor) | {"stretch": factor}


def with_fastai(trial: Trial) -> Figures:
    data = bench_home(trial.tiny) / "competition" / NAME / "data"
    text = peer("fastai_fit.py", data, trial.repeat, 1 if trial.tiny else 8)
    return {"seconds": text["ended"] - text["began"], "test": text["test"], "valid": text["valid"]}


def stretch(short: list[Figures], peer_figures: list[Figures]) -> float:
    """By what the recipe's epochs are multiplied to take the peer's time: what is not training stays as it is."""
    if not short or not peer_figures:
        raise Problem(
            "the recipe and fastai have to be measured before the time that both may take is known",
            code="not-measured-yet",
        )
    beside = short[0]["seconds"] - short[0]["training"]
    return max(0.1, (peer_figures[0]["seconds"] - beside) / short[0]["training"])


def stretched(home: Path, factor: float) -> list[str]:
    """The words that give the recipe `factor` times its epochs, rounded down."""
    with at_home(home):
        config = load(RECIPE, {}, NAME)
    stages = [
        {"epochs": max(1, math.floor(stage.epochs * factor)), "size": stage.size} for stage in config.train.stages
    ]
    text = ", ".join(f"{{epochs: {stage['epochs']}, size: {stage['size']}}}" for stage in stages)
    return [f"train.stages=[{text}]", f"schedule.warmup_epochs={config.schedule.warmup_epochs * factor:.2f}"]


def _trained(trial: Trial, name: str, factor: float) -> Figures:
    home, seed, run = bench_home(trial.tiny), trial.repeat, Run(NAME, f"bench-{name}-{trial.repeat}")
    folder = home / "runs" / NAME / run.name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(home / "competition" / NAME / "cache", ignore_errors=True)
    words = [f"config={RECIPE}", f"competition={NAME}", "data.validation=host", *stretched(home, factor)]
    seconds = podium(home, "src.train", f"run={run.name}", "fold=0", f"seed={seed}", *words)
    podium(home, "src.predict", f"run={run.name}", f"seed={seed}")
    done = read_json(folder / f"seed{seed}" / "fold0" / "done.json")
    test = accuracy_of(
        home / "submissions" / NAME / f"{run.name}.csv", home / "competition" / NAME / "data" / "test.csv"
    )
    shutil.rmtree(folder)
    return {"seconds": seconds, "test": test, "valid": done["score"], "training": done["seconds"]}


def accuracy_of(answers: Path, truth: Path) -> float:
    """Of a submission, held against a table of labels."""
    text, known = (_labels(file) for file in (answers, truth))
    return sum(text[key] == label for key, label in known.items()) / len(known)


def _labels(file: Path) -> dict[str, str]:
    with file.open(encoding="utf-8", newline="") as lines:
        return {row["id"]: row["label"] for row in csv.DictReader(lines)}


ROW = Row(
    "fast-recipe",
    {PODIUM: with_podium, FASTAI: with_fastai, LONGER: with_podium_as_long},
    (
        Line(
            "time to fastai's accuracy, 20 species at 64 px",
            "seconds",
            FASTAI,
            3,
            less_is_better=True,
            provided="test",
        ),
        Line(
            "accuracy after fastai's time, 20 species at 64 px",
            "test",
            FASTAI,
            0,
            side=LONGER,
            difference=True,
            beside="seconds",
        ),
    ),
    "Both train a resnet18 from scratch on the same rows; fastai as vision_learner(pretrained=False) makes it and "
    "fit_one_cycle(8) trains it, Podium by configs/fast.yaml; the trunks are the same, fastai's head is "
    "larger. The time to accuracy counts where the mean accuracy on the test over the seeds is no lower than fastai's.",
)
