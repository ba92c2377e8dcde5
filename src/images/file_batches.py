"""Image files as batches that a network takes, decoded ahead by threads: two batches are in memory, never more."""

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from src.config.image_size import SizeWord
from src.images.bags import BagImages
from src.images.dataset import to_tensor
from src.images.decode import ImageFault
from src.images.stream import ImageStream, resized


@dataclass(frozen=True)
class FileBatch:
    """rows: (n,) of the stream. images: (n, channels, height, width), as a network gets them. faults: by place in the
    batch, where it is black. left_out: what is wrong with images that are missing in their bags."""

    rows: np.ndarray
    images: torch.Tensor
    faults: dict[int, ImageFault]
    left_out: tuple[ImageFault, ...] = ()


def file_batches(
    stream: ImageStream | BagImages, size: SizeWord, batch: int, workers: int | None = None, whole_bags: bool = True
) -> Iterator[FileBatch]:
    """Every image of `stream`, in order, as the network sees it: the pixels that PlainRows makes of an image cache.

    workers: threads that decode; None: one a core. Unusable images are told in `faults`, for the caller to decide.
    whole_bags: false leaves unusable images out of bags that hold others.
    """
    own_threads = cv2.getNumThreads()
    pool = ThreadPoolExecutor(workers or os.cpu_count())

    def begin(start: int) -> list[Future]:
        return [
            pool.submit(_read, stream, row, size, whole_bags) for row in range(start, min(start + batch, len(stream)))
        ]

    try:
        cv2.setNumThreads(1)  # the images are the parallel part
        ahead = begin(0)
        for start in range(0, len(stream), batch):
            now, ahead = ahead, begin(start + batch)
            found = [square.result() for square in now]
            made = [image for image, _ in found]
            faults = {place: fault for place, fault in enumerate(made) if isinstance(fault, ImageFault)}
            for place in faults:
                made[place] = resized(stream.blank(1)[0], size)
            left_out = tuple(fault for _, several in found for fault in several)
            yield FileBatch(np.arange(start, start + len(made)), to_tensor(np.stack(made)), faults, left_out)
    finally:
        pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(own_threads)


def _read(
    stream: ImageStream | BagImages, row: int, size: SizeWord, whole_bags: bool
) -> tuple[np.ndarray | ImageFault, list[ImageFault]]:
    try:
        several = isinstance(stream, BagImages) and not whole_bags
        image, left_out = stream.readable(row) if several else (stream[row], [])
        return resized(image, size), left_out
    except ImageFault as fault:
        return fault, []
