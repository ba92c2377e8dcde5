"""Rows: ResNet-50 and VGG-19 at 224 pixels on a GPU, images a second in training.

Three sides each: Podium's whole pipeline (cache, augmentation, loaders, step, average), the same steps on images that
lie in the GPU's memory already, and timm's loop over the JPEG files. The photos are made up, so that no data are
needed; a network is as fast on them as on real ones. Figures are of the last of three epochs, start-up left out.
"""

import csv
import shutil
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

from src.core.files import write_text
from src.training.machine import cores
from tests.bench.photos import CONFIGS, workplace
from tests.bench.process import own, peer, podium
from tests.bench.row import Figures, Line, Row, Trial

NAME = "made-up-photos"
CLASSES, SIDE, BATCH = 8, 256, 128
NETWORKS = ("resnet50", "vgg19")
CARD = """\
title: Made-up photos
train: {files: "train/{label}/{name}.jpg", id: "{path}", label: "{label}"}
target: multiclass
metric: accuracy
"""


def with_podium(trial: Trial, network: str) -> Figures:
    home, run = home_of(trial.tiny), f"bench-{network}"
    folder = home / "runs" / NAME / run
    shutil.rmtree(folder, ignore_errors=True)
    words = [
        f"model={network}",
        "model.pretrained=false",
        f"train.batch={_batch(trial)}",
        *(["images.size=32"] if trial.tiny else []),
    ]
    seconds = podium(home, "src.train", "config=on-gpu", f"run={run}", "fold=0", *words)
    with (folder / "seed0" / "fold0" / "log.csv").open(encoding="utf-8", newline="") as file:
        rate = float(list(csv.DictReader(file))[-1]["images_per_second"])
    shutil.rmtree(folder)
    return {"images/s": rate, "command": seconds}


def on_tensors(trial: Trial, network: str) -> Figures:
    script = Path(__file__).parent / "own" / "tensor_steps.py"
    figures = own(script, network, _batch(trial), 32 if trial.tiny else 224, 3 if trial.tiny else 100)
    return {"images/s": figures["images/s"], "command": figures["command"]}


def with_timm(trial: Trial, network: str) -> Figures:
    data = home_of(trial.tiny) / "competition" / NAME / "data"
    (trial.folder / "train").symlink_to(data / "train")
    (trial.folder / "validation").symlink_to(data / "validation")
    words = ["--model", network, "--size", 32 if trial.tiny else 224, "--batch", _batch(trial), "--epochs", 3]
    figures = peer("timm_train.py", trial.folder, *words, "--workers", cores(), "--bf16")
    return {"images/s": figures["images/s"], "command": figures["command"]}


def home_of(tiny: bool) -> Path:
    """A home with the made-up competition and the bench's configurations; photos of soft shapes, as JPEG files."""
    home = workplace() / ("gpu-few" if tiny else "gpu")
    data = home / "competition" / NAME / "data"
    if not data.is_dir():
        part = data.with_name("part")
        generator = np.random.default_rng(0)
        for folder, each in (("train", 8 if tiny else 1024), ("validation", 2 if tiny else 32)):
            for number in range(CLASSES * each):
                _photo(part / folder / f"class{number % CLASSES}" / f"{number:05d}.jpg", generator)
        write_text(home / "competition" / NAME / "card.yaml", CARD)
        part.rename(data)
    shutil.copytree(CONFIGS, home / "configs", dirs_exist_ok=True)
    return home


def absent() -> str | None:
    return None if torch.cuda.is_available() else "there is no GPU here"


def _photo(path: Path, generator: np.random.Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = generator.integers(0, 256, (24, 24, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC))


def _batch(trial: Trial) -> int:
    return 8 if trial.tiny else BATCH


def _sides(network: str) -> dict[str, partial]:
    return {
        f"Podium, {network}": partial(with_podium, network=network),
        f"{network} on tensors already there": partial(on_tensors, network=network),
        f"timm's loop, {network}, bf16": partial(with_timm, network=network),
    }


def _lines(network: str) -> tuple[Line, Line]:
    mine, tensors, timm = _sides(network)
    title = f"training {network} at 224 px on a GPU"
    return Line(title, "images/s", tensors, 0.9, side=mine), Line(title, "images/s", timm, 1, side=mine)


ROW = Row(
    "gpu",
    {name: side for network in NETWORKS for name, side in _sides(network).items()},
    tuple(line for network in NETWORKS for line in _lines(network)),
    "bf16 and channels last on all sides, batches of 128, photos of 256 px made up for this. On tensors the network "
    "takes the same steps on one batch that lies on the GPU: what a pipeline without cost would reach.",
    absent,
)
