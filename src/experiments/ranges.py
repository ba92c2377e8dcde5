"""Ranges that a search may look through, as they are written: optim.lr=1e-4..1e-1."""

import re
from dataclasses import dataclass

from src.core.errors import UsageError

FAR = 20  # ends so many times apart are steps of size, not of amount: a rate of 1e-4 and one of 2e-4 differ
DIGITS = 3  # that a tried value is rounded to, so that its run has a name to be read and given again
NUMBER = r"[+-]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?"
RANGE = re.compile(rf"({NUMBER})\.\.({NUMBER})")
WHOLE = re.compile(r"[+-]?\d+")


@dataclass(frozen=True)
class Range:
    """All numbers from `low` to `high`, both as they were written; with `whole` the whole ones only."""

    key: str
    low: str
    high: str
    whole: bool

    @property
    def ends(self) -> tuple[float, float]:
        return float(self.low), float(self.high)

    @property
    def logarithmic(self) -> bool:
        low, high = self.ends
        return low > 0 and high / low >= FAR

    def word(self, value: float) -> str:
        """A value as it stands on the command line and in a run's name."""
        if self.whole:
            return str(round(value))
        low, high = self.ends
        rounded = f"{value:.{DIGITS}g}"
        return rounded if low <= float(rounded) <= high else (self.low if float(rounded) < low else self.high)

    def __str__(self) -> str:
        kinds = ["whole numbers"] * self.whole + ["evenly by factors"] * self.logarithmic
        return f"{self.key} {self.low} to {self.high}" + (f" ({', '.join(kinds)})" if kinds else "")


def is_range(word: str) -> bool:
    return RANGE.fullmatch(word) is not None


def ends_of(key: str, word: str) -> tuple[str, str]:
    """The two ends of a range, as they are written. Raises UsageError where the first is not lower."""
    low, high = RANGE.fullmatch(word).groups()
    if float(low) == float(high):
        raise UsageError(f"{key}={word}: both ends are the same; write the one value, {key}={low}", code="bad-range")
    if float(low) > float(high):
        raise UsageError(f"{key}={word}: write the lower end first, {key}={high}..{low}", code="bad-range")
    return low, high


def whole_ends(low: str, high: str) -> bool:
    return bool(WHOLE.fullmatch(low) and WHOLE.fullmatch(high))
