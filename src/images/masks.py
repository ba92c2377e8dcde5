"""The part of a picture that a mask beside it shows: `photo.jpg/mask=../masks/photo.png,10%`, named from the picture's
folder; of a card's template from data/. The margin is a share of the box around the mask, as of other boxes."""

import re
from pathlib import Path

import numpy as np

from src.images import decode
from src.images.decode import ImageFault, faults_of
from src.images.regions import MASK, Region, split_region

MARGIN = re.compile(r"(.+?)((?:,[\d.]+%)?)", re.DOTALL)
HALF = 127  # of the bytes of a JPEG, whose black is not quite black
ALIKE = 0.02  # relative: the proportions of a mask and of its picture


def box_region(path: Path, region: Region, size: tuple[int, int]) -> Region:
    """The box around the mask of a picture of this (height, width). Raises ValueError, with a reason."""
    file, margin = _file_of(path, region)
    try:
        shown = _shown(file)
    except ImageFault as fault:
        raise ValueError(f"its mask {file.name}: {fault.reason}") from None
    (height, width), (rows, columns) = size, shown.shape
    if abs(width * rows - height * columns) > ALIKE * height * columns:
        raise ValueError(f"its mask {file.name} has {columns} x {rows} pixels, and the picture {width} x {height}")
    down, across = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    if not len(down):
        raise ValueError(f"its mask {file.name} is empty")
    ends = across[0] * width / columns, down[0] * height / rows
    ends += (across[-1] + 1) * width / columns, (down[-1] + 1) * height / rows
    return Region("corners", ",".join(f"{one:.10g}" for one in ends) + margin)


def mask_bytes(path: Path, region: Region) -> bytes:
    """Of the mask's file; empty where there is none, which is told when the picture is read."""
    file, _ = _file_of(path, region)
    return file.read_bytes() if file.is_file() else b""


def mask_files(path: Path | str) -> list[Path]:
    """The file of the mask that a path names."""
    _, region = split_region(path)
    return [_file_of(Path(path), region)[0]] if region and region.kind == MASK else []


def _file_of(path: Path, region: Region) -> tuple[Path, str]:
    """The mask's file, and the margin as it is written."""
    name, margin = MARGIN.fullmatch(region.text).groups()
    return Path(split_region(path)[0]).parent / name, margin


def _shown(file: Path) -> np.ndarray:
    """(height, width) bool, what a mask shows: every pixel that is not 0, or not transparent. Raises ImageFault."""
    with faults_of(file), decode.opened(file, file.read_bytes()) as image:
        if image.format == "JPEG":
            return np.asarray(image.convert("L")) > HALF
        if image.mode in ("LA", "RGBA", "PA"):
            values = np.asarray(image.convert("RGBA"))
            opaque = values[..., 3] > 0
            return values[..., :3].any(axis=2) & opaque if opaque.all() else opaque
        values = np.asarray(image)
    return values.any(axis=2) if values.ndim == 3 else values > 0
