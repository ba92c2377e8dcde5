"""The evidence for each fact of a reading, counted in one place once all of it is known.

Every fact gets what it explains (rows, ids, images, cells or classes, of how many), the independent signals that agree
with it, and what contradicts it. What a step has counted itself stays.
"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from src.competition import templates
from src.competition.bags import FILES
from src.competition.detect.context import Context
from src.competition.detect.decide import class_counts, label_cells
from src.competition.detect.draft import Evidence
from src.competition.detect.labels import is_named_like_label
from src.competition.detect.roles import words
from src.competition.detect.sniff import COLUMN_WORDS
from src.competition.detect.train import Train
from src.competition.submission_kinds import SubmissionKind, kind_class
from src.targets import ClassTarget, target_type
from src.targets.label_cells import YES, parts_of

SHOWN = 3  # rows that contradict, in a line


@dataclass(frozen=True)
class Reading:
    """A training part, the test rows (columns id and path; None without a test part), and what the files hold."""

    train: Train
    test: pd.DataFrame | None
    context: Context

    @cached_property
    def labels(self) -> pd.Series:
        return label_cells(self.train)

    @cached_property
    def numbers_of_labels(self) -> pd.Series:
        """How many labels each training row has."""
        label = self.train.label
        if label.numbers:
            return (self.train.cells[list(label.column)] != "").all(axis=1).astype(int)
        if not isinstance(label.column, str):
            return self.train.cells[list(label.column)].isin(YES).sum(axis=1)
        counts = {cell: len(parts_of(cell, label.separator)) for cell in self.labels.unique()}
        return self.labels.map(counts)

    @cached_property
    def classes(self) -> list[str]:
        """The names of the classes: those of the card, else those of the labels."""
        found = self.fact("classes")
        if isinstance(found, dict):
            return list(dict.fromkeys(map(str, found.values())))
        return list(map(str, found)) if found else list(class_counts(self.train))

    def fact(self, key: str) -> object:
        return self.context.draft.get(key)


def weigh(train: Train, test: pd.DataFrame | None, context: Context) -> None:
    """Put down the evidence for every fact that stands in the draft and was not given."""
    reading, draft = Reading(train, test, context), context.draft
    for key, count in COUNTS.items():
        if key in draft.facts and key not in draft.given:
            draft.support(key, count(reading))


def _table(reading: Reading) -> Evidence:
    """The training table: rows whose image is there."""
    path = reading.context.draft.get("train.table")
    path = path[0] if isinstance(path, list) else path
    table = reading.context.table(path)
    signals = ["its name says so"] if table.role == "train" else []
    signals += ["its cells name images"] if path in reading.context.imaged else []
    if sample := reading.context.sample:
        shared = [one for one in (sample.id, *sample.answers) if one in table.columns]
        signals += [f"it has the sample's columns {', '.join(shared[:SHOWN])}"] if shared else []
    files = reading.train.files
    hits = len(files) - files.count(None) if "train.pixels" not in reading.context.draft.facts else len(files)
    return Evidence(hits, len(files), "rows", tuple(signals))


def _id(reading: Reading) -> Evidence:
    """The column of ids: how many rows it tells apart."""
    cells, column = reading.train.cells[reading.train.id], reading.train.id
    named = reading.fact("train.id") == column and {*words(column)} & COLUMN_WORDS
    signals = ["its name is one that ids have"] if named else []
    sample = reading.context.sample
    signals += ["the sample's column of ids is called so"] if sample and sample.id == column else []
    return Evidence(cells.nunique(), len(cells), "rows", tuple(signals))


def _images(files: Iterable[str | None], names: Iterable[str], template: str, reading: Reading) -> Evidence:
    """A rule for images: the rows that it finds a file for, and how much of their folder that is."""
    files = list(files)
    found = {file for file in files if file}
    folder = re.split(r"[{*]", template, maxsplit=1)[0].rpartition("/")[0]
    images = reading.context.tree.images  # sorted
    inside = bisect_left(images, f"{folder}0") - bisect_left(images, f"{folder}/") if folder else len(images)
    signal = f"they are {len(found)} of the {inside} images in {folder or 'data'}/"
    if reading.context.draft.get("bag") == FILES:
        signal = f"bags of the {inside} images in {folder or 'data'}/"
    missed = [name for name, file in zip(names, files, strict=True) if not file]
    against = (f"no file for {', '.join(missed[:SHOWN])}" + ", ..." * (len(missed) > SHOWN),) if missed else ()
    return Evidence(len(files) - len(missed), len(files), "rows", (signal,) if found else (), against)


def _train_images(reading: Reading) -> Evidence:
    train, template = reading.train, str(reading.fact("train.images"))
    if "train.pixels" in reading.context.draft.facts:
        return Evidence(len(train.cells), len(train.cells), "rows")
    return _images(train.files, train.cells[train.id], template, reading)


def _test_images(reading: Reading) -> Evidence:
    if "test.pixels" in reading.context.draft.facts:
        return Evidence(len(reading.test), len(reading.test), "rows")
    return _images(reading.test["path"], reading.test["id"], str(reading.fact("test.images")), reading)


def _label(reading: Reading) -> Evidence:
    """The label: rows that have one, and what else points at it."""
    train, sample = reading.train, reading.context.sample
    labels, columns = reading.labels, train.label.columns
    if reading.fact("train.files"):
        return Evidence(len(labels), len(labels), "rows")
    named = len(columns) == 1 and is_named_like_label(columns[0]) and "its name" not in train.label.how
    signals = ["its name is a word for labels"] if named else []
    if sample and sample.values:
        held = {part for cell in labels.unique() for part in parts_of(cell, train.label.separator)}
        said = {part for cell in sample.values for part in parts_of(cell, train.label.separator)}
        signals += [f"the sample answers with {len(held & said)} of its values"] if held & said else []
    held = [one for one in train.files if one]
    if held and isinstance(train.label.column, str):
        inside = sum(f"/{label}/" in f"/{file}" for label, file in zip(labels, train.files, strict=True) if file)
        signals += [f"{inside} images lie in a folder of their label"] if 2 * inside > len(held) else []
    rows = int((reading.numbers_of_labels > 0).sum())
    return Evidence(rows, len(labels), "rows", tuple(signals))


def _separator(reading: Reading) -> Evidence:
    many = reading.numbers_of_labels > 1
    return Evidence(int(many.sum()), len(many), "rows")


def _target(reading: Reading) -> Evidence:
    """One label a row, or several: the rows that say so, and those that say otherwise."""
    numbers, kind = reading.numbers_of_labels, target_type(reading.fact("target"))
    one = int((numbers == 1).sum())
    if kind.repeats:
        if reading.train.label.several:
            return Evidence(len(numbers) - one, len(numbers), "rows")
        paths = pd.Series(reading.train.files)
        again = int(paths.duplicated(keep=False).sum())
        return Evidence(again, len(paths), "rows", ("an image has several rows",))
    return Evidence(
        one, len(numbers), "rows", ("each has one label" if isinstance(kind, ClassTarget) else "each has its numbers",)
    )


def _sample(reading: Reading) -> Evidence:
    """The sample submission: its ids that the test part has."""
    ids = reading.context.sample.ids
    known = set(reading.test["id"]) if reading.test is not None else set()
    return Evidence(sum(one in known for one in ids), len(ids), "ids", ("its name says so",))


def _kind_of(reading: Reading) -> SubmissionKind:
    kind = kind_class(reading.fact("submission.kind"))
    separator = reading.fact("submission.label_separator")
    return kind(label_separator=str(separator)) if separator and "label_separator" in kind.parameters else kind()


def _kind(reading: Reading) -> Evidence:
    """What a row of the submission holds: the cells or columns of the sample that are of this form."""
    sample = reading.context.sample
    if sample is None or not sample.answers:
        return Evidence()
    names, kind = set(reading.classes), _kind_of(reading)
    if kind.column_each:
        return Evidence(sum(one in names for one in sample.answers), len(sample.answers), "columns")
    cells = [cell for cell in sample.table.cells[sample.answers[0]] if cell.strip()]  # a blank says nothing
    odd = [cell for cell in cells if not kind.takes(cell, names)]
    against = (f"{len(odd)} cells are otherwise, such as {odd[0]!r}",) if odd else ()
    return Evidence(len(cells) - len(odd), len(cells), "cells of the sample", (), against)


def _metric(reading: Reading) -> Evidence:
    kind, top = str(reading.fact("submission.kind") or "label"), reading.fact("submission.top") or 5
    likely = target_type(reading.fact("target")).likely_metrics(kind, int(top))
    others = tuple(f"metric={name}" for name in likely if name != reading.fact("metric"))
    return Evidence(rivals=others)


def _class_list(reading: Reading) -> Evidence:
    """The classes that the sample submission names."""
    names, sample = reading.classes, reading.context.sample
    if sample is None:
        return Evidence()
    separator = reading.train.label.separator
    said = {*sample.answers} | {part for cell in sample.values for part in parts_of(cell, separator)}
    named = sum(name in said for name in names)
    return Evidence(named, len(names), "classes", ("the sample names them",)) if named else Evidence()


def _test_ids(reading: Reading) -> Evidence:
    """The test rows: those that the sample submission asks for, or whose ids differ."""
    ids, sample = reading.test["id"], reading.context.sample
    if sample is None:
        return Evidence(ids.nunique(), len(ids), "rows")
    known = {*sample.ids}
    return Evidence(int(ids.isin(known).sum()), len(ids), "rows")


def _test_files(reading: Reading) -> Evidence:
    """A pattern of test images: how many of the images in folders of this part it finds."""
    found = set(reading.test["path"])
    part = [path for path in reading.context.tree.images if reading.context.role(path) == "test"]
    return Evidence(sum(path in found for path in part), len(part) or len(found), "images in folders named test")


def _group(reading: Reading) -> Evidence:
    """Images that share their group with another one."""
    spec, cells = str(reading.fact("group")), reading.train.cells
    groups = Counter(cells[spec] if spec in cells else templates.fill(spec, cells))
    shared = sum(count for count in groups.values() if count > 1)
    return Evidence(shared, len(cells), "rows")


def _validation(reading: Reading) -> Evidence:
    taken = reading.context.taken - {*filter(None, reading.train.files)}
    taken -= set(reading.test["path"]) if reading.test is not None else set()
    return Evidence(len(taken), len(taken), "images") if taken else Evidence()


COUNTS: dict[str, Callable[[Reading], Evidence]] = {
    "train.table": _table,
    "train.id": _id,
    "train.images": _train_images,
    "train.label": _label,
    "train.label_separator": _separator,
    "target": _target,
    "classes": _class_list,
    "submission.sample": _sample,
    "submission.kind": _kind,
    "metric": _metric,
    "test.table": _test_ids,
    "test.id": _test_ids,
    "test.images": _test_images,
    "test.files": _test_files,
    "group": _group,
    "validation.table": _validation,
    "validation.files": _validation,
}
