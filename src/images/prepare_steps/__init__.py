"""What is done to a whole image once, before it is cached: `images.prepare=[crop_border, square_pad]`.

Each is one function from HWC uint8 RGB to HWC uint8 RGB; one that can, works on other channels and on uint16 too, and
gives back what it was given. A new one: a file with a function under
`@PREPARE_STEPS.register("name")`, here or in PODIUM_HOME/extensions.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from src.config.image_size import Size
from src.core.errors import Problem, UsageError
from src.core.registry import Registry
from src.core.suggestions import nearest

PrepareStep = Callable[[np.ndarray], np.ndarray]

SQUARE = "square_pad"  # keeps proportions where a stretch to a square follows

PREPARE_STEPS: Registry[PrepareStep] = Registry("prepare step", "src.images.prepare_steps", shapes_weights=True)


def prepared(image: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """An image after the steps of these names, in order. Raises Problem where one makes no image of it."""
    for name in names:
        before, step = image, PREPARE_STEPS.get(name)
        try:
            image = step(before)
        except cv2.error:
            raise Problem(
                f"images.prepare: {name} cannot work on {before.shape[2]} channels of {before.dtype}: leave it out",
                code="unfit-prepare-step",
            ) from None
        if image.dtype != before.dtype or image.ndim != 3 or image.shape[2] != before.shape[2] or not image.size:
            raise Problem(
                f"images.prepare: {name} made an array of {image.dtype} and shape {image.shape}, and must make "
                f"(height, width, {before.shape[2]}) {before.dtype}",
                code="prepare-step-output",
            )
    return image


def check_steps(names: Sequence[str], size: Size | None = None) -> None:
    """Raises UsageError for an unknown name, and for bars that no picture of this size needs."""
    if SQUARE in names and size is not None and not size.is_square:
        raise UsageError(
            f"images.prepare: {SQUARE} makes squares, and images.size is {size}: leave it out and take images.fit=pad",
            code="square-step",
        )
    for name in names:
        if name not in PREPARE_STEPS:
            raise UsageError(
                f"images.prepare: {name!r} is unknown.{nearest(name, PREPARE_STEPS.names())}",
                code="unknown-prepare-step",
            )


def versions_of(names: Sequence[str]) -> list[str]:
    """The names, and of a user's own step which version of its file: pixels made by another one are stale."""
    origins = {name: PREPARE_STEPS.origin(name) for name in names}
    return [f"{name} {origins[name]}" if origins[name] else name for name in names]
