"""The views that come with the package, run on the device after one decode of the image."""

import torch
import torch.nn.functional as F

from src.inference.tta import VIEWS, View

SHIFT = 1 / 12  # of each side
ZOOM = 7 / 8  # the sides of a crop, of the image's


def _turned(quarters: int) -> View:
    return lambda images: images.rot90(quarters, (2, 3))


def _shifted(down: int, right: int) -> View:
    """Moves the content; the border that comes in repeats the edge."""

    def shift(images: torch.Tensor) -> torch.Tensor:
        height, width = images.shape[2:]
        high, wide = (max(1, round(side * SHIFT)) for side in (height, width))
        padded = F.pad(images.float(), (wide, wide, high, high), mode="replicate").to(images.dtype)
        top, left = high * (1 - down), wide * (1 - right)
        return padded[..., top : top + height, left : left + width]

    return shift


def _cropped(vertical: float, horizontal: float) -> View:
    """A crop of ZOOM of the sides, enlarged again; 0 is the top or left, 1 the bottom or right."""

    def crop(images: torch.Tensor) -> torch.Tensor:
        height, width = images.shape[2:]
        high, wide = round(height * ZOOM), round(width * ZOOM)
        top, left = round((height - high) * vertical), round((width - wide) * horizontal)
        return _scaled(images[..., top : top + high, left : left + wide], (height, width))

    return crop


def _shrunk(images: torch.Tensor) -> torch.Tensor:
    """The whole image at ZOOM of its size, the border repeated."""
    height, width = images.shape[2:]
    high, wide = round(height * ZOOM), round(width * ZOOM)
    top, left = (height - high) // 2, (width - wide) // 2
    padding = left, width - wide - left, top, height - high - top
    return F.pad(_scaled(images, (high, wide)).float(), padding, mode="replicate").to(images.dtype)


def _scaled(images: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    scaled = F.interpolate(images.float(), size=shape, mode="bilinear", align_corners=False, antialias=True)
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
