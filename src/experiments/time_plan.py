"""What a training will take, by speeds that were measured here, and the size and epochs that fit into a time.

Plain arithmetic: nothing is run. An image of twice the side takes four times as long, as convolutions do.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from src.config.image_size import Size, SizeWord

FEWEST = 2  # epochs a fold, below which training all weights is no answer
SETTLING = 3.0  # seconds in which a fold begins and writes down its end


@dataclass(frozen=True)
class Work:
    """What is to be done, whatever the network.

    rows: that a fold trains on, `held` those that it holds out. passes: of all its test and held-out images in views,
    through the models of all folds. jobs: folds side by side. batch: images an optimizer step.
    """

    rows: int
    held: int
    passes: int
    folds: int
    jobs: int
    batch: int

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return math.ceil(self.rows / self.batch)


@dataclass(frozen=True)
class Speed:
    """Seconds of one optimizer step, its images made ready, and of one image's answer, with folds side by side.

    alone: the share of them that a fold takes which has the machine to itself. head: seconds a fold for its first head.
    """

    network: str
    size: SizeWord
    precision: str
    layout: str
    step: float
    answer: float
    alone: float = 1.0
    head: float = 0.0

    def at(self, size: SizeWord) -> "Speed":
        """The same at another size, computed."""
        factor = Size.of(size).pixels / Size.of(self.size).pixels
        return replace(self, size=size, step=self.step * factor, answer=self.answer * factor)

    def fold(self, work: Work, epochs: int) -> float:
        """Seconds of a fold that trains beside others."""
        return SETTLING + self.head + epochs * (work.steps * self.step + work.held * self.answer)

    def folds(self, work: Work, epochs: int) -> float:
        """Seconds of all folds: as many side by side as there are jobs, and what is left over shares the machine."""
        rounds, rest = divmod(work.folds, work.jobs)
        share = rest / work.jobs if work.jobs > 1 else 1.0
        last = max(self.alone, share) if rest else 0.0
        return self.fold(work, epochs) * (rounds + last)

    def answers(self, work: Work) -> float:
        """Seconds of prediction, by all cores."""
        return work.passes * self.answer / work.jobs

    def epochs(self, work: Work, seconds: float) -> int:
        """How many fit with their prediction; 0 where none does."""
        left = seconds - self.answers(work) - self.folds(work, 0)
        return max(0, math.floor(left / (self.folds(work, 1) - self.folds(work, 0))))


@dataclass(frozen=True)
class Sizes:
    """That may be trained at. own: the side that the pictures have.

    wanted: epochs, of which so many come before larger pictures; most: so many come before pictures larger than they
    are, for until then epochs gain more.
    """

    sizes: list[SizeWord]
    own: int
    wanted: int
    most: int

    def largest(
        self, speed: Speed, work: Work, seconds: float, before: Callable[[Speed], float] = lambda speed: 0.0
    ) -> SizeWord:
        """The largest size at which so many epochs fit; where they fit at none, the largest with the fewest of use.

        before: the seconds that pass before training begins, of the speed at a size.
        """

        def fitting(sizes: list[SizeWord], epochs: int) -> list[SizeWord]:
            speeds = [speed.at(size) for size in sizes]
            return [one.size for one in speeds if one.epochs(work, seconds - before(one)) >= epochs]

        own = [size for size in self.sizes if Size.of(size).short <= self.own] or [min(self.sizes, key=_pixels)]
        beyond = [size for size in self.sizes if size not in own]
        found = fitting(beyond, self.most) or fitting(own, self.wanted) or fitting(own, FEWEST)
        return max(found, key=_pixels) if found else min(own, key=_pixels)

    def up_to(self, size: SizeWord) -> "Sizes":
        return replace(self, sizes=[one for one in self.sizes if _pixels(one) <= _pixels(size)])


def _pixels(size: SizeWord) -> int:
    return Size.of(size).pixels
