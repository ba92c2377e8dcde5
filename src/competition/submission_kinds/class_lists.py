"""Several classes in one cell: the likeliest ones, or all that apply."""

from collections.abc import Iterable, Sequence
from itertools import compress
from typing import ClassVar

import numpy as np
import pandas as pd

from src.competition.submission_kinds import SUBMISSION_KINDS
from src.competition.submission_kinds.submission_kind import Classes, SubmissionKind, empty_faults, listed
from src.core.errors import UsageError
from src.targets.label_cells import LIST, is_list


class ClassList(SubmissionKind):
    """label_separator: what stands between two classes; [] writes a list as programs do, [12, 7]."""

    parameters: ClassVar = {"label_separator": " "}

    def check_classes(self, names: tuple[str, ...]) -> None:
        separator = self.label_separator
        holding = next((name for name in names if separator in name), None)
        if holding is not None:
            raise UsageError(
                f"class {holding!r} holds {separator!r}, which parts the classes in submissions of kind "
                f"{self.registered}: set submission.label_separator to what the host writes between them",
                code="label-separator",
            )

    def labels(self, cell: str) -> list[str]:
        return [name for name in self.parts(cell) if name]

    def parts(self, cell: str) -> list[str]:
        """What stands in a cell, empty names and repeated ones too."""
        if self.label_separator == LIST:
            inside = cell.strip().removeprefix("[").removesuffix("]") if is_list(cell) else cell
            return [name.strip() for name in inside.split(",")] if inside.strip() else []
        return cell.split(self.label_separator) if cell else []

    def cell(self, names: Iterable[str]) -> str:
        """The classes as they are written."""
        if self.label_separator == LIST:
            return f"[{', '.join(names)}]"
        return self.label_separator.join(names)

    def faults(self, table: pd.DataFrame, answers: Sequence[str], classes: Classes) -> list[str]:
        cells, known = table[answers[0]], frozenset(classes.names)
        lists = [self.parts(cell) for cell in cells.tolist()]
        unknown = np.array([row for row, names in enumerate(lists) if not known.issuperset(names)], int)
        repeated = np.array([row for row, names in enumerate(lists) if len(set(names)) < len(names)], int)
        faults = listed(
            unknown,
            "rows with unknown labels",
            lambda row: (
                f"{next(name for name in lists[row] if name not in known)!r} is no class of {classes.competition}"
            ),
        )
        return faults + listed(repeated, "rows with repeated labels", lambda row: f"{cells[row]!r} names a class twice")


@SUBMISSION_KINDS.register("ranked")
class Ranked(ClassList):
    """The `top` likeliest classes, the likeliest first."""

    parameters: ClassVar = {"label_separator": " ", "top": 5}

    def columns(self, p: np.ndarray, d: np.ndarray | None, classes: Classes) -> Sequence[Sequence[str]]:
        best = np.argsort(-p, axis=1, kind="stable")[:, : self.top]
        names = np.array(classes.names, dtype=object)[best]
        return [[self.cell(row) for row in names.tolist()]]

    def faults(self, table: pd.DataFrame, answers: Sequence[str], classes: Classes) -> list[str]:
        cells = table[answers[0]]
        counts = [len(self.parts(cell)) for cell in cells.tolist()]
        long = np.array([row for row, count in enumerate(counts) if count > self.top], int)
        faults = empty_faults(cells, answers[0]) + super().faults(table, answers, classes)
        return faults + listed(
            long, "rows with too many labels", lambda row: f"{counts[row]} classes, but {self.top} at most"
        )


@SUBMISSION_KINDS.register("set")
class Set(ClassList):
    """Every class that applies, in the order of the classes. Where no training row is without a class, no answer is:
    the likeliest class stands in."""

    def columns(self, p: np.ndarray, d: np.ndarray | None, classes: Classes) -> Sequence[Sequence[str]]:
        target = classes.target
        chosen = target.indicators(target.decide(p), p.shape[1]) if d is None else d
        if classes.never_empty:
            none = np.flatnonzero(~chosen.any(axis=1))
            chosen[none, p[none].argmax(axis=1)] = True
        return [[self.cell(compress(classes.names, row)) for row in chosen.tolist()]]

    def faults(self, table: pd.DataFrame, answers: Sequence[str], classes: Classes) -> list[str]:
        empty = empty_faults(table[answers[0]], answers[0]) if classes.never_empty else []
        return empty + super().faults(table, answers, classes)
