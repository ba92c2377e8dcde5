"""Parquet: a table whose cells may be encoded images, as bytes or as {bytes, path}."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from src.images.decode import ImageFault
from src.images.pixel_format import RawImage
from src.images.readers import READERS, Reader, last_array

BYTES = "bytes"  # of a cell {bytes, path}


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
        with self._opened(path) as file:
            groups = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
            ends = np.cumsum(groups)
            if column not in image_columns(file.schema_arrow) or not row.isdecimal() or int(row) >= sum(groups):
                raise self.no_key(path, key)
            group = int(np.searchsorted(ends, int(row), side="right"))
            cells = last_array.of(path, f"{column}/{group}", lambda: self._cells(path, file, column, group))
        cell = cells[int(row) - int(ends[group]) + groups[group]]
        if not cell:
            raise ImageFault(path, "its cell is empty", "take its row out of the table")
        return cell

    def keys(self, path: Path) -> Collection[str]:
        with self._opened(path) as file:
            columns, rows = image_columns(file.schema_arrow), file.metadata.num_rows
        return frozenset(f"{column}/{row}" for column in columns for row in range(rows))

    def _cells(self, path: Path, file: Any, column: str, group: int) -> np.ndarray:
        """The bytes of each row of a group, None where there are none."""
        try:
            found = file.read_row_group(group, columns=[column])[column].to_pylist()
        except (OSError, ValueError) as error:  # what its own errors are, too
            raise _broken(path, error) from None
        cells = np.empty(len(found), dtype=object)
        cells[:] = [one.get(BYTES) if isinstance(one, dict) else one for one in found]
        return cells

    def _opened(self, path: Path) -> Any:
        library = self.import_library("pyarrow.parquet", path)
        try:
            return library.ParquetFile(path)
        except (OSError, ValueError) as error:
            raise _broken(path, error) from None


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
