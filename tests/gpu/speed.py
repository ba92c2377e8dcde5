"""Steps that measure: images a second of training beside what the same steps take without a pipeline, and the rest."""

import csv
import os
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from src.core.paths import REPOSITORY
from src.images.augment import Augmentation
from src.images.cache import ImageCache
from src.images.dataset import AugmentedSteps, Feed, Step
from src.models.zoo import register_networks
from src.training.machine import cores
from tests.gpu.place import CLASSES, NAME, Place

Tell = Callable[..., None]
NETWORKS = ("resnet50", "vgg19_bn", "convnext_tiny", "tf_efficientnet_lite0")
SIZE, BATCH = 224, 128
CROP = {"RandomResizedCrop": {"size": ["size", "size"], "scale": [0.5, 1.0], "ratio": [0.8, 1.25]}}
TRANSFORMS = [CROP, {"HorizontalFlip": {"p": 0.5}}]


def machine(place: Place, tell: Tell) -> None:
    """What it is, its matrix speed in bf16, and copies from pinned memory."""
    device = torch.device(place.device)
    tell(name=torch.cuda.get_device_name() if place.cuda else "a processor", cores=cores())
    tell(matrix_tflops=matrix_speed(place) / 1e12)
    pixels = torch.zeros(place.size(1 << 28, 1 << 20), dtype=torch.uint8)
    pixels = pixels.pin_memory() if place.cuda else pixels
    seconds = _timed(lambda: pixels.to(device, non_blocking=True), device)
    tell(copy_gigabytes_a_second=len(pixels) / seconds / 1e9)


def matrix_speed(place: Place) -> float:
    """Operations a second of a large bf16 product, which no network surpasses."""
    device, side = torch.device(place.device), place.size(8192, 256)
    one, other = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / _timed(lambda: one @ other, device)


def _timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call, the best of three rounds of some."""
    best = float("inf")
    for _ in range(4):  # the first round is warm-up
        begun = time.perf_counter()
        for _ in range(5):
            work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - begun) / 5)
    return best


def training(name: str) -> Callable[[Place, Tell], None]:
    """Podium's whole pipeline, the same steps on tensors that lie on the device, and timm's loop over the files."""

    def work(place: Place, tell: Tell) -> None:
        own = (place.tiny and "resnet18") or name
        size, batch = place.size(SIZE, 32), place.size(BATCH, 8)
        words = [f"model.name={own}", f"images.size={size}", f"train.batch={batch}", "optim.name=sgd", "optim.lr=0.01"]
        words += [f"train.epochs={place.size(3, 1)}", "model.stem=stock", f"data.folds={place.size(16, 3)}"]
        place.command("src.train", *place.words(f"speed-{name}", *words))
        podium = _last_speed(place.member(f"speed-{name}"))
        tell(podium_images_a_second=podium)
        tensors = _apart(lambda: tensor_speed(place, own, size, batch))
        tell(tensors_images_a_second=tensors, share_of_tensors=podium / tensors)
        operations = _apart(lambda: operations_of(own, size))
        tell(share_of_matrix_speed=podium * operations / _apart(lambda: matrix_speed(place)))
        timm = _apart(lambda: timm_speed(place, own, size, batch))
        tell(timm_images_a_second=timm, times_timm=podium / timm)

    return work


def _last_speed(fold: Path) -> float:
    with (fold / "log.csv").open(newline="") as file:
        return float(list(csv.DictReader(file))[-1]["images_per_second"])


def tensor_speed(place: Place, name: str, size: int, batch: int, compiled: bool = False, last: bool = True) -> float:
    """Images a second of training steps on one batch that is on the device already."""
    import timm
    from torch.nn.functional import cross_entropy

    register_networks()
    torch.backends.cudnn.benchmark = True
    device = torch.device(place.device)
    layout = torch.channels_last if last else torch.contiguous_format
    network = timm.create_model(name, num_classes=CLASSES).to(device, memory_format=layout).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, weight_decay=2e-5)
    images = torch.randn(batch, 3, size, size, device=device).contiguous(memory_format=layout)
    targets = torch.arange(batch, device=device) % CLASSES
    forward = torch.compile(network) if compiled else network

    def take(count: int) -> None:
        for _ in range(count):
            with torch.autocast(device.type, torch.bfloat16, enabled=place.cuda):
                loss = cross_entropy(forward(images), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        loss.item()  # waits for the device

    take(place.size(8, 1))
    steps, begun = place.size(30, 1), time.perf_counter()
    take(steps)
    return batch * steps / (time.perf_counter() - begun)


def operations_of(name: str, size: int) -> float:
    """Floating point operations of a training step, for each image."""
    import timm
    from torch.utils.flop_counter import FlopCounterMode

    register_networks()
    with torch.device("meta"):
        network, image = timm.create_model(name, num_classes=CLASSES), torch.randn(2, 3, size, size)
    with FlopCounterMode(display=False) as counted:
        network(image).sum().backward()
    return counted.get_total_flops() / 2


def timm_speed(place: Place, name: str, size: int, batch: int) -> float:
    """timm's own loop (tests/bench/peer/timm_train.py) over a folder for each class."""
    import argparse
    import contextlib
    import io
    import json

    from tests.bench.peer import timm_train

    register_networks()
    folder = place.home / "timm"
    if not folder.is_dir():
        data = place.home / "competition" / NAME / "data"
        for number, photo in enumerate(sorted(data.glob("train-*.jpg"))):
            part = "validation" if number < CLASSES * 2 else "train"
            target = folder / part / f"class{number % CLASSES}" / photo.name
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(photo, target)
    words = argparse.Namespace(data=folder, model=name, size=size, batch=batch, lr=0.025, bf16=place.cuda)
    words.epochs, words.workers = place.size(2, 1), place.size(cores(), 0)
    with contextlib.redirect_stdout(io.StringIO()) as text:
        timm_train.main(words)
    return json.loads(text.getvalue().splitlines()[-1])["images/s"]


def variants(place: Place, tell: Tell) -> None:
    """The same steps on tensors with and without channels last and torch.compile."""
    name, size, batch = (place.size(1, 0) and "resnet50") or "resnet18", place.size(SIZE, 32), place.size(BATCH, 8)
    for last in (True, False):
        speed = _apart(lambda last=last: tensor_speed(place, name, size, batch, last=last))
        tell(**{f"images_a_second_{'channels_last' if last else 'contiguous'}": speed})
    if place.tiny:
        return  # a compiler takes longer than all the rest
    begun = time.perf_counter()
    speed = _apart(lambda: tensor_speed(place, name, size, batch, compiled=True))
    tell(images_a_second_compiled=speed, seconds_with_compiling=time.perf_counter() - begun)


def input_pipeline(place: Place, tell: Tell) -> None:
    """Cache, crops and mirror images by all loaders, handed to the device; no network."""
    photos = sorted((place.home / "competition" / NAME / "data").glob("train-*.jpg"))
    size, batch = place.size(SIZE, 16), place.size(BATCH, 8)

    def measured() -> float:
        cv2.setNumThreads(0)
        cache = ImageCache.open(place.home / "input", photos, size * 9 // 8, "stretch", workers=cores())
        augmentation = Augmentation(TRANSFORMS, size, size * 9 // 8)
        workers = min(16, cores()) if place.cuda else 0
        feed = Feed(AugmentedSteps(cache, augmentation), workers, torch.device(place.device))
        _epoch(feed, len(photos), batch, 0)
        begun, epochs = time.perf_counter(), place.size(3, 1)
        seen = sum(_epoch(feed, len(photos), batch, epoch + 1) for epoch in range(epochs))
        return seen / (time.perf_counter() - begun)

    tell(images_a_second=_apart(measured), cores=cores())


def _epoch(feed: Feed, count: int, batch: int, number: int) -> int:
    order = np.random.default_rng(number).permutation(count)
    steps = [Step(order[at : at + batch], (number, at)) for at in range(0, count, batch)]
    return sum(len(images) for images, _ in feed(steps))


def no_butterflies(place: Place) -> str | None:
    if place.tiny:
        return "it takes five minutes of a GPU"
    return None if _archive() else "butterflies-100.zip is not at hand (PODIUM_DATA names its folder)"


def _archive() -> Path | None:
    folders = [Path(os.environ.get("PODIUM_DATA") or REPOSITORY / ".." / "shared" / "data"), REPOSITORY / "shared/data"]
    return next((file for file in (folder / "butterflies-100.zip" for folder in folders) if file.is_file()), None)


def butterflies(place: Place, tell: Tell) -> None:
    """Fold 0 of a hundred species, within what is left of five minutes."""
    folder = place.home / "competition" / "butterflies-100"
    folder.mkdir()
    (folder / "card.yaml").write_bytes((REPOSITORY / "competition" / "butterflies-100" / "card.yaml").read_bytes())
    (folder / "butterflies-100.zip").symlink_to(_archive().resolve())
    words = ["competition=butterflies-100", "run=minutes", "fold=0", "budget=4m", f"machine.device={place.device}"]
    begun = time.perf_counter()
    answer = place.command("src.train", *words)
    tell(score=answer["mean_score"], seconds=time.perf_counter() - begun)


def _apart(measure: Callable[[], float]) -> float:
    """What `measure` returns in a forked process: CUDA begins there, and ends with it."""
    from src.core.devices import apart

    return apart(measure)
