"""Which column of the training table holds the answer: every rule gives its evidence, and they must agree."""

import re
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pandas as pd

from src.competition.detect.draft import flow
from src.competition.detect.marks import ask_about_doubt, is_marked
from src.competition.detect.numbers import are_measures, are_numbers, numbers_in
from src.competition.detect.roles import parts_of_column, role_of_word, words
from src.competition.detect.sample import Sample
from src.competition.detect.several import SEPARATORS, Label, complete
from src.competition.detect.undecided import Try, Undecided
from src.competition.sample_submission import class_columns
from src.targets.label_cells import LIST, NO, YES, is_list, parts_of

HOLDS, NAMED_FOLDS = "the sample's answers are among its values", "its name says that it counts folds"
SPREADS = {"sd", "std", "stdev", "sem", "se", "var", "variance", "err", "error"}
SURE = {"confidence", "sigma", "uncertainty", "spread", "scale", "deviation", *SPREADS}  # of a number that is answered
FOLDS = {"fold", "folds", "kfold"}
WORDS = (
    "label",
    "target",
    "class",
    "classname",
    "category",
    "species",
    "breed",
    "diagnosis",
    "tag",
    "grade",
    "severity",
)
NAMES = (*WORDS, "y", "level", "variety", "disease", "type", "answer", "emotion", "digit", "outcome", "stage", "rating")


def find_label(
    cells: pd.DataFrame, used: Iterable[str], sample: Sample | None, test: pd.DataFrame | None, table: str
) -> Label | None:
    """The label of a training table, None where nothing speaks for any. `used` columns are ids, files and the like.

    Raises Undecided where the rules disagree.
    """
    free = [column for column in cells if column not in set(used)]
    same, named = _same_columns(cells, free, sample), _named_by_columns(cells, free, sample)
    if same and named and same.numbers and _is_largest(cells, named, same):
        same, named = replace(same, how=f"{same.how}; {named.column} says which is the largest"), None
    strong = [label for label in (same, named) if label]
    if not strong and sample is not None and len(sample.answers) > 1:
        _ask_about_missing(cells, free, sample, table)
        if set(sample.answers) <= set(free):
            ask_about_doubt(cells[list(sample.answers)], table)
            return Label(sample.answers, "the sample submission has the same columns", numbers=True)
        return None  # whatever the label is, its values are not the sample's columns
    strong = strong or [label for label in (_same_name(cells, free, sample),) if label]
    if len({label.column for label in strong}) > 1:
        tries = [Try(f"{label.how}: {label.column}", 0, 0) for label in strong]
        raise Undecided(f"{table}: the sample submission points at two labels:", tries, "Say which: train.label=COLUMN")
    return complete(cells, strong[0], sample) if strong else _by_weak_signs(cells, free, sample, test, table)


def _ask_about_missing(cells: pd.DataFrame, free: list[str], sample: Sample, table: str) -> None:
    """Raises Undecided where the sample asks for numbers, of which the table holds some only."""
    there = [column for column in sample.answers if column in free]
    lacking = [column for column in sample.answers if column not in cells]
    if sample.numbers is None or not there or not lacking or not are_numbers(cells[there]):
        return
    tries = [Try(column, found=_some(cells[column])) for column in there]
    tries += [Try(f"{column}: no column of the table", 0, 0) for column in lacking]
    what = (
        f"{table}: of the {len(sample.answers)} numbers that {sample.table.path} asks for, {len(lacking)} are missing:"
    )
    remedy = (
        "Bring the table that has them; or, if they are called otherwise there, name them: train.label=[COLUMN, ...]"
    )
    answers = []
    if len(there) == len(lacking) == 1 and {*words(lacking[0])} & SURE:
        target = flow({"name": "laplace", "spread": lacking[0]})
        remedy += f"; or, if {lacking[0]} is the standard deviation of {there[0]}: target='{target}'"
        answers = [{"train.label": there[0], "target": target}]
    raise Undecided(what, tries, remedy, answers)


def _same_columns(cells: pd.DataFrame, free: list[str], sample: Sample | None) -> Label | None:
    if sample is None or len(sample.answers) < 2:
        return None
    if not set(sample.answers) <= set(free):
        return _columns_named_alike(cells, free, sample)
    asked = cells[list(sample.answers)]
    if are_numbers(asked):
        return Label(sample.answers, "the sample submission has the same columns", numbers=True)
    return Label(sample.answers, "the sample submission has the same columns") if is_binary(asked) else None


def _columns_named_alike(cells: pd.DataFrame, free: list[str], sample: Sample) -> Label | None:
    """Columns of numbers that are called as the sample's, all with the same beginning and end: X4_mean for X4. Where
    their spread is there too, such as X4_sd, the mean is meant."""
    if sample.numbers is None:
        return None
    first = sample.answers[0]
    ends = [one.split(first, 1) for one in free if first in one and one != first]
    found = [(a, z) for a, z in ends if all(f"{a}{name}{z}" in free for name in sample.answers)]
    found = [(a, z) for a, z in found if not {*words(a), *words(z)} & SPREADS] or found
    if len(found) != 1:
        return None
    before, after = found[0]
    columns = tuple(f"{before}{name}{after}" for name in sample.answers)
    if not are_numbers(cells[list(columns)]):
        return None
    how = f"the sample submission has the same columns without {before or after!r}"
    return Label(columns, how, numbers=True, asked_as=sample.answers)


def _is_largest(cells: pd.DataFrame, named: Label, votes: Label) -> bool:
    """Whether a column of classes says in every row which of the numbers is the largest, or one of the largest."""
    names = [name for name in cells[named.column].unique() if name]
    columns = class_columns(names, votes.columns)
    if named.separator or columns is None:
        return False
    place = {name: votes.columns.index(column) for name, column in zip(names, columns, strict=True)}
    numbers = numbers_in(cells[list(votes.columns)])
    said = cells[named.column].map(lambda cell: place.get(cell, -1)).to_numpy()
    return bool(((said >= 0) & (numbers[np.arange(len(said)), said] == numbers.max(axis=1))).all())


def _named_by_columns(cells: pd.DataFrame, free: list[str], sample: Sample | None) -> Label | None:
    """A column whose values are the names of the sample's columns; or whose cells are lists of them."""
    if sample is None or len(sample.answers) < 2:
        return None
    for column in free:
        names = cells[column].unique().tolist()
        if len(names) > 1 and class_columns([name for name in names if name], sample.answers):
            return Label(column, "its values are the columns of the sample submission")
        for separator in (LIST, *SEPARATORS):
            parts = {part for name in names for part in parts_of(name, separator)}
            lists = any(is_list(name) if separator == LIST else separator in name for name in names)
            if lists and class_columns(sorted(parts), sample.answers):
                return Label(column, "its parts are the columns of the sample submission", separator, several=True)
    return None


def _same_name(cells: pd.DataFrame, free: list[str], sample: Sample | None) -> Label | None:
    if sample is None or len(sample.answers) != 1:
        return None
    for fold in (str, lambda name: name.strip().casefold()):
        same = [column for column in free if fold(column) == fold(sample.answers[0])]
        if len(same) == 1:
            return Label(same[0], "the sample submission asks for it")
    return None


def _by_weak_signs(
    cells: pd.DataFrame, free: list[str], sample: Sample | None, test: pd.DataFrame | None, table: str
) -> Label | None:
    could = [column for column in free if _could_be_label(cells[column])]
    others = [one for one in could if not parts_of_column(str(one), set(cells[one].unique()))]
    could = others if any(not is_binary(cells[[one]]) for one in others) else could  # a class may be called train
    measures = _measures(cells, free, sample, test)
    if not could:
        return Label(measures[0], "no other column is left") if len(measures) == 1 else None
    listed, folds = could, [column for column in could if _named_like_folds(column)]
    could = [column for column in could if column not in folds] or could
    signs = {
        "its name": [column for column in could if is_named_like_label(column)],
        HOLDS: _holding(cells, could, sample),
        "the test table lacks it": [column for column in could if test is not None and column not in test],
        "no other column is left": could if len(could) == 1 else [],
    }
    columns = _binary_columns(cells, could)
    if not signs["its name"] and (not sample or len(sample.answers) != 1):
        marked = [column for column in could if is_marked(cells[column])]
        if len(marked) > len(could) / 2:
            ask_about_doubt(cells[marked], table)
        if columns:
            return complete(cells, Label(columns, "columns of 0 and 1, one for each class"), sample)
    votes = {column: [sign for sign, held in signs.items() if column in held] for column in could}
    weights = {column: len(votes[column]) + (column in signs[HOLDS]) for column in could}
    most = max(weights.values())
    best = [column for column in could if weights[column] == most and most]
    best = _without_twins(cells, best)
    if len(best) == 1 and (not measures or set(votes[best[0]]) & {"its name", HOLDS}):
        return complete(cells, _named(cells, Label(best[0], " and ".join(votes[best[0]])), sample), sample)
    against = {column: [NAMED_FOLDS] if column in folds else _lacking(cells[column], sample) for column in listed}
    for column in listed:
        if not against[column] and sample and any(sample.values) and column not in signs[HOLDS]:
            votes[column].append(HOLDS)  # a number: too common to decide
    ranked = sorted(listed, key=lambda column: (bool(against[column]), -len(votes.get(column, ()))))
    tries = [
        Try(
            f"{column}: {', '.join([*votes.get(column, ()), *against[column]]) or 'nothing speaks for it'}",
            0,
            0,
            _some(cells[column]),
        )
        for column in ranked
    ]
    tries += [Try(f"{column}: numbers, as the sample answers", 0, 0, _some(cells[column])) for column in measures]
    answers = [{"train.label": column} for column in (*could, *measures)]
    raise Undecided(f"{table}: several columns could be the label:", tries, "Say which: train.label=COLUMN", answers)


def _measures(cells: pd.DataFrame, free: list[str], sample: Sample | None, test: pd.DataFrame | None) -> list[str]:
    """Columns of fractions that the sample may ask for under another name: it answers with one number, and the test
    table lacks them."""
    if sample is None or sample.numbers is None or len(sample.answers) != 1:
        return []
    return [column for column in free if (test is None or column not in test) and are_measures(cells[column])]


def _named(cells: pd.DataFrame, label: Label, sample: Sample | None) -> Label:
    """The names of COCO's categories, unless the sample submission asks for their numbers."""
    names = label.column.removesuffix("_id") + ".name"
    if not label.column.endswith("_id") or names not in cells or len(_without_twins(cells, [label.column, names])) > 1:
        return label
    asked = {value for value in sample.values if value} if sample else set()
    if asked and asked <= set(cells[label.column]) and not asked <= set(cells[names]):
        return label
    if asked and asked <= set(cells[names]):
        return Label(names, "the sample's answers are among its values")
    return Label(names, "the names of the categories", rival=label.column)


def _holding(cells: pd.DataFrame, could: list[str], sample: Sample | None) -> list[str]:
    """Columns that hold all of the sample's answers; a number alone is too common to say anything."""
    if sample is None or not sample.values or all(re.fullmatch(r"[\d.\s|;,/]*", value) for value in sample.values):
        return []
    return [column for column in could if _holds(cells[column], sample)]


def _holds(column: pd.Series, sample: Sample) -> bool:
    """Whether the sample's answers are values of the column, each whole or as a list of them."""
    held, answers = set(column), set(sample.values)
    lists = ({part for value in answers for part in parts_of(value, mark)} for mark in (LIST, *SEPARATORS))
    return any(held.issuperset(one) and any(map(str.strip, one)) for one in (answers, *lists))


def _lacking(column: pd.Series, sample: Sample | None) -> list[str]:
    """What speaks against a column: that none of the sample's answers is a value of it."""
    answers = [value for value in sample.values if value.strip()] if sample else []
    if not answers or _holds(column, sample) or set(answers) & set(column):
        return []
    return [f"the sample's {answers[0]!r} is none of its values"]


def _named_like_folds(column: str) -> bool:
    """Whether the column says by its name that it divides the rows into folds."""
    held = {*words(column)}
    return bool(held & FOLDS) and held <= FOLDS | {"id", "cv", "number", "no", "k"}


def _could_be_label(column: pd.Series) -> bool:
    """Some values that come again, no measurements, and no name of a part such as train."""
    different = column.nunique()
    if not 1 < different < len(column) or {role_of_word(str(value)) for value in column.unique()[:20]} <= {
        "train",
        "validation",
        "test",
    }:
        return False
    return not column.map(lambda cell: re.fullmatch(r"[+-]?\d*\.\d*[1-9]\d*", cell) is not None).any()


def is_named_like_label(column: str) -> bool:
    """Whether a column's name is a word for labels, such as species or class_id."""
    if column.startswith("category."):
        return False  # what COCO tells about a category, besides which one it is
    return column.lower() in NAMES or any(word in WORDS or word.removesuffix("s") in WORDS for word in words(column))


def _binary_columns(cells: pd.DataFrame, could: list[str]) -> tuple[str, ...]:
    binary = tuple(column for column in could if is_binary(cells[[column]]))
    return binary if len(binary) > 1 else ()


def is_binary(cells: pd.DataFrame) -> bool:
    return all(set(cells[column].unique()) <= YES | NO for column in cells)


def _without_twins(cells: pd.DataFrame, columns: list[str]) -> list[str]:
    """Of columns that say the same in other words, such as a number and a name, the first."""
    kept: list[str] = []
    for column in columns:
        pairs = [cells[[column, other]].drop_duplicates() for other in kept]
        if not any(len(pair) == pair[column].nunique() == pair.iloc[:, 1].nunique() for pair in pairs):
            kept.append(column)
    return kept


def _some(column: pd.Series) -> str:
    return ", ".join(str(value)[:20] for value in column.unique()[:3])
