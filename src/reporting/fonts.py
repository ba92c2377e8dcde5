"""Names in any script, as far as this machine has fonts for them."""

import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib
from matplotlib.font_manager import FontProperties, findfont, fontManager
from matplotlib.ft2font import FT2Font

logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # a font without a bold face says so each time
OWN = "DejaVu Sans"  # comes with matplotlib: Latin, Greek, Cyrillic, Arabic and others
# A font of the system may have one weight only: its letters are drawn in that, beside bold ones of OWN, without a word.
logging.getLogger(findfont.__module__).setLevel(logging.ERROR)


def families(texts: Sequence[str]) -> list[str]:
    """Fonts that together draw as many of these letters as can be: matplotlib's own, then those of the system."""
    missing = {ord(letter) for text in texts for letter in text} - _drawn_by(_own_file())
    names = [OWN]
    for font in fontManager.ttflist if missing else ():
        # Beside its own font matplotlib brings some that hold formulas, or a box for every letter that there is.
        if not Path(font.fname).is_relative_to(matplotlib.get_data_path()) and missing & _drawn_by(font.fname):
            missing -= _drawn_by(font.fname)
            names.append(font.name)
    return names


def legible(text: str, names: Sequence[str], longest: int = 28) -> str:
    """`text` on one line, cut to `longest` letters; a letter that no font draws stands as its code, such as U+732B."""
    drawn = frozenset().union(*(_drawn_by(_file_of(name)) for name in names))
    line = " ".join(text.split())
    message = "".join(c if c.isprintable() and ord(c) in drawn else f"U+{ord(c):04X} " for c in line)
    shown = " ".join(message.split())
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


@cache
def _drawn_by(file: str) -> frozenset[int]:
    try:
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError):  # a font that cannot be opened draws nothing
        return frozenset()


def _own_file() -> str:
    return _file_of(OWN)


@cache
def _file_of(name: str) -> str:
    return findfont(FontProperties(family=name))
