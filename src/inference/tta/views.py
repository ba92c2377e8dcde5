"""The views that come with the package, run on the device after one decode of the image."""

import torch
import torch.nn.functional as F

from src.inference.tta import VIEWS, View

SHIFT = 1 / 12  # of the side length
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
    return scaled.clamp(0, 255) if images.is_floating_point() else scaled.round().clamp(0, 255).to(images.dtype)


VIEWS.register("identity")(lambda images: images)
VIEWS.register("hflip")(lambda images: images.flip(3))
VIEWS.register("vflip")(lambda images: images.flip(2))
VIEWS.register("rot90")(_turned(1))
VIEWS.register("rot180")(_turned(2))
VIEWS.register("rot270")(_turned(3))
VIEWS.register("transpose")(lambda images: images.transpose(2, 3))
VIEWS.register("antitranspose")(lambda images: images.rot90(2, (2, 3)).transpose(2, 3))
VIEWS.register("up")(_shifted(-1, 0))
VIEWS.register("down")(_shifted(1, 0))
VIEWS.register("left")(_shifted(0, -1))
VIEWS.register("right")(_shifted(0, 1))
VIEWS.register("zoom")(_cropped(0.5, 0.5))
VIEWS.register("shrink")(_shrunk)
VIEWS.register("crop_top_left")(_cropped(0, 0))
VIEWS.register("crop_top_right")(_cropped(0, 1))
VIEWS.register("crop_bottom_left")(_cropped(1, 0))
VIEWS.register("crop_bottom_right")(_cropped(1, 1))
