"""Tables in Parquet, which pyarrow reads where it is installed."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from src.competition.json_tables import as_text

SUFFIXES = frozenset({".parquet"})


def read(path: Path, columns: Iterable[str] | None = None) -> pd.DataFrame:
    """The table, or some columns of it, every cell as text; lists are written as JSON has them. Raises ValueError."""
    names = columns_of(path)
    wanted = names if columns is None else [name for name in names if name in set(columns)]
    blocks_ = [_text(block) for block in blocks(path, 1 << 16, wanted)]
    return pd.concat(blocks_, ignore_index=True) if blocks_ else pd.DataFrame(columns=wanted, dtype=object)


def head(path: Path, rows: int) -> pd.DataFrame:
    """The first rows as text. Raises ValueError."""
    return next((_text(block) for block in blocks(path, rows)), pd.DataFrame(columns=columns_of(path)))


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
    for column in block:
        first = next((cell for cell in block[column] if cell is not None), None)
        if isinstance(first, bytes) or (isinstance(first, dict) and any(isinstance(v, bytes) for v in first.values())):
            raise ValueError(f"its column {column!r} holds bytes, such as encoded images: write each as an image file")
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
