"""A label, and whether an image may have several of them: columns of 0 and 1, or a list in a cell.

Shares of rows decide, never a single one: an odd cell makes no task.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass

import pandas as pd

from src.competition.detect.sample import Sample
from src.targets.label_cells import LIST, YES, is_list, parts_of

SEPARATORS = ("|", ";", ",", "/", "\n", "\t", "+", "&", " and ", " - ", " ")  # a blank last: it may stand in names too
FEW = 0.1  # of the rows: so many may be otherwise than the others
LOOKED_AT = 20_000  # cells


@dataclass(frozen=True)
class Label:
    """The answer's column, or columns of 0 and 1; `separator` where a cell holds several labels; `how` in words."""

    column: str | tuple[str, ...]
    how: str
    separator: str | None = None
    several: bool = False  # more than one may apply
    rival: str = ""  # another column that could be meant as well: the label is a guess
    numbers: bool = False  # whether its columns hold numbers, and not 0 and 1 for classes
    asked_as: tuple[str, ...] = ()  # what the sample submission calls these columns, where otherwise

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,) if isinstance(self.column, str) else self.column


def complete(cells: pd.DataFrame, label: Label, sample: Sample | None) -> Label:
    """Whether several classes may apply, and how they are separated in a cell."""
    if label.numbers:
        return label
    if not isinstance(label.column, str):
        sums = cells[list(label.column)].isin(YES).sum(axis=1)
        return Label(label.column, label.how, several=bool((sums != 1).mean() > FEW))
    if label.separator or label.column not in cells:
        return label
    separator = separator_of(cells[label.column], sample)
    return Label(label.column, label.how, separator, several=separator is not None, rival=label.rival)


def separator_of(cells: pd.Series, sample: Sample | None) -> str | None:
    """What parts the labels of a cell, None where a cell is one label."""
    counts = Counter(cells.tolist())
    counts.pop("", None)
    answers = {value for value in sample.values if value} if sample else set()
    bracketed = sum(count for cell, count in counts.items() if is_list(cell))
    if bracketed > (1 - FEW) * sum(counts.values()) and len(counts) > 1:
        return LIST
    if answers and answers <= counts.keys() and any(mark in one for one in answers for mark in SEPARATORS):
        whole = {mark for one in answers for mark in SEPARATORS if mark in one}
        if not any(_parts_labels(counts, mark) for mark in whole):
            return None  # the sample answers with such cells as they are
    found = next((mark for mark in SEPARATORS if _parts_labels(counts, mark)), None)
    return found or _separator_of_sample(list(counts), answers)


def _separator_of_sample(names: list[str], answers: set[str]) -> str | None:
    """The mark by which the sample's answers fall into labels, or parts of them, that are no label together."""
    for mark in SEPARATORS:
        lists = [one for one in answers if mark in one and one not in names]
        parts = {part for name in names for part in parts_of(name, mark)}
        if lists and any(mark in name for name in names) and all(parts.issuperset(parts_of(a, mark)) for a in lists):
            return mark
    return None


def _parts_labels(counts: Counter[str], mark: str) -> bool:
    """Whether cells are lists with this mark: few labels in many combinations, in numbers or places that differ.

    Class names of several words, RED ADMIRAL and RED SPOTTED PURPLE, bring more new words than there are names; in
    names such as Tomato, blight each word has its place.
    """
    if not any(mark in cell for cell in counts):
        return False
    lists = {cell: parts_of(cell, mark) for cell in counts}
    longer = {cell: parts for cell, parts in lists.items() if len(parts) > 1 or mark in cell.strip()}
    rows = sum(counts[cell] for cell in longer)
    if not longer or not rows:
        return False
    cells_with: Counter[str] = Counter(part for parts in lists.values() for part in parts)
    rows_with: Counter[str] = Counter()
    places: dict[str, set[int]] = defaultdict(set)
    for cell, parts in lists.items():
        for place, part in enumerate(parts):
            rows_with[part] += counts[cell]
            places[part].add(place)
    alone = {parts[0] for parts in lists.values() if len(parts) == 1}
    known = {part for part in cells_with if cells_with[part] > 1 or part in alone}
    common = {part for part in known if rows_with[part] > 1}
    explained = sum(counts[cell] for cell, parts in longer.items() if common.issuperset(parts))
    combinations = {frozenset(parts) for parts in lists.values() if parts}
    moved = sum(len(where) > 1 for where in places.values())
    if explained < (1 - FEW) * rows or not moved:
        return False
    if mark == " ":
        return bool(alone) and len(known) < len(combinations) and len(cells_with) < len(lists)
    return len(known) < len(combinations) or (bool(alone) and len(known & alone) > len(known) / 2)
