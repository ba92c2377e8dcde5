"""What the files of images hold, and by which rule their numbers become pixels: from a look at some of each part."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from src.competition.detect.draft import Draft, Evidence
from src.core.wording import plural
from src.images.decode import ImageFault, frame_count
from src.images.pixel_format import COLOURS, MOST_CHANNELS, RawImage, in_bits
from src.images.read import raw_image

LOOKED_AT = 60  # images of the training part; a third as many of the test part
SHARES = (0.1, 99.9)  # percentiles of floating-point values that become black and white
PAGED, ANIMATED = (".tif", ".tiff"), (".gif", ".webp", ".apng", ".png")  # kinds that may hold several pictures
FULL = 0.5  # of the range that values must reach for it to be theirs


def put_image_facts(draft: Draft, train: Sequence[str], test: Sequence[str]) -> None:
    """Facts `image.*`, where the files hold more than 8 bits of up to three colours. train, test: paths of images.

    What cannot be read is left to the look at all images.
    """
    looked = _spread(train, LOOKED_AT) + _spread(test, LOOKED_AT // 3)
    found = _raw(looked)
    pages = sum(count > 1 for path, count in _frames(looked).items() if path.lower().endswith(PAGED))
    if not found or (all(map(_ordinary, found)) and 2 * pages < len(found)):
        return
    held = Counter(raw.values.shape[2] for raw in found)
    channels, count = held.most_common(1)[0]
    total = len(found)
    evidence = Evidence(count, total, "images looked at")
    if channels in (1, COLOURS) and not pages:
        channels = COLOURS
    else:
        how = f"the files hold {plural(channels, 'channel')}, of {found[0].values.dtype}"
        if pages:
            how = (
                f"the pages of each file are read as its channels, {channels} in all; if they are several images of "
                "one answer, write each as a file, a folder for each answer: these are a bag"
            )
        draft.put("image.channels", min(channels, MOST_CHANNELS), how, guess=bool(pages), evidence=evidence)
    values, how, doubtful = _range(found)
    draft.put("image.values", values, how, guess=doubtful, evidence=Evidence(total, total, "images looked at"))
    if all(raw.values.dtype == np.uint8 for raw in found) and values == "type":
        draft.put("image.bits", 8, "the files hold 8 bits")


def frames_told(train: Sequence[str], test: Sequence[str]) -> str:
    """What is said of animated pictures, of which the first frame alone is read; empty where there are none."""
    looked = _spread(train, LOOKED_AT) + _spread(test, LOOKED_AT // 3)
    counts = [count for path, count in _frames(looked).items() if not path.lower().endswith(PAGED) and count > 1]
    if not counts:
        return ""
    return (
        f"{len(counts)} of {plural(len(looked), 'image')} looked at hold several frames, up to {max(counts)}: "
        "the first alone is read. To use all, write each as a file, a folder for each answer: these are a bag"
    )


def _frames(paths: Sequence[str]) -> dict[str, int]:
    """How many frames the files hold whose kind may have several."""
    return {path: frame_count(Path(path)) for path in paths if path.lower().endswith((*PAGED, *ANIMATED))}


def _ordinary(raw: RawImage) -> bool:
    return raw.values.dtype == np.uint8 and raw.values.shape[2] in (1, COLOURS) and not raw.inverted


def _spread(paths: Sequence[str], wanted: int) -> list[str]:
    paths = sorted(set(paths))
    return paths[:: max(1, math.ceil(len(paths) / wanted))]


def _raw(paths: list[str]) -> list[RawImage]:
    found = []
    for path in paths:
        try:
            found.append(raw_image(Path(path)))
        except ImageFault:
            continue
    return found


def _range(found: list[RawImage]) -> tuple[str | list[float], str, bool]:
    """The value of `image.values`, how it was found, and whether it is a guess."""
    if all(raw.values.dtype == np.uint8 and not raw.inverted for raw in found):
        return "type", "8 bits are black to white", False
    windows = sum(raw.window is not None for raw in found)
    if windows == len(found):
        return "window", "every file names a window of its own, as viewers show it", False
    whole = all(raw.high is not None for raw in found)
    finite = [raw.values[np.isfinite(raw.values)] for raw in found]
    least = min(float(values.min()) for values in finite if values.size)
    most = max(float(values.max()) for values in finite if values.size)
    if whole and least >= 0 and all(raw.values.dtype.kind == "u" for raw in found):
        top = in_bits(most)
        bits = round(math.log2(top + 1))
        return [0, top], f"the largest value is {most:g}: {bits} bits", False
    if not whole and least >= 0 and FULL < most <= 1:
        return [0, 1], f"floating point from {least:g} to {most:g}", False
    low, high = np.percentile(np.concatenate([_some(values) for values in finite]), SHARES)
    ends = [_rounded(low), _rounded(high)]
    if ends[0] >= ends[1]:
        ends = [_rounded(least), _rounded(most) if most > least else _rounded(least) + 1]
    how = f"values reach from {least:g} to {most:g}; {SHARES[0]:g} to {SHARES[1]:g} % of them lie here"
    return ends, f"{how}, what lies beyond is cut", True


def _some(values: np.ndarray) -> np.ndarray:
    """At most 10,000 numbers of an image, spread over it."""
    return values.reshape(-1)[:: max(1, values.size // 10_000)]


def _rounded(value: float) -> float:
    """Three digits, which are enough for an end."""
    return float(f"{float(value):.3g}")
