"""Batches for several ranks, augmented by turns: rank 0 makes the first step's, rank 1 the second's, and so on.

A batch is made whole, from one random stream, as a single process makes it, and handed to all: so what a step shows
does not depend on the number of ranks, images can be mixed across the whole of it, and no image is made twice.
"""

from collections.abc import Iterator

import torch

from src.config.image_size import Size, SizeWord
from src.core.distributed import Ranks
from src.images.dataset import Feed, Step


class DistributedLoader:
    """Gives what `feed` gives for the same steps: ((n, channels, height, width) images on the device, rows)."""

    def __init__(self, feed: Feed, ranks: Ranks, size: SizeWord, planes: int, dtype: torch.dtype) -> None:
        """size, planes, dtype: of the images."""
        self.feed, self.ranks, self.size, self.planes, self.dtype = feed, ranks, size, planes, dtype

    def __call__(self, steps: list[Step]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        index, count = self.ranks.index, self.ranks.count
        if count == 1:
            yield from self.feed(steps)
            return
        own = self.feed(steps[index::count])
        for start in range(0, len(steps), count):
            turn = steps[start : start + count]
            made = next(own)[0] if index < len(turn) else None  # all at the same time, each its own
            for owner, step in enumerate(turn):
                yield self._handed(made if owner == index else None, owner, step), torch.from_numpy(step.rows)

    def _handed(self, made: torch.Tensor | None, owner: int, step: Step) -> torch.Tensor:
        shape = len(step.rows), *Size.of(self.size).shape, self.planes
        if made is None:
            pixels = torch.empty(shape, dtype=self.dtype, device=self.feed.device)
        else:
            pixels = made.permute(0, 2, 3, 1).contiguous()  # as it lies in memory, so nothing is copied
        return self.ranks.broadcast_tensor(pixels, owner).permute(0, 3, 1, 2)
