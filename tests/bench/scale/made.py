"""Competitions of any number of images, made up in seconds: tables, files that are links, and an earlier look.

Two of them share their files. `scale` has `rows` training images and a tenth as many to test; `answers` has few
training images and `rows` to test, for the tables and the CSV of the other end.

Every image file is a hard link to one of FILES JPEGs of 32 pixels, so that a million appear in seconds: each has a name
and is asked for its size, as others are, and the disk's cache of inodes is spared. The look at their contents, which
takes decoding, is made up as if it lay there from an earlier start: thumbnails as bright as photos are, hashes at
random, one in fifty a near duplicate of another. What looking and caching take is measured on few images apart.
"""

import os
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from src.competition.quality.image_index import RULE, THUMB_SIDE, stamp_of
from src.core.files import write_text

FILES = 500  # a file system may allow 65,000 links to each
SIDE = 32
CLASSES = 10
FEW = 1000  # training rows of `answers`
BRIGHT = (110, 30)  # mean and deviation of a photo's brightness, of 255, as 13,500 photos of butterflies have it
ODD = 2654435761  # times this, modulo 2**32, every number becomes another one: names in no order
CARD = """\
title: {title}
train: {{table: {train}.csv, id: id, images: "train/{{id}}.jpg", label: label}}
test: {{table: {test}.csv, id: id, images: "{folder}/{{id}}.jpg"}}
target: multiclass
metric: accuracy
submission: {{sample: {sample}.csv, kind: columns}}
{group}"""
CONFIG = """\
competition: {name}
images: {{size: 16, load_size: 16}}
model: resnet8
augment: light
train: {{epochs: 1, batch: 64, precision: fp32}}
machine: {{device: cpu, threads: 1, jobs: 1, layout: channels_last, cache_max_gb: 40}}
predict: {{engine: torch, decide: plain}}
"""


def make(home: Path, rows: int) -> None:
    """Write competition/scale, competition/answers and their configurations under `home`."""
    data = home / "competition" / "scale" / "data"
    names = np.array([f"{k * ODD % 2**32:08x}" for k in range(rows + max(1, rows // 10))], dtype=object)
    train, test = names[:rows], names[rows:]
    generator = np.random.default_rng(0)
    _link_images(data, {"train": train, "test": test}, generator)
    labels = np.array([f"class{k}" for k in range(CLASSES)], dtype=object)[_targets(rows)]
    table = pd.DataFrame({"id": train, "label": labels, "patient": generator.integers(0, rows // 2 + 1, rows)})
    table.to_csv(data / "train.csv", index=False)
    table.head(FEW).to_csv(data / ".few.csv", index=False)
    for part, ids in (("sample", test), (".all", train)):  # detection passes over hidden files
        sample = pd.DataFrame({"id": ids}).assign(**{f"class{k}": "0.1" for k in range(CLASSES)})
        sample.to_csv(data / f"{part}.csv", index=False)
    _cards(home)
    _earlier_look(home / "competition" / "scale", {"train": train, "test": test}, generator)
    _earlier_look(home / "competition" / "answers", {"train": train}, generator)


def _targets(rows: int) -> np.ndarray:
    """Every class once, then a long tail: class k is about 1 / (k + 1) as large as the first."""
    shares = 1 / np.arange(1, CLASSES + 1)
    targets = np.random.default_rng(1).choice(CLASSES, rows, p=shares / shares.sum())
    targets[: CLASSES * 20] = np.resize(np.arange(CLASSES), len(targets[: CLASSES * 20]))
    return targets


def _link_images(data: Path, parts: dict[str, np.ndarray], generator: np.random.Generator) -> None:
    source = data.parent / "files"
    source.mkdir(parents=True)
    for k in range(FILES):
        image = cv2.resize(generator.integers(0, 256, (4, 4, 3), np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(source / f"{k}.jpg"), image)
    files = [str(source / f"{k}.jpg") for k in range(FILES)]
    for part, names in parts.items():
        (data / part).mkdir(parents=True)
        for k, name in enumerate(names):
            os.link(files[k % FILES], f"{data}/{part}/{name}.jpg")


def _cards(home: Path) -> None:
    facts = {"title": "made up", "folder": "test", "group": ""}
    scale = CARD.format(**facts, train="train", test="sample", sample="sample")
    answers = CARD.format(**facts | {"folder": "train"}, train=".few", test=".all", sample=".all")
    folder = home / "competition" / "answers"
    folder.mkdir()
    (folder / "data").symlink_to(home / "competition" / "scale" / "data")
    for name, card in (("scale", scale), ("answers", answers)):
        write_text(home / "competition" / name / "card.yaml", card)
        write_text(home / "configs" / f"{name}.yaml", CONFIG.format(name=name))


def _earlier_look(folder: Path, parts: dict[str, np.ndarray], generator: np.random.Generator) -> None:
    data = (folder / "data").resolve()  # the paths of samples are
    paths = sorted(f"{data}/{part}/{name}.jpg" for part, names in parts.items() for name in names)
    stamps = np.array([stamp_of(path) for path in paths], dtype=np.int64)
    hashes = generator.integers(0, 1 << 64, len(paths), dtype=np.uint64)
    levels = generator.normal(*BRIGHT, len(paths)).clip(25, 230).astype(np.uint8)
    thumbs = generator.integers(0, 50, (len(paths), THUMB_SIDE, THUMB_SIDE, 3), np.uint8)
    thumbs += levels[:, None, None, None] - 25
    twins = len(paths) // 50
    hashes[-twins:] = hashes[:twins] ^ np.uint64(0b1011)
    thumbs[-twins:] = thumbs[:twins]
    (folder / "cache").mkdir()
    np.savez(
        folder / "cache" / "look.npz",
        name=np.array([path.removeprefix(f"{folder}/") for path in paths]),
        stamp=stamps,
        rule=RULE,
        digest=np.arange(len(paths), dtype=np.uint64) * np.uint64(ODD),
        hash=hashes,
        thumb=thumbs,
        size=np.full((len(paths), 2), SIDE, np.int32),
        fault=np.full(len(paths), ""),
    )
