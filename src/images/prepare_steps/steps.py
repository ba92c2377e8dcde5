"""The prepare steps that come with the package: borders, proportions and light."""

import cv2
import numpy as np

from src.images.prepare_steps import PREPARE_STEPS

# How far a border's pixels may be from its colour, of 255: what JPEG leaves of an even surface.
TOLERANCE = 10


@PREPARE_STEPS.register("crop_border")
def crop_border(image: np.ndarray) -> np.ndarray:
    """Cut a dark border away, as around the round field of fundus and microscope pictures."""
    return _crop(image, (0,) * image.shape[2])


@PREPARE_STEPS.register("crop_white_border")
def crop_white_border(image: np.ndarray) -> np.ndarray:
    """Cut a white border away, as around scans and cut-out objects."""
    return _crop(image, (_white(image),) * image.shape[2])


@PREPARE_STEPS.register("crop_uniform_border")
def crop_uniform_border(image: np.ndarray) -> np.ndarray:
    """Cut a border of any one colour away: the median colour along the image's edges."""
    edges = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    return _crop(image, tuple(np.median(edges, axis=0).tolist()))


@PREPARE_STEPS.register("square_pad")
def square_pad(image: np.ndarray) -> np.ndarray:
    """Add black bars, half on each side, until the image is square: keeps proportions under a later stretch."""
    height, width = image.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    bottom, right = side - height - top, side - width - left
    return np.pad(image, ((top, bottom), (left, right), (0, 0)))


@PREPARE_STEPS.register("clahe")
def clahe(image: np.ndarray) -> np.ndarray:
    """Even out the local contrast of the lightness (CLAHE, 8 x 8 tiles, clip limit 2); colours stay."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(lab[..., 0])
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


@PREPARE_STEPS.register("ben_graham")
def ben_graham(image: np.ndarray) -> np.ndarray:
    """Subtract the local average colour: 4 (image - blurred) + 128, blurred over 1/30 of the image's radius.

    From Ben Graham's winning report on Diabetic Retinopathy Detection (2015): takes lighting and camera away.
    """
    sigma = max(min(image.shape[:2]) / 60, 0.5)
    return cv2.addWeighted(image, 4, cv2.GaussianBlur(image, (0, 0), sigma), -4, 128)


def _white(image: np.ndarray) -> int:
    return np.iinfo(image.dtype).max


def _crop(image: np.ndarray, border: tuple[float, ...]) -> np.ndarray:
    """The smallest part of `image` that holds every pixel unlike `border`; all of it where there is no such pixel."""
    apart = TOLERANCE * _white(image) / 255
    low, high = np.array(border) - apart, np.array(border) + apart
    left, top, width, height = cv2.boundingRect(cv2.bitwise_not(cv2.inRange(image, low, high)))
    if width == 0 or height == 0:
        return image
    return np.ascontiguousarray(image[top : top + height, left : left + width])
