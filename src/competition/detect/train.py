"""The training part: its table, with side tables where need be, its images and its label."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from src.competition import tables, templates
from src.competition.card import Join
from src.competition.detect.context import Context, given_rule, pick, rules_for
from src.competition.detect.inventory import TableFile, counted
from src.competition.detect.labels import Label, complete, find_label
from src.competition.detect.roles import role_of_word, words
from src.competition.detect.sniff import NUMBER
from src.competition.detect.undecided import Try, Undecided
from src.errors import UsageError

MOST_SIDES = 3


@dataclass(frozen=True)
class Train:
    """The training rows: their cells, the column that names them, their files, and the label.

    `split`: a column that tells the parts of the data apart, and the values of each part.
    """

    cells: pd.DataFrame
    id: str
    files: tuple[str | None, ...]
    label: Label
    split: tuple[str, dict[str, list[str]]] | None = None


def from_table(context: Context) -> Train | None:
    """The training part of a table that names images; None where no table does and none was given."""
    paths, cells, joins, label = _choose(context)
    if not paths:
        return None
    draft, table = context.draft, context.table(paths[0])
    draft.put("train.table", paths[0] if len(paths) == 1 else paths, _how(paths, cells, label))
    context.put_sheet("train", table.sheet)
    if joins:
        draft.put("train.join", [join.model_dump(exclude_defaults=True) for join in joins], "tables that share a key")
    split = _split(cells, context)
    if split:
        draft.put("train.where", {split[0]: split[1]["train"]}, "this column tells the parts of the data apart")
        cells = cells[cells[split[0]].isin(split[1]["train"])]
    cells = _without_empty_labels(cells, label, context)
    column = context.given("train.id") or context.imaged.get(paths[0]) or "row"
    if table.pixels:
        return _from_pixels(cells, table, label, split, context)
    named = tables.columns_of(column)[0]
    template = context.given("train.images")
    what = f"{paths[0]} ({len(cells)} rows)"
    rules = [given_rule(template, cells, context)] if template else rules_for(cells, named, context)
    rule = pick(rules, "train", what, cells[named].tolist(), context)
    context.taken.update(filter(None, rule.files))
    if not cells[named].is_unique and len(set(rule.files)) == len(cells):
        column = rule.images[rule.images.index("{") :]  # names that come again in other folders
    draft.put("train.id", column, "each image once" if cells[named].is_unique else f"{named} alone is not unique")
    draft.put("train.images", rule.images, f"finds {rule.hits} of {len(rule.files)} files")
    _check_folders(cells, rule.files, label, context)
    return Train(cells, named, rule.files, label, split)


def _choose(context: Context) -> tuple[list[str], pd.DataFrame, list[Join], Label | None]:
    """The training table. Raises Undecided where several tables name images and have a label."""
    given = context.given("train.table")
    names = given if isinstance(given, list) else [given] if given else []
    unknown = next((name for name in names if context.table(name) is None), None)
    if unknown:
        known = ", ".join(table.path for table in context.tables)
        raise UsageError(f"train.table={unknown}: there is no such table. Tables: {known}")
    if len(names) > 1:
        cells = _aligned([context.table(name) for name in names])
        return names, cells, [], _label(cells, names[0], context)
    candidates = [context.table(names[0])] if names else _candidates(context)
    found = []
    for table in candidates:
        label = _label(table.cells, table.path, context)
        if label and _speaks_otherwise(table.cells, label, context) and (one := _with_sides(table, context)):
            found.append(one)
        elif label:
            found.append(([table.path], table.cells, [], label))
    found = found or [one for table in candidates if (one := _with_partner(table, context))]
    found = found or [one for table in candidates if (one := _with_sides(table, context))]
    found = found or [one for table in candidates if (one := _with_folders(table, context))]
    for wanted in ("train", ""):
        named = [one for one in found if context.table(one[0][0]).role == wanted]
        if len(named) == 1:
            return named[0]
    if len(found) > 1:
        tries = [Try(f"{', '.join(one[0])}: label {one[3].column}", 0, 0, f"{len(one[1])} rows") for one in found]
        raise Undecided("several tables could be the training table:", tries, "Say which: train.table=TABLE")
    if names:
        raise Undecided(f"{names[0]} has no column that could be the label", [], "Say which: train.label=COLUMN")
    return found[0] if found else ([], pd.DataFrame(), [], None)


def _candidates(context: Context) -> list[TableFile]:
    """Tables that name images or hold their pixels, and are neither the sample nor another part by their name."""
    found = [
        table
        for table in context.tables
        if table.role not in ("test", "validation", "sample") and (table.pixels or table.path in context.imaged)
    ]
    # A short side table, such as a list of classes, can name images by accident.
    most = max(map(len, found), default=0)
    return [table for table in found if len(table) >= most / 10 or table.role == "train"]


def _label(cells: pd.DataFrame, name: str, context: Context) -> Label | None:
    given = context.given("train.label")
    if given:
        columns = tuple(given) if isinstance(given, list) else (given,)
        missing = [part for column in columns for part in tables.columns_of(column) if part not in cells]
        if missing:
            return None
        return complete(cells, Label(columns if isinstance(given, list) else given, "given on the command line"))
    test = next((table for table in context.tables if table.role == "test" and table.path in context.imaged), None)
    used = [context.imaged.get(name), "row", "row0"]
    return find_label(cells, used, context.sample, test.cells if test else None, name)


def _speaks_otherwise(cells: pd.DataFrame, label: Label, context: Context) -> bool:
    """Whether the sample answers in words that are not among the labels: a side table may hold these."""
    sample = context.sample
    if sample is None or not isinstance(label.column, str) or label.column not in cells or context.given("train.label"):
        return False
    asked = {value for value in sample.values if value and not NUMBER.fullmatch(value)}
    return bool(asked) and not asked & set(cells[label.column])


def _with_partner(table: TableFile, context: Context) -> tuple | None:
    """Two tables aligned by line: one of the images, one of the labels, with as many rows."""
    if len(table.columns) > 1:
        return None
    partners = [
        other
        for other in context.tables
        if other is not table
        and len(other) == len(table)
        and len(other.columns) == 1
        and other.path not in context.imaged
        and other.role not in ("test", "sample")
        and other.sheet == table.sheet
    ]
    if len(partners) != 1:
        return None
    cells = _aligned([table, partners[0]])
    column = cells.columns[len(table.columns)]
    return (
        [table.path, partners[0].path],
        cells,
        [],
        _label(cells, table.path, context) or Label(column, "the same line of the other table"),
    )


def _aligned(parts: list[TableFile]) -> pd.DataFrame:
    cells = pd.concat([part.cells[part.columns] for part in parts], axis=1)
    if not parts[0].sheet.header:
        cells.columns = [f"column{k + 1}" for k in range(cells.shape[1])]
    return counted(cells.loc[:, ~cells.columns.duplicated()])


def _with_sides(table: TableFile, context: Context) -> tuple | None:
    """The image table with the tables that share a key with it; one of them brings the label."""
    cells, joins = table.cells, []
    sample = context.sample.table if context.sample else None
    for other in context.tables:
        if other in (table, sample) or other.role == "test" or len(joins) == MOST_SIDES:
            continue
        keys = [
            (on, key)
            for on in cells.columns.drop(["row", "row0"])
            for key in other.columns
            if _is_key(cells[on], other.cells[key])
        ]
        if keys:
            on, key = max(keys, key=lambda pair: (pair[0] == pair[1], cells[pair[0]].nunique()))
            join = Join(table=other.path, by=on, key=None if on == key else key, **other.sheet.model_dump())
            cells, joins = tables.joined(cells, other.cells[other.columns], join, table.path), [*joins, join]
    label = _label(cells, table.path, context) if joins else None
    if (
        label
        and isinstance(label.column, str)
        and label.column in table.cells
        and _speaks_otherwise(cells, label, context)
    ):
        return None
    return ([table.path], cells, joins, label) if label else None


def _with_folders(table: TableFile, context: Context) -> tuple | None:
    """A list of paths whose folders are the labels."""
    column = context.imaged.get(table.path)
    if column not in table.columns or len(table.columns) > 1:
        return None
    template = f"{{{column}:folder}}"
    counts = pd.Series(templates.fill(template, table.cells)).value_counts()
    if not 1 < len(counts) <= len(table) / 3 or "" in counts:
        return None
    return (
        [table.path],
        table.cells,
        [],
        Label(template, f"{len(counts)} folders in the paths, such as {counts.index[0]}"),
    )


def _is_key(on: pd.Series, key: pd.Series) -> bool:
    return on.nunique() > 1 and key.is_unique and bool(on.isin(key).all())


def _split(cells: pd.DataFrame, context: Context) -> tuple[str, dict[str, list[str]]] | None:
    """A column whose few values are all names of parts: train, valid, test."""
    if context.given("train.where"):
        return None
    for column in cells:
        if cells[column].nunique() > 6:
            continue
        values = cells[column].unique().tolist()
        roles = {value: role_of_word(value) for value in values}
        if "train" in roles.values() and len(values) > 1 and set(roles.values()) <= {"train", "validation", "test"}:
            parts: dict[str, list[str]] = {}
            for value, role in roles.items():
                parts.setdefault(role, []).append(value)
            return column, parts
        if {"train"} & set(words(column)) and set(values) in ({"0", "1"}, {"True", "False"}):
            return column, {"train": [max(values)], "test": [min(values)]}
    return None


def _without_empty_labels(cells: pd.DataFrame, label: Label, context: Context) -> pd.DataFrame:
    """Rows without a label are left out where they are the test rows; others stop the loading later."""
    if not isinstance(label.column, str) or label.several or label.column not in cells:
        return cells
    empty = cells[label.column].str.strip() == ""
    if not empty.any():
        return cells
    tested = set(context.sample.ids) if context.sample else set()
    column = context.imaged.get(context.draft.get("train.table") or "", "")
    if column in cells and set(cells[column][empty]) <= tested:
        context.draft.put("train.empty_label", "drop", f"the {empty.sum()} rows without a label are test rows")
    return cells[~empty]


def _from_pixels(cells: pd.DataFrame, table: TableFile, label: Label, split: tuple | None, context: Context) -> Train:
    draft = context.draft
    draft.put("train.id", "row", "rows count from 1")
    draft.put("train.images", "pixels/train/{row}.png", "written from the numbers in the table")
    height, width = table.pixels.shape[:2]
    draft.put("train.pixels", table.pixels.model_dump(), f"images of {height} x {width}")
    return Train(cells, "row", tuple(np.full(len(cells), None)), label, split)


def _check_folders(cells: pd.DataFrame, files: tuple[str | None, ...], label: Label, context: Context) -> None:
    """Where the folders name the classes too, they must say what the label says."""
    if not isinstance(label.column, str) or label.several or label.column not in cells:
        return
    pairs = [(name, path.split("/")[:-1]) for name, path in zip(cells[label.column], files, strict=True) if path]
    classes = {name for name, _ in pairs}
    labelled = [(name, parts) for name, parts in pairs if classes.intersection(parts)]
    wrong = [(name, parts) for name, parts in labelled if name not in parts]
    # Where fewer than half agree, the folders are something else than classes.
    if len(labelled) > 0.9 * len(pairs) and 0 < len(wrong) < len(labelled) / 2 and not context.given("train.label"):
        tries = [Try(f"the table says {name!r}", 0, 0, f"the folder is {'/'.join(parts)}") for name, parts in wrong[:5]]
        what = f"the labels of the table and of the folders disagree for {len(wrong)} of {len(pairs)} images:"
        raise Undecided(what, tries, f"Say which holds: train.label={label.column}, or train.files=PATTERN")


def _how(paths: list[str], cells: pd.DataFrame, label: Label | None) -> str:
    return f"{len(cells)} rows" + (", aligned by line" if len(paths) > 1 else "")
