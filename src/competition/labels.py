"""From the cells of a table to targets: class indices, or a 0/1 matrix where a row may have several classes."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from src.competition.card import Card, TrainTable
from src.competition.tables import need, read_table, values
from src.core.errors import Problem

if TYPE_CHECKING:
    from src.competition.samples import Samples

YES = {"1", "1.0", "true", "True", "TRUE", "yes", "Yes"}
NO = {"0", "0.0", "false", "False", "FALSE", "no", "No", ""}


LIST = "[]"  # the label_separator of cells such as ['cat', 'dog'], {cat, dog} and ["cat" "dog"]
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


def is_list(cell: str) -> bool:
    """Whether a cell is a list as programs write it, within brackets."""
    cell = cell.strip()
    return cell in ("set()", "nan") or cell[:1] + cell[-1:] in ("[]", "{}", "()")


def parts_of(cell: str, separator: str | None) -> list[str]:
    """The labels in a cell, each once."""
    if separator is None:
        return [cell] if cell else []
    if separator == LIST and is_list(cell):
        inside = cell.strip()[1:-1] if cell.strip() not in ("set()", "nan") else ""
        quoted = [a or b for a, b in _QUOTED.findall(inside)]
        mark = next((mark for mark in (",", ";", "|") if mark in inside), None)
        parts = quoted or inside.split(mark)
    else:
        parts = [cell] if separator == LIST else cell.split(separator)
    return list(dict.fromkeys(part for part in map(str.strip, parts) if part))


@dataclass(frozen=True)
class Answers:
    """`names[k]` is an answer of row `rows[k]`: one for each row, or any number of them where several may apply."""

    rows: np.ndarray  # (answers,) int64, ascending
    names: np.ndarray  # (answers,) text


def read_answers(table: pd.DataFrame, source: TrainTable, card: Card) -> Answers:
    """The answers of a table's rows as its cells have them. Raises Problem for a cell that holds none or too many."""
    several = card.target == "multilabel"
    if isinstance(source.label, list):
        return _from_columns(table, source, several)
    cells = np.array(values(table, source.label, source.name), dtype=object)
    if not several:
        return Answers(np.arange(len(cells)), cells)
    if source.label_separator is None:
        held = np.flatnonzero(cells != "")
        return Answers(held, cells[held])
    parts = [parts_of(cell, source.label_separator) for cell in cells]
    counts = np.fromiter(map(len, parts), np.int64, len(parts))
    names = np.array([part for row in parts for part in row], dtype=object)
    return Answers(np.repeat(np.arange(len(cells)), counts), names)


def _from_columns(table: pd.DataFrame, source: TrainTable, several: bool) -> Answers:
    marks = np.zeros((len(table), len(source.label)), dtype=bool)
    for k, column in enumerate(source.label):
        cells = need(table, column, source.name)
        marks[:, k] = cells.isin(YES)
        strange = np.flatnonzero(~marks[:, k] & ~cells.isin(NO).to_numpy())
        if len(strange):
            raise Problem(
                f"{where(source, table, strange[0])}: {column} is {cells.iloc[strange[0]]!r}, and must be 0 or 1"
            )
    wrong = np.flatnonzero(marks.sum(axis=1) != 1) if not several else []
    if len(wrong):
        held = [source.label[k] for k in np.flatnonzero(marks[wrong[0]])]
        raise Problem(
            f"{where(source, table, wrong[0])}: {', '.join(held) or 'none'} of the label columns is 1, and must be "
            "exactly one. Where several classes may apply, the card says target: multilabel"
        )
    rows, columns = np.nonzero(marks)
    return Answers(rows, np.array(source.label, dtype=object)[columns])


def class_names(card: Card, answers: Iterable[Answers]) -> tuple[str, ...]:
    """The classes in their order: the card's, else the label columns', else what stands in the tables, sorted."""
    if card.classes:
        return tuple(dict.fromkeys(card.classes.values() if isinstance(card.classes, dict) else card.classes))
    if isinstance(card.train.label, list):
        return tuple(card.train.label)
    return tuple(sorted_classes(np.unique(np.concatenate([pd.unique(a.names) for a in answers]))))


def targets_of(
    answers: Answers, table: pd.DataFrame, source: TrainTable, card: Card, classes: tuple[str, ...]
) -> np.ndarray:
    """(rows,) int64 indices into `classes`, or (rows, classes) float32 of 0 and 1 where several may apply."""
    codes = _codes(answers.names, card, classes)
    unknown = np.flatnonzero(codes < 0)
    if len(unknown):
        raise Problem(
            f"{where(source, table, answers.rows[unknown[0]])}: {answers.names[unknown[0]]!r} is none of the card's "
            f"classes ({len(unknown)} such rows). Add it to classes in the card, or correct the table"
        )
    if card.target != "multilabel":
        return codes.astype(np.int64)
    targets = np.zeros((len(table), len(classes)), np.float32)
    targets[answers.rows, codes] = 1
    return targets


def _codes(names: np.ndarray, card: Card, classes: tuple[str, ...]) -> np.ndarray:
    """Indices into `classes`, -1 for a name that is none of them, (names,)."""
    if isinstance(card.classes, dict):
        names = pd.Series(names, dtype=object).map(card.classes).fillna("\0").to_numpy()
    return pd.Index(classes, dtype=object).get_indexer(names)


def test_answers(card: Card, samples: "Samples", ids: np.ndarray) -> np.ndarray | None:
    """What the card's `test_labels` say of the test rows `ids`, (n,) text, each once: (n,) int64 indices into the
    classes, or (n, classes) float32 of 0 and 1. None where the card has none.

    The file's first column holds the ids; its labels are written as the training table's. Where the classes have other
    names in the submission, these will do too. Raises Problem for an id that has no known class.
    """
    if card.test_labels is None:
        return None
    remedy, wanted = "mend it, or drop test_labels from the card", pd.Index(ids, dtype=object)
    source, table = _rows_of(card, wanted, remedy)
    answers = read_answers(table, source, card)
    codes = _codes(answers.names, card, samples.classes)
    codes = np.where(codes < 0, pd.Index(samples.classes, dtype=object).get_indexer(answers.names), codes)
    unknown = np.flatnonzero(codes < 0)
    held = table[source.id].to_numpy()[answers.rows]
    if len(unknown):
        row = unknown[0]
        raise Problem(
            f"{where(source, table, answers.rows[row])}: {answers.names[row]!r} is no known class for test id "
            f"{held[row]!r}: {remedy}"
        )
    marks = np.zeros((len(wanted), len(samples.classes)), np.float32)
    marks[wanted.get_indexer(held), codes] = 1
    return marks if card.target == "multilabel" else marks.argmax(axis=1).astype(np.int64)


def _rows_of(card: Card, wanted: pd.Index, remedy: str) -> tuple[TrainTable, pd.DataFrame]:
    """How `test_labels` are written, and their rows of these ids: one each, unless several classes may apply."""
    path = card.folder / card.test_labels
    if not path.is_file():
        raise Problem(f"{path} is missing: bring it back, or drop test_labels from the card")
    table = read_table(path)
    source = _like_training(card, table)
    table = table[table[source.id].isin(wanted)]
    absent = wanted[~wanted.isin(table[source.id])]
    if len(absent):
        raise Problem(
            f"{path} has no known class for test id {absent[0]!r} ({len(absent)} of {len(wanted)} ids): {remedy}"
        )
    repeated = table[source.id][table[source.id].duplicated()]
    if len(repeated) and card.target != "multilabel":
        raise Problem(f"{path} names the test id {repeated.iloc[0]!r} twice: {remedy}")
    return source, table


def _like_training(card: Card, table: pd.DataFrame) -> TrainTable:
    """How the labels of `test_labels` are written: in the training label's columns, else in the second."""
    label = card.train.label
    if table.shape[1] < 2:
        raise Problem(f"{card.test_labels} must have a column of ids and a column of labels: mend it")
    if not set([label] if isinstance(label, str) else label) <= set(table.columns):
        label = table.columns[1]
    separator = card.train.label_separator
    if separator is None and card.target == "multilabel" and isinstance(label, str) and label != card.train.label:
        separator = card.submission.label_separator if card.submission else " "
    return TrainTable(table=card.test_labels, id=table.columns[0], label=label, label_separator=separator)


def sorted_classes(names: Iterable[str]) -> list[str]:
    """Numbers by value, anything else as text: 2 comes before 10."""
    names = list(names)
    if all(re.fullmatch(r"[+-]?\d+(\.\d+)?", name) for name in names):
        return sorted(names, key=lambda name: (float(name), name))
    return sorted(names)


def where(source: TrainTable, table: pd.DataFrame, position: int) -> str:
    """The place of a row for a message: the file's name, or the table and its line."""
    if source.files:
        return table["path"].iloc[position]
    line = table.index[position] + 1 + source.header + source.skip
    return f"{source.name}, {'record' if source.name.endswith(('.json', '.jsonl', '.ndjson')) else 'line'} {line}"
