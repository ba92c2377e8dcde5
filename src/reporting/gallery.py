"""A gallery: images side by side, each with a few lines under it."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from matplotlib.figure import Figure

from src.images.pixel_format import STANDARD, PixelFormat, to_shown
from src.images.stream import ImageStream
from src.reporting.figures import save
from src.reporting.fonts import families, legible

ACROSS, MOST = 6, 24
SIDE = 224  # pixels of an image in the gallery


@dataclass(frozen=True)
class Picture:
    file: Path
    lines: tuple[str, ...]


def write_gallery(path: Path, title: str, pictures: Sequence[Picture], pixels: PixelFormat = STANDARD) -> None:
    """Write the first 24 pictures as a PNG, whole or not at all. Raises Problem for an image that is none."""
    save(draw_gallery(title, pictures[:MOST], pixels), path)


def draw_gallery(title: str, pictures: Sequence[Picture], pixels: PixelFormat = STANDARD) -> Figure:
    """The pictures in rows of six, each whole within a square; there must be at least one."""
    images = ImageStream([picture.file for picture in pictures], SIDE, "pad", pixels=pixels)
    fonts = families([line for picture in pictures for line in picture.lines])
    across, down = min(ACROSS, len(pictures)), ceil(len(pictures) / ACROSS)
    figure = Figure(figsize=(max(6, 2.2 * across), 0.6 + 2.75 * down), layout="constrained")
    figure.suptitle(title, fontsize="medium")
    grid = figure.subplots(down, across, squeeze=False)
    for place in grid.flat:
        place.set_axis_off()
    for number, (place, picture) in enumerate(zip(grid.flat, pictures, strict=False)):
        place.imshow(to_shown(images[number]))
        under = "\n".join(legible(line, fonts) for line in picture.lines)
        # Not as a formula: a class may be called $1.
        place.text(
            0.5, -0.03, under, transform=place.transAxes, ha="center", va="top", fontsize="small", parse_math=False
        ).set_fontfamily(fonts)
    return figure
