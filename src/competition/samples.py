"""The samples of a competition: one row per image, whatever shape the host's files have."""

import string
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from src.competition.card import Card, Table
from src.errors import Problem


@dataclass(frozen=True)
class Samples:
    """train: columns id, path, group. test: columns id, path. Ids are strings, paths absolute.

    targets: (rows of train,) int64 indices into `classes`.
    """

    train: pd.DataFrame
    test: pd.DataFrame
    targets: np.ndarray
    classes: tuple[str, ...]
    sample: pd.DataFrame

    @property
    def counts(self) -> np.ndarray:
        """Training rows of each class, (classes,)."""
        return np.bincount(self.targets, minlength=len(self.classes))

    def positions(self, ids: np.ndarray) -> np.ndarray:
        """Rows of `train` that carry these ids, in the order asked for."""
        return pd.Index(self.train["id"]).get_indexer(ids)


def load_samples(card: Card) -> Samples:
    """Read the card's tables and check them against the files. Raises Problem naming the table, row and remedy."""
    train_table, test_table = read_table(card.data / card.train.table), read_table(card.data / card.test.table)
    train, test = _rows(card, card.train, train_table), _rows(card, card.test, test_table)
    labels = _column(train_table, card.train.label, card.train.table)
    empty = np.flatnonzero(labels.str.strip() == "")
    if len(empty):
        raise Problem(
            f"{card.train.table}, line {empty[0] + 2}: {card.train.label} is empty (id {train['id'].iloc[empty[0]]})"
        )
    classes = tuple(card.classes or sorted_classes(labels.unique()))
    targets = pd.Index(classes).get_indexer(labels)
    if (targets < 0).any():
        row = int(np.flatnonzero(targets < 0)[0])
        raise Problem(f"{card.train.table}, line {row + 2}: {labels.iloc[row]!r} is none of the card's classes")
    train["group"] = _column(train_table, card.group, card.train.table) if card.group else ""
    sample = read_table(card.data / card.submission.sample)
    _check_sample(card, sample, test, classes)
    return Samples(train, test, targets.astype(np.int64), classes, sample)


def read_table(path: Path) -> pd.DataFrame:
    """A csv with every cell as text, so that 0001 stays 0001 and a class named NA stays a class."""
    if not path.is_file():
        raise Problem(f"{path} is missing: put the host's files into {path.parent}, or mend the card that names it")
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (ValueError, UnicodeDecodeError) as error:
        raise Problem(f"{path} cannot be read as a csv table: {error}") from None


def sorted_classes(names: np.ndarray) -> list[str]:
    """Numbers by value, anything else as text: 2 comes before 10."""
    try:
        return sorted(names, key=float)
    except ValueError:
        return sorted(names)


def _rows(card: Card, rule: Table, table: pd.DataFrame) -> pd.DataFrame:
    ids = _column(table, rule.id, rule.table)
    repeated = ids[ids.duplicated()]
    if len(repeated):
        raise Problem(f"{rule.table}, line {repeated.index[0] + 2}: id {repeated.iloc[0]!r} stands there twice")
    fields = [field for _, field, _, _ in string.Formatter().parse(rule.images) if field]
    columns = {field: _column(table, field, rule.table) for field in fields}
    names = [
        rule.images.format_map(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)
    ]
    root = str(card.data.resolve())
    paths = [f"{root}/{name}" for name in names]
    outside = next((name for name in names if name.startswith("/") or ".." in Path(name).parts), None)
    if outside is not None:
        raise Problem(f"{rule.table} names {outside!r}, a file outside {root}: correct the table")
    return pd.DataFrame({"id": ids.to_numpy(), "path": paths})


def _column(table: pd.DataFrame, name: str, file: str) -> pd.Series:
    if name not in table:
        raise Problem(
            f"{file} has no column {name!r}: it has {', '.join(map(repr, table.columns))}. Mend the card or the table"
        )
    return table[name]


def _check_sample(card: Card, sample: pd.DataFrame, test: pd.DataFrame, classes: tuple[str, ...]) -> None:
    name = card.submission.sample
    ids, known = _column(sample, sample.columns[0], name), set(test["id"])
    strange = ids[~ids.isin(known)]
    if len(strange):
        raise Problem(
            f"{name}, line {strange.index[0] + 2}: id {strange.iloc[0]!r} is no test image of {card.test.table}"
        )
    if card.submission.kind == "label" and sample.shape[1] > 1:
        answers = sample.iloc[:, 1]
        # One value in every row is the host's placeholder, class or not.
        wrong = answers[~answers.isin(classes)] if answers.nunique() > 1 else answers[:0]
        if len(wrong):
            raise Problem(
                f"{name}, line {wrong.index[0] + 2}: {wrong.iloc[0]!r} is no class of {card.train.table}. "
                f"Correct the file, or name every class in the card (classes: [...])"
            )
