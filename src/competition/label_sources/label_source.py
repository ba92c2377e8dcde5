"""The base class of the label sources."""

from pathlib import Path

import pandas as pd

from src.core.registry import Configurable


class LabelSource(Configurable):
    """parameters: what the card may say of it, each with its usual value, or with its type where it must be given."""

    def columns(self) -> list[str]:
        """The columns of the table that it needs."""
        return []

    def cells(self, table: pd.DataFrame, data: Path) -> list[str]:
        """(rows,) the text of each row's label cell, as a column would hold it; empty where there is none.

        table: every cell text. data: the folder of the host's files. Raises Problem where a label cannot be read.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no cells")
