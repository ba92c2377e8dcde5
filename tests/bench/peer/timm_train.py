"""One training as timm's train.py does it by default, from timm's own pieces: the wheel does not hold train.py.

usage: python timm_train.py DATA --model resnet18 --size 64 --batch 64 --epochs 2 [--bf16] [--workers 2] [--lr 0.025]

DATA holds train/ and validation/, a folder a class. As in train.py: ImageFolder, create_loader with its prefetcher,
random crops from 8 % of the area, mirror images, colour jitter 0.4, SGD with momentum, weight decay 2e-5, a cosine
with warm-up, label smoothing 0.1, validation and a checkpoint after each epoch; no mixup, no
averaged weights. --bf16 is its --amp --amp-dtype bfloat16 --channels-last.
Prints one line of JSON: the images trained on, images a second in the last epoch's training, the seconds of all
epochs and the last validation accuracy.
"""

import argparse
import json
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from timm.data import create_dataset, create_loader, resolve_data_config
from timm.loss import LabelSmoothingCrossEntropy
from timm.models import create_model
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import AverageMeter, CheckpointSaver, accuracy, random_seed


def main(words: argparse.Namespace) -> None:
    random_seed(42, 0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    sets = {part: create_dataset("", root=words.data, split=part, is_training=part == "train") for part in
            ("train", "validation")}  # fmt: skip
    classes = len(sets["train"].reader.class_to_idx)
    model = create_model(words.model, num_classes=classes).to(device)
    if words.bf16:
        model = model.to(memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(model, opt="sgd", lr=words.lr, weight_decay=2e-5, momentum=0.9)
    loaders = loaders_of(model, sets, words, device)
    updates = len(loaders["train"])
    scheduler, epochs = create_scheduler_v2(
        optimizer, sched="cosine", num_epochs=words.epochs, warmup_lr=1e-5, warmup_epochs=min(5, words.epochs - 1),
        updates_per_epoch=updates,
    )  # fmt: skip
    context = torch.autocast(device.type, torch.bfloat16) if words.bf16 else nullcontext()
    seen, begun = 0, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        saver = CheckpointSaver(model=model, optimizer=optimizer, checkpoint_dir=folder, recovery_dir=folder)
        for epoch in range(epochs):
            started = time.perf_counter()
            count = train_one_epoch(model, loaders["train"], optimizer, scheduler, context, epoch * updates, words)
            seen, rate = seen + count, count / (time.perf_counter() - started)
            score = validate(model, loaders["validation"], context, words)
            saver.save_checkpoint(epoch, metric=score)
            scheduler.step(epoch + 1, score)
    text = {"images": seen, "images/s": rate, "seconds": time.perf_counter() - begun, "accuracy": score}
    print(json.dumps(text), flush=True)


def loaders_of(model: torch.nn.Module, sets: dict, words: argparse.Namespace, device: torch.device) -> dict:
    facts = resolve_data_config({"img_size": words.size}, model=model)
    shared = {"input_size": facts["input_size"], "batch_size": words.batch, "mean": facts["mean"], "std": facts["std"],
              "num_workers": words.workers, "device": device, "pin_memory": False}  # fmt: skip
    train = create_loader(sets["train"], is_training=True, color_jitter=0.4, interpolation="random", **shared)
    held_out = create_loader(
        sets["validation"], interpolation=facts["interpolation"], crop_pct=facts["crop_pct"], **shared
    )
    return {"train": train, "validation": held_out}


def train_one_epoch(
    model: torch.nn.Module,
    loader: torch.utils.data.DataLoader,
    optimizer: torch.optim.Optimizer,
    scheduler: object,
    context: AbstractContextManager,
    updates: int,
    words: argparse.Namespace,
) -> int:
    """The number of images seen."""
    criterion = LabelSmoothingCrossEntropy(0.1)
    losses = AverageMeter()
    model.train()
    for images, targets in loader:
        inputs = images.contiguous(memory_format=torch.channels_last) if words.bf16 else images
        with context:
            loss = criterion(model(inputs), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.update(loss.item(), len(inputs))
        updates += 1
        scheduler.step_update(num_updates=updates, metric=losses.avg)
    return losses.count


@torch.inference_mode()
def validate(
    model: torch.nn.Module,
    loader: torch.utils.data.DataLoader,
    context: AbstractContextManager,
    words: argparse.Namespace,
) -> float:
    """Accuracy between 0 and 1."""
    model.eval()
    right = AverageMeter()
    for images, targets in loader:
        inputs = images.contiguous(memory_format=torch.channels_last) if words.bf16 else images
        with context:
            logits = model(inputs)
        right.update(accuracy(logits, targets)[0].item(), len(inputs))
    return right.avg / 100


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="resnet18")
    for name, value in (("size", 64), ("batch", 64), ("epochs", 2), ("workers", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--lr", type=float, default=0.025)  # 0.1 for 256 images a step, as train.py scales it
    parser.add_argument("--bf16", action="store_true")
    main(parser.parse_args())
