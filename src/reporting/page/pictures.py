"""Images as they stand in the page, and side by side as one file."""

import base64
from collections.abc import Sequence
from math import ceil

import cv2
import numpy as np

SMALL = 48  # pixels up to which a picture is kept as it is; JPEG would blur it
QUALITY = 82
ACROSS = 8  # tiles of a contact sheet
GAP = 4


def data_uri(image: np.ndarray) -> str:
    """(h, w, 3) uint8 RGB as text that an <img> shows."""
    kind = "png" if max(image.shape[:2]) <= SMALL else "jpeg"
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY] if kind == "jpeg" else []
    return f"data:image/{kind};base64,{base64.b64encode(_encoded(image, kind, options)).decode()}"


def png_uri(png: bytes) -> str:
    """A PNG file as text that an <img> shows."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def contact_sheet(tiles: Sequence[Sequence[np.ndarray]]) -> bytes:
    """Tiles of images side by side, in rows of eight or fewer, as a PNG file."""
    side = max((max(image.shape[:2]) for tile in tiles for image in tile), default=1)
    width = max((len(tile) for tile in tiles), default=1)
    across = max(1, min(ACROSS // width, len(tiles)))
    down = max(1, ceil(len(tiles) / across))
    cell = width * side + (width - 1) * 1
    sheet = np.full((down * (side + GAP) + GAP, across * (cell + GAP) + GAP, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = GAP + number // across * (side + GAP), GAP + number % across * (cell + GAP)
        for place, image in enumerate(tile):
            height, wide = image.shape[:2]
            begin = left + place * (side + 1)
            sheet[top : top + height, begin : begin + wide] = image
    return _encoded(sheet, "png", [])


def overlaid(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """`image` (h, w, 3) uint8 under the colours of `heat`, (any, any) from 0 to 1: dark blue to yellow."""
    height, width = image.shape[:2]
    smooth = cv2.resize(heat.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    colours = cv2.applyColorMap((smooth * 255).astype(np.uint8), cv2.COLORMAP_CIVIDIS)[:, :, ::-1]
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None]
    return (0.45 * gray + 0.55 * colours).astype(np.uint8)


def shown(image: np.ndarray, side: int) -> np.ndarray:
    """No larger than `side` pixels."""
    if max(image.shape[:2]) <= side:
        return image
    scale = side / max(image.shape[:2])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _encoded(image: np.ndarray, kind: str, options: list[int]) -> bytes:
    return cv2.imencode(f".{kind}", np.ascontiguousarray(image[:, :, ::-1]), options)[1].tobytes()
