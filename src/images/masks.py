"""The part of a picture that a mask beside it shows: `photo.jpg/mask=../masks/photo.png,10%`, named from the picture's
folder; of a card's template from data/. The margin is a share of the box around the mask, as of other boxes. Of a mask
that codes several things `mask=../masks/photo.png=1,10%` names the value that is shown."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from src.images import decode
from src.images.decode import ImageFault, faults_of, orientation, upright
from src.images.regions import MASK, Region, split_region

PARTS = re.compile(r"(.+?)(?:=(\d+))?((?:,[\d.]+%)?)", re.DOTALL)
HALF = 127  # of the bytes of a JPEG, whose black is not quite black
ALIKE = 0.02  # relative: the proportions of a mask and of its picture
WHOLE = 0.98  # of a picture, from which on a box leaves nothing out
LOOKED_AT, NAMED = 8, 5  # masks, and of their values


def box_region(path: Path, region: Region, size: tuple[int, int]) -> Region:
    """The box around the mask of a picture of this (height, width). Raises ValueError, with a reason."""
    file, value, margin = _parts(path, region)
    try:
        shown = _shown(file, value)
    except ImageFault as fault:
        raise ValueError(f"its mask {file.name}: {fault.reason}") from None
    height, width = size
    shown = _as_seen(shown, Path(split_region(path)[0]), size, file.name)
    (rows, columns), (top, bottom, left, right) = shown.shape, _box(shown)
    if bottom == top:
        raise ValueError(f"its mask {file.name} is empty{'' if value is None else f' of {value}'}")
    ends = left * width / columns, top * height / rows, right * width / columns, bottom * height / rows
    return Region("corners", ",".join(f"{one:.10g}" for one in ends) + margin)


def whole_masks(paths: Iterable[str]) -> str:
    """What is told of pictures whose masks leave next to nothing out of them; empty where few do. paths: all images,
    of which some are looked at."""
    paths = [path for path in paths if f"/{MASK}=" in path]
    files = [_parts(Path(path), split_region(path)[1])[:2] for path in paths[:: len(paths) // LOOKED_AT + 1]]
    whole = [file for file, value in files if leaves_all(file, value)]
    if 2 * len(whole) <= len(files):
        return ""
    values = ", ".join(map(str, values_of(whole[:1])[:NAMED]))
    text = f"{len(whole)} of {len(files)} masks looked at leave nothing out of their pictures, such as {whole[0].name}"
    return (
        f"{text} (its values: {values}). If one value is what counts, name it in the card: mask=...{whole[0].suffix}=1"
    )


def leaves_all(file: Path, value: int | None = None) -> bool:
    """Whether the box around a mask is all, or nearly all, of the picture; not of a mask that cannot be read."""
    try:
        shown = _shown(file, value)
    except ImageFault:
        return False
    top, bottom, left, right = _box(shown)
    return (bottom - top) * (right - left) >= WHOLE * shown.size


def values_of(files: Sequence[Path]) -> list[int]:
    """The numbers that masks hold, of one channel, in ascending order; none of JPEG, which keeps none exactly."""
    found: set[int] = set()
    for file in files:
        try:
            with faults_of(file), decode.opened(file, file.read_bytes()) as image:
                values = np.asarray(image) if image.format != "JPEG" else np.zeros(0, np.uint8)
        except ImageFault:
            continue
        found.update(np.unique(values if values.ndim < 3 else values[..., 0]).astype(int).tolist())
    return sorted(found)


def mask_bytes(path: Path, region: Region) -> bytes:
    """Of the mask's file; empty where there is none, which is told when the picture is read."""
    file = _parts(path, region)[0]
    return file.read_bytes() if file.is_file() else b""


def what_counts(region: Region) -> str:
    """The value and the margin, as they are written behind the name of the mask's file."""
    name = PARTS.fullmatch(region.text)[1]
    return region.text[len(name) :]


def mask_files(path: Path | str) -> list[Path]:
    """The file of the mask that a path names."""
    _, region = split_region(path)
    return [_parts(Path(path), region)[0]] if region and region.kind == MASK else []


def _parts(path: Path, region: Region) -> tuple[Path, int | None, str]:
    """The mask's file, the value that counts, and the margin as it is written."""
    name, value, margin = PARTS.fullmatch(region.text).groups()
    return Path(split_region(path)[0]).parent / name, None if value is None else int(value), margin


def _box(shown: np.ndarray) -> tuple[int, int, int, int]:
    """Top, bottom, left and right end of what is shown; all 0 where nothing is."""
    down, across = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    return (int(down[0]), int(down[-1]) + 1, int(across[0]), int(across[-1]) + 1) if len(down) else (0, 0, 0, 0)


def _as_seen(shown: np.ndarray, picture: Path, size: tuple[int, int], name: str) -> np.ndarray:
    """A mask as its picture of this (height, width) is seen, which is turned by its EXIF. Raises ValueError."""
    turned = decode.stored_orientation(picture)
    other = _upright(shown, turned)
    as_seen, as_stored = _fits(shown, size), _fits(other, size)
    by_exif = "" if turned == 1 else f" (turned by its EXIF, {turned})"
    if not as_seen and not as_stored:
        (rows, columns), (height, width) = shown.shape, size
        told = f"has {columns} x {rows} pixels, and the picture {width} x {height}"
        raise ValueError(f"its mask {name} {told}{by_exif}")
    if as_seen and as_stored and _box(shown) != _box(other):
        raise ValueError(
            f"its mask {name} may be turned as the picture{by_exif} or not: write both upright, without EXIF"
        )
    return shown if as_seen else other


def _fits(shown: np.ndarray, size: tuple[int, int]) -> bool:
    (rows, columns), (height, width) = shown.shape, size
    return abs(width * rows - height * columns) <= ALIKE * height * columns


def _upright(shown: np.ndarray, turned: int) -> np.ndarray:
    return upright(shown[..., None], turned)[..., 0]


def _shown(file: Path, value: int | None) -> np.ndarray:
    """(height, width) bool, what a mask shows: the pixels of this value, or every one that is not 0, or not
    transparent. Raises ImageFault."""
    with faults_of(file), decode.opened(file, file.read_bytes()) as image:
        turned = orientation(image.info.get("exif", b""))
        if image.format == "JPEG":
            if value is not None:
                raise ImageFault(file, f"a JPEG keeps no exact values, such as {value}", "name no value, or write PNG")
            return _upright(np.asarray(image.convert("L")) > HALF, turned)
        transparent = image.mode in ("LA", "RGBA", "PA")
        values = np.asarray(image.convert("RGBA") if transparent else image)
    opaque = values[..., 3] > 0 if transparent else np.ones(values.shape[:2], bool)
    colours = values[..., :3] if values.ndim == 3 else values[..., None]
    if value is None:
        return _upright(colours.any(axis=2) if opaque.all() else opaque, turned)
    return _upright((colours == value).all(axis=2), turned)
