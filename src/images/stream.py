"""Image files as arrays of one size, each decoded when it is asked for."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from src.config.image_size import Size, SizeWord
from src.core.console import Bar
from src.core.errors import UsageError
from src.images.decode import ImageFault
from src.images.fits import check_fit, fitted
from src.images.pixel_format import STANDARD, PixelFormat, resize
from src.images.prepare_steps import check_steps, prepared
from src.images.read import image_size, read_image


def resized(image: np.ndarray, size: SizeWord | Size) -> np.ndarray:
    """An image (h, w, channels), of the cache or augmented, as the network sees it: (height, width, channels), of the
    same type."""
    height, width = Size.of(size).shape
    if image.shape[:2] == (height, width):
        return image
    shrinks = image.shape[0] >= height and image.shape[1] >= width
    return resize(image, (width, height), cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _nothing_made(_: str) -> None:
    return None


class ImageStream:
    """Arrays (height, width, channels) of the files `paths`, decoded on demand, in the type that `pixels` has: uint8
    with 3 channels unless a card says otherwise. Pickles; safe in workers and threads.

    `faults` tells the rows known to be unusable and why (see `check`); they are black. Any other row whose file
    turns out to be broken raises ImageFault when it is asked for.
    """

    def __init__(
        self,
        paths: Sequence[Path | str],
        size: SizeWord | Size,
        fit: str,
        prepare: Sequence[str] = (),
        pixels: PixelFormat = STANDARD,
    ) -> None:
        """Paths may be text: a million Path objects are half a gigabyte.

        Raises UsageError where `size`, `fit` or a name in `prepare` can not be."""
        size = Size.of(size)
        if size.short < 1:
            raise UsageError(
                f"the size of the images (images.load_size) is {size}: must be at least 1 pixel", code="bad-value"
            )
        check_fit(fit, size)
        check_steps(prepare, size)
        self.paths, self.size, self.fit, self.prepare = list(paths), size, fit, tuple(prepare)
        self.pixels = pixels
        self.made: Callable[[str], np.ndarray | None] = _nothing_made  # images that need not be decoded again
        self.faults: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        """Row `index` as (height, width, channels). Raises ImageFault."""
        index = range(len(self))[index]
        if index in self.faults:
            return self.blank(1)[0]
        return self._square(index)

    def batch(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Rows `indices` as (n, height, width, channels). Raises ImageFault."""
        rows = [self[index] for index in indices]
        return np.stack(rows) if rows else self.blank(0)

    def blank(self, rows: int) -> np.ndarray:
        """So many black images."""
        return np.zeros((rows, *self.size.shape, self.pixels.channels), self.pixels.dtype)

    def fault(self, index: int) -> str | None:
        """What is wrong with the image of row `index`, decoded whole to see; None if nothing is."""
        try:
            self._square(index)
        except ImageFault as fault:
            return fault.reason
        return None

    def check(self, workers: int | None = None) -> None:
        """Read the header of every file and note the unusable ones in `faults`."""
        self.faults = each_in_threads(
            lambda row: image_size(Path(self.paths[row]), self.pixels, self.at_least),
            len(self),
            workers,
            "checking images",
        )

    @property
    def at_least(self) -> int:
        """Pixels of the short side that images are read with: where a preparation may crop, twice the size, so that
        half of the image still fills it."""
        return max(self.size.shape) * (2 if self.prepare else 1)

    def made_of(self, image: np.ndarray) -> np.ndarray:
        """(height, width, channels) of `size` of an image (h, w, channels)."""
        return fitted(prepared(image, self.prepare), self.size, self.fit)

    def _square(self, index: int) -> np.ndarray:
        made = self.made(str(self.paths[index]))
        if made is not None:
            return made
        return self.made_of(read_image(Path(self.paths[index]), self.pixels, self.at_least).pixels)

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name != "made"}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state, made=_nothing_made)


def each_in_threads(work: Callable[[int], object], rows: int, workers: int | None, title: str) -> dict[int, str]:
    """Call `work(row)` for every row, on `workers` threads (default: one a core), with a bar.

    Returns the reasons of the ImageFaults met, by row. Threads are enough: decoding and resizing free the
    interpreter's lock.
    """

    def block(start: int) -> dict[int, str]:
        faults = {}
        for row in range(start, min(start + size, rows)):
            try:
                work(row)
            except ImageFault as fault:
                faults[row] = fault.reason
        return faults

    size, faults = 32, {}
    starts = range(0, rows, size)
    own_threads = cv2.getNumThreads()
    with (
        ThreadPoolExecutor(workers or os.cpu_count()) as pool,
        Bar(rows, title, "image") as bar,
    ):
        try:
            cv2.setNumThreads(1)  # the images are the parallel part: threads within each would only get in the way
            for start, found in zip(starts, pool.map(block, starts), strict=True):
                faults |= found
                bar.update(min(size, rows - start))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        finally:
            cv2.setNumThreads(own_threads)
    return faults
