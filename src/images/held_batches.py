"""Batches of images that no cache holds, kept for several networks that look at them one after the other."""

from collections.abc import Iterator

import numpy as np
import torch

from src.images.cache import ImageCache
from src.images.dataset import Feed, PlainRows, to_tensor
from src.images.stream import resized

MOST = 500_000_000  # bytes of images that are held at once


class HeldBatches:
    """As the feed, of one list of requests: what it gave at the first look lies in memory for the next ones."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self._held: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._whole = False

    def __call__(self, requests: list[np.ndarray]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        if self._whole:
            yield from ((images.to(self.feed.device), rows) for images, rows in self._held)
            return
        self._held = []  # a look that an error broke off is begun anew
        for images, rows in self.feed(requests):
            # Copies: the memory of a GPU is for its network, and that which workers share is small.
            self._held.append((images.to("cpu", copy=True), rows.clone()))
            yield images, rows
        self._whole = True


def may_be_held(rows: PlainRows, count: int) -> bool:
    """Whether so many images are decoded at each look, for no cache has them, and fit into memory."""
    if isinstance(getattr(rows.images, "images", rows.images), ImageCache):
        return False
    return to_tensor(resized(rows.images.blank(1)[0], rows.size)[None]).nbytes * count <= MOST
