"""The steps of detection in their order: tables, sample, training part, test part, target, groups."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from src.competition.box_files import is_pattern
from src.competition.detect.box_tables import add_box_files, asks_for_boxes, named_table
from src.competition.detect.boxes import boxed, check_boxes, is_box
from src.competition.detect.context import Context, given_rule, pick, rules_for
from src.competition.detect.decide import label_cells, put_label, put_target
from src.competition.detect.draft import Draft
from src.competition.detect.groups import find_groups
from src.competition.detect.inventory import PARTS, TableFile, read_tables, without_image_notes
from src.competition.detect.listing import from_names, part_images, same_pattern
from src.competition.detect.long_form import read_long
from src.competition.detect.sample import find_sample
from src.competition.detect.test import find_test, test_folder
from src.competition.detect.train import Train, from_table
from src.competition.detect.undecided import Undecided, together
from src.competition.detect.unsupported import check_tasks
from src.competition.detect.weigh import weigh
from src.competition.file_tree import Tree
from src.competition.templates import name
from src.core.errors import Problem, UsageError

MOST_ANSWERS = 3  # that are tried to see what comes next
MANY_IMAGES = 200_000  # above which nothing is tried


@dataclass(frozen=True)
class Found:
    """The card's draft, lines for the user, and the answers of a labelled test part (columns id, label)."""

    draft: Draft
    notes: list[str]
    test_labels: pd.DataFrame | None


def detect(data: Path, given: dict[str, Any], title: str) -> Found:
    """Work a card out from the files below `data`; `given` facts, by key, go before what is found.

    Raises Undecided where the files allow no answer or several.
    """
    return _detect(Tree(data), given, title)


def _detect(tree: Tree, given: dict[str, Any], title: str, ahead: bool = True) -> Found:
    """ahead: whether a question brings those that would come next."""
    tables, notes = read_tables(tree, given)
    tables = without_image_notes(tables, tree)
    if is_pattern(pattern := given.get("train.table") or ""):
        tables += named_table(pattern, tree)
    _check_given(tables, given)
    draft = Draft(given)
    draft.put("title", title)
    if "on_bad_image" in given:
        draft.put("on_bad_image", None)
    context = Context(tree, tables, draft, notes=notes)
    if not tree.images and not any(table.pixels for table in tables):
        text = f"{tree.root} holds no images, and no table of pixels: is it the right folder?"
        raise Problem(text, code="no-images")
    aside = list(notes)
    try:
        labels = _work_out(context)
    except Undecided as stop:
        raise together([*context.questions, stop, *(_next(stop, tree, given) if ahead else ())], aside) from None
    if context.questions:
        raise together(context.questions, aside)
    draft.finish()
    return Found(draft, context.notes, labels)


def _next(stop: Undecided, tree: Tree, given: dict[str, Any]) -> list[Undecided]:
    """What would be asked next whichever of its answers is given, so that all is asked at once."""
    asked: list[dict[str, Undecided]] = []
    for answer in stop.answers[:MOST_ANSWERS] if len(tree.images) <= MANY_IMAGES else ():
        try:
            _detect(tree, given | answer, "", ahead=False)
        except Undecided as other:
            asked.append({str(one): one for one in other.parts})
        except Problem:
            return []
        else:
            return []
    return [one for text, one in asked[0].items() if all(text in other for other in asked)] if asked else []


def _check_given(tables: list[TableFile], given: dict[str, Any]) -> None:
    """Every table that was given must be there. Raises UsageError with all that are not."""
    known = [table.path for table in tables]
    named = [(f"{part}.{key}", given.get(f"{part}.{key}")) for part, key, _ in PARTS]
    told = [(key, one) for key, value in named for one in (value if isinstance(value, list) else [value]) if one]
    absent = [f"{key}={one}" for key, one in told if one not in known]
    if absent:
        verb = "is no such table" if len(absent) == 1 else "are no such tables"
        raise UsageError(f"{', '.join(absent)}: there {verb}. Tables: {', '.join(known)}", code="no-such-table")


def _work_out(context: Context) -> pd.DataFrame | None:
    """Every fact of the card; the answers of a labelled test part."""
    draft = context.draft
    context.sample = find_sample(context.tables, context.tree, draft)
    add_box_files(context, asked=True)
    context.boxed = asks_for_boxes(context)
    long = None if context.boxed else read_long(context)
    check_tasks(context)
    train = None if "train.files" in draft.given else from_table(context)
    test = find_test(train, context)
    train = put_label(train or from_names(context), context)
    _validation(train, context)
    test = test_folder(train, context) if test is None else test
    _check_overlap(train, test, context)
    check_boxes(train.files, None if test is None else test["path"], draft, context.questions)
    put_target(train, test is not None, context)
    _groups(train, context)
    labels = _test_labels(test, context)
    if long:
        long.finish(context)
    if not context.questions:
        weigh(train, test, context)
    return labels


def _check_overlap(train: Train, test: pd.DataFrame | None, context: Context) -> None:
    """No image should be trained on and tested untold."""
    if test is None:
        return
    both = {path for path in test["path"] if path} & {path for path in train.files if path}
    if both:
        where = context.draft.get("test.table") or context.draft.get("test.files")
        context.notes.append(
            f"{len(both)} of the {len(test)} test images of {where} are also training images, such as {min(both)}: "
            "their answers are known, so that a score on them says nothing"
        )


def _validation(train: Train, context: Context) -> None:
    """A validation set that the host gives: by the split column, by its own table, or in its own folder."""
    draft = context.draft
    files = draft.get("train.files")
    if train.split and "validation" in train.split.values:
        where = {train.split.column: train.split.values["validation"]}
        _copy_part("validation", {"where": where}, context, "the same table")
        context.taken.update(_files(train, "validation", context))
        return
    if files:
        found = same_pattern(files, part_images("validation", context), context)
        if found and set(found[1]["label"]) <= set(train.cells["label"]):
            draft.put("validation.files", found[0], "the host's validation set")
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
        draft.put("validation.table", table.path, "the host's validation set")
        context.put_sheet("validation", table.sheet)
        draft.put("validation.id", train.id)
        draft.put("validation.images", rule.images, "as the training images are found")
        if any(map(is_box, train.files)) and boxed("validation", table.cells, train.id, rule.files, draft, True):
            draft.put("validation.id", draft.get("train.id"))
        draft.put(
            "validation.label", train.label.column if isinstance(train.label.column, str) else list(train.label.column)
        )
        if train.label.separator:
            draft.put("validation.label_separator", train.label.separator)
        for key in ("marks", "missing"):
            if draft.get(f"train.{key}") and not isinstance(train.label.column, str):
                draft.put(f"validation.{key}", draft.get(f"train.{key}"))
        context.taken.update(filter(None, rule.files))


def _copy_part(part: str, changes: dict[str, Any], context: Context, how: str) -> None:
    """The training part's facts under another name, but for some."""
    facts = {key: fact for key, fact in context.draft.facts.items() if key.startswith("train.")}
    for key, fact in facts.items():
        last = key.removeprefix("train.")
        value = changes.get(last, fact.value)
        if last == "images" and isinstance(value, str):
            value = value.replace("pixels/train/", f"pixels/{part}/")
        context.draft.put(f"{part}.{last}", value, how if last == "table" else "")


def _files(train: Train, part: str, context: Context) -> list[str]:
    """The images of another part of the training table that are there. Raises Undecided where most are not."""
    cells = train.split.cells[train.split.cells[train.split.column].isin(train.split.values[part])]
    template = context.draft.get("train.images")
    if template.startswith("pixels/"):
        return []
    rule = given_rule(template, cells, context)
    if not rule.full:
        what = f"{context.draft.get('train.table')}, {part} rows ({len(cells)})"
        rule = pick([rule], part, what, cells[train.id].tolist(), context)
    return [path for path in rule.files if path]


def _unique_ids(train: Train, more: pd.Series, context: Context) -> None:
    """Training and validation images must not share an id."""
    names = [name(path) for path in [*train.cells["path"], *more]]
    spec = "{path:name}" if len(set(names)) == len(names) else "path"
    for part in ("train", "validation"):
        context.draft.put(f"{part}.id", spec, "file names are unique" if spec != "path" else "file names come again")


def _groups(train: Train, context: Context) -> None:
    used = {train.label.column} if isinstance(train.label.column, str) else set(train.label.column)
    used |= {train.split.column} if train.split else set()
    groups = find_groups(train.cells.astype(object), train.id, label_cells(train), used)
    sure = [group for group in groups if group.sure]
    if sure:
        context.draft.put("group", sure[0].spec, sure[0].how)
    for group in [group for group in groups if group not in sure[:1] and "group" not in context.draft.given]:
        context.notes.append(f"group={group.spec} could keep images together in the folds: {group.how}")


def _test_labels(test: pd.DataFrame | None, context: Context) -> pd.DataFrame | None:
    """The answers of a test part that tells its classes; they are kept apart, to print a score."""
    if test is None or test.columns.isin(["id", "path"]).all() or context.given("test_labels"):
        return None
    context.draft.put("test_labels", "answers/test.csv", "the test images' classes are known; only for a printed score")
    return test[["id", *test.columns.drop(["id", "path"])]].drop_duplicates()
