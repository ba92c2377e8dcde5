"""Is this a submission that the host will take? Every fault is named with its line in the file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from src.competition.card import Card
from src.competition.samples import Samples
from src.competition.submission_kinds import Classes
from src.competition.submission_kinds.submission_kind import LISTED, listed
from src.competition.tables import columns_of
from src.core.errors import Problem
from src.submission.sample_layout import Layout, layout_of

BLOCK = 1 << 16  # rows of a file at a time


def check(source: Path | pd.DataFrame, card: Card, samples: Samples) -> list[str]:
    """The faults of a submission file or table against the sample; an empty list where there is none.

    Of each kind of fault the first five rows are listed, then their number.
    """
    layout = layout_of(card, samples)
    if isinstance(source, Path) and _plainly_right(source, layout, card, samples):
        return []
    try:
        header, table = _from_memory(source) if isinstance(source, pd.DataFrame) else _read(source, card)
    except Problem as problem:
        return [str(problem)]
    faults = _header_faults(header, layout)
    table.columns = header
    if not set(layout.header) <= set(header) or not table.columns.is_unique:
        return faults
    of_ids = _id_faults(layout.ids(table), layout.ids(samples.sample))
    of_kept = [] if of_ids else _kept_faults(table, layout, samples.sample)
    kind, classes = card.submission_kind, classes_of(card, samples)
    if layout.rows is None or of_ids:  # of strange rows nobody knows what they answer
        return faults + of_ids + of_kept + ([] if layout.rows else kind.faults(table, layout.answers, classes))
    ids, asked = layout.asked(samples, dict.fromkeys([*samples.test["id"], *samples.test_without_image]))
    return faults + of_kept + kind.long_faults(table, layout.answers, ids.tolist(), asked, classes)


def checked(source: Path | pd.DataFrame, card: Card, samples: Samples, name: str = "") -> None:
    """Raise Problem with every fault, if there is one. `name` stands for the file in the message."""
    faults = check(source, card, samples)
    if faults:
        what = name or (source if isinstance(source, Path) else "the table")
        raise Problem(
            f"{what} is no valid submission to {card.id}:\n  " + "\n  ".join(faults), code="invalid-submission"
        )


def _read(path: Path, card: Card) -> tuple[list[str], pd.DataFrame]:
    """Header and rows, every cell as text; row r of the table is line r + 2 of the file."""
    options = {"header": None, "dtype": str, "na_filter": False, "skip_blank_lines": False}
    try:
        rows = pd.read_csv(path, sep=card.submission.separator, encoding=card.submission.encoding, **options)
    except pd.errors.EmptyDataError:
        raise Problem("the file is empty", code="empty-file") from None
    except UnicodeDecodeError:
        raise Problem(f"the file is not {card.submission.encoding} text", code="bad-encoding") from None
    except (ValueError, FileNotFoundError, IsADirectoryError) as error:
        raise Problem(f"the file cannot be read: {' '.join(str(error).split())}", code="unreadable-table") from None
    return rows.iloc[0].tolist(), rows.iloc[1:].reset_index(drop=True)


def _from_memory(table: pd.DataFrame) -> tuple[list[str], pd.DataFrame]:
    text = table.astype(object).where(table.notna(), "").map(str)
    return [str(name) for name in table.columns], text.reset_index(drop=True)


def _plainly_right(path: Path, layout: Layout, card: Card, samples: Samples) -> bool:
    """Whether a file of numbers has no fault, seen without a text a cell, of which a million rows make gigabytes.

    Where anything is odd the answer is no, and the cells are read as text, to name what is wrong. The answers are read
    without a dtype: left to itself pandas makes numbers only of a column of numbers, told to it would of True as well.
    """
    ids, kind = layout.ids(samples.sample), card.submission_kind
    if layout.rows and kind.sums_to_one(samples.target):  # over rows that may lie apart
        return False
    if not kind.numbers or (ids == "").any() or ids.duplicated().any():
        return False
    options = {"sep": card.submission.separator, "encoding": card.submission.encoding, "header": None}
    options |= {"na_filter": False, "skip_blank_lines": False, "low_memory": False}
    kinds = {name: str for name in layout.header if name not in layout.answers}
    seen = 0
    try:
        header = pd.read_csv(path, nrows=1, dtype=str, **options).iloc[0].tolist()
        if tuple(header) != layout.header:
            return False
        with pd.read_csv(path, skiprows=1, names=header, dtype=kinds, chunksize=BLOCK, **options) as blocks:
            for block in blocks:
                sample = samples.sample.iloc[seen : seen + len(block)]
                if not _answers_all(block, sample, layout, lambda numbers: kind.right(numbers, samples.target)):
                    return False
                seen += len(block)
    except (ValueError, OSError, OverflowError, IndexError):
        return False
    return seen == len(ids)


def _answers_all(
    block: pd.DataFrame, sample: pd.DataFrame, layout: Layout, right: Callable[[np.ndarray], bool]
) -> bool:
    """Whether some rows of a file are those of the sample, answered by numbers that are `right`."""
    if len(block) != len(sample) or not isinstance(block.index, pd.RangeIndex):
        return False  # rows with more cells than the header have another index
    answers = block[list(layout.answers)]
    if any(dtype.kind not in "iuf" for dtype in answers.dtypes):
        return False
    return right(answers.to_numpy(np.float64)) and all(
        np.array_equal(block[name].to_numpy(dtype=object), sample[name].to_numpy(dtype=object))
        for name in dict.fromkeys((*columns_of(layout.id), *layout.kept))
    )


def _header_faults(header: list[str], layout: Layout) -> list[str]:
    if tuple(header) == layout.header:
        return []
    absent = [name for name in layout.header if name not in header]
    strange = [name for name in header if name not in layout.header]
    faults = [f"header: column {name!r} of the sample is missing" for name in absent[:LISTED]]
    faults += [f"header: column {name!r} is not in the sample" for name in strange[:LISTED]]
    faults += [f"header: {len(names)} such columns in all" for names in (absent, strange) if len(names) > LISTED]
    if not faults:
        place = next(
            (i for i, (a, b) in enumerate(zip(header, layout.header, strict=False)) if a != b), len(layout.header)
        )
        faults = [f"header: {len(header)} columns, where the sample has {len(layout.header)}"]
        if len(header) == len(layout.header):
            faults = [f"header: column {place + 1} is {header[place]!r}, where the sample has {layout.header[place]!r}"]
    return faults


def _id_faults(ids: pd.Series, expected: pd.Series) -> list[str]:
    faults = []
    if len(ids) != len(expected):
        faults.append(f"{len(ids)} rows, where the sample has {len(expected)}")
    known = pd.Index(expected)
    empty, repeated = (ids == "").to_numpy(), ids.duplicated().to_numpy()
    unknown = ~ids.isin(known).to_numpy()
    missing = np.flatnonzero(~expected.isin(ids).to_numpy())
    faults += listed(np.flatnonzero(empty), "empty ids", lambda row: "the id is empty")
    faults += listed(
        np.flatnonzero(unknown & ~empty), "unknown ids", lambda row: f"id {ids[row]!r} is not in the sample"
    )
    faults += listed(
        np.flatnonzero(repeated & ~empty), "repeated ids", lambda row: f"id {ids[row]!r} stands there already"
    )
    faults += [f"id {expected[row]!r} is missing (line {row + 2} of the sample)" for row in missing[:LISTED].tolist()]
    if len(missing) > LISTED:
        faults.append(f"missing ids: {len(missing)} in all")
    if not faults:
        moved = np.flatnonzero(ids.to_numpy() != expected.to_numpy())
        faults = listed(
            moved, "ids in another order", lambda row: f"id {ids[row]!r} stands where the sample has {expected[row]!r}"
        )
    return faults


def _kept_faults(table: pd.DataFrame, layout: Layout, sample: pd.DataFrame) -> list[str]:
    """Columns that are neither id nor answer must hold what the sample holds, row by row."""
    faults = []
    for name in layout.kept:
        ours, theirs = table[name], sample[name]
        faults += listed(
            np.flatnonzero(ours.to_numpy() != theirs.to_numpy()),
            f"other values of {name!r} than in the sample",
            lambda row, name=name, ours=ours, theirs=theirs: (
                f"{name!r} is {ours[row]!r}, where the sample has {theirs.iloc[row]!r}"
            ),
        )
    return faults


def classes_of(card: Card, samples: Samples) -> Classes:
    """What is asked of each test image, for the kind of submission."""
    return Classes(card.id, samples.classes, samples.target, samples.never_empty)
