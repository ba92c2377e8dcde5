"""What the label asks for: the target, the submission and the metric, put down as facts."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd

from src.competition import templates
from src.competition.detect.context import Context
from src.competition.detect.draft import flow
from src.competition.detect.sample import Sample
from src.competition.detect.several import Label
from src.competition.detect.target import (
    class_order,
    list_separator,
    spellings,
    submission_kind,
    target_kind,
    usual_metric,
)
from src.competition.detect.train import Train
from src.competition.detect.undecided import Try, Undecided
from src.competition.labels import YES
from src.competition.sample_submission import class_columns
from src.core.errors import Problem


def label_cells(train: Train) -> pd.Series:
    """The label of each row as one text, whichever columns it comes from."""
    label = train.label
    if isinstance(label.column, str):
        cells = train.cells[label.column] if label.column in train.cells else templates.fill(label.column, train.cells)
        return pd.Series(list(cells), dtype=object)
    marks = train.cells[list(label.column)].isin(YES).to_numpy()
    return pd.Series([" ".join(np.array(label.column, dtype=object)[row]) for row in marks], dtype=object)


def class_counts(train: Train) -> dict[str, int]:
    """Training rows of each class."""
    if not isinstance(train.label.column, str):
        return {column: int(train.cells[column].isin(YES).sum()) for column in train.label.column}
    cells = label_cells(train)
    if train.label.separator:
        cells = pd.Series([part.strip() for cell in cells for part in cell.split(train.label.separator)], dtype=object)
    return cells[cells != ""].value_counts(sort=False).to_dict()


def put_label(train: Train, context: Context) -> Train:
    """Put train.label and train.label_separator; the same training part with the label as the user has it."""
    train = replace(train, label=_as_given(train.label, context))
    draft, label = context.draft, train.label
    if draft.get("train.table"):
        draft.put("train.label", label.column if isinstance(label.column, str) else list(label.column), label.how)
        if label.separator:
            draft.put("train.label_separator", label.separator, "cells hold several labels")
    else:
        draft.put("train.label", "label")
    return train


def put_target(train: Train, tested: bool, context: Context) -> None:
    """Put target, submission.*, metric and classes, once the label is put."""
    counts = class_counts(train)
    draft, label, sample = context.draft, train.label, context.sample
    given = draft.given.get("classes")
    merged = spellings(counts, sample) if isinstance(label.column, str) and not given else None
    mapped = given if isinstance(given, dict) else merged
    names = list(dict.fromkeys(mapped.values())) if mapped else given or list(counts)
    _check_classes(names, label, context)
    several = label.several or _several_rows(train)
    kind = target_kind(names, str(label.column), several)
    draft.put("target", kind.value, kind.how, kind.guess)
    if tested:
        _submission(train, names, context)
    usual = usual_metric(draft.get("target"), draft.get("submission.kind") or "label", draft.get("submission.top") or 5)
    draft.put("metric", usual.value, usual.how, usual.guess)
    order, how = class_order(names, draft.get("submission.kind"), sample)
    if merged:
        if order:
            merged = dict(sorted(merged.items(), key=lambda pair: order.index(pair[1])))
        alike = _alike(merged, counts)
        told = f"{alike} are taken for one class; to keep them apart: classes={flow(list(counts))}"
        how = "labels on the left are spellings of the classes on the right"
        draft.put("classes", merged, told if alike else how, guess=bool(alike))
    elif order:
        draft.put(
            "classes", order, how, guess=how.endswith("last") and names != ["0", "1"] and set(names) != {"0", "1"}
        )


def _alike(merged: dict[str, str], counts: dict[str, int]) -> str:
    """The labels that become one class, with their rows; empty where each stays by itself."""
    spelt = {name: [one for one in merged if merged[one] == name] for name in merged.values()}
    groups = [" and ".join(f"{one!r} ({counts[one]} rows)" for one in held) for held in spelt.values() if len(held) > 1]
    return "; ".join(groups)


def _as_given(label: Label, context: Context) -> Label:
    """The label as the user's target or separator has it."""
    target, separator = context.given("target"), context.given("train.label_separator")
    if target not in (None, "multilabel"):
        return Label(label.column, label.how)
    return replace(label, separator=separator, several=True) if separator else label


def _submission(train: Train, names: list[str], context: Context) -> None:
    draft, sample, label = context.draft, context.sample, train.label
    parted = list_separator(names, sample, label.separator)
    separator = draft.given.get("submission.label_separator") or parted.value
    choice = submission_kind(draft.get("target"), names, sample, draft.given.get("metric"), separator)
    if sample is not None:
        draft.put("submission.sample", sample.table.path, f"{len(sample.ids)} rows")
        context.put_sheet("submission", sample.table.sheet.model_copy(update={"header": True}))
        if sample.id != sample.table.columns[0]:
            draft.put("submission.id", sample.id, "its column of ids")
    draft.put("submission.kind", choice.value, choice.how, choice.guess)
    if draft.get("submission.kind") in ("set", "ranked") and (separator != " " or parted.guess):
        draft.put("submission.label_separator", separator, parted.how, parted.guess)
    if draft.get("submission.kind") == "ranked":
        draft.put("submission.top", _top(sample, draft.given.get("metric"), separator), "answers in a row")
    if sample is None and draft.get("submission.kind") != "columns":
        name = label.column if isinstance(label.column, str) and label.column in train.cells else "label"
        header = ["id", "label" if re.search(r"column\d+$", name) else name]
        draft.put("submission.header", header, "there is no sample submission: these names are made up", guess=True)


def _check_classes(names: list[str], label: Label, context: Context) -> None:
    """The classes must be what the sample asks for, and classes at all."""
    sample = context.sample
    if len(names) > 20 and all(re.fullmatch(r"-?\d*\.\d+", name) for name in names):
        raise Problem(
            f"{label.column} holds {len(names)} different fractions: a measurement, and no class. "
            "Podium sorts images into classes"
        )
    if len(names) < 2:
        raise Problem(f"{label.column} holds one class only ({', '.join(names)}): there is nothing to tell apart")
    if sample is None or len(sample.answers) < 2 or "classes" in context.draft.given:
        return
    if class_columns(names, sample.answers) is None:
        tries = [
            Try("classes found", 0, 0, ", ".join(names[:6])),
            Try("columns of the sample", 0, 0, ", ".join(sample.answers[:6])),
        ]
        what = f"the {len(names)} classes found are not the {len(sample.answers)} columns of {sample.table.path}:"
        raise Undecided(
            what,
            tries,
            "Say which label: train.label=COLUMN, or how the classes are named: classes={label: column, ...}",
        )


def _several_rows(train: Train) -> bool:
    """Whether an image comes in several rows with different labels."""
    if not isinstance(train.label.column, str) or None in train.files:
        return False
    pairs = pd.DataFrame({"file": train.files, "label": label_cells(train)}).drop_duplicates()
    return bool(pairs["file"].duplicated().any())


def _top(sample: Sample | None, metric: str | None, separator: str) -> int:
    if metric and metric.startswith("map@"):
        return int(metric.removeprefix("map@"))
    return max((len(value.split(separator)) for value in sample.values), default=5) if sample else 5
