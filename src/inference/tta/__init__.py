"""The views of test-time augmentation: each one function of a batch of images.

A new one: a file with a function under `@VIEWS.register("name")`, here or in PODIUM_HOME/extensions.
"""

from collections.abc import Callable

import torch

from src.config.image_size import Size, SizeWord
from src.core.errors import Problem, UsageError
from src.core.registry import Registry

View = Callable[[torch.Tensor], torch.Tensor]  # (n, 3, h, w) uint8 -> (n, 3, h, w) uint8

VIEWS: Registry[View] = Registry("view", "src.inference.tta")
PLAIN = ("identity",)  # the image as it is

SETS = {
    "flips": ("identity", "hflip"),
    "square": ("identity", "hflip", "vflip", "rot90", "rot180", "rot270", "transpose", "antitranspose"),
    "shifts": ("identity", "up", "down", "left", "right"),
    "crops": ("identity", "crop_top_left", "crop_top_right", "crop_bottom_left", "crop_bottom_right"),
}


def view_names(words: list[str], size: SizeWord | None = None) -> tuple[str, ...]:
    """Views and named sets of views as one list without repeats. size: of the images, None where it is not known yet.

    Raises UsageError for an unknown name, and for a view that turns by 90 degrees what is not square.
    """
    names: list[str] = []
    for word in words:
        if word not in VIEWS and word not in SETS:
            raise UsageError(
                f"predict.views: {word!r} is no view. Views: {', '.join(VIEWS)}. Sets: {', '.join(SETS)}",
                code="unknown-view",
            )
        names += SETS.get(word, (word,))
    odd = [name for name in names if size is not None and not _keeps_shape(name, Size.of(size))]
    if odd:
        raise UsageError(
            f"predict.views: {odd[0]} turns images by 90 degrees, and these are {size} pixels: leave it out",
            code="turn-needs-square",
        )
    return tuple(dict.fromkeys(names))


def views_of(size: SizeWord) -> tuple[str, ...]:
    """All views that images of this size can be seen in."""
    return tuple(name for name in VIEWS if _keeps_shape(name, Size.of(size)))


def _keeps_shape(name: str, size: Size) -> bool:
    """True of any view of squares: whether one makes something else is told when it is looked through."""
    return size.is_square or VIEWS.get(name)(torch.zeros(1, 3, *size.shape, dtype=torch.uint8)).shape[2:] == size.shape


def seen_in(view: str, images: torch.Tensor) -> torch.Tensor:
    """A batch (n, 3, h, w) uint8 as the view shows it. Raises Problem where the view makes another kind of tensor."""
    seen = VIEWS.get(view)(images)
    if seen.shape != images.shape or seen.dtype != images.dtype:
        raise Problem(
            f"the view {view} makes {tuple(seen.shape)} {seen.dtype} of {tuple(images.shape)} {images.dtype}: it must "
            f"keep both",
            code="view-output",
        )
    return seen
