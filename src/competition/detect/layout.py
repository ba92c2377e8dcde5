"""The steps of detection in their order: tables, sample, training part, test part, target, groups."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src.competition import templates
from src.competition.classes import class_columns
from src.competition.detect.context import Context, pick, rules_for
from src.competition.detect.draft import Draft
from src.competition.detect.groups import find_groups
from src.competition.detect.inventory import read_tables
from src.competition.detect.labels import Label
from src.competition.detect.listing import from_names, same_pattern
from src.competition.detect.sample import find_sample
from src.competition.detect.target import class_order, spellings, submission_kind, target_kind, usual_metric
from src.competition.detect.test import find_test, test_folder
from src.competition.detect.train import Train, from_table
from src.competition.detect.undecided import Try, Undecided
from src.competition.labels import YES
from src.competition.tree import Tree
from src.errors import Problem


@dataclass(frozen=True)
class Found:
    """The card's draft, lines for the user, and the answers of a labelled test part (columns id, label) if there is one."""

    draft: Draft
    notes: list[str]
    test_labels: pd.DataFrame | None


def detect(data: Path, given: dict[str, Any], title: str) -> Found:
    """Work a card out from the files below `data`; `given` facts, by key, go before what is found.

    Raises Undecided where the files allow no answer or several.
    """
    tree = Tree(data)
    tables, notes = read_tables(tree)
    draft = Draft(given)
    draft.put("title", title)
    if "on_bad_image" in given:
        draft.put("on_bad_image", None)
    context = Context(tree, tables, draft, notes=notes)
    if not tree.images and not any(table.pixels for table in tables):
        raise Problem(f"{data} holds no images, and no table of pixels: is it the right folder?")
    context.sample = find_sample(tables, tree, draft)
    train = None if "train.files" in given else from_table(context)
    test = find_test(train, context)
    train = train or from_names(context)
    _validation(train, context)
    test = test_folder(train, context) if test is None else test
    counts = _counts(train)
    _target(train, counts, test is not None, context)
    _groups(train, context)
    labels = _test_labels(test, context)
    draft.finish()
    return Found(draft, context.notes, labels)


def label_cells(train: Train) -> pd.Series:
    """The label of each row as one text, whichever columns it comes from."""
    label = train.label
    if isinstance(label.column, str):
        cells = train.cells[label.column] if label.column in train.cells else templates.fill(label.column, train.cells)
        return pd.Series(list(cells), dtype=object)
    marks = train.cells[list(label.column)].isin(YES).to_numpy()
    return pd.Series([" ".join(np.array(label.column, dtype=object)[row]) for row in marks], dtype=object)


def _counts(train: Train) -> dict[str, int]:
    """Training rows of each class."""
    if not isinstance(train.label.column, str):
        return {column: int(train.cells[column].isin(YES).sum()) for column in train.label.column}
    cells = label_cells(train)
    if train.label.separator:
        cells = pd.Series([part.strip() for cell in cells for part in cell.split(train.label.separator)], dtype=object)
    return cells[cells != ""].value_counts(sort=False).to_dict()


def _target(train: Train, counts: dict[str, int], tested: bool, context: Context) -> None:
    draft, label, sample = context.draft, train.label, context.sample
    if draft.get("train.table"):
        draft.put("train.label", label.column if isinstance(label.column, str) else list(label.column), label.how)
        if label.separator:
            draft.put("train.label_separator", label.separator, "cells hold several labels")
    else:
        draft.put("train.label", "label")
    merged = spellings(counts, sample) if isinstance(label.column, str) else None
    names = list(dict.fromkeys(merged.values())) if merged else list(counts)
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
        draft.put("classes", merged, "labels on the left are spellings of the classes on the right")
    elif order:
        draft.put(
            "classes", order, how, guess=how.endswith("last") and names != ["0", "1"] and set(names) != {"0", "1"}
        )


def _submission(train: Train, names: list[str], context: Context) -> None:
    draft, sample, label = context.draft, context.sample, train.label
    choice = submission_kind(draft.get("target"), names, sample, draft.given.get("metric"))
    if sample is not None:
        draft.put("submission.sample", sample.table.path, f"{len(sample.ids)} rows")
        context.put_sheet("submission", sample.table.sheet.model_copy(update={"header": True}))
        if sample.id != sample.table.columns[0]:
            draft.put("submission.id", sample.id, "its column of ids")
    draft.put("submission.kind", choice.value, choice.how, choice.guess)
    if draft.get("submission.kind") == "ranked":
        draft.put("submission.top", _top(sample, draft.given.get("metric")), "answers in a row")
    if sample is None and draft.get("submission.kind") != "columns":
        name = label.column if isinstance(label.column, str) and label.column in train.cells else "label"
        header = ["id", "label" if re.search(r"column\d+$", name) else name]
        draft.put("submission.header", header, "there is no sample submission: these names are made up", guess=True)


def _check_classes(names: list[str], label: Label, context: Context) -> None:
    """The classes must be what the sample asks for, and classes at all."""
    sample = context.sample
    if len(names) > 20 and all(re.fullmatch(r"-?\d*\.\d+", name) for name in names):
        raise Problem(
            f"{label.column} holds {len(names)} different fractions: a measurement, and no class. Podium sorts into classes"
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


def _top(sample: Any, metric: str | None) -> int:
    if metric and metric.startswith("map@"):
        return int(metric.removeprefix("map@"))
    return max((len(value.split()) for value in sample.values), default=5) if sample else 5


def _validation(train: Train, context: Context) -> None:
    """A validation set that the host gives: by the split column, by its own table, or in its own folder."""
    draft = context.draft
    files = draft.get("train.files")
    if train.split and "validation" in train.split[1]:
        _copy_part("validation", {"where": {train.split[0]: train.split[1]["validation"]}}, context, "the same table")
        return
    if files:
        found = same_pattern(files, "validation", context)
        if found and set(found[1]["label"]) <= set(train.cells["label"]):
            draft.put("validation.files", found[0], f"{len(found[1])} images of the host's validation set")
            _unique_ids(train, found[1]["path"], context)
            draft.put("validation.label", "label")
            context.taken.update(found[1]["path"])
        return
    table = next((t for t in context.tables if t.role == "validation" and context.imaged.get(t.path) == train.id), None)
    columns = [train.label.column] if isinstance(train.label.column, str) else train.label.column
    if table is not None and set(columns) <= set(table.cells):
        rule = pick(
            rules_for(table.cells, train.id, context), "validation", table.path, table.cells[train.id].tolist(), context
        )
        draft.put("validation.table", table.path, f"{len(table)} rows of the host's validation set")
        context.put_sheet("validation", table.sheet)
        draft.put("validation.id", train.id)
        draft.put("validation.images", rule.images, f"finds {rule.hits} of {len(rule.files)} files")
        draft.put(
            "validation.label", train.label.column if isinstance(train.label.column, str) else list(train.label.column)
        )
        if train.label.separator:
            draft.put("validation.label_separator", train.label.separator)
        context.taken.update(filter(None, rule.files))


def _copy_part(part: str, changes: dict[str, Any], context: Context, how: str) -> None:
    """The training part's facts under another name, but for some."""
    facts = {key: fact for key, fact in context.draft.facts.items() if key.startswith("train.")}
    for key, fact in facts.items():
        name = key.removeprefix("train.")
        value = changes.get(name, fact.value)
        if name == "images" and isinstance(value, str):
            value = value.replace("pixels/train/", f"pixels/{part}/")
        context.draft.put(f"{part}.{name}", value, how if name == "table" else "")


def _unique_ids(train: Train, more: pd.Series, context: Context) -> None:
    """Training and validation images must not share an id."""
    names = [templates.name(path) for path in [*train.cells["path"], *more]]
    spec = "{path:name}" if len(set(names)) == len(names) else "path"
    for part in ("train", "validation"):
        context.draft.put(f"{part}.id", spec, "file names are unique" if spec != "path" else "file names come again")


def _groups(train: Train, context: Context) -> None:
    used = {train.label.column} if isinstance(train.label.column, str) else set(train.label.column)
    used |= {train.split[0]} if train.split else set()
    groups = find_groups(train.cells.astype(object), train.id, label_cells(train), used)
    sure = [group for group in groups if group.sure]
    if sure:
        context.draft.put("group", sure[0].spec, sure[0].how)
    for group in [group for group in groups if group not in sure[:1]]:
        context.notes.append(f"group={group.spec} could keep images together in the folds: {group.how}")


def _test_labels(test: pd.DataFrame | None, context: Context) -> pd.DataFrame | None:
    """The answers of a test part whose folders name the classes; they are kept apart, to print a score."""
    if test is None or "label" not in test or context.given("test_labels"):
        return None
    context.draft.put(
        "test_labels", "answers/test.csv", "the folders of the test images name their classes; only for a printed score"
    )
    return test[["id", "label"]]
