"""The rows of a table as ids and image files."""

from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from src.competition import labels, templates
from src.competition.card import Table
from src.competition.tables import columns_of, values
from src.competition.tree import Tree
from src.errors import Problem


def columns_needed(source: Table) -> list[str]:
    """The columns that a table's id and images ask for."""
    return [*columns_of(source.id), *templates.fields(source.images)]


def ids_and_paths(source: Table, table: pd.DataFrame) -> pd.DataFrame:
    """Columns id and path, the path relative to data/ and not yet looked for. Raises Problem for a path outside."""
    ids = values(table, source.id, source.name)
    empty = next((place for place, name in enumerate(ids) if not name), None)
    if empty is not None:
        raise Problem(f"{labels.where(source, table, empty)}: the id is empty. Correct the table")
    paths = templates.fill(source.images, table)
    odd = [place for place, path in enumerate(paths) if path.startswith("/") or "./" in path or "//" in path]
    for place in odd:
        path = PurePosixPath(paths[place])  # drops ./ and //
        if path.is_absolute() or ".." in path.parts:
            raise Problem(
                f"{labels.where(source, table, place)} names {paths[place]!r}, a file outside data/: correct the table"
            )
        paths[place] = str(path)
    return pd.DataFrame({"id": ids, "path": paths}, dtype=object)


def find_files(paths: pd.Series, source: Table, tree: Tree) -> tuple[list[str], np.ndarray]:
    """The files that paths stand for, and which of them are missing, (rows,) bool."""
    if "**/" not in source.images and not source.images.endswith(".*"):
        return paths.tolist(), np.fromiter((path not in tree.known for path in paths), bool, len(paths))
    files = [tree.resolve(path) for path in paths]
    absent = np.array([file is None for file in files], dtype=bool)
    return [file or path for file, path in zip(files, paths, strict=True)], absent
