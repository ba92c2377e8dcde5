"""Podium's cache and augmentation on one core.

usage: python cached_pipeline.py PHOTOS FOLDER SECONDS    FOLDER takes the cache
Prints one line of JSON: images a second, and the seconds that the cache took.
"""

import json
import os
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from src.images.augment import Augmentation
from src.images.cache import ImageCache
from src.images.dataset import AugmentedSteps, Feed, Step

BATCH, SIZE, LOAD_SIZE = 64, 128, 144
TRANSFORMS = [
    {"RandomResizedCrop": {"size": ["size", "size"], "scale": [0.5, 1.0], "ratio": [0.8, 1.25]}},
    {"HorizontalFlip": {"p": 0.5}},
]


def main(photos: Path, folder: Path, seconds: float) -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    paths = sorted(photos.glob("*.jpg"))
    begun = time.perf_counter()
    cache = ImageCache.open(folder / "cache", paths, LOAD_SIZE, "stretch", workers=1)
    built = time.perf_counter() - begun
    feed = Feed(AugmentedSteps(cache, Augmentation(TRANSFORMS, SIZE, LOAD_SIZE)), 0, torch.device("cpu"))
    epoch(feed, len(paths), 0)  # once unmeasured: what is made at the first use is made now
    done, number, begun = 0, 1, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        done += epoch(feed, len(paths), number)
        number += 1
    print(json.dumps({"images/s": done / (time.perf_counter() - begun), "cache seconds": built}), flush=True)


def epoch(feed: Feed, count: int, number: int) -> int:
    order = np.random.default_rng(number).permutation(count)
    steps = [Step(order[at : at + BATCH], (number, at)) for at in range(0, count, BATCH)]
    return sum(len(images) for images, _ in feed(steps))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
