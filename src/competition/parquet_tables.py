"""Tables in Parquet, which pyarrow reads where it is installed.

A cell that is an encoded image counts as the image's name, below the file: train.parquet/image/12.
"""

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from src.competition.json_tables import as_text
from src.images.readers.parquet import image_columns

SUFFIXES = frozenset({".parquet"})


def read(path: Path, columns: Iterable[str] | None = None) -> pd.DataFrame:
    """The table, or some columns of it, every cell as text; lists are written as JSON has them. Raises ValueError."""
    names = columns_of(path)
    return _table(path, names if columns is None else [name for name in names if name in set(columns)])


def head(path: Path, rows: int) -> pd.DataFrame:
    """The first rows as text. Raises ValueError."""
    return _table(path, columns_of(path), rows)


def _table(path: Path, wanted: list[str], most: int | None = None) -> pd.DataFrame:
    """These columns as text, of the first rows or of all."""
    with _opened(path) as file:
        held, rows = image_columns(file.schema_arrow), file.metadata.num_rows
    plain = [name for name in wanted if name not in held]
    parts = blocks(path, most or 1 << 16, plain) if plain and rows else ()
    text = [_text(block) for block in (itertools.islice(parts, 1) if most else parts)]
    table = pd.concat(text, ignore_index=True) if text else pd.DataFrame(index=range(min(rows, most or rows)))
    for name in held:
        table[name] = [f"{path.name}/{name}/{row}" for row in range(len(table))]
    return table.reindex(columns=wanted)


def columns_of(path: Path) -> list[str]:
    """The names of the columns. Raises ValueError."""
    with _opened(path) as file:
        return [str(name) for name in file.schema_arrow.names if not str(name).startswith("__index_level")]


def blocks(path: Path, rows: int, columns: list[str] | None = None) -> Iterator[pd.DataFrame]:
    """Some rows at a time, cells as the file has them. Raises ValueError."""
    with _opened(path) as file:
        for batch in file.iter_batches(rows, columns=columns):
            yield batch.to_pandas(ignore_metadata=True).reset_index(drop=True)


def _text(block: pd.DataFrame) -> pd.DataFrame:
    arrays = [column for column in block if block[column].dtype == object]
    return as_text(block.assign(**{column: block[column].map(_listed) for column in arrays}))


def _listed(cell: Any) -> Any:
    return json.dumps([_plain(one) for one in cell]) if isinstance(cell, np.ndarray) else cell


def _plain(cell: Any) -> Any:
    return [_plain(one) for one in cell] if isinstance(cell, np.ndarray) else getattr(cell, "item", lambda: cell)()


def _opened(path: Path) -> Any:
    try:
        parquet = _library()
        return parquet.ParquetFile(path)
    except ImportError:
        raise ValueError("pyarrow is not installed, which reads it: pip install pyarrow") from None
    except OSError as error:  # what its own errors are, too
        raise ValueError(f"no whole Parquet file ({' '.join(str(error).split())[:100]})") from None


def _library() -> ModuleType:
    from pyarrow import parquet

    return parquet
