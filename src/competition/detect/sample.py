"""The sample submission: which table it is, and which of its columns hold ids and answers."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from src.competition.detect.draft import Draft
from src.competition.detect.inventory import TableFile
from src.competition.detect.undecided import Try, Undecided
from src.competition.file_tree import Tree
from src.core.errors import UsageError


@dataclass(frozen=True)
class Sample:
    """One sample submission. `id`: its column of ids; `answers`: the columns to be filled in. `key`: how the ids of its
    rows are made, where that takes several columns."""

    table: TableFile
    id: str
    answers: tuple[str, ...]
    key: str = ""

    @property
    def named(self) -> str:
        """What the card must say of the ids; empty where they stand in the first column."""
        return self.key or ("" if self.id == self.table.columns[0] else self.id)

    @cached_property
    def ids(self) -> list[str]:
        return self.table.cells[self.id].tolist()

    @cached_property
    def values(self) -> list[str]:
        """The different answers that it holds where there is one column of them."""
        return self.table.cells[self.answers[0]].unique().tolist() if len(self.answers) == 1 else []

    @cached_property
    def numbers(self) -> np.ndarray | None:
        """(rows, answers) what it answers with, None where that is not numbers alone."""
        cells = self.table.cells[list(self.answers)]
        found = [pd.to_numeric(cells[column], errors="coerce").to_numpy(np.float64) for column in cells]
        return np.stack(found, axis=1) if found and np.isfinite(found).all() else None


def find_sample(tables: list[TableFile], tree: Tree, draft: Draft) -> Sample | None:
    """The table whose name says sample or submission. Raises Undecided where several do."""
    named = draft.given.get("submission.sample")
    found = [table for table in tables if (table.path == named if named else table.role == "sample")]
    if len(found) > 1 and all(one.cells.equals(found[0].cells) for one in found):
        found = sorted(found, key=lambda one: (one.path.count("/"), one.path))[:1]
    if len(found) > 1:
        tries = [Try(table.path, len(table), 0, f"columns {', '.join(table.columns[:4])}") for table in found]
        remedy, answers = "Say which: submission.sample=TABLE", [{"submission.sample": one.path} for one in found]
        raise Undecided("several tables could be the sample submission:", tries, remedy, answers)
    if not found:
        return None
    table = found[0]
    if len(table.columns) == 1 and "submission.separator" in draft.given:
        raise UsageError(
            f"{table.path} has one column only, {table.columns[0]!r}, when it is read with "
            f"{table.sheet.separator!r} between its columns: leave submission.separator out, or mend it",
            code="one-column",
        )
    if len(table.columns) == 1:
        tables[tables.index(table)] = replace(table, role="test")  # it lists ids and has no place for answers
        return None
    key = draft.given.get("submission.id") or _id_column(table, tables, tree)
    if key not in table.columns:
        raise UsageError(
            f"submission.id={key}: {table.path} has the columns {', '.join(map(repr, table.columns))}",
            code="missing-column",
        )
    answers = [column for column in table.columns if column != key and not _is_index(table, column)]
    if len(answers) > 1 and (described := _described(answers, tables)):
        answers = [column for column in answers if column not in described]
    return Sample(table, key, tuple(answers))


def _id_column(table: TableFile, tables: list[TableFile], tree: Tree) -> str:
    """The column whose values all differ, and most are images or ids of a test table; the first among equals."""
    others = [other for other in tables if other is not table and other.role == "test"]
    known = {value for other in others for column in other.columns for value in other.cells[column]}
    known |= {path.rpartition("/")[2] for path in tree.images} | tree.by_stem.keys()

    def fitness(column: str) -> tuple[bool, int, bool]:
        values = table.cells[column].unique()
        hits = sum(value in known or value.rpartition("/")[2] in known for value in values)
        return len(values) == len(table), hits, not _is_index(table, column)

    return max(table.columns, key=fitness)


def _is_index(table: TableFile, column: str) -> bool:
    """Whether a column without a name, or called index, only counts the rows."""
    if column.lower() not in ("", "index", "unnamed: 0"):
        return False
    return any(table.cells[column].tolist() == [str(k) for k in range(start, start + len(table))] for start in (0, 1))


def _described(answers: list[str], tables: list[TableFile]) -> set[str]:
    """Columns that the test table holds too: they say something of the image and are no answers."""
    return {column for column in answers for table in tables if table.role == "test" and column in table.columns}
