"""Parquet: a table whose cells may be encoded images, as bytes or as {bytes, path}."""

from collections.abc import Callable, Collection
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from src.core.console import note
from src.images.decode import ImageFault
from src.images.pixel_format import RawImage
from src.images.readers import READERS, Reader, last_array

BYTES = "bytes"  # of a cell {bytes, path}
LARGE = 1_000_000_000  # bytes of a group of rows, unpacked, from which on reading one image of it is told to be slow


class Table(NamedTuple):
    """What the end of a file tells. columns: those of images. ends: (groups + 1,), the row where each group begins."""

    footer: Any
    columns: frozenset[str]
    ends: np.ndarray


@READERS.register("parquet")
class Parquet(Reader):
    """`train.parquet/image/12` is the cell of the column `image` in row 12. A group of rows is kept whole, of its one
    column, while rows of it are read."""

    suffixes = (".parquet",)
    packages = ("pyarrow",)
    container = True

    def read(self, path: Path, data: bytes, channels: int) -> RawImage:
        raise ImageFault(path, "a table of many images", f"name one in the card: {path.name}/COLUMN/{{row0}}")

    def holds_many(self, path: Path) -> bool:
        return True  # and no image itself, whatever its columns are

    def entry(self, path: Path, key: str, channels: int) -> bytes:
        column, _, row = key.rpartition("/")
        table = self._table(path)
        if column not in table.columns or not row.isdecimal() or int(row) >= table.ends[-1]:
            raise self.no_key(path, key)
        group = int(np.searchsorted(table.ends, int(row), side="right")) - 1
        cells = last_array.of(path, f"{column}/{group}", lambda: self._cells(path, table.footer, column, group))
        cell = cells[int(row) - int(table.ends[group])]
        if not cell:
            raise ImageFault(path, "its cell is empty", "take its row out of the table")
        return cell

    def keys(self, path: Path) -> Collection[str]:
        table = self._table(path)
        return frozenset(f"{column}/{row}" for column in table.columns for row in range(table.ends[-1]))

    def _cells(self, path: Path, footer: Any, column: str, group: int) -> np.ndarray:
        """The bytes of each row of a group, None where there are none."""
        library = self.import_library("pyarrow.parquet", path)
        try:
            with library.ParquetFile(path, metadata=footer) as file:
                found = file.read_row_group(group, columns=[column])[column].to_pylist()
        except (OSError, ValueError) as error:  # what its own errors are, too
            raise _broken(path, error) from None
        cells = np.empty(len(found), dtype=object)
        cells[:] = [one.get(BYTES) if isinstance(one, dict) else one for one in found]
        return cells

    def _table(self, path: Path) -> Table:
        library, facts = self.import_library("pyarrow.parquet", path), path.stat()
        try:
            return _read_footer(library.read_metadata, str(path), facts.st_size, facts.st_mtime_ns)
        except (OSError, ValueError) as error:
            raise _broken(path, error) from None


@lru_cache(maxsize=256)
def _read_footer(read: Callable[[str], Any], path: str, _size: int, _changed: int) -> Table:
    """Once for a file: there is a call for each of its cells. Groups that hold much are told."""
    footer = read(path)
    groups = [footer.row_group(k) for k in range(footer.num_row_groups)]
    largest = max((group.total_byte_size for group in groups), default=0)
    if largest > LARGE:
        text = f"{path}: a group of rows holds up to {largest / 1e9:.1f} GB, and is read whole for an image in it"
        note("large-row-groups", f"{text}: write the file anew with smaller ones (pyarrow: row_group_size=500)")
    ends = np.cumsum([0, *(group.num_rows for group in groups)])
    return Table(footer, frozenset(image_columns(footer.schema.to_arrow_schema())), ends)


def image_columns(schema: Any) -> list[str]:
    """The columns of a Parquet schema whose cells are bytes, or {bytes, path}."""
    from pyarrow import types

    def are_bytes(kind: Any) -> bool:
        return types.is_binary(kind) or types.is_large_binary(kind)

    def held(kind: Any) -> bool:
        place = kind.get_field_index(BYTES) if types.is_struct(kind) else -1
        return are_bytes(kind) or (place >= 0 and are_bytes(kind.field(place).type))

    return [field.name for field in schema if held(field.type)]


def _broken(path: Path, error: Exception) -> ImageFault:
    return ImageFault(path, f"no whole Parquet file ({' '.join(str(error).split())[:100]})")
