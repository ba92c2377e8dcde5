"""The usual ways from a picture to a square."""

import cv2
import numpy as np

from src.images.fits import FITS
from src.images.pixel_format import resize


@FITS.register("stretch")
def stretch(image: np.ndarray, side: int) -> np.ndarray:
    """The proportions change."""
    return _resized(image, side, side)


@FITS.register("crop")
def crop(image: np.ndarray, side: int) -> np.ndarray:
    """The middle square."""
    height, width = image.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    return _resized(image[top : top + short, left : left + short], side, side)


@FITS.register("pad")
def pad(image: np.ndarray, side: int) -> np.ndarray:
    """Everything, between black bars: black, as the borders that augmentations draw later."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    inner = _resized(image, max(1, round(width * scale)), max(1, round(height * scale)))
    top, left = (side - inner.shape[0]) // 2, (side - inner.shape[1]) // 2
    square = np.zeros((side, side, image.shape[2]), image.dtype)
    square[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return square


def _resized(image: np.ndarray, width: int, height: int) -> np.ndarray:
    # Each axis by what it needs: area averages without aliasing but only shrinks well, cubic only enlarges well.
    small = min(image.shape[1], width), min(image.shape[0], height)
    if small != image.shape[1::-1]:
        image = resize(image, small, cv2.INTER_AREA)
    if small != (width, height):
        image = resize(image, (width, height), cv2.INTER_CUBIC)
    return np.ascontiguousarray(image)
