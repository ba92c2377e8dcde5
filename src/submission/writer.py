"""From probabilities to the submission: the sample's header, order and ids, with our answers in it."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np
import pandas as pd

from src.competition.card import Card
from src.competition.samples import Samples
from src.core.errors import Problem, UsageError
from src.core.files import sha256_of, written_whole
from src.submission.check import checked, never_empty
from src.submission.sample_layout import Layout, layout_of

UNITS = 10**12  # rows that must sum to 1 are printed in twelve decimals
BLOCK = 1 << 15  # rows that are text at a time: a million rows of ten cells would take a gigabyte


@dataclass(frozen=True)
class Answers:
    """A submission before it is written; iterated, it is tables of text, BLOCK rows or fewer each, at least one table.

    text: the sample's columns, answered, of some of its rows.
    """

    rows: int
    text: Callable[[slice], pd.DataFrame]

    def __len__(self) -> int:
        return self.rows

    def __iter__(self) -> Iterator[pd.DataFrame]:
        return (self.text(slice(start, start + BLOCK)) for start in range(0, max(1, self.rows), BLOCK))


def answers(
    card: Card, samples: Samples, ids: np.ndarray, probabilities: np.ndarray, decisions: np.ndarray | None = None
) -> Answers:
    """The submission, which becomes text as it is iterated: the sample's columns and rows, each answered by its id.

    ids: (n,) text, in any order. probabilities: (n, classes). decisions: (n,) int class indices, or (n, classes) bool;
    where given they are what is written, as 0 and 1 in the kinds that ask for probabilities.
    A test row without a readable image is answered by the classes' shares of the training rows.
    Raises Problem where a row of the sample has no answer, or a probability is none.
    """
    layout = layout_of(card, samples)
    sums = card.submission.kind == "columns" and samples.target.sums_to_one
    absent = samples.sample[layout.id].isin(set(samples.test_without_image) - set(ids)).to_numpy()
    rows = _rows(ids, samples.sample[layout.id], absent)
    shares = samples.shares
    p = _sound(np.asarray(probabilities, np.float64)[rows], samples, layout.id, sums)
    p[absent] = shares
    d = None if decisions is None else samples.target.indicators(np.asarray(decisions)[rows], len(samples.classes))
    if d is not None:
        d[absent] = samples.target.indicators(samples.target.decide(shares[None]), len(samples.classes))

    def text(some: slice) -> pd.DataFrame:
        table = samples.sample.iloc[some].copy()
        for name, cells in _cells(p[some], None if d is None else d[some], card, samples, layout):
            table[name] = cells
        return table

    return Answers(len(p), text)


def _cells(
    p: np.ndarray, d: np.ndarray | None, card: Card, samples: Samples, layout: Layout
) -> Iterable[tuple[str, list[str] | np.ndarray]]:
    """The answer columns by name, a text a row. p: (n, classes). d: (n, classes) bool, where decisions are written."""
    kind, names = card.submission.kind, np.array(samples.classes, dtype=object)
    if kind == "label":
        return [(layout.answers[0], names[(p if d is None else d).argmax(axis=1)])]
    if kind == "ranked":
        best = np.argsort(-p, axis=1, kind="stable")[:, : card.submission.top]
        lists = [card.submission.label_separator.join(row) for row in names[best].tolist()]
        return [(layout.answers[0], lists)]
    if kind == "set":
        chosen = samples.target.indicators(samples.target.decide(p), p.shape[1]) if d is None else d
        return [(layout.answers[0], _sets(p, chosen, samples, card.submission.label_separator))]
    sums = kind == "columns" and samples.target.sums_to_one
    columns = _printed(p, sums) if d is None else d.astype(int).astype(str).T
    return zip(layout.answers, columns if kind == "columns" else columns[1:], strict=True)


def write_submission(blocks: Iterable[pd.DataFrame], card: Card, samples: Samples, folder: Path, name: str) -> Path:
    """Check the submission as it will be uploaded, then let `<name>-<first 8 of its sha256>.csv` appear in `folder`,
    and the same as `<name>.csv`, the latest. Returns the first path.

    blocks: tables of text, one below the other, such as `answers` gives.
    Raises Problem with every fault, or where another file holds that name already; then neither file appears.
    """
    if Path(name).name != name:
        raise UsageError(
            f"{name!r} cannot be the name of a submission: it must be one plain file name", code="bad-name"
        )
    with written_whole(folder / f"{name}.csv") as copy:
        try:
            _write(blocks, copy, card)
        except UnicodeEncodeError as error:
            raise Problem(
                f"{name}: {error}: the sample's encoding lacks a letter of a class or id", code="bad-encoding"
            ) from None
        digest = sha256_of(copy)
        path = folder / f"{name}-{digest[:8]}.csv"
        if path.exists() and sha256_of(path) != digest:
            raise Problem(
                f"{path} exists and holds something else: move it away, a submission is never overwritten",
                code="file-in-the-way",
            )
        with written_whole(path) as part:  # both are on the disk before either gets its name
            shutil.copyfile(copy, part)
            checked(part, card, samples, name=path.name)
    return path


def _write(blocks: Iterable[pd.DataFrame], file: Path, card: Card) -> None:
    options = {"index": False, "sep": card.submission.separator, "lineterminator": "\n"}
    with file.open("w", encoding=card.submission.encoding, newline="") as stream:
        for number, block in enumerate(blocks):
            block.to_csv(stream, header=number == 0, **options)


def _rows(ids: np.ndarray, wanted: pd.Series, absent: np.ndarray) -> np.ndarray:
    """Rows of the predictions in the order of the sample, joined by id; any row where `absent`, (n,) bool."""
    index = pd.Index(np.asarray(ids, dtype=object))
    if not index.is_unique:
        raise Problem(f"the predictions hold the id {index[index.duplicated()][0]!r} twice", code="repeated-id")
    rows = index.get_indexer(wanted)
    rows[absent] = 0
    if (rows < 0).any():
        first = int(np.flatnonzero(rows < 0)[0])
        raise Problem(
            f"{(rows < 0).sum()} of {len(wanted)} rows of the sample submission have no prediction, "
            f"the first line {first + 2}, id {wanted.iloc[first]!r}: predict these images too",
            code="missing-row",
        )
    return rows


def _sound(p: np.ndarray, samples: Samples, key: str, sums: bool) -> np.ndarray:
    """The same probabilities, once they are known to be some; with `sums` each row must add up to 1, nearly."""
    if p.ndim != 2 or p.shape[1] != len(samples.classes):
        raise Problem(f"predictions of shape {p.shape} do not fit {len(samples.classes)} classes", code="shapes-differ")
    sound = ((p >= 0) & (p <= 1 + 1e-6)).all(axis=1)  # NaN is not
    if sums:
        sound &= np.abs(p.sum(axis=1) - 1) < 1e-3
    if not sound.all():
        row = int(np.flatnonzero(~sound)[0])
        what = "probabilities that sum to 1" if sums else "probabilities"
        key = samples.sample[key].iloc[row]
        raise Problem(
            f"{(~sound).sum()} of {len(p)} predictions are no {what}, the first of id {key!r}: {p[row][:8]}",
            code="bad-predictions",
        )
    return p.clip(0, 1)


def _sets(p: np.ndarray, chosen: np.ndarray, samples: Samples, separator: str) -> list[str]:
    """The classes that apply, in the order of the classes. Where no training row is without a class, no answer is:
    the likeliest class stands in."""
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
