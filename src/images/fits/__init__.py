"""How a picture becomes a square: `images.fit=pad`.

Each is one function of an image (height, width, channels), uint8 or uint16, and a side to (side, side, channels). A new
one: a file with a function under `@FITS.register("name")`, here or in PODIUM_HOME/extensions.
"""

from collections.abc import Callable

import numpy as np

from src.core.errors import Problem
from src.core.registry import Registry

Fit = Callable[[np.ndarray, int], np.ndarray]

FITS: Registry[Fit] = Registry("fit", "src.images.fits", shapes_weights=True)


def fitted(image: np.ndarray, side: int, fit: str) -> np.ndarray:
    """`image` (height, width, channels) as (side, side, channels), of the same type. Raises UsageError for an unknown
    `fit`, and Problem where a user's own makes no such square."""
    square = FITS.get(fit)(image, side)
    wanted = (side, side, image.shape[2])
    if square.dtype != image.dtype or square.shape != wanted:
        raise Problem(
            f"images.fit: {fit} made an array of {square.dtype} and shape {square.shape}, and must make "
            f"{wanted} {image.dtype}",
            code="fit-output",
        )
    return square


def version_of(fit: str) -> str:
    """The name, and of a user's own which version of its file: pixels made by another one are stale."""
    origin = FITS.origin(fit)
    return f"{fit} {origin}" if origin else fit
