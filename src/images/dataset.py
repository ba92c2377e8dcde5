"""Rows become batches: cached images are augmented and handed over as uint8 tensors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from src.config.image_size import SizeWord
from src.core.errors import Problem
from src.images.bags import BagImages, in_places
from src.images.cache import ImageCache
from src.images.pixel_format import to_levels
from src.images.stream import resized

if TYPE_CHECKING:  # who only predicts does without albumentations
    from src.images.augment import Augmentation


@dataclass(frozen=True)
class Step:
    """One optimizer step: its rows of the cache, and the key of its randomness."""

    rows: np.ndarray
    key: tuple[int, ...]


class AugmentedSteps(Dataset):
    """A step -> ((n, channels, height, width) images, rows). Batches are made whole: one random stream each."""

    def __init__(self, images: ImageCache, augmentation: Augmentation, only: np.ndarray | None = None) -> None:
        """only: (rows of the cache,) bool, the rows that are augmented; None: every one."""
        self.images, self.augmentation, self.only = images, augmentation, only

    def __getitem__(self, step: Step) -> tuple[torch.Tensor, torch.Tensor]:
        if isinstance(self.images, BagImages):
            return to_tensor(self._bags(step)), torch.from_numpy(step.rows)
        made = self._augmented(self.images.batch(step.rows), step.rows, step.key)
        return to_tensor(made), torch.from_numpy(step.rows)

    def _bags(self, step: Step) -> np.ndarray:
        """Each image of a bag is augmented by itself; a place without one stays black, and so does a black image, which
        the network takes for none."""
        slots = self.images.slots
        images, places = self.images.drawn(step.rows, step.key)
        seen = images.any(axis=(1, 2, 3))
        if not seen.any():  # a batch has a shape all the same
            seen[:1] = True
        made = self._augmented(images[seen], step.rows[places[seen] // slots], step.key)
        made[~images[seen].any(axis=(1, 2, 3))] = 0
        return in_places(made, places[seen], slots, len(step.rows))

    def _augmented(self, images: np.ndarray, rows: np.ndarray, key: tuple[int, ...]) -> np.ndarray:
        """rows: those of the images, which tell whether they are augmented."""
        made = self.augmentation(images, key)
        if self.only is not None:
            for i in np.flatnonzero(~self.only[rows]):
                made[i] = to_levels(resized(images[i], self.augmentation.size))
        return made


class PlainRows(Dataset):
    """Rows -> ((n, channels, height, width) images, rows), as they are."""

    def __init__(self, images: ImageCache, size: SizeWord) -> None:
        self.images, self.size = images, size

    def __getitem__(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return to_tensor(np.stack([resized(image, self.size) for image in self.images.batch(rows)])), torch.from_numpy(
            rows
        )


class Telling(Dataset):
    """A data set whose Problems are handed over like batches: torch would put a worker's traceback into them."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __getitem__(self, request: Any) -> tuple[torch.Tensor, torch.Tensor] | Problem:
        try:
            return self.dataset[request]
        except Problem as problem:
            return problem


class Feed:
    """Hands a data set's batches to the device, made by `workers` processes (0: by this one)."""

    def __init__(self, dataset: Dataset, workers: int, device: torch.device) -> None:
        self.queue: list = []
        self.device = device
        self.loader = DataLoader(
            Telling(dataset),
            sampler=self.queue,
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
            worker_init_fn=_begin,
        )

    def __call__(self, requests: list) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        self.queue[:] = requests
        if self.device.type == "cuda":
            yield from self._aside()
            return
        for images, rows in self._batches():
            yield images.to(self.device), rows

    def _batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for batch in self.loader:
            if isinstance(batch, Problem):
                raise batch
            yield batch

    def _aside(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Copies go beside what the GPU computes meanwhile, which waits for its own images only."""
        copying, computing = torch.cuda.Stream(self.device), torch.cuda.current_stream(self.device)
        for images, rows in self._batches():
            with torch.cuda.stream(copying):
                sent = images.to(self.device, non_blocking=True)
            computing.wait_stream(copying)
            sent.record_stream(computing)  # its memory is not to be used again before that
            yield sent, rows


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """(n, h, w, channels) -> (n, channels, h, w): uint8 as it is, anything deeper as float32 from 0 to 255."""
    # The memory stays as it is, channels last: the layout that convolutions are fastest in.
    return torch.from_numpy(to_levels(images)).permute(0, 3, 1, 2)


def _begin(_: int) -> None:
    cv2.setNumThreads(0)  # its threads would fight with the other workers'
    os.setpgrp()  # a signal that asks to stop is the training's alone, which takes its step to the end
