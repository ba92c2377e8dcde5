"""Augmentation from the configuration's list, by albumentations. No other module knows that library.

Randomness belongs to the batch: every batch draws from a generator made of (seed, fold, epoch, step), so results
do not depend on how many workers load it, differ from epoch to epoch, and repeat with the seed.
"""

import inspect
import os
import random
from typing import Any

import numpy as np

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network for its newest version

import albumentations as A

from src.config.image_size import Size, SizeWord
from src.core.errors import UsageError
from src.images.pixel_format import COLOURS, STANDARD, PixelFormat, to_levels
from src.images.stream import resized

SIZE = "size"  # the word that stands for what the network sees
QUARTER_TURNS = (A.RandomRotate90, A.Transpose, A.D4, A.SquareSymmetry)


class Augmentation:
    """The transforms of `augment`, for networks that see `size` pixels.

    Pixels of 16 bits pass through them as float32 from 0 to 1, as the library wants it.
    """

    def __init__(
        self,
        transforms: list[str | dict[str, Any]],
        size: SizeWord,
        load_size: SizeWord | None = None,
        pixels: PixelFormat = STANDARD,
        colours: bool = True,
    ) -> None:
        """Images come in at `load_size` pixels, by default `size`. colours: whether three channels are red, green and
        blue. Raises UsageError for what cannot work."""
        self.size, self.pixels = Size.of(size), pixels
        self.compose = A.Compose([_built(entry, self.size) for entry in transforms], strict=True)
        # The library takes three channels for colours: where they are none, it is asked about one more.
        channels = pixels.channels + (pixels.channels == COLOURS and not colours)
        blank = _for_library(np.zeros((*Size.of(load_size or size).shape, channels), pixels.dtype))
        made = _tried(self.compose, blank)
        if made.dtype != blank.dtype or made.ndim != 3 or made.shape[2] != channels:
            raise UsageError(
                f"augment must end in an image of {channels} channels and {blank.dtype}, not in {made.dtype} of "
                f"shape {made.shape}: leave out Normalize, ToFloat and the like, the network normalises by itself",
                code="bad-augment",
            )

    def __call__(self, images: np.ndarray, key: tuple[int, ...]) -> np.ndarray:
        """(n, h, w, channels) -> (n, height, width, channels), with the random stream that belongs to `key`: uint8, or
        of deeper pixels float32 from 0 to 255."""
        # One generator for all transforms: with set_random_seed each would get the same stream, and two flips
        # of p=0.5 would always fall together.
        generator = np.random.default_rng(key)
        self.compose.set_random_state(generator, random.Random(int(generator.integers(2**63))))
        return np.stack([self._one(image) for image in images])

    def _one(self, image: np.ndarray) -> np.ndarray:
        made = resized(self.compose(image=_for_library(image))["image"], self.size)
        return made if made.dtype == np.uint8 else made.clip(0, 1) * np.float32(255)


def _for_library(image: np.ndarray) -> np.ndarray:
    return image if image.dtype == np.uint8 else to_levels(image) / np.float32(255)


def _built(entry: str | dict[str, Any], size: Size) -> A.BasicTransform | A.BaseCompose:
    """One entry of the list: a name, or {name: {argument: value}}; OneOf and its like hold `transforms` themselves."""
    if isinstance(entry, str):
        entry = {entry: {}}
    if len(entry) != 1:
        raise UsageError(f"augment: write one transform an entry, not {list(entry)}", code="bad-augment")
    ((name, arguments),) = entry.items()
    kind = getattr(A, name, None)
    if not (isinstance(kind, type) and issubclass(kind, (A.BasicTransform, A.BaseCompose))):
        raise UsageError(f"augment: albumentations has no transform {name!r}", code="unknown-transform")
    if arguments is not None and not isinstance(arguments, dict):
        raise UsageError(f"augment: {name} takes its arguments by name, such as {name}: {{p: 0.5}}", code="bad-augment")
    if issubclass(kind, QUARTER_TURNS) and not size.is_square:
        raise UsageError(
            f"augment: {name} turns pictures by 90 degrees, and images.size is {size}: leave it out, or take a square",
            code="turn-needs-square",
        )
    arguments = _in_proportion(kind, arguments or {}, size)
    arguments = {key: _sized(key, value, size) for key, value in arguments.items()}
    if "transforms" in arguments:
        arguments["transforms"] = [_built(inner, size) for inner in arguments["transforms"]]
    elif _only_warns(kind):
        arguments["strict"] = True  # a misspelt argument would only be a warning, and the default would run
    try:
        return kind(**arguments)
    except (ValueError, TypeError) as error:
        raise UsageError(f"augment: {name}: {' '.join(str(error).split())[:200]}", code="bad-augment") from None


def _in_proportion(kind: type, arguments: dict[str, Any], size: Size) -> dict[str, Any]:
    """A crop that is brought to `size: [size, size]` keeps proportions: its ratios count from those of the size."""
    key = {A.RandomResizedCrop: "ratio", A.RandomSizedCrop: "w2h_ratio"}.get(kind)
    if key is None or size.is_square or arguments.get("size") != [SIZE, SIZE]:
        return arguments
    usual, by = inspect.signature(kind).parameters[key].default, size.width / size.height
    ratio = arguments.get(key, usual)
    return arguments | {key: [by * one for one in ratio] if isinstance(ratio, list | tuple) else by * ratio}


def _only_warns(kind: type) -> bool:
    """Whether the library looks at a transform's arguments by a schema; others refuse what they do not know."""
    owner = next(base for base in kind.__mro__ if "__init__" in vars(base))
    return issubclass(kind, A.BasicTransform) and "InitSchema" in vars(owner)


def _tried(transform: A.BasicTransform | A.BaseCompose, image: np.ndarray) -> np.ndarray:
    """Run every transform once, whatever its p: what cannot work is found now, not in the middle of an epoch."""
    if isinstance(transform, A.BaseCompose):
        for inner in transform.transforms:
            made = _tried(inner, image)
            image = made if isinstance(transform, A.Compose | A.Sequential) else image
        return image if isinstance(transform, A.Compose | A.Sequential) else made
    try:
        return transform(image=image, force_apply=True)["image"]
    except Exception as error:  # the library has kinds of its own, and each means that this list cannot work
        reason = " ".join(str(error).split())[:200] or "it cannot be run by itself"
        raise UsageError(
            f"augment: {type(transform).__name__} on {Size(*image.shape[:2])} pixels of {image.shape[2]} channels: "
            f"{reason}",
            code="bad-augment",
        ) from None


def _sized(key: str, value: Any, size: Size) -> Any:
    """The word `size` as a number: in a list of two, and in `height` and `width`, as that side."""
    if value in ([SIZE, SIZE], (SIZE, SIZE)):
        return list(size.shape)
    if isinstance(value, list):
        return [_sized(key, part, size) for part in value]
    if value != SIZE:
        return value
    if key in ("height", "width"):
        return getattr(size, key)
    if not size.is_square:
        raise UsageError(
            f"augment: {key}: size is one number, and images.size is {size}: write the number itself",
            code="size-not-square",
        )
    return size.height
