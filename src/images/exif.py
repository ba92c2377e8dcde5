"""Which way up a photo is, as its camera noted in EXIF."""

import numpy as np
from PIL import Image

ORIENTATION = 0x0112


def orientation(exif: bytes) -> int:
    """EXIF's orientation tag: 1 is upright, 5 to 8 swap width and height. 1 where there is none that can be read."""
    if not exif:
        return 1
    tags = Image.Exif()
    try:
        tags.load(exif)
        value = tags.get(ORIENTATION)
    except Exception:  # broken EXIF is common, Pillow raises anything then, and the picture is whole without it
        return 1
    return value if value in range(1, 9) else 1


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """`image` (height, width, channels), stored with this `orientation`, as it is meant to be seen."""
    if orientation == 1:
        return image
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    rows, columns = -1 if orientation in (3, 4, 7, 8) else 1, -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(image[::rows, ::columns])
