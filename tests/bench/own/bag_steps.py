"""Training steps and answers of bags of eight images, beside as many images alone.

usage: python bag_steps.py bags|images FOLDER SECONDS    FOLDER takes the pictures and their cache
Prints one line of JSON: images a second of training steps, cache and augmentation among them, and of answers.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.nn.functional import cross_entropy

from src.config.schema import Model
from src.images.augment import Augmentation
from src.images.bags import BagImages
from src.images.cache import ImageCache
from src.images.dataset import AugmentedSteps, PlainRows, Step
from src.models.factory import Network, build

PICTURES, SLOTS, SIZE, BATCH = 256, 8, 64, 64
TRANSFORMS = [{"RandomResizedCrop": {"size": ["size", "size"], "scale": [0.5, 1.0]}}, {"HorizontalFlip": {"p": 0.5}}]
MODEL = Model(
    name="resnet18",
    pretrained=False,
    weights=None,
    stem="auto",
    drop_rate=0.0,
    pool="stock",
    head="linear",
    args={},
)


def main(kind: str, folder: Path, seconds: float) -> None:
    images = pictures(folder)
    bags = kind == "bags"
    held = BagImages(images, np.arange(0, PICTURES + 1, SLOTS), SLOTS) if bags else images
    network = build(MODEL.model_copy(update={"bag": "attention"}) if bags else MODEL, 8, SIZE)
    network.to(memory_format=torch.channels_last)
    rows = BATCH // SLOTS if bags else BATCH
    figures = {
        "steps, images/s": rate(step_of(network, held, rows), seconds),
        "answers, images/s": rate(answer_of(network.eval(), held, rows), seconds),
    }
    print(json.dumps(figures), flush=True)


def pictures(folder: Path) -> ImageCache:
    folder.mkdir(parents=True, exist_ok=True)
    paths, rng = [folder / f"{k}.png" for k in range(PICTURES)], np.random.default_rng(0)
    for path in paths:
        if not path.exists():
            cv2.imwrite(str(path), rng.integers(1, 255, (SIZE, SIZE, 3)).astype(np.uint8))
    return ImageCache.open(folder / "cache", paths, SIZE * 9 // 8, "stretch")


def step_of(network: Network, images: ImageCache | BagImages, rows: int) -> Callable[[int], None]:
    steps = AugmentedSteps(images, Augmentation(TRANSFORMS, SIZE, SIZE * 9 // 8))
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
    targets = torch.arange(rows) % 8

    def take(number: int) -> None:
        network.train()
        batch, _ = steps[Step((np.arange(rows) + number * rows) % len(images), (0, number))]
        cross_entropy(network(batch), targets).backward()
        optimizer.step()
        optimizer.zero_grad()

    return take


def answer_of(network: Network, images: ImageCache | BagImages, rows: int) -> Callable[[int], None]:
    plain = PlainRows(images, SIZE)

    def take(number: int) -> None:
        network.eval()
        with torch.inference_mode():
            network(plain[(np.arange(rows) + number * rows) % len(images)][0])

    return take


def rate(take: Callable[[int], None], seconds: float) -> float:
    """Images a second, after two that are not timed."""
    take(0), take(1)
    begun, done = time.perf_counter(), 0
    while (took := time.perf_counter() - begun) < seconds:
        done += 1
        take(done)
    return done * BATCH / took


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))
