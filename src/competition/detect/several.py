"""A label, and whether an image may have several of them: columns of 0 and 1, or a list in a cell."""

from dataclasses import dataclass

import pandas as pd

from src.competition.detect.sample import Sample
from src.competition.labels import YES

SEPARATORS = ("|", ";", ",", "/", " ")  # a blank last: it may stand in names too


@dataclass(frozen=True)
class Label:
    """The answer's column, or columns of 0 and 1; `separator` where a cell holds several labels; `how` in words."""

    column: str | tuple[str, ...]
    how: str
    separator: str | None = None
    several: bool = False  # more than one may apply


def complete(cells: pd.DataFrame, label: Label, sample: Sample | None) -> Label:
    """Whether several classes may apply, and how they are separated in a cell."""
    if not isinstance(label.column, str):
        sums = cells[list(label.column)].isin(YES).sum(axis=1)
        return Label(label.column, label.how, several=bool((sums != 1).any()))
    if label.separator or label.column not in cells:
        return label
    names = cells[label.column].unique().tolist()
    separator = _separator(names) or _separator_of_sample(names, sample)
    return Label(label.column, label.how, separator, several=separator is not None)


def _separator_of_sample(names: list[str], sample: Sample | None) -> str | None:
    """A blank, where the sample answers with several parts of labels that are no label together."""
    answers = [value for value in sample.values if " " in value and value not in names] if sample else []
    parts = {part for name in names for part in name.split()}
    listed = answers and any(" " in name for name in names)
    return " " if listed and all(parts.issuperset(answer.split()) for answer in answers) else None


def _separator(names: list[str]) -> str | None:
    """What parts the labels of a cell: the parts must come again in many combinations, in numbers that differ.

    Class names of several words, RED ADMIRAL and RED SPOTTED PURPLE, bring more new words than there are names.
    """
    for separator in SEPARATORS:
        lists = [[part.strip() for part in name.split(separator)] for name in names if name]
        longer = [parts for parts in lists if len(parts) > 1]
        uses = pd.Series([part for parts in lists for part in parts], dtype=object).value_counts()
        alone = {parts[0] for parts in lists if len(parts) == 1}
        if not longer or len(uses) >= len(lists) or not alone:
            continue
        if all(
            len(set(parts)) == len(parts) and all(part and (uses[part] > 1 or part in alone) for part in parts)
            for parts in longer
        ):
            return separator
    return None
