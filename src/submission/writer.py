"""From probabilities to the submission: the sample's header, order and ids, with our answers in it."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from src.competition.card import Card
from src.competition.samples import Samples
from src.competition.submission_kinds import SubmissionKind
from src.core.errors import Problem, UsageError
from src.core.files import sha256_of, written_whole
from src.submission.check import checked, classes_of
from src.submission.sample_layout import layout_of

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
    kind, classes = card.submission_kind, classes_of(card, samples)
    wanted, outputs = layout.asked(samples, dict.fromkeys([*ids, *samples.test_without_image]))
    absent = wanted.isin(set(samples.test_without_image) - set(ids)).to_numpy()
    rows = _rows(ids, wanted, absent)
    shares = samples.shares
    p = _sound(np.asarray(probabilities, np.float64)[rows], samples, layout.ids(samples.sample), kind)
    p[absent] = shares
    d = None if decisions is None else samples.target.indicators(np.asarray(decisions)[rows], len(samples.classes))
    if d is not None:
        d[absent] = samples.target.indicators(samples.target.decide(shares[None]), len(samples.classes))

    def text(some: slice) -> pd.DataFrame:
        table = samples.sample.iloc[some].copy()
        decided = None if d is None else d[some]
        columns = (
            kind.columns(p[some], decided, classes)
            if outputs is None
            else kind.long_cells(p[some], decided, outputs[some], classes)
        )
        for name, cells in zip(layout.answers, columns, strict=True):
            table[name] = cells
        return table

    return Answers(len(p), text)


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


def _sound(p: np.ndarray, samples: Samples, ids: pd.Series, kind: SubmissionKind) -> np.ndarray:
    """The same predictions, once they are known to be some that can be written."""
    if p.ndim != 2 or p.shape[1] != len(samples.classes):
        raise Problem(f"predictions of shape {p.shape} do not fit {len(samples.classes)} classes", code="shapes-differ")
    sound = kind.sound(p, samples.target)
    if not sound.all():
        row = int(np.flatnonzero(~sound)[0])
        what = kind.sound_name(samples.target)
        key = ids.iloc[row]
        raise Problem(
            f"{(~sound).sum()} of {len(p)} predictions are no {what}, the first of id {key!r}: {p[row][:8]}",
            code="bad-predictions",
        )
    return kind.trimmed(p)
