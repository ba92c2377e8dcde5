"""What stands in the label cells of a table: yes and no, one label, or several of them."""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from src.core.errors import Problem

YES = {"1", "1.0", "true", "True", "TRUE", "yes", "Yes"}
NO = {"0", "0.0", "false", "False", "FALSE", "no", "No", ""}
LARGEST = float(np.finfo(np.float32).max)
LIST = "[]"  # the label_separator of cells such as ['cat', 'dog'], {cat, dog} and ["cat" "dog"]
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


@dataclass(frozen=True)
class Cells:
    """The label cells of one table. columns: their names. text: (n,) text of each column.

    listed: whether the card lists these columns, one an output; else there is one column.
    separator: parts several labels in one cell. place: where a row of the table stands, for a message.
    """

    columns: tuple[str, ...]
    text: tuple[np.ndarray, ...]
    listed: bool
    separator: str | None
    place: Callable[[int], str]


def is_list(cell: str) -> bool:
    """Whether a cell is a list as programs write it, within brackets."""
    cell = cell.strip()
    return cell in ("set()", "nan") or cell[:1] + cell[-1:] in ("[]", "{}", "()")


def parts_of(cell: str, separator: str | None) -> list[str]:
    """The labels in a cell, each once."""
    if separator is None:
        return [cell] if cell else []
    if separator == LIST and is_list(cell):
        inside = cell.strip()[1:-1] if cell.strip() not in ("set()", "nan") else ""
        quoted = [a or b for a, b in _QUOTED.findall(inside)]
        mark = next((mark for mark in (",", ";", "|") if mark in inside), None)
        parts = quoted or inside.split(mark)
    else:
        parts = [cell] if separator == LIST else cell.split(separator)
    return list(dict.fromkeys(part for part in map(_bare, parts) if part))


def _bare(part: str) -> str:
    """A label without the blanks and the quotes around it."""
    part = part.strip()
    return part[1:-1] if len(part) > 2 and part[0] == part[-1] and part[0] in "'\"" else part


def sort_classes(names: Iterable[str]) -> list[str]:
    """Numbers by value, anything else as text: 2 comes before 10."""
    names = list(names)
    if all(re.fullmatch(r"[+-]?\d+(\.\d+)?", name) for name in names):
        return sorted(names, key=lambda name: (float(name), name))
    return sorted(names)


def number_in(cell: str, column: str, row: int, cells: Cells) -> float:
    """The number in a cell of this column and row. Raises Problem where it holds none that is finite."""
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not abs(number) <= LARGEST:
        what = repr(cell) if cell.strip() else "empty"
        raise Problem(
            f"{cells.place(row)}: {column} is {what}, and must be a finite number: mend it, or leave such rows out, "
            f"train.missing=[{cell!r}]",
            code="bad-label",
        )
    return number
