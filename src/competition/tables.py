"""The host's tables as they are: every cell text, so that 0001 stays 0001 and a class named NA stays a class."""

import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from src.competition import box_files, json_tables, parquet_tables, templates
from src.competition.card import Join, Sheet, Table
from src.competition.file_tree import Tree
from src.core.errors import Problem

SURPLUS = "\0"  # the name of cells beyond the header
WIDE = 64  # columns; of wider tables only those are read that are asked for


def read_table(path: Path, sheet: Sheet | None = None, columns: Iterable[str] | None = None) -> pd.DataFrame:
    """One table; only `columns`, where given. Raises Problem where it is absent, broken or lacks a column."""
    if not path.is_file() and not (box_files.is_pattern(path) and box_files.files_of(path)):
        raise Problem(
            f"{path} is missing: put the host's files into {path.parent}, or mend the card that names it",
            code="missing-file",
        )
    sheet = sheet or Sheet(encoding="utf-8-sig")
    try:
        if box_files.is_pattern(path):
            table = box_files.read(path)
        elif path.suffix.lower() in json_tables.SUFFIXES:
            table = json_tables.read(path, sheet.encoding)
        elif path.suffix.lower() in parquet_tables.SUFFIXES:
            table = parquet_tables.read(path, columns)
        else:
            table = _read_csv(path, sheet, None if columns is None else set(columns))
    except (ValueError, LookupError, UnicodeError, RecursionError, OverflowError) as error:
        raise Problem(
            f"{path} cannot be read as a table: {' '.join(str(error).split())}", code="unreadable-table"
        ) from None
    if columns is None:
        return table
    for column in columns:
        need(table, column, path.name)
    return table[list(dict.fromkeys(columns))]


def _read_csv(path: Path, sheet: Sheet, columns: set[str] | None) -> pd.DataFrame:
    options, names = _options(sheet), _header(path, sheet)
    if len(set(names)) < len(names):
        raise ValueError(f"two columns are named alike: {', '.join(map(repr, names))}")
    wanted = names if columns is None else [name for name in names if name in columns] or names[:1]
    for column in columns or ():
        if column not in names:
            raise Problem(
                f"{path.name} has no column {column!r}: it has {_listed(names)}. Mend the card or the table",
                code="missing-column",
            )
    if len(names) > WIDE:
        return _without_blank_rows(
            pd.read_csv(path, header=0 if sheet.header else None, names=names, usecols=wanted, **options)
        )
    # All columns are read, since only then is a row told that has more cells than the header.
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            table = pd.read_csv(path, header=0 if sheet.header else None, names=names, **options)
        except pd.errors.ParserWarning:
            table = _without_empty_tail(path, sheet, names, options)
    return _without_blank_rows(table)[wanted]


def _without_blank_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Spreadsheets write rows in which nothing stands below their tables."""
    if not len(table) or table.iloc[-1].str.strip().any():
        return table
    blank = np.logical_and.reduce([(table[column].str.strip() == "").to_numpy() for column in table])
    return table[: len(table) - int(np.argmin(blank[::-1]))] if not blank.all() else table[:0]


def _without_empty_tail(path: Path, sheet: Sheet, names: list[str], options: dict) -> pd.DataFrame:
    """Some programs end each line with a separator."""
    options = options | {"skiprows": sheet.skip + sheet.header}
    try:
        table = pd.read_csv(path, header=None, names=[*names, SURPLUS], **options)
    except pd.errors.ParserWarning:
        raise ValueError(f"a line has more cells than the header: quote cells that hold {sheet.separator!r}") from None
    surplus = table.pop(SURPLUS) != ""
    if surplus.any():
        line = int(surplus.to_numpy().argmax()) + 1 + sheet.header + sheet.skip
        raise ValueError(f"line {line} has more cells than the header: quote cells that hold {sheet.separator!r}")
    return table


def _options(sheet: Sheet) -> dict:
    encoding = "utf-8-sig" if sheet.encoding.lower() in ("utf-8", "utf8") else sheet.encoding
    blanks = sheet.separator == " " or sheet.trim
    options = {"skiprows": sheet.skip, "sep": sheet.separator, "encoding": encoding, "dtype": str, "na_filter": False}
    return options | {"index_col": False, "skipinitialspace": blanks}


def source_table(data: Path, source: Table, columns: Iterable[str], tree: Tree) -> pd.DataFrame:
    """The rows that a card's table stands for, with `columns` among its columns, `row` and `row0` always.

    The index keeps the number of each row in its file, from 0, whatever `where` leaves out.
    """
    wanted = {*columns, *source.where, *(join.by for join in source.join)}
    counters = wanted & {"row", "row0"}
    if counters and source.tables:  # a host's own column of this name goes before the count
        counters -= set(_header(data / source.tables[0], source))
    wanted -= counters
    table = _listing(source, tree) if source.files else _aligned(data, source, wanted)
    for number, column in ((table.index + 1, "row"), (table.index, "row0")):
        if column not in table:
            table[column] = number.astype(str)
    for join in source.join:
        table = joined(table, read_table(data / join.table, join), join, source.name)
    for column, values in source.where.items():
        cells = need(table, column, source.name)
        table = table[cells.isin([values] if isinstance(values, str) else values)]
    if source.pivot:
        table = _pivoted(table, source)
    for column in columns:
        need(table, column, source.name)
    return table


def _pivoted(table: pd.DataFrame, source: Table) -> pd.DataFrame:
    """One row for each id, the first of its rows, with a column for each name: see Pivot. A missing cell is empty.

    Raises Problem where an id has two rows of one name.
    """
    ids, names = values(table, source.id, source.name), values(table, source.pivot.name, source.name)
    cells = need(table, source.pivot.value, source.name)
    long = pd.DataFrame({"id": ids, "name": names, "cell": cells.to_numpy()}, index=table.index)
    twice = long[["id", "name"]].duplicated().to_numpy()
    if twice.any():
        row = long[twice].iloc[0]
        told = f"{source.name} has two rows of {row['id']!r} for {row['name']!r} ({twice.sum()} such rows)"
        raise Problem(f"{told}: mend the table", code="repeated-row")
    first = ~long["id"].duplicated().to_numpy()
    wide = long.pivot(index="id", columns="name", values="cell").reindex(long["id"][first]).fillna("")
    return table[first].assign(**{name: wide[name].to_numpy() for name in wide})


def own_columns(data: Path, source: Table) -> set[str]:
    """The columns that a table has by itself, without those that joins add."""
    if source.files:
        return {"path", *templates.fields(source.files)}
    return {column for name in source.tables for column in _header(data / name, source)} | {"row", "row0"}


def all_columns(data: Path, source: Table) -> list[str]:
    """The columns of a table that is no pattern of files, then those that its joins add, as `joined` names them."""
    columns = [column for name in source.tables for column in _header(data / name, source)]
    for join in source.join:
        side = [column for column in _header(data / join.table, join) if column != (join.key or join.by)]
        prefix = Path(join.table).stem
        columns += [column if column not in columns else f"{prefix}.{column}" for column in side]
    return list(dict.fromkeys(columns))


def _header(path: Path, sheet: Sheet) -> list[str]:
    if box_files.is_pattern(path):
        return box_files.columns_of(path)
    if path.suffix.lower() in json_tables.SUFFIXES:
        return read_table(path, sheet).columns.tolist()
    if path.suffix.lower() in parquet_tables.SUFFIXES:
        return parquet_tables.columns_of(path)
    first = pd.read_csv(path, header=None, nrows=1, **_options(sheet)).iloc[0].tolist()
    first = [name.strip() for name in first] if sheet.trim else first
    return first if sheet.header else [f"column{k + 1}" for k in range(len(first))]


def _listing(source: Table, tree: Tree) -> pd.DataFrame:
    """The images that match a pattern, in the order of their paths."""
    names, matcher = templates.fields(source.files), templates.pattern(source.files)
    rows = [(path, *match.groups()) for path in tree.images if (match := matcher.fullmatch(path))]
    if not rows:
        raise Problem(
            f"no image matches {source.files!r} below {tree.root}: mend the pattern in the card",
            code="pattern-without-files",
        )
    return pd.DataFrame(rows, columns=["path", *names])


def _aligned(data: Path, source: Table, wanted: set[str]) -> pd.DataFrame:
    """One table, or several whose lines belong together."""
    if len(source.tables) == 1:
        side_by_side = source.join or source.pivot or source.tables[0].endswith(tuple(json_tables.SUFFIXES))
        return read_table(data / source.tables[0], source, None if side_by_side else sorted(wanted)).copy()
    parts = [read_table(data / name, source) for name in source.tables]
    lengths = [len(part) for part in parts]
    if len(set(lengths)) > 1:
        text = ", ".join(f"{name} has {n}" for name, n in zip(source.tables, lengths, strict=True))
        raise Problem(f"tables that are aligned by line must have as many rows each: {text}", code="tables-not-aligned")
    table = pd.concat(parts, axis=1)
    if not source.header:
        table.columns = [f"column{i + 1}" for i in range(table.shape[1])]
    for column in table.columns[table.columns.duplicated()].unique():
        same = table[column]
        if not same.iloc[:, 0].equals(same.iloc[:, -1]):
            raise Problem(
                f"{source.name} both have a column {column!r}, and its cells differ: they are not aligned by line",
                code="tables-not-aligned",
            )
    return table.loc[:, ~table.columns.duplicated()]


def joined(table: pd.DataFrame, side: pd.DataFrame, join: Join, name: str) -> pd.DataFrame:
    """`table` with the columns of a side table; one whose name is taken gets the side table's name before it."""
    key = join.key or join.by
    repeated = side[need(side, key, join.table).duplicated()]
    if len(repeated):
        raise Problem(
            f"{join.table} has {key} {repeated[key].iloc[0]!r} twice: the card's join needs one row for each key",
            code="repeated-key",
        )
    rows = pd.Index(side[key]).get_indexer(need(table, join.by, name))
    if (rows < 0).any():
        missing = table[join.by].iloc[int((rows < 0).argmax())]
        raise Problem(
            f"{join.table} has no row with {key} {missing!r}, which {name} needs ({int((rows < 0).sum())} such rows)",
            code="missing-row",
        )
    prefix = Path(join.table).stem
    new = {
        column if column not in table else f"{prefix}.{column}": side[column].to_numpy()[rows]
        for column in side.columns.drop(key)
    }
    return table.assign(**new)


def need(table: pd.DataFrame, column: str, name: str) -> pd.Series:
    """A column of a table. Raises Problem with the columns there are."""
    if column not in table:
        known = _listed(table.columns)
        raise Problem(
            f"{name} has no column {column!r}: it has {known}. Mend the card or the table", code="missing-column"
        )
    return table[column]


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(map(repr, names[:30])) + (f" and {len(names) - 30} more" if len(names) > 30 else "")


def values(table: pd.DataFrame, spec: str, name: str) -> list[str]:
    """A column's cells, or a template filled for each row, (rows,)."""
    if spec in table or not templates.is_template(spec):
        return need(table, spec, name).tolist()
    for column in templates.fields(spec):
        need(table, column, name)
    return templates.fill(spec, table)


def columns_of(spec: str) -> list[str]:
    """The columns that a column's name or a template asks for."""
    return templates.fields(spec) if templates.is_template(spec) else [spec]
