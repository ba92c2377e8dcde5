"""Rows from ImageNet's weights, those of tf_efficientnet_lite0 that a package carries.

`fine-tune`: the probe, and a training of as long as fastai takes, beside fastai's fine_tune(3) with the same weights at
the same size; twenty species, each repeat a seed of both. fastai's seconds run from the command's start to the end of
its training, Podium's to the end of its last command; accuracy is in one view on the validation rows, and on the test
rows, by which nothing was chosen.
`probe-100`, `budget-mini`, `budget-100`: the whole way of five folds, train, predict, report, with nothing kept from
before; the score is out of fold with the views of --tta.
"""

import math
import os
import shutil
from functools import partial
from pathlib import Path

from safetensors.torch import save_file

from src.competition.card import load_card
from src.competition.sources.data_folder import find_archive
from src.core.errors import Problem
from src.core.files import read_json
from src.core.paths import REPOSITORY
from src.models.embedded import embedded_of
from tests.bench.fast_recipe import accuracy_of
from tests.bench.photos import NAME, bench_home, workplace
from tests.bench.process import peer, podium
from tests.bench.row import PODIUM, Figures, Line, Row, Trial

NETWORK, SIZE = "tf_efficientnet_lite0", 128
FASTAI, LONGER = "fastai, fine_tune(3)", "Podium, as long as fastai"


def with_probe(trial: Trial) -> Figures:
    return _one_fold(trial, "probe", "config=probe", f"images.size={SIZE}")


def with_budget(trial: Trial) -> Figures:
    """Planned for the time that the first repeat of fastai took, and the same for all that follow."""
    earlier = trial.earlier(FASTAI)
    if not earlier:
        raise Problem("fastai has to be measured before the time that both may take is known")
    seconds = math.floor(earlier[0]["seconds"])
    return _one_fold(trial, "budget", f"budget={seconds}s") | {"budget": seconds}


def with_fastai(trial: Trial) -> Figures:
    data = bench_home(trial.tiny) / "competition" / NAME / "data"
    before = os.environ.get("HF_HOME")
    os.environ["HF_HOME"] = str(_hub_with_weights(trial.folder))
    try:
        text = peer("fastai_fine_tune.py", data, trial.repeat, 1 if trial.tiny else 3, SIZE)
    finally:
        os.environ.pop("HF_HOME")
        if before is not None:
            os.environ["HF_HOME"] = before
    return {"seconds": text["ended"] - text["began"], "test": text["test"], "valid": text["valid"]}


def _hub_with_weights(folder: Path) -> Path:
    """A cache of timm's hub that holds the package's weights, as timm's own download would have left it."""
    import timm

    commit = "0" * 40
    repository = folder / "hub" / "models--timm--tf_efficientnet_lite0.in1k"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    tensors = embedded_of(NETWORK).tensors(timm.create_model(NETWORK))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, snapshot / "model.safetensors")
    return folder


def _one_fold(trial: Trial, name: str, *words: str) -> Figures:
    """The training rows and the host's validation rows of the twenty species: from the command to the CSV."""
    home, seed, run = bench_home(trial.tiny), trial.repeat, f"bench-{name}-{trial.repeat}"
    _forget(home, NAME, run)
    asked = [f"run={run}", f"seed={seed}", f"competition={NAME}", "data.validation=host", "fold=0", *words]
    seconds = podium(home, "src.train", *asked) + podium(home, "src.predict", *asked)
    done = read_json(home / "runs" / NAME / run / f"seed{seed}" / "fold0" / "done.json")
    data = home / "competition" / NAME / "data"
    valid, file = _handed_in(home / "runs" / NAME / run) or (done["score"], None)
    test = accuracy_of(Path(file or home / "submissions" / NAME / f"{run}.csv"), data / "test.csv")
    return {"seconds": seconds, "test": test, "valid": valid}


def _handed_in(run: Path) -> tuple[float, str | None] | None:
    """Of a planned run: the score of the answer that it names, and its file where that is not the run's own."""
    plan = read_json(run / "plan.json") if (run / "plan.json").exists() else {}
    return (plan["answer"]["value"], plan["submit"]) if plan.get("answer") else None


def whole_way(trial: Trial, competition: str, words: tuple[str, ...]) -> Figures:
    """Train, predict and page, one after the other as ./run.sh does it."""
    home, run = _whole_home(competition), "bench"
    _forget(home, competition, run)
    shutil.rmtree(home / "competition" / competition / "data", ignore_errors=True)
    asked = [f"run={run}", f"competition={competition}", "fold=0" if trial.tiny else "fold=0..4", *words]
    if trial.tiny:
        asked = [word if not word.startswith("budget=") else "budget=60s" for word in asked]
    training = podium(home, "src.train", *asked)
    predicting = podium(home, "src.predict", "--tta", *asked)
    reporting = podium(home, "src.report", *asked)
    (record,) = (home / "runs" / competition / run / "predictions").glob("*.json")
    score, _ = _handed_in(home / "runs" / competition / run) or (read_json(record)["score"]["value"], None)
    seconds = training + predicting + reporting
    return {"seconds": seconds, "score": score, "training": training, "predicting": predicting}


def _whole_home(competition: str) -> Path:
    """A home with one competition's card and its archive, made once."""
    home = workplace() / "whole" / competition
    folder = home / "competition" / competition
    if not folder.is_dir():
        card = load_card(competition)
        folder.mkdir(parents=True)
        os.link(find_archive(card), folder / card.archive)
        shutil.copyfile(REPOSITORY / "competition" / competition / "card.yaml", folder / "card.yaml")
    return home


def _forget(home: Path, competition: str, run: str) -> None:
    for folder in (home / "runs" / competition).glob(f"{run}*"):
        shutil.rmtree(folder)
    shutil.rmtree(home / "competition" / competition / "cache", ignore_errors=True)


FINE_TUNE = Row(
    "fine-tune",
    {PODIUM: with_probe, FASTAI: with_fastai, LONGER: with_budget},
    (
        Line(
            "time to fastai's accuracy with ImageNet's weights, 20 species at 128 px",
            "seconds",
            FASTAI,
            10,
            less_is_better=True,
            provided="valid",
        ),
        Line(
            "accuracy after fastai's time with ImageNet's weights, 20 species",
            "valid",
            FASTAI,
            0.05,
            side=LONGER,
            difference=True,
            beside="seconds",
        ),
    ),
    f"Both begin with the same weights of {NETWORK}; fastai as vision_learner(...).fine_tune(3) trains them, Podium by "
    "configs/probe.yaml at that size, and by budget=.",
)


def _alone(name: str, competition: str, seconds: float, score: float, *words: str) -> Row:
    return Row(
        name,
        {PODIUM: partial(whole_way, competition=competition, words=words)},
        (
            Line(f"{competition}, five folds, {' '.join(words)}", "seconds", None, seconds, less_is_better=True),
            Line(f"{competition}, five folds, {' '.join(words)}: out of fold", "score", None, score),
        ),
        "From the first command to the page, features, cache and unpacking included.",
    )


ROWS = (
    FINE_TUNE,
    _alone("probe-100", "butterflies-100", 360, 0.93, "config=probe"),
    _alone("budget-mini", "butterflies-mini", 300, 0.95, "budget=5m"),
    _alone("budget-100", "butterflies-100", 3600, 0.96, "budget=60m"),
)
