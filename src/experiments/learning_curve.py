"""What a longer training promises, by the trend of two shorter ones that each ran to the end of its schedule.

Errors fall as a power of the epochs. Two points give the power; it is held to at most 1 (twice the epochs, half the
errors), for early points fall faster than late ones.
"""

import math

STEEPEST = 1.0  # power
RATIO = 3  # of the longer training's epochs to the shorter one's
FEWEST = 2  # epochs of the shorter one


def lengths(epochs: int) -> tuple[int, ...]:
    """How many epochs two trainings have that take as many in all; of one, where two would be too short."""
    longer = epochs * RATIO // (RATIO + 1)
    return (longer // RATIO, longer) if longer // RATIO >= FEWEST else (epochs,)


def promised(points: dict[int, float], epochs: int, perfect: float | None) -> float:
    """The score after `epochs`, from {epochs: score} of one or two trainings; with one, its own.

    perfect: the best score there is, where that is known. A score beyond it follows no trend that is known here, and
    stays as it is.
    """
    longest = max(points)
    if perfect is None:
        return points[longest]
    error, shortest = abs(perfect - points[longest]), min(points)
    before = abs(perfect - points[shortest])
    if shortest == longest or epochs <= longest or not 0 < error < before or (points[longest] > perfect > 0):
        return points[longest]
    power = min(STEEPEST, math.log(before / error) / math.log(longest / shortest))
    left = error * (longest / epochs) ** power
    return perfect - left if points[longest] <= perfect else perfect + left
