"""The columns beside the pictures: what the training and the test table both tell of an image.

The card says which, `metadata: auto`, a list of columns, or none. Numbers stay numbers, a date becomes the days since
2000, and the words of a category become its number among those that the training rows hold. An empty cell stays
missing. Nothing is standardised here: whatever learns from these columns learns that from the rows it may see.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from src.competition import tables, templates
from src.competition.card import AUTO, Card, Table
from src.competition.file_tree import Tree
from src.competition.label_sources import label_source
from src.competition.sources.pixel_columns import pixel_columns
from src.core.console import Note
from src.core.wording import plural
from src.images.decode import SUFFIXES
from src.targets import TargetType

Kind = Literal["number", "category", "date"]
PREFIX = "metadata."  # of the columns in samples.train and samples.test
UNKNOWN = 0  # the number of a category that no training row has
MISSING = {"", "na", "n/a", "#n/a", "<na>", "nan", "null", "none", "nil", "?", "-", "--"}
DATES = ("%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y/%m/%d", "%Y%m%d")
DATES += ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y-%m-%dT%H:%M:%SZ", "%Y:%m:%d %H:%M:%S")
YEARS = (1900, 2100)  # outside of which eight digits are no date
ID_WORDS = {"id", "ids", "uid", "uuid", "index", "idx", "no", "nr", "num", "number", "key", "row", "filename", "file"}
SHOWN = 5
TELLING, APART = 0.95, 0.95  # see _check
CHECKED, SKETCH, PARTS = 5000, 16, 3  # of the check: rows, numbers that stand for many classes, folds


@dataclass(frozen=True)
class Column:
    """categories: those of the training rows; the first has the number 1."""

    name: str
    kind: Kind
    categories: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Its name in samples.train and samples.test."""
        return PREFIX + self.name

    @property
    def told(self) -> str:
        """What it holds, in words."""
        return f"{len(self.categories)} categories" if self.kind == "category" else self.kind


@dataclass(frozen=True)
class Doubt:
    """What is odd about a column: whether it tells the answer by itself, and a sentence."""

    name: str
    leak: bool
    text: str


@dataclass(frozen=True)
class Metadata:
    """columns: those that are used. left_out: {column: why}. doubts: of used columns, and of those left out as leaks.

    digest: of the training rows' cells and what they mean.
    """

    columns: tuple[Column, ...]
    left_out: dict[str, str]
    doubts: tuple[Doubt, ...] = ()
    digest: str = ""

    def of(self, table: pd.DataFrame) -> np.ndarray:
        """(rows, columns) float64 of samples.train or samples.test; NaN is missing."""
        return table[[column.key for column in self.columns]].to_numpy(np.float64)

    @property
    def is_category(self) -> np.ndarray:
        """(columns,) bool."""
        return np.array([column.kind == "category" for column in self.columns], dtype=bool)

    @property
    def text(self) -> str:
        """The columns with their kinds, on one line."""
        return ", ".join(f"{column.name} ({column.told})" for column in self.columns)

    def __bool__(self) -> bool:
        """Whether a column is used."""
        return bool(self.columns)


def asked_columns(card: Card, tree: Tree, notes: list[Note]) -> list[str]:
    """The columns that the card asks for: those it names, or with `auto` all that both tables have and nothing else
    uses. What stands in one table only is told."""
    if isinstance(card.metadata, list):
        return list(dict.fromkeys(card.metadata))
    if card.metadata != AUTO:
        return []
    sides = [_columns(source, tree) for source in (card.train, card.test)]
    if card.submission and card.test and card.test.tables == [card.submission.sample]:
        return []  # the sample submission holds answers
    used = _used(card)
    train, test = ([column for column in side if column not in used] for side in sides)
    shared = [column for column in train if column in test]
    for code, one, other, where in (
        ("metadata-train-only", train, sides[1], "the training table"),
        ("metadata-test-only", test, sides[0], "the test table"),
    ):
        alone = [column for column in one if column not in other]
        if alone and all(sides):
            text = f"{plural(len(alone), 'column')} of {where} alone cannot be used: {_some(alone)}"
            notes.append(Note(code, text))
    return shared


def _columns(source: Table | None, tree: Tree) -> list[str]:
    """What the host tells of each image in a table with a header; nothing where there is no such table."""
    if source is None or not source.tables or not source.header:
        return []
    files = [tree.root / name for name in (*source.tables, *(join.table for join in source.join))]
    if not all(file.is_file() for file in files):
        return []  # whoever reads the table says so; files of boxes tell nothing beside them
    try:
        columns = tables.all_columns(tree.root, source)
        pixels = pixel_columns(pd.Index(columns), source.pixels.columns) if source.pixels else ()
        return [column for column in columns if column not in pixels]
    except (ValueError, LookupError, UnicodeError, RecursionError, OverflowError):
        return []


def _used(card: Card) -> set[str]:
    """Columns that the card has another use for."""
    label = card.train.label
    used = {"row", "row0", "path"}
    if isinstance(label, dict):
        used.update(label_source(label).columns())
    else:
        used.update(label if isinstance(label, list) else tables.columns_of(label))
    for source in filter(None, (card.train, card.test, card.validation)):
        used.update(tables.columns_of(source.id), templates.fields(source.images), source.where)
        used.update(key for join in source.join for key in (join.by, join.key) if key)
        if source.pivot:
            used.update(tables.columns_of(source.pivot.name), [source.pivot.value])
    for spec in filter(None, (card.group, card.weight)):
        used.update(tables.columns_of(spec))
    return used


def typed(
    card: Card,
    train: pd.DataFrame,
    test: pd.DataFrame,
    targets: np.ndarray,
    target: TargetType,
    outputs: int,
    notes: list[Note],
) -> Metadata:
    """The columns that are used, after the cells in `train` and `test`, all text, were replaced by numbers in place.

    Columns that tell nothing are taken out, with the reason in `notes`; with `auto` those too that name the rows, and
    those that give the answer away.
    """
    named = isinstance(card.metadata, list)
    columns, left_out = [], {}
    for key in [key for key in train if key.startswith(PREFIX)]:
        name = key.removeprefix(PREFIX)
        cells, asked = _stripped(train.pop(key)), _stripped(test.pop(key))
        kind = _kind(name, cells, notes)
        reason = _nothing_told(cells) or ("" if named else _names_rows(name, kind, cells, asked))
        if reason:
            left_out[name] = reason
            continue
        column = Column(name, "date" if kind in DATES else kind, _categories(cells) if kind == "category" else ())
        train[key], test[key] = (_numbers(one, kind, column, notes) for one in (cells, asked))
        columns.append(column)
    doubts = _doubts(columns, train, test, target.soft(targets, outputs))
    for doubt in doubts:
        if doubt.leak and not named:
            left_out[doubt.name] = doubt.text
    columns = [column for column in columns if column.name not in left_out]
    for table in (train, test):
        table.drop(columns=[PREFIX + name for name in left_out if PREFIX + name in table], inplace=True)
    if left_out:
        told = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        remedy = "" if named else ". To take one all the same, list the columns: metadata: [NAME, ...]"
        notes.append(Note("metadata-left-out", f"columns that are not used, {told}{remedy}"))
    for doubt in doubts:
        if doubt.name not in left_out:
            notes.append(Note("metadata-leak" if doubt.leak else "metadata-shift", f"WARNING: {doubt.text}"))
    found = Metadata(tuple(columns), left_out, doubts)
    if not columns:
        return found
    notes.append(Note("metadata", f"columns beside the pictures: {found.text}"))
    return Metadata(found.columns, left_out, doubts, _digest(found, train))


def _stripped(cells: pd.Series) -> pd.Series:
    """Cells without blanks around them; a row of a table that lacks the column has an empty one."""
    return cells.fillna("").astype(str).str.strip()


def _missing(cells: pd.Series) -> np.ndarray:
    return cells.str.casefold().isin(MISSING).to_numpy()


def _kind(name: str, cells: pd.Series, notes: list[Note]) -> str:
    """number, category, or the way that all its dates are written."""
    held = cells[~_missing(cells)].drop_duplicates()
    for way in DATES if held.str.fullmatch(r"\d[\d.:/TZ -]{7,}").all() else ():
        dates = pd.to_datetime(held, format=way, errors="coerce")
        if not len(held) or not dates.notna().all() or not dates.dt.year.between(*YEARS).all():
            continue
        turned = {"%d/%m/%Y": "%m/%d/%Y", "%d-%m-%Y": "%m-%d-%Y"}.get(way)
        if turned and pd.to_datetime(held, format=turned, errors="coerce").notna().all():
            text = f"{name} is read as day, month, year ({held.iloc[0]}); the files do not tell"
            notes.append(Note("metadata-date-order", f"{text}. Where the month comes first, write the dates anew"))
        return way
    return "number" if pd.to_numeric(held, errors="coerce").notna().all() else "category"


def _numbers(cells: pd.Series, kind: str, column: Column, notes: list[Note]) -> np.ndarray:
    """(rows,) float64: a number, the days since 2000, or the number of the category."""
    missing = _missing(cells)
    if kind == "category":
        codes = pd.Index(column.categories).get_indexer(cells) + 1.0
        unknown = (codes == UNKNOWN) & ~missing
        if unknown.any():
            text = f"{plural(unknown.sum(), 'test row')} with a {column.name} that no training row has"
            notes.append(Note("metadata-unknown", f"{text} count as unknown: {_some(cells[unknown].unique())}"))
        return np.where(missing, np.nan, codes)
    if kind == "number":
        found = pd.to_numeric(cells, errors="coerce").to_numpy(np.float64)
        found = np.where(np.isfinite(found), found, np.nan)
    else:
        days = pd.to_datetime(cells, format=kind, errors="coerce") - pd.Timestamp("2000-01-01")
        found = (days / pd.Timedelta(days=1)).to_numpy(np.float64)
    found = np.where(missing, np.nan, found)
    odd = np.isnan(found) & ~missing
    if odd.any():
        text = f"{plural(odd.sum(), 'cell')} of {column.name} is no {column.kind}: taken for missing"
        notes.append(Note("metadata-odd-cells", f"{text}: {_some(cells[odd].unique())}"))
    return found


def _categories(cells: pd.Series) -> tuple[str, ...]:
    return tuple(sorted(cells[~_missing(cells)].unique()))


def _nothing_told(cells: pd.Series) -> str:
    missing = _missing(cells)
    if missing.all():
        return "empty in every training row"
    if not missing.any() and cells.nunique() == 1:
        return f"the same in every training row ({cells.iloc[0]})"
    return ""


def _names_rows(name: str, kind: str, cells: pd.Series, asked: pd.Series) -> str:
    """Why a column tells one row from another and nothing that holds for others; empty where it may tell something."""
    held, other = cells[~_missing(cells)], asked[~_missing(asked)]
    values = held.nunique()
    if kind == "number":
        last = re.findall(r"[a-z]+|\d+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).casefold())[-1:]
        if values <= SHOWN or not held.str.fullmatch(r"[+-]?\d+").all():
            return ""
        if ID_WORDS & {*last} and (values > 0.25 * len(held) or not {*held} & {*other}):
            return "a number of its own for every few rows, as ids are"
        if values <= 0.9 * len(held):
            return ""
        numbers = held.astype(float)
        dense = numbers.max() - numbers.min() < 3 * (len(held) + len(other))
        return "a number of its own in each row, as ids are" if dense or ID_WORDS & {*last} else ""
    if kind != "category":
        return ""
    strange = int((~other.isin(set(held))).sum())
    texts = held.str.count(r"\S+").mean() > 4 and values > len(held) / 3
    reasons = {
        "paths": held.str.contains(r"[/\\]").mean() > 0.9 and values > len(held) / 2,
        "names of files": held.str.casefold().str.endswith(tuple(SUFFIXES)).mean() > 0.9,
        "free text": texts,
        f"{values} values in {plural(len(held), 'row')}, as ids are": values > len(held) / 2,
        f"{strange} of {plural(len(other), 'test row')} hold what no training row has": strange > len(other) / 2,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _doubts(columns: Sequence[Column], train: pd.DataFrame, test: pd.DataFrame, truth: np.ndarray) -> tuple[Doubt, ...]:
    """Columns that alone tell the answer, or that tell a test row from a training row, by small trees out of fold."""
    if not columns:
        return ()
    rng = np.random.default_rng(0)
    rows, asked = (np.sort(rng.permutation(len(table))[:CHECKED]) for table in (train, test))
    truth = truth[rows].astype(np.float64)
    if truth.shape[1] > SKETCH:  # of many classes, as many mixtures of them
        truth = truth @ rng.normal(size=(truth.shape[1], SKETCH))
    spread = truth.std(axis=0)
    truth = truth[:, spread > 0] / spread[spread > 0]
    found = []
    for column in columns:
        here, there = (table[column.key].to_numpy()[chosen] for table, chosen in ((train, rows), (test, asked)))
        told = _told(here[:, None], truth, rng)
        if told >= TELLING:
            text = f"{column.name} alone tells {told:.1%} of the answer: it may give it away"
            found.append(Doubt(column.name, True, f"{text}, and not be known where it counts"))
        both, part = np.concatenate([here, there])[:, None], np.repeat([0.0, 1.0], [len(here), len(there)])
        if len(there) > 1 and _told(both, part[:, None] / part.std(), rng) >= APART:
            found.append(
                Doubt(column.name, False, f"{column.name} alone tells test rows from training rows: {_ranges(column)}")
            )
    return tuple(found)


def _ranges(column: Column) -> str:
    what = "other categories" if column.kind == "category" else "other numbers"
    return f"they hold {what}, so that what is learned from it may not hold there"


def _told(x: np.ndarray, truth: np.ndarray, rng: np.random.Generator) -> float:
    """The share of the variance of (n, k) truth, in its own units, that a small tree foretells on rows held out."""
    from sklearn.tree import DecisionTreeRegressor

    if not truth.shape[1] or len(x) < 4 * PARTS:
        return 0.0
    part = rng.permutation(len(x)) % PARTS
    answers = np.empty_like(truth)
    for one in range(PARTS):
        held = part == one
        tree = DecisionTreeRegressor(min_samples_leaf=2, random_state=0).fit(x[~held], truth[~held])
        answers[held] = tree.predict(x[held]).reshape(answers[held].shape)
    return float(1 - np.square(truth - answers).mean() / truth.var(axis=0).mean())


def _digest(metadata: Metadata, train: pd.DataFrame) -> str:
    """16 hex digits of the columns' meaning and of the training rows' cells, by id."""
    digest = hashlib.sha256(repr(metadata.columns).encode())
    digest.update("\0".join(train["id"]).encode())
    digest.update(np.ascontiguousarray(metadata.of(train)).tobytes())
    return digest.hexdigest()[:16]


def _some(names: Iterable[str]) -> str:
    names = list(map(str, names))
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
