"""Which labels look wrong? Confident learning on out-of-fold probabilities (Northcutt and others, 2021; cleanlab)."""

import warnings

import numpy as np
import pandas as pd

from src.errors import Problem

COLUMNS = ("id", "class", "given", "suggested", "given_probability", "suggested_probability")


def label_issues(
    ids: np.ndarray, targets: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...]
) -> pd.DataFrame:
    """The labels that look wrong, the most doubtful first: one row each, with the columns of COLUMNS.

    ids: (n,) text. targets: (n,) int or (n, classes) 0/1. probabilities: (n, classes), of networks that never saw the
    row. Where one class applies, `class` and `given` are the label, `suggested` the likeliest class; where several may,
    each class is looked at by itself: `given` and `suggested` are yes and no, the probabilities those of each.

    A label is doubted where the probability of another class is above that class's average among its own rows, and no
    more often than these averages say that labels are wrong: networks that are too sure or too timid of a class do not
    matter. Raises Problem where rows and shapes do not fit, or a probability is none.
    """
    _check(ids, targets, probabilities, classes)
    names = np.array(classes, dtype=object)
    if targets.ndim == 2:
        found = [
            _column(ids, targets[:, c] > 0.5, probabilities[:, c], names[c])
            for c in range(len(classes))
            if 0 < (targets[:, c] > 0.5).sum() < len(targets)
        ]
        table = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=list(COLUMNS))
    else:
        rows = _doubted(targets, probabilities)
        best = probabilities[rows].argmax(axis=1)
        table = _table(
            ids[rows],
            names[targets[rows]],
            names[targets[rows]],
            names[best],
            probabilities[rows, targets[rows]],
            probabilities[rows, best],
        )
    return table.sort_values("given_probability", kind="stable", ignore_index=True)


def issues_told(table: pd.DataFrame, labels: int, shown: int = 5) -> tuple[str, ...]:
    """What to print: how many of so many labels are in doubt, and the most doubtful."""
    if not len(table):
        return (f"no label of {labels} looks wrong",)
    first = [
        f"  {row.id}: {row.given} by the table, {row.suggested} by the networks "
        f"({row.given_probability:.3f} against {row.suggested_probability:.3f})"
        if row.given not in ("yes", "no")
        else f"  {row.id}, {row._2}: {row.given} by the table, {row.suggested} by the networks"
        for row in table.head(shown).itertuples()
    ]
    return (f"{len(table)} of {labels} labels look wrong, the most doubtful first:", *first)
