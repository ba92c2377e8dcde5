"""Several images of one answer, as one image of many channels: first those of the first image, then of the second.

A place that a bag does not fill is black, and the network leaves it out; see models/bag_head.py. With slices each image
is seen together with its neighbours, as one picture of more channels; see images/slices.py.
"""

import re
from collections.abc import Sequence

import numpy as np

from src.images.cache import ImageCache
from src.images.decode import ImageFault
from src.images.slices import places_of, together
from src.images.stream import ImageStream


class BagImages:
    """As an ImageCache, with a row for each bag: (height, width, slots * channels). Pickles small.

    ends: (bags + 1,), where each bag begins in `images`. slots: pictures of a bag that are seen at once. slices: images
    that make up a picture; None: it is one image, with its channels. series: (images,), the series of each, see
    images/slices.py; no picture has slices of two. None: a bag is one series.
    """

    def __init__(
        self,
        images: ImageCache | ImageStream,
        ends: np.ndarray,
        slots: int,
        slices: int | None = None,
        series: np.ndarray | None = None,
    ) -> None:
        self.images, self.ends, self.slots, self.slices = images, ends, slots, slices
        self.series = series
        self.faults: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self.batch([range(len(self))[index]])[0]

    def batch(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """(n, height, width, slots * channels); of larger bags images that are spread evenly."""
        return self._filled([self._pictures(self._all(row), self.members(row)) for row in rows])

    def drawn(self, rows: Sequence[int] | np.ndarray, key: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """The images that are seen of bags, of larger ones a random choice, in order, which belongs to `key`:
        (images, height, width, channels), and the place of each among len(rows) * slots."""
        generator = np.random.default_rng((*key, 1))
        members = [self._pictures(self._all(row), self._chosen(row, generator)) for row in rows]
        return self._images(members), self._places(members)

    def blank(self, rows: int) -> np.ndarray:
        """So many bags without a picture, of a stream."""
        blank = self.images.blank(rows * self.slots * (self.slices or 1))
        return joined(self._joined(blank, rows * self.slots).reshape(rows, self.slots, *blank.shape[1:3], -1))

    def members(self, row: int) -> np.ndarray:
        """(slots or fewer,) the rows of `images` that a bag is seen by, evenly spread where it has more than slots."""
        return self._spread(self._all(row))

    def readable(self, row: int) -> tuple[np.ndarray, list[ImageFault]]:
        """A bag of a stream, (height, width, slots * channels), without its images that cannot be read, and what is
        wrong with these. Images that would not be seen are looked at only where one of the others cannot be read.

        Raises ImageFault where none can be read.
        """
        try:
            return self[row], []
        except ImageFault:
            places, faults = range(self.ends[row], self.ends[row + 1]), {}
        for place in places:
            try:
                self.images[place]
            except ImageFault as fault:
                faults[place] = fault
        good = [place for place in places if place not in faults]
        if not good:
            raise next(iter(faults.values()))
        there = np.array(good)
        return self._filled([self._pictures(there, self._spread(there))])[0], list(faults.values())

    def _all(self, row: int) -> np.ndarray:
        return np.arange(self.ends[row], self.ends[row + 1])

    def _spread(self, members: np.ndarray) -> np.ndarray:
        if len(members) <= self.slots:
            return members
        return members[np.linspace(0, len(members) - 1, self.slots).round().astype(np.int64)]

    def _chosen(self, row: int, generator: np.random.Generator) -> np.ndarray:
        first, count = self.ends[row], self.ends[row + 1] - self.ends[row]
        return first + np.sort(generator.permutation(count)[: self.slots])

    def _pictures(self, bag: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """(pictures, images of each) rows of `images`, for the chosen ones of a bag."""
        if self.slices is None:
            return chosen[:, None]
        series = np.zeros(len(bag), np.int32) if self.series is None else self.series[bag]
        return bag[places_of(np.searchsorted(bag, chosen), series, self.slices, whole=self.slots == 1)]

    def _images(self, members: list[np.ndarray]) -> np.ndarray:
        rows = np.concatenate(members) if members else np.zeros((0, self.slices or 1), np.int64)
        if self.slices is None:
            return self.images.batch(rows[:, 0])
        each, places = np.unique(rows, return_inverse=True)  # neighbours share slices
        return self._joined(self.images.batch(each)[places.ravel()], len(rows))

    def _joined(self, images: np.ndarray, pictures: int) -> np.ndarray:
        """(pictures * slices, h, w, channels) as pictures."""
        return images if self.slices is None else together(images.reshape(pictures, self.slices, *images.shape[1:]))

    def _places(self, members: list[np.ndarray]) -> np.ndarray:
        places = [at * self.slots + np.arange(len(one)) for at, one in enumerate(members)]
        return np.concatenate([np.zeros(0, np.int64), *places])

    def _filled(self, members: list[np.ndarray]) -> np.ndarray:
        return in_places(self._images(members), self._places(members), self.slots, len(members))


def in_places(images: np.ndarray, places: np.ndarray, slots: int, bags: int) -> np.ndarray:
    """(n, h, w, channels) images in their places of so many bags, (bags, h, w, slots * channels); the others black."""
    made = np.zeros((bags * slots, *images.shape[1:]), images.dtype)
    made[places] = images
    return joined(made.reshape(bags, slots, *images.shape[1:]))


def joined(images: np.ndarray) -> np.ndarray:
    """(n, slots, h, w, channels) -> (n, h, w, slots * channels)."""
    bags, slots, height, width, channels = images.shape
    return images.transpose(0, 2, 3, 1, 4).reshape(bags, height, width, slots * channels)


def apart(images: np.ndarray, slots: int) -> np.ndarray:
    """(n, h, w, slots * channels) -> (n * slots, h, w, channels)."""
    bags, height, width, held = images.shape
    parts = images.reshape(bags, height, width, slots, held // slots).transpose(0, 3, 1, 2, 4)
    return np.ascontiguousarray(parts).reshape(bags * slots, height, width, held // slots)


def montage(parts: np.ndarray, across: int) -> np.ndarray:
    """(count, h, w, ...) as one array of rows of so many, (down * h, across * w, ...); what is left over is zero."""
    count, height, width, *more = parts.shape
    down = -(-count // across)
    whole = np.zeros((down * across, height, width, *more), parts.dtype)
    whole[:count] = parts
    rows = whole.reshape(down, across, height, width, *more).swapaxes(1, 2)
    return rows.reshape(down * height, across * width, *more)


def natural_order(path: str) -> list[tuple[int, int, str]]:
    """An order in which img10 comes after img9."""
    return [(0, int(one), "") if one.isdigit() else (1, 0, one) for one in re.split(r"(\d+)", path)]
