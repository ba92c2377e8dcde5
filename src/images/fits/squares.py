"""The usual ways from a picture to the size that is asked for."""

import cv2
import numpy as np

from src.images.fits import FITS
from src.images.pixel_format import resize


@FITS.register("stretch")
def stretch(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The proportions change."""
    return _resized(image, width, height)


@FITS.register("crop")
def crop(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The largest middle part of the right proportions."""
    high, wide = image.shape[:2]
    if high * width < wide * height:
        wide = max(1, round(high * width / height))
    else:
        high = max(1, round(wide * height / width))
    top, left = (image.shape[0] - high) // 2, (image.shape[1] - wide) // 2
    return _resized(image[top : top + high, left : left + wide], width, height)


@FITS.register("pad")
def pad(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Everything, between black bars: black, as the borders that augmentations draw later."""
    high, wide = image.shape[:2]
    scale = min(height / high, width / wide)
    inner = _resized(image, max(1, round(wide * scale)), max(1, round(high * scale)))
    top, left = (height - inner.shape[0]) // 2, (width - inner.shape[1]) // 2
    made = np.zeros((height, width, image.shape[2]), image.dtype)
    made[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return made


def _resized(image: np.ndarray, width: int, height: int) -> np.ndarray:
    # Each axis by what it needs: area averages without aliasing but only shrinks well, cubic only enlarges well.
    small = min(image.shape[1], width), min(image.shape[0], height)
    if small != image.shape[1::-1]:
        image = resize(image, small, cv2.INTER_AREA)
    if small != (width, height):
        image = resize(image, (width, height), cv2.INTER_CUBIC)
    return np.ascontiguousarray(image)
