"""Training images that a person does not trust: `data.ignore` names a CSV that takes them out, or out of scoring.

Its column `id` names training images. A column `use`, where there is one, says `never` (as an empty cell does) for a
row that is neither trained on nor scored, or `train` for one that is trained on and never held out. Other columns, such
as those of a review's label_issues.csv, are not read.

The rows are taken out after the folds are frozen: every other row keeps its fold, so that runs with and without them
can be compared and blended.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from src.competition.folds import NEVER, Folds, units_of
from src.competition.samples import Samples
from src.competition.tables import read_table
from src.core.console import Note
from src.core.errors import Problem, UsageError
from src.core.files import undefused
from src.core.paths import home

LEFT_OUT, ONLY_TRAINED = "never", "train"
SHOWN = 5  # classes named in a note


@dataclass(frozen=True)
class Ignored:
    """use: {id: never or train}, as `file` says."""

    file: Path
    use: dict[str, str]

    @property
    def digest(self) -> str:
        """Sixteen hex digits of what is ignored and how; the order of the lines is of no account."""
        return hashlib.sha256(self.csv().encode()).hexdigest()[:16]

    def csv(self) -> str:
        """The ids and uses alone, sorted, as a file that can be ignored by."""
        return pd.DataFrame(sorted(self.use.items()), columns=["id", "use"]).to_csv(index=False, lineterminator="\n")


def read_ignored(word: str, samples: Samples) -> Ignored:
    """The file that data.ignore=`word` names, checked against the training rows.

    Raises UsageError where there is no such file, Problem naming the file, the line and the id that is wrong.
    """
    file = home() / Path(word).expanduser()
    if not file.is_file():
        raise UsageError(f"data.ignore={word}: there is no file {file}", code="no-such-file")
    table = read_table(file)
    if "id" not in table:
        raise Problem(
            f"{file} has no column 'id': it has {', '.join(map(repr, table))}. data.ignore needs that column",
            code="missing-column",
        )
    if not len(table):
        raise Problem(f"{file} names no image: to ignore none, leave data.ignore out", code="no-rows")
    known = table["id"].isin(samples.train["id"])
    table["id"] = table["id"].where(known, table["id"].map(undefused))  # as a review's table writes an id like =1
    table["use"] = table["use"].str.strip().replace("", LEFT_OUT) if "use" in table else LEFT_OUT
    for wrong, why in (
        (table["id"] == "", "its id is empty"),
        (~table["id"].isin(samples.train["id"]), "no training image has this id"),
        (table["id"].duplicated(), "this id stands in an earlier line too"),
        (~table["use"].isin([LEFT_OUT, ONLY_TRAINED]), f"use must be {LEFT_OUT} or {ONLY_TRAINED}"),
    ):
        if wrong.any():
            at = int(wrong.to_numpy().argmax())
            cells = f"id {table['id'][at]!r}, use {table['use'][at]!r}"
            more = f" ({wrong.sum()} such lines)" if wrong.sum() > 1 else ""
            raise Problem(
                f"{file}, line {at + 2} ({cells}): {why}{more}. Correct the file that data.ignore names",
                code="bad-ignore-list",
            )
    return Ignored(file, dict(zip(table["id"], table["use"], strict=True)))


def leave_out(samples: Samples, folds: Folds, ignored: Ignored) -> tuple[Samples, Folds]:
    """The samples and folds that are left; every row in them has the fold that it had.

    A row that is only trained on still stays out of the training that holds out its group or a near duplicate of it.
    Raises Problem where too little is left.
    """
    use = samples.train["id"].map(ignored.use).to_numpy()
    kept, untrusted = use != LEFT_OUT, use == ONLY_TRAINED
    units = units_of(samples.train)
    tied = np.isin(units, units[kept & ~untrusted & (folds.of_row >= 0)])
    of_row = np.where(untrusted, NEVER, folds.of_row)
    barred = np.where(untrusted & tied, folds.of_row, NEVER)
    left = samples.keeping(kept, Note("rows-ignored", _note(samples, ignored, kept, untrusted)))
    folds = replace(folds, of_row=of_row[kept], barred=barred[kept])
    empty = np.setdiff1d(np.arange(folds.count), folds.of_row)
    if len(empty):
        raise Problem(
            f"{ignored.file} leaves fold {empty[0]} without a row to score it by: ignore fewer rows", code="empty-fold"
        )
    if left.target.constant(left.targets, len(left.classes)):
        raise Problem(f"{ignored.file} leaves training rows of one class only: ignore fewer rows", code="one-class")
    return left, folds


def _note(samples: Samples, ignored: Ignored, kept: np.ndarray, untrusted: np.ndarray) -> str:
    parts = [f"{(~kept).sum()} of {len(kept)} training rows are left out"] if not kept.all() else []
    parts += [f"{untrusted.sum()} are trained on and never scored"] if untrusted.any() else []
    lost = (samples.counts > 0) & (samples.counts_in(np.flatnonzero(kept)) == 0)
    names = [name for name, gone in zip(samples.classes, lost, strict=True) if gone]
    if names:
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        parts.append(f"no row is left of {', '.join(names[:SHOWN])}{more}")
    return f"data.ignore ({ignored.file.name}): {'; '.join(parts)}"
