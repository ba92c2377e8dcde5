"""How a picture gets the size that is asked for: `images.fit=pad`.

Each is one function of an image (h, w, channels), uint8 or uint16, a height and a width to (height, width, channels).
One of an image and a side makes squares alone. A new one: a file with a function under `@FITS.register("name")`, here
or in PODIUM_HOME/extensions.
"""

import functools
import inspect
from collections.abc import Callable

import numpy as np

from src.config.image_size import Size, SizeWord
from src.core.errors import Problem, UsageError
from src.core.registry import Registry

Fit = Callable[..., np.ndarray]

FITS: Registry[Fit] = Registry("fit", "src.images.fits", shapes_weights=True)


def check_fit(fit: str, size: Size) -> None:
    """Raises UsageError for an unknown `fit`, and where it makes squares and `size` is none."""
    if not _makes_any(FITS.get(fit)) and not size.is_square:
        raise UsageError(
            f"images.fit={fit} makes squares, and images.size is {size}: give its function (image, height, width) in "
            "place of (image, side), or take another fit",
            code="fit-makes-squares",
        )


def fitted(image: np.ndarray, size: SizeWord | Size, fit: str) -> np.ndarray:
    """`image` (h, w, channels) as (height, width, channels) of `size`, of the same type. Raises UsageError for an
    unknown `fit`, and Problem where a user's own makes no such array."""
    make, size = FITS.get(fit), Size.of(size)
    made = make(image, size.height, size.width) if _makes_any(make) else make(image, size.height)
    wanted = (*size.shape, image.shape[2])
    if made.dtype != image.dtype or made.shape != wanted:
        raise Problem(
            f"images.fit: {fit} made an array of {made.dtype} and shape {made.shape}, and must make "
            f"{wanted} {image.dtype}",
            code="fit-output",
        )
    return made


@functools.cache
def _makes_any(make: Fit) -> bool:
    """Whether it is told a height and a width, and not one side."""
    asked = [one for one in inspect.signature(make).parameters.values() if one.default is inspect.Parameter.empty]
    return len(asked) > 2


def version_of(fit: str) -> str:
    """The name, and of a user's own which version of its file: pixels made by another one are stale."""
    origin = FITS.origin(fit)
    return f"{fit} {origin}" if origin else fit
