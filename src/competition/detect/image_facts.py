"""What the files of images hold, and by which rule their numbers become pixels: from a look at some of each part."""

import contextlib
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from src.competition.detect.draft import Draft, Evidence, flow
from src.core.errors import Problem
from src.core.wording import plural
from src.images.decode import ImageFault
from src.images.frames import frame_count
from src.images.pixel_format import COLOURS, MOST_CHANNELS, RawImage, in_bits
from src.images.read import names_window, raw_image
from src.images.readers import reader_of_file

LOOKED_AT = 60  # images of the training part; a third as many of the test part
SHARES = (0.1, 99.9)  # percentiles of floating-point values that become black and white
ANIMATED = (".gif", ".webp", ".apng", ".png")  # kinds of which the first of several pictures is read
SOME = 10_000  # numbers of an image, from which percentiles are taken
APART = 3  # times that the range of all channels is wider than that of one, from which on each has its own
FEW = 0.1  # of the files, that may name no window where all others do
FULL = 0.5  # of the range that values must reach for it to be theirs


class Look(NamedTuple):
    """What is kept of an image that was looked at, its numbers upright.

    some: (n, channels), at most 10,000 of its numbers, spread over it. least, most: of each channel. top: the largest
    number of its type, where it holds whole numbers. plain: whether it is of 8 bits, black to white.
    """

    some: np.ndarray
    least: np.ndarray
    most: np.ndarray
    top: float | None
    window: bool
    plain: bool
    type: str

    @property
    def channels(self) -> int:
        return len(self.least)


def put_image_facts(draft: Draft, train: Sequence[str], test: Sequence[str]) -> None:
    """Facts `image.*`, where the files hold more than 8 bits of up to three colours. train, test: paths of images.

    What cannot be read is left to the look at all images. Raises Problem where the files hold too many channels.
    """
    if "image" in draft.given:
        return
    looked = _spread(train, LOOKED_AT) + _spread(test, LOOKED_AT // 3)
    found = _looks(looked)
    pages = sum(count > 1 for path, count in _frames(looked).items() if not path.lower().endswith(ANIMATED))
    ordinary = all(look.plain and look.channels in (1, COLOURS) for look in found)
    if not found or (ordinary and 2 * pages < len(found)):
        return
    channels, count = Counter(look.channels for look in found).most_common(1)[0]
    total = len(found)
    evidence = Evidence(count, total, "images looked at")
    if channels > MOST_CHANNELS:
        raise Problem(
            f"{count} of {plural(total, 'image')} looked at hold {channels} channels (bands, slices or frames), and "
            f"{MOST_CHANNELS} at most are read: of frames of DICOM and pages of TIFF bag=files makes images, with "
            "templates of images that end with /frame=*; else write slices as files, a folder for each answer, or "
            "files of fewer channels",
            code="too-many-channels",
        )
    if channels in (1, COLOURS) and not pages:
        channels = COLOURS
    else:
        how = f"the files hold {plural(channels, 'channel')}, of {found[0].type}"
        if pages:
            how = (
                f"the pages or frames of each file are read as its channels, {channels} in all; if they are several "
                "images of one answer: bag=files, and templates of images that end with /frame=*"
            )
        draft.put("image.channels", channels, how, guess=bool(pages), evidence=evidence)
    values, how, doubtful = _range(found, sorted({*train, *test}))
    draft.put("image.values", values, how, guess=doubtful, evidence=Evidence(total, total, "images looked at"))
    if all(look.type == "uint8" for look in found) and values == "type":
        draft.put("image.bits", 8, "the files hold 8 bits")


def frames_told(train: Sequence[str], test: Sequence[str]) -> str:
    """What is said of animated pictures, of which the first frame alone is read; empty where there are none."""
    looked = _spread(train, LOOKED_AT) + _spread(test, LOOKED_AT // 3)
    counts = [count for path, count in _frames(looked).items() if path.lower().endswith(ANIMATED) and count > 1]
    if not counts:
        return ""
    return (
        f"{len(counts)} of {plural(len(looked), 'image')} looked at hold several frames, up to {max(counts)}: "
        "the first alone is read. To use all: bag=files and templates of images that end with {id}.gif/frame=*"
    )


def _frames(paths: Sequence[str]) -> dict[str, int]:
    """How many frames the files hold whose kind may have several; not of parts of a file."""
    counts = {}
    for path in paths:
        with contextlib.suppress(ImageFault, OSError):
            file = Path(path)
            if path.lower().endswith(ANIMATED) or ((reader := reader_of_file(file)) and reader.has_frames):
                counts[path] = frame_count(file) or 1
    return counts


def _spread(paths: Sequence[str], wanted: int) -> list[str]:
    paths = sorted(set(paths))
    return paths[:: max(1, math.ceil(len(paths) / wanted))]


def _looks(paths: list[str]) -> list[Look]:
    found = []
    for path in paths:
        with contextlib.suppress(ImageFault):
            found.append(_look(raw_image(Path(path))))
    return found


def _look(raw: RawImage) -> Look:
    values = raw.values.reshape(-1, raw.values.shape[2])
    finite = np.isfinite(values)
    whole = raw.high is not None and (values.dtype.kind in "bui" or bool((values == np.rint(values)).all()))
    spread = slice(None, None, max(1, values.size // SOME))
    if values.dtype.kind == "f":
        ends = values.min(axis=0, where=finite, initial=np.inf), values.max(axis=0, where=finite, initial=-np.inf)
    else:
        ends = values.min(axis=0), values.max(axis=0)
    some, ends = np.where(finite[spread], values[spread], np.nan).astype(np.float64), np.array(ends, np.float64)
    if raw.inverted and raw.high is not None:
        some, ends = raw.low + raw.high - some, raw.low + raw.high - ends[::-1]
    plain = raw.values.dtype == np.uint8 and not raw.inverted
    top = raw.high if whole else None
    return Look(some, *ends, top, raw.window is not None, plain, str(raw.values.dtype))


def _range(found: list[Look], paths: list[str]) -> tuple[str | list[Any], str, bool]:
    """The value of `image.values`, how it was found, and whether it is a guess. paths: of all images."""
    if all(look.plain for look in found):
        return "type", "8 bits are black to white", False
    if all(look.window for look in found):
        without = _without_window(paths) if len(found) < len(paths) else []
        if not without:
            return "window", "every file names a window of its own, as viewers show it", False
        if len(without) <= FEW * len(paths):
            how = f"{len(without)} of {len(paths)} files name no window, and the range of their type counts"
            return "window", f"{how}: {', '.join(Path(path).name for path in without[:3])}", True
    channels = Counter(look.channels for look in found).most_common(1)[0][0]
    found = [look for look in found if look.channels == channels]
    whole = all(look.top is not None for look in found)
    some = np.concatenate([look.some for look in found])
    least, most = (np.array([getattr(look, end) for look in found]) for end in ("least", "most"))
    joint = _ends(some, least, most, whole)
    if channels == 1 or (channels == COLOURS and whole):  # one scale keeps the colours
        return joint
    spans = np.diff([_percentiles(column) for column in some.T], axis=1)
    together = np.diff(_percentiles(some))
    if not (spans > 0).any() or together < APART * spans[spans > 0].min():
        return joint
    each = [_ends(some[:, k], least[:, k], most[:, k], whole)[0] for k in range(channels)]
    how = "the channels' values lie far apart, so each has a range of its own; one [low, high] for all is"
    return each, f"{how} {flow(joint[0])}", True


def _without_window(paths: list[str]) -> list[str]:
    found = []
    for path in paths:
        with contextlib.suppress(ImageFault):
            found += [] if names_window(Path(path)) else [path]
    return found


def _ends(some: np.ndarray, least: np.ndarray, most: np.ndarray, whole: bool) -> tuple[list[float], str, bool]:
    """Black and white of these numbers, how they were found, and whether they are a guess."""
    least, most = float(least.min()), float(most.max())
    if not np.isfinite([least, most]).all():  # no image holds a number
        return [0, 1], "no numbers were found", True
    if whole and least >= 0:
        top = in_bits(most)
        bits = round(math.log2(top + 1))
        return [0, top], f"the largest value is {most:g}: {bits} bits", False
    if not whole and least >= 0 and FULL < most <= 1:
        return [0, 1], f"floating point from {least:g} to {most:g}", False
    ends = [_rounded(end) for end in _percentiles(some)]
    if not ends[0] < ends[1]:
        ends = [_rounded(least), _rounded(most) if most > least else _rounded(least) + 1]
    if not ends[0] < ends[1]:  # alike in three digits
        ends = [least, most if most > least else least + 1]
    how = f"values reach from {least:g} to {most:g}; {SHARES[0]:g} to {SHARES[1]:g} % of them lie here"
    return ends, f"{how}, what lies beyond is cut", True


def _percentiles(values: np.ndarray) -> np.ndarray:
    finite = values[np.isfinite(values)]
    return np.percentile(finite, SHARES) if finite.size else np.zeros(2)


def _rounded(value: float) -> float:
    """Three digits, which are enough for an end."""
    return float(f"{float(value):.3g}")
