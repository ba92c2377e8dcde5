"""From the cells of a table to targets: class indices, or a 0/1 matrix where a row may have several classes."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from src.competition.card import ON_CONFLICT, Card, TrainTable
from src.competition.tables import need, read_table, values
from src.core.console import Note
from src.core.errors import Problem
from src.targets import Cells
from src.targets.target_type import Coding


def read_labels(table: pd.DataFrame, source: TrainTable, card: Card) -> Any:
    """The labels of a table's rows, as the card's target reads them. Raises Problem for a cell that it cannot read."""
    listed = isinstance(source.label, list)
    columns = tuple(source.label) if listed else (source.label,)
    text = [(need if listed else values)(table, column, source.name) for column in columns]
    cells = tuple(np.array(column, dtype=object) for column in text)
    return card.target_type.read(
        Cells(columns, cells, listed, source.label_separator, lambda row: where(source, table, row))
    )


def with_marks(table: pd.DataFrame, columns: Iterable[str], marks: dict[str, str]) -> pd.DataFrame:
    """The table with 0 or 1 in these columns where a cell stands for it, see TrainTable.marks."""
    if not marks:
        return table
    return table.assign(**{column: [marks.get(cell, cell) for cell in table[column]] for column in columns})


def class_names(card: Card, parts: Iterable[Any]) -> tuple[str, ...]:
    """The network's outputs in their order, from what `read_labels` gave for each table."""
    label = card.train.label
    columns = (label["name"],) if isinstance(label, dict) else (label,) if isinstance(label, str) else tuple(label)
    return card.target_type.outputs(card.classes, columns, isinstance(label, list), parts)


def targets_of(
    labels: Any, table: pd.DataFrame, source: TrainTable, card: Card, classes: tuple[str, ...]
) -> np.ndarray:
    """The truth of a table's rows: one row each, as the card's target has it."""

    def refuse(row: int, name: str, count: int) -> str:
        return (
            f"{where(source, table, row)}: {name!r} is none of the card's classes ({count} such rows). Add it to "
            f"classes in the card, or correct the table"
        )

    return card.target_type.encode(labels, len(table), Coding(classes, _renamed(card), refuse))


def _renamed(card: Card) -> dict[str, str] | None:
    return card.classes if isinstance(card.classes, dict) else None


def test_answers(card: Card, classes: tuple[str, ...], ids: np.ndarray) -> np.ndarray | None:
    """What the card's `test_labels` say of the test rows `ids`, (n,) text, each once: their truth. None where the card
    has none. classes: the network's outputs.

    The file's first column holds the ids; its labels are written as the training table's. Where the classes have other
    names in the submission, these will do too. Raises Problem for an id that has no known class.
    """
    if card.test_labels is None:
        return None
    remedy, wanted = "mend it, or drop test_labels from the card", pd.Index(ids, dtype=object)
    source, table = _rows_of(card, wanted, remedy)
    held = table[source.id].to_numpy()

    def refuse(row: int, name: str, count: int) -> str:
        return f"{where(source, table, row)}: {name!r} is no known class for test id {held[row]!r}: {remedy}"

    target = card.target_type
    coding = Coding(classes, _renamed(card), refuse, both=True)
    truth = target.encode(read_labels(table, source, card), len(table), coding)
    own, first = np.unique(held, return_index=True)
    kept = truth[first]
    target.combine(kept, np.searchsorted(own, held), truth)
    return kept[pd.Index(own).get_indexer(wanted)]


def _rows_of(card: Card, wanted: pd.Index, remedy: str) -> tuple[TrainTable, pd.DataFrame]:
    """How `test_labels` are written, and their rows of these ids: one each, unless several classes may apply."""
    path = card.folder / card.test_labels
    if not path.is_file():
        raise Problem(f"{path} is missing: bring it back, or drop test_labels from the card", code="missing-file")
    table = read_table(path)
    source = _like_training(card, table)
    if isinstance(source.label, list):
        table = with_marks(table, source.label, card.train.marks)
    table = table[table[source.id].isin(wanted)]
    absent = wanted[~wanted.isin(table[source.id])]
    if len(absent):
        raise Problem(
            f"{path} has no known class for test id {absent[0]!r} ({len(absent)} of {len(wanted)} ids): {remedy}",
            code="missing-label",
        )
    repeated = table[source.id][table[source.id].duplicated()]
    if len(repeated) and not card.target_type.repeats:
        raise Problem(f"{path} names the test id {repeated.iloc[0]!r} twice: {remedy}", code="repeated-id")
    return source, table


def _like_training(card: Card, table: pd.DataFrame) -> TrainTable:
    """How the labels of `test_labels` are written: in the training label's columns, else in the second."""
    label = card.train.label
    if table.shape[1] < 2:
        raise Problem(
            f"{card.test_labels} must have a column of ids and a column of labels: mend it", code="missing-column"
        )
    if not set([label] if isinstance(label, str) else label) <= set(table.columns):
        label = table.columns[1]
    separator = card.train.label_separator
    if separator is None and card.target_type.repeats and isinstance(label, str) and label != card.train.label:
        separator = card.submission.label_separator if card.submission else " "
    return TrainTable(table=card.test_labels, id=table.columns[0], label=label, label_separator=separator)


def where(source: TrainTable, table: pd.DataFrame, position: int) -> str:
    """The place of a row for a message: the file's name, or the table and its line."""
    if source.files:
        return table["path"].iloc[position]
    line = table.index[position] + 1 + source.header + source.skip
    return f"{source.name}, {'record' if source.name.endswith(('.json', '.jsonl', '.ndjson')) else 'line'} {line}"


def settle_conflicts(
    kept: np.ndarray, odd: Iterable[tuple[int, np.ndarray]], card: Card, text: str, notes: list[Note]
) -> bool:
    """Whether rows whose labels differ stay. `kept`, the first label of each row, then holds what the card's
    on_conflict takes. odd: (row, all its labels), looked at only where these count. text: what differs, for the
    note."""
    notes.append(Note("label-conflict", f"{text}: {ON_CONFLICT[card.on_conflict]}"))
    if card.on_conflict == "majority":
        for row, labels in odd:
            kept[row] = card.target_type.majority(labels)
    return card.on_conflict != "drop"
