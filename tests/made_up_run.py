"""A competition of many small images, and finished runs of it that nobody trained: every file as training leaves it."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file

from src.command import parse
from src.competition.claim import claim
from src.competition.opened import Opened, open_competition
from src.inference.store import logits_file, save_logits
from src.judging.ensemble import probabilities_of
from src.models.factory import build
from src.runs import DONE, Run, sha256_of, write_json

STRANGE = (
    "<b>bold</b>",
    "<img src=x onerror=window.broken=1>",
    "</script><script>window.broken=1</script>",
    "\"double\" & 'single'",
    "$x^2$ {{ 7 * 7 }} %s",
    "猫と蝶",
    "Ἀθηνᾶ",
    "الفراشة",
    "пчела",
    "ก้าง",
)
CARD = """\
title: Many <classes> & "names"
train: {{table: train.csv, id: image_id, images: "train/{{image_id}}.png", label: label{more}}}
test: {{table: test.csv, id: image_id, images: "test/{{image_id}}.png"}}
target: {target}
metric: {metric}
submission: {{sample: sample_submission.csv, kind: {kind}}}
"""
CONFIG = """\
competition: many
data: {folds: 3, duplicates: ignore}
images: {size: 16, load_size: 16}
model: resnet8
train: {epochs: 6, batch: 32, precision: fp32}
machine: {device: cpu, threads: 1}
predict: {decide: plain}
"""
MACHINE = {"device": "cpu", "precision": "fp32", "workers": 0, "batch": 32}


def class_names(count: int) -> list[str]:
    """Strange ones first, then plain ones."""
    return [*STRANGE, *(f"species {number:03d}" for number in range(len(STRANGE), count))][:count]


def write_many(home: Path, classes: int = 100, each: int = 6, target: str = "multiclass", side: int = 20) -> None:
    """competition/many and configs/many.yaml under `home`: `each` noisy images a class, and one test image of each.

    Ids hold what a file name may hold. Multi-label rows have their class and the next one.
    """
    data = home / "competition" / "many" / "data"
    generator, names = np.random.default_rng(0), class_names(classes)
    labels = np.repeat(np.arange(classes), each)
    ids = {
        "train": [f"a&b <{row}> 'x'" for row in range(len(labels))],
        "test": [f"test {row}" for row in range(classes)],
    }
    for part, rows in ids.items():
        (data / part).mkdir(parents=True)
        for row, name in enumerate(rows):
            label = labels[row] if part == "train" else row
            tint = np.array([label * 37 % 256, label * 91 % 256, label * 151 % 256])
            noise = generator.normal(0, 60, (5, 5, 3)) + tint
            image = cv2.resize(noise.clip(0, 255).astype(np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(data / part / f"{name}.png"), image)
    several = target == "multilabel"
    kind = "set" if several else "label"
    told = [f"{names[k]}|{names[(k + 1) % classes]}" if several else names[k] for k in labels]
    pd.DataFrame({"image_id": ids["train"], "label": told}).to_csv(data / "train.csv", index=False)
    pd.DataFrame({"image_id": ids["test"]}).to_csv(data / "test.csv", index=False)
    sample = pd.DataFrame({"image_id": ids["test"], "label": names[0]})
    sample.to_csv(data / "sample_submission.csv", index=False)
    metric = "macro_f1" if several else "accuracy"
    more = ', label_separator: "|"' if several else ""
    (data.parent / "card.yaml").write_text(CARD.format(target=target, metric=metric, kind=kind, more=more))
    (home / "configs").mkdir(exist_ok=True)
    (home / "configs" / "many.yaml").write_text(CONFIG)


def write_run(
    name: str, config: str = "many", skill: float = 3.0, folds: tuple | None = None, epochs: int = 6
) -> Opened:
    """The run `name`: noise for logits, the true class's higher by `skill`; a random network, and a log that falls."""
    request, run = parse([f"config={config}", f"run={name}"]), Run(parse([f"config={config}"]).competition, name)
    opened = open_competition(request.config, run, lambda _: None)
    claim(run, opened)
    write_json(run.folder / "machine.json", MACHINE)
    generator = np.random.default_rng(sum(map(ord, name)))
    classes, samples = opened.samples.classes, opened.samples
    for fold in folds if folds is not None else range(opened.folds.count):
        folder = run.member(0, fold)
        folder.mkdir(parents=True)
        torch.manual_seed(fold if isinstance(fold, int) else 99)
        backbone = build(request.config.model, len(classes), request.config.images.size).backbone
        save_file({k: v.contiguous() for k, v in backbone.state_dict().items()}, folder / "model.safetensors")
        done = {"epochs": epochs, "seconds": 6.0, "weights": sha256_of(folder / "model.safetensors")}
        held_out = opened.folds.rows(fold)[1]
        meta = {"engine": "torch", "precision": "fp32", "weights": done["weights"], "images": opened.images_hash}
        epoch = np.arange(1, epochs + 1)
        log = {"epoch": epoch, "steps": 9, "loss": 4 / epoch, "lr": 1e-3 / epoch, "seconds": 1.0}
        log |= {"images_per_second": 100.0 + epoch}
        for view in ("identity", "hflip"):
            rows = {"test": (samples.test["id"].to_numpy(), None)}
            if len(held_out):
                rows["oof"] = samples.train["id"].to_numpy()[held_out], samples.targets[held_out]
            for part, (ids, targets) in rows.items():
                logits = made_up_logits(generator, len(ids), len(classes), targets, skill)
                save_logits(logits_file(folder, part, view, None), ids, logits, classes, meta)
                if part == "oof" and view == "identity":
                    p = probabilities_of(logits.astype(np.float32), opened.card.target)
                    done["score"] = opened.metric.score(targets, p)
                    log |= {"held_out_loss": 5 / epoch, "score": done["score"] * (1 - 0.5 / epoch)}
        pd.DataFrame(log).to_csv(folder / "log.csv", index=False)
        write_json(folder / DONE, done)
    return opened


def made_up_logits(
    generator: np.random.Generator, rows: int, classes: int, targets: np.ndarray | None, skill: float
) -> np.ndarray:
    logits = generator.normal(0, 1, (rows, classes))
    if targets is None:
        targets = np.arange(rows) % classes
    if targets.ndim == 2:
        return logits + skill * (targets - 0.5)
    logits[np.arange(rows), targets] += skill
    return logits


def note_prediction(opened: Opened, name: str, views: tuple[str, ...], score: float) -> None:
    """What prediction leaves beside a run."""
    folder = Run(opened.card.id, name).folder / "predictions"
    folder.mkdir(exist_ok=True)
    facts = {"file": f"{name}-00000000.csv", "sha256": "0" * 64, "runs": [name], "seeds": [0]}
    facts["folds"] = sorted(path.name.removeprefix("fold") for path in folder.parent.glob("seed0/*"))
    facts |= {"views": list(views), "size": opened.config.images.size, "decision": None, "metric": opened.metric.name}
    facts |= {"score": {"value": score, "low": score - 0.01, "high": score + 0.01}, "config_hash": "", "commit": ""}
    (folder / f"{name}-00000000.json").write_text(json.dumps(facts))
