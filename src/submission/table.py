"""From probabilities to the submission: the sample's header, order and ids, with our answers in it."""

import hashlib
import io
from itertools import compress
from pathlib import Path

import numpy as np
import pandas as pd

from src.competition.card import Card
from src.competition.samples import Samples
from src.errors import Problem, UsageError
from src.metrics import decide
from src.runs import sha256_of, written_whole
from src.submission.check import check, checked, never_empty
from src.submission.layout import layout_of

__all__ = ["answers", "check", "checked", "write_submission"]
UNITS = 10**12  # rows that must sum to 1 are printed in twelve decimals


def answers(
    card: Card, samples: Samples, ids: np.ndarray, probabilities: np.ndarray, decisions: np.ndarray | None = None
) -> pd.DataFrame:
    """The submission as text: the sample's columns and rows, each answered by its id.

    ids: (n,) text, in any order. probabilities: (n, classes). decisions: (n,) int class indices, or (n, classes) bool;
    where given they are what is written, as 0 and 1 in the kinds that ask for probabilities.
    A test row without a readable image is answered by the classes' shares of the training rows.
    Raises Problem where a row of the sample has no answer, or a probability is none.
    """
    layout, kind = layout_of(card, samples), card.submission.kind
    absent = samples.sample[layout.id].isin(set(samples.test_without_image) - set(ids)).to_numpy()
    rows = _rows(ids, samples.sample[layout.id], absent)
    shares = samples.counts / max(1, len(samples.targets))
    sums = kind == "columns" and card.target != "multilabel"
    p = _sound(np.asarray(probabilities, np.float64)[rows], samples, layout.id, sums)
    p[absent] = shares
    d = None if decisions is None else _decided(np.asarray(decisions)[rows], len(samples.classes))
    if d is not None:
        d[absent] = _decided(decide(card.target == "multilabel", shares[None]), len(samples.classes))
    table = samples.sample.copy()
    names = np.array(samples.classes, dtype=object)
    if kind == "label":
        table[layout.answers[0]] = names[(p if d is None else d).argmax(axis=1)]
    elif kind == "ranked":
        best = np.argsort(-p, axis=1, kind="stable")[:, : card.submission.top]
        table[layout.answers[0]] = [card.submission.label_separator.join(row) for row in names[best].tolist()]
    elif kind == "set":
        chosen = decide(card.target == "multilabel", p) if d is None else d
        table[layout.answers[0]] = _sets(p, chosen, samples, card.submission.label_separator)
    else:
        columns = _printed(p, sums) if d is None else d.astype(int).astype(str).T
        for name, cells in zip(layout.answers, columns if kind == "columns" else columns[1:], strict=True):
            table[name] = cells
    return table


def write_submission(table: pd.DataFrame, card: Card, samples: Samples, folder: Path, name: str) -> Path:
    """Check the table as it will be uploaded, then let `<name>-<first 8 of its sha256>.csv` appear in `folder`,
    and the same as `<name>.csv`, the latest. Returns the first path.

    Raises Problem with every fault, or where another file holds that name already; then neither file appears.
    """
    if Path(name).name != name:
        raise UsageError(f"{name!r} cannot be the name of a submission: it must be one plain file name")
    written = io.BytesIO()
    try:
        encoding, separator = card.submission.encoding, card.submission.separator
        table.to_csv(written, index=False, sep=separator, lineterminator="\n", encoding=encoding)
    except UnicodeEncodeError as error:
        raise Problem(f"{name}: {error}: the sample's encoding lacks a letter of a class or id") from None
    data = written.getbuffer()
    digest = hashlib.sha256(data).hexdigest()
    path, latest = folder / f"{name}-{digest[:8]}.csv", folder / f"{name}.csv"
    if path.exists() and sha256_of(path) != digest:
        raise Problem(f"{path} exists and holds something else: move it away, a submission is never overwritten")
    with written_whole(latest) as copy, written_whole(path) as part:
        # Both are on the disk before either gets its name.
        copy.write_bytes(data)
        part.write_bytes(data)
        checked(part, card, samples, name=path.name)
    return path


def _rows(ids: np.ndarray, wanted: pd.Series, absent: np.ndarray) -> np.ndarray:
    """Rows of the predictions in the order of the sample, joined by id; any row where `absent`, (n,) bool."""
    index = pd.Index(np.asarray(ids, dtype=object))
    if not index.is_unique:
        raise Problem(f"the predictions hold the id {index[index.duplicated()][0]!r} twice")
    rows = index.get_indexer(wanted)
    rows[absent] = 0
    if (rows < 0).any():
        first = int(np.flatnonzero(rows < 0)[0])
        raise Problem(
            f"{(rows < 0).sum()} of {len(wanted)} rows of the sample submission have no prediction, "
            f"the first line {first + 2}, id {wanted.iloc[first]!r}: predict these images too"
        )
    return rows


def _sound(p: np.ndarray, samples: Samples, key: str, sums: bool) -> np.ndarray:
    """The same probabilities, once they are known to be some; with `sums` each row must add up to 1, nearly."""
    if p.ndim != 2 or p.shape[1] != len(samples.classes):
        raise Problem(f"predictions of shape {p.shape} do not fit {len(samples.classes)} classes")
    sound = ((p >= 0) & (p <= 1 + 1e-6)).all(axis=1)  # NaN is not
    if sums:
        sound &= np.abs(p.sum(axis=1) - 1) < 1e-3
    if not sound.all():
        row = int(np.flatnonzero(~sound)[0])
        what = "probabilities that sum to 1" if sums else "probabilities"
        key = samples.sample[key].iloc[row]
        raise Problem(f"{(~sound).sum()} of {len(p)} predictions are no {what}, the first of id {key!r}: {p[row][:8]}")
    return p.clip(0, 1)


def _decided(d: np.ndarray, classes: int) -> np.ndarray:
    """Decisions of either shape as (n, classes) bool."""
    return d[:, None] == np.arange(classes) if d.ndim == 1 else d.astype(bool)


def _sets(p: np.ndarray, chosen: np.ndarray, samples: Samples, separator: str) -> list[str]:
    """The classes that apply, in the order of the classes. Where no training row is without a class, no answer is:
    the likeliest class stands in."""
    chosen = _decided(chosen, p.shape[1])
    if never_empty(samples):
        none = np.flatnonzero(~chosen.any(axis=1))
        chosen[none, p[none].argmax(axis=1)] = True
    return [separator.join(compress(samples.classes, row)) for row in chosen.tolist()]


def _printed(p: np.ndarray, sums: bool) -> list[list[str]]:
    """Probabilities as text, by column. With `sums` the printed decimals of a row add up to 1 exactly."""
    if not sums:
        return [[f"{x:.9g}" for x in column.tolist()] for column in p.T]
    units = p / p.sum(axis=1, keepdims=True)
    units *= UNITS
    np.floor(units, out=units)
    units[np.arange(len(p)), p.argmax(axis=1)] += UNITS - units.sum(axis=1)  # what rounding took goes to the likeliest
    return [[f"{x:.12f}" for x in column.tolist()] for column in np.divide(units, UNITS, out=units).T]
