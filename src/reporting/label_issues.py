"""Which labels look wrong? Confident learning on out-of-fold probabilities (Northcutt and others, 2021; cleanlab)."""

import warnings
from typing import Any

import numpy as np
import pandas as pd

from src.core.errors import Problem
from src.targets import TargetType

OUTLIER = 5.0  # standard deviations, beyond which a normal residual lies once in two million rows


def label_issues(
    ids: np.ndarray, targets: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...], target: TargetType
) -> pd.DataFrame:
    """The labels that look wrong, the most doubtful first: columns id, given, suggested, and the probability of each.
    Of numbers, which have no probability, those whose residual is an outlier, with the column deviations: how many
    times what most rows are off by.

    ids: (n,) text. targets: (n,) int or (n, classes) 0/1. probabilities: (n, classes), of networks that never saw the
    row. Where several classes may apply each is looked at by itself: given `cat`, suggested `not cat`, or the reverse.

    A label is doubted by how often the method finds its class to be mistaken for another: it compares a probability
    with the average of that class among its own rows, so that networks too sure or too timid of a class do no harm.
    Networks that err doubt right labels too: of simulated rows with 4 % wrong labels it found 98, 91 and 85 %, and 99,
    83 and 55 % of what it doubted were wrong, where the networks were right in 99.6, 97 and 92 %.
    Raises Problem where the shapes do not fit, a probability is none, or all rows are of one class.
    """
    off = target.outliers(targets, probabilities)
    if off is not None:
        return _outliers(ids, targets, probabilities, classes, off)
    _check(ids, targets, probabilities, classes)
    questions = target.questions(targets, probabilities, classes)
    if not questions:
        raise Problem("all held-out rows are of one class: no label can be compared with another", code="one-class")
    doubted = [_doubted(ids, *question) for question in questions]
    return pd.concat(doubted).sort_values("given_probability", kind="stable", ignore_index=True)


def one_line_an_image(table: pd.DataFrame) -> pd.DataFrame:
    """`label_issues` with all that is doubted of an image in one line, joined by commas; its lowest probability."""
    together = {"given": ", ".join, "suggested": ", ".join, "given_probability": "min", "suggested_probability": "max"}
    together |= {"deviations": lambda found: found.iloc[0]}  # the largest comes first
    held = {column: how for column, how in together.items() if column in table}
    return table.groupby("id", sort=False, as_index=False).agg(held)


def format_label_issues(table: pd.DataFrame, rows: int, shown: int = 5) -> tuple[str, ...]:
    """What to print of `label_issues` among so many rows."""
    if not len(table):
        return (f"no label of {rows} rows looks wrong",)
    images = table["id"].nunique()
    return (
        f"{len(table)} labels of {images} images among {rows} look wrong, the most doubtful first:",
        *(
            f"  {row.id}: {row.given} by the table{_shown(row, 'given_probability')}, "
            f"{row.suggested} by the networks{_shown(row, 'suggested_probability')}{_shown(row, 'deviations')}"
            for row in table.head(shown).itertuples()
        ),
    )


def _shown(row: Any, column: str) -> str:
    return f" ({getattr(row, column):.3f})" if hasattr(row, column) else ""


def _outliers(
    ids: np.ndarray, truth: np.ndarray, predictions: np.ndarray, outputs: tuple[str, ...], off: np.ndarray
) -> pd.DataFrame:
    """Each number that lies further off than OUTLIER, the furthest first."""
    rows, columns = np.nonzero(np.abs(off) > OUTLIER)
    before = [f"{outputs[k]} " if len(outputs) > 1 else "" for k in columns]
    table = pd.DataFrame(
        {
            "id": np.asarray(ids)[rows],
            "given": [f"{name}{x:.6g}" for name, x in zip(before, truth[rows, columns], strict=True)],
            "suggested": [f"{name}{x:.6g}" for name, x in zip(before, predictions[rows, columns], strict=True)],
            "deviations": off[rows, columns],
        }
    )
    return table.iloc[np.argsort(-np.abs(table["deviations"].to_numpy()), kind="stable")].reset_index(drop=True)


def _doubted(ids: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, names: np.ndarray) -> pd.DataFrame:
    from cleanlab.filter import find_label_issues

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that small classes are judged by little, and some not at all
        doubted = np.flatnonzero(find_label_issues(labels, probabilities.astype(np.float64), n_jobs=1))
    given, p = labels[doubted], probabilities[doubted]
    suggested = p.argmax(axis=1)
    return pd.DataFrame(
        {
            "id": np.asarray(ids)[doubted],
            "given": names[given],
            "suggested": names[suggested],
            "given_probability": p[np.arange(len(p)), given],
            "suggested_probability": p[np.arange(len(p)), suggested],
        }
    )


def _check(ids: np.ndarray, targets: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...]) -> None:
    if not len(ids) == len(targets) == len(probabilities) or probabilities.shape[1:] != (len(classes),):
        raise Problem(
            f"{len(ids)} ids, targets of shape {targets.shape} and probabilities of shape {probabilities.shape} "
            f"do not fit {len(classes)} classes",
            code="shapes-differ",
        )
    sound = ((probabilities >= 0) & (probabilities <= 1 + 1e-6)).all(axis=1)  # NaN is not
    if not sound.all():
        first = str(ids[np.flatnonzero(~sound)[0]])
        raise Problem(
            f"the probabilities of id {first!r} are none: delete its table of logits and predict anew",
            code="bad-predictions",
        )
