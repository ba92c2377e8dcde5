"""A trained network and rows of images become logits, one table per view; every image is fetched once."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import nn

from src.core.errors import Problem
from src.core.memory import fits, largest_batch
from src.images.dataset import Feed
from src.images.held_batches import HeldBatches
from src.inference.tta import seen_in

WARM_UP = 8  # images that a network answers before it is timed: its first pass is slower than all others
HELD = 8  # batches whose answers stay on the device: to fetch them waits for a GPU, which then has nothing to do


@torch.inference_mode()
def view_logits(
    network: nn.Module,
    feed: Feed | HeldBatches,
    rows: np.ndarray,
    views: tuple[str, ...],
    batch: int,
    autocast: Callable[[], AbstractContextManager],
    progress: Callable[[int], object] = lambda _: None,
    seconds: dict[str, float] | None = None,
    cells: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """{view: (len(rows), classes) float32 logits}, in the order of `rows`. `progress` is told the images done.

    seconds: where given, each view's seconds per image are put in: making the view and the network's pass, not
    reading the image, which all views share. cells: (rows of the feed's images, columns) what the network sees beside
    each picture, where it sees some.
    """
    network.eval()

    beside: tuple[torch.Tensor, ...] = ()  # the cells of the batch

    def answer(seen: torch.Tensor) -> torch.Tensor:
        with autocast():
            own = (part[: len(seen)] for part in beside)
            return network(seen.contiguous(memory_format=torch.channels_last), *own).float()

    parts: dict[str, list[np.ndarray]] = {view: [] for view in views}
    held: dict[str, list[torch.Tensor]] = {view: [] for view in views}

    def fetch() -> None:
        for view, answers in held.items():
            parts[view] += [one.cpu().numpy() for one in answers]
            answers.clear()

    spent = dict.fromkeys(views, 0.0)
    requests = [rows[start : start + batch] for start in range(0, len(rows), batch)]
    for at, (images, done) in enumerate(feed(requests)):
        if cells is not None:
            beside = (torch.from_numpy(cells[np.asarray(done)]).to(images.device),)
        if seconds is not None and at == 0:
            fits(lambda images=images: answer(images[:WARM_UP]).cpu())
        for view in views:
            start = time.perf_counter()
            seen = seen_in(view, images)
            if not fits(lambda seen=seen, view=view: held[view].append(answer(seen))):
                most = largest_batch(lambda size, seen=seen: answer(seen[:size]), max(1, len(seen) - 1))
                raise Problem(
                    f"out of memory with {len(seen)} images at once: give predict.batch={most}"
                    if most
                    else "out of memory with a single image: lower predict.size",
                    code="out-of-memory",
                )
            if seconds is not None:
                fetch()
            spent[view] += time.perf_counter() - start
        if at % HELD == HELD - 1:
            fetch()
        progress(len(done))
    fetch()
    if seconds is not None and len(rows):
        seconds.update({view: total / len(rows) for view, total in spent.items()})
    return {view: np.concatenate(part) if part else np.zeros((0, 0), np.float32) for view, part in parts.items()}
