"""What `prepare` knows of a label, and why a kind of target recognises itself in it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Evidence:
    """What `prepare` knows of a label. names: its classes. words: those of its column's name, in small letters.

    several: whether an image may have several of them. rows: those of each class, where they were counted.
    numbers: (rows, columns) what the cells hold, NaN where that is no number; None where they hold words.
    asked: (rows, answers) the numbers that the sample submission holds; None where it holds others or there is none.
    columns: the cells of each column, where there are several that the sample submission repeats.
    """

    names: list[str]
    label: str
    words: list[str]
    several: bool
    rows: tuple[int, ...] = ()
    numbers: np.ndarray | None = None
    asked: np.ndarray | None = None
    columns: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Recognised:
    """Why a label is taken for a kind of target, and whether that is a guess. rival: another kind that it may be.
    parameters: of the target."""

    how: str
    guess: bool = False
    rival: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
