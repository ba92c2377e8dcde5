"""The views of test-time augmentation, by name: each a function of a batch, run on the device after one decode."""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from src.core.errors import UsageError

View = Callable[[torch.Tensor], torch.Tensor]  # (n, 3, s, s) uint8 -> (n, 3, s, s) uint8

SHIFT = 1 / 12  # of the side length
PLAIN = ("identity",)  # the image as it is
ZOOM = 7 / 8  # the side of a crop, of the image's


def _turned(quarters: int) -> View:
    return lambda images: images.rot90(quarters, (2, 3))


def _shifted(down: int, right: int) -> View:
    """Moves the content; the border that comes in repeats the edge."""

    def shift(images: torch.Tensor) -> torch.Tensor:
        step = max(1, round(images.shape[-1] * SHIFT))
        padded = F.pad(images.float(), (step,) * 4, mode="replicate").to(images.dtype)
        top, left = step * (1 - down), step * (1 - right)
        return padded[..., top : top + images.shape[2], left : left + images.shape[3]]

    return shift


def _cropped(vertical: float, horizontal: float) -> View:
    """A crop of ZOOM of the side, enlarged again; 0 is the top or left, 1 the bottom or right."""

    def crop(images: torch.Tensor) -> torch.Tensor:
        side = images.shape[-1]
        inner = round(side * ZOOM)
        top, left = round((side - inner) * vertical), round((side - inner) * horizontal)
        return _scaled(images[..., top : top + inner, left : left + inner], side)

    return crop


def _shrunk(images: torch.Tensor) -> torch.Tensor:
    """The whole image at ZOOM of its size, the border repeated."""
    side = images.shape[-1]
    inner = round(side * ZOOM)
    before = (side - inner) // 2
    padding = (before, side - inner - before) * 2
    return F.pad(_scaled(images, inner).float(), padding, mode="replicate").to(images.dtype)


def _scaled(images: torch.Tensor, side: int) -> torch.Tensor:
    scaled = F.interpolate(images.float(), size=(side, side), mode="bilinear", align_corners=False, antialias=True)
    return scaled.round().clamp(0, 255).to(images.dtype)


VIEWS: dict[str, View] = {
    "identity": lambda images: images,
    "hflip": lambda images: images.flip(3),
    "vflip": lambda images: images.flip(2),
    "rot90": _turned(1),
    "rot180": _turned(2),
    "rot270": _turned(3),
    "transpose": lambda images: images.transpose(2, 3),
    "antitranspose": lambda images: images.rot90(2, (2, 3)).transpose(2, 3),
    "up": _shifted(-1, 0),
    "down": _shifted(1, 0),
    "left": _shifted(0, -1),
    "right": _shifted(0, 1),
    "zoom": _cropped(0.5, 0.5),
    "shrink": _shrunk,
    "crop_top_left": _cropped(0, 0),
    "crop_top_right": _cropped(0, 1),
    "crop_bottom_left": _cropped(1, 0),
    "crop_bottom_right": _cropped(1, 1),
}

SETS = {
    "flips": ("identity", "hflip"),
    "square": ("identity", "hflip", "vflip", "rot90", "rot180", "rot270", "transpose", "antitranspose"),
    "shifts": ("identity", "up", "down", "left", "right"),
    "crops": ("identity", "crop_top_left", "crop_top_right", "crop_bottom_left", "crop_bottom_right"),
}


def view_names(words: list[str]) -> tuple[str, ...]:
    """Views and named sets of views as one list without repeats. Raises UsageError for an unknown name."""
    names: list[str] = []
    for word in words:
        if word not in VIEWS and word not in SETS:
            raise UsageError(f"predict.views: {word!r} is no view. Views: {', '.join(VIEWS)}. Sets: {', '.join(SETS)}")
        names += SETS.get(word, (word,))
    return tuple(dict.fromkeys(names))
