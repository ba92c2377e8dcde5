"""Which table is the training table, and what must be put beside it to give each image a label."""

from dataclasses import dataclass

import pandas as pd

from src.competition import tables, templates
from src.competition.card import Join
from src.competition.detect import marks
from src.competition.detect.box_tables import add_box_files
from src.competition.detect.boxes import box_columns
from src.competition.detect.context import Context
from src.competition.detect.inventory import TableFile, counted
from src.competition.detect.labels import find_label
from src.competition.detect.names import label_in_names
from src.competition.detect.numbers import are_numbers
from src.competition.detect.several import Label, complete
from src.competition.detect.sniff import NUMBER
from src.competition.detect.undecided import Try, Undecided
from src.core.wording import plural

MOST_SIDES = 3


@dataclass(frozen=True)
class Choice:
    """The files of the training table (several where they are aligned by line), its cells, its joins, its label."""

    paths: list[str]
    cells: pd.DataFrame
    label: Label
    joins: tuple[Join, ...] = ()


def choose(context: Context) -> Choice | None:
    """The training table, None where no table names images and has a label. Raises Undecided where several do."""
    given = context.given("train.table")
    names = given if isinstance(given, list) else [given] if given else []
    candidates = [context.table(name) for name in names] or _candidates(context)
    if len(names) > 1:
        cells = _aligned(candidates)
        label = _label(cells, names[0], context)
        found = [Choice(names, cells, label)] if label else []
    else:
        rules = (_alone, _with_partner, _with_sides, _with_folders)
        found = next(
            (made for rule in rules if (made := [one for table in candidates if (one := rule(table, context))])), []
        )
    if not found and not names and context.sample is not None:
        found = _in_box_files(context)
    for role in ("train", ""):
        named = [one for one in found if context.table(one.paths[0]).role == role]
        if len(named) == 1:
            return named[0]
    if len(found) > 1:
        tries = [
            Try(", ".join(one.paths), found=f"{plural(len(one.cells), 'row')}, label {one.label.column}")
            for one in found
        ]
        answers = [{"train.table": one.paths[0]} for one in found if len(one.paths) == 1]
        raise Undecided("several tables could be the training table:", tries, "Say which: train.table=TABLE", answers)
    if names and not found:
        tries = [Try(table.path, found=f"columns {', '.join(table.columns[:8])}") for table in candidates]
        raise Undecided("no column of the training table could be the label:", tries, "Say which: train.label=COLUMN")
    return found[0] if found else None


def _candidates(context: Context) -> list[TableFile]:
    """Tables that name images or hold their pixels, and are neither the sample nor another part by their name."""
    others = ("test", "validation", "sample")
    found = [t for t in context.tables if t.role not in others and (t.pixels or t.path in context.imaged)]
    # A short side table, such as a list of classes, can name images by accident.
    most = max(map(len, found), default=0)
    if found and not any(t.pixels for t in found) and not context.given("train.table") and _few_of_all(found, context):
        return []
    return [table for table in found if len(table) >= most / 10 or table.role == "train"]


def _in_box_files(context: Context) -> list[Choice]:
    """Boxes that a file beside each picture tells, where no folder gives a label."""
    images = [path for path in context.tree.images if context.role(path) in ("train", "")]
    try:
        named = label_in_names(images, set()) if images else None
    except Undecided:
        named = None
    if named is not None and not named.guess:
        return []
    tables = [table for table in add_box_files(context) if table.role in ("train", "")]
    return [one for table in tables if (one := _alone(table, context))]


def _few_of_all(found: list[TableFile], context: Context) -> bool:
    """Whether several folders hold a table of their own few images, while the folders give a label to nearly all."""
    if len({table.path.rpartition("/")[0] for table in found}) < 2:
        return False
    images = [path for path in context.tree.images if context.role(path) in ("train", "")]
    named = max(table.cells[context.imaged[table.path]].nunique() for table in found)
    if named > len(images) / 2 or len({path.rpartition("/")[0] for path in images}) < 2:
        return False
    folders = label_in_names(images, set())
    if folders is None or "/" not in folders.files.partition("{label}")[2]:
        return False
    context.notes.append(
        f"{', '.join(table.path for table in found[:3])}{', ...' * (len(found) > 3)} name {named} of {len(images)} "
        f"images at most; the folders give a label to {len(folders.paths)}, and are taken"
    )
    return True


def _alone(table: TableFile, context: Context) -> Choice | None:
    """A table that holds the label itself; the user's joins, where there are any, belong to it."""
    joins = tuple(Join.model_validate(join) for join in context.given("train.join") or ())
    cells = table.cells
    for join in joins:
        cells = tables.joined(cells, tables.read_table(context.tree.root / join.table, join), join, table.path)
    cells = marks.as_given(cells, context)
    label = _label(cells, table.path, context)
    if label and not joins and _speaks_otherwise(cells, label, context) and (other := _with_sides(table, context)):
        return other
    return Choice([table.path], cells, label, joins) if label else None


def _label(cells: pd.DataFrame, name: str, context: Context) -> Label | None:
    given = context.given("train.label")
    if given:
        columns = tuple(given) if isinstance(given, list) else (given,)
        missing = [part for column in columns for part in tables.columns_of(column) if part not in cells]
        if missing:
            return None
        numbers = isinstance(given, list) and set(columns) <= set(cells) and are_numbers(cells[list(columns)])
        label = Label(columns if isinstance(given, list) else given, "given on the command line", numbers=numbers)
        return complete(marks.without_unknown(cells, columns, context), label, context.sample)
    test = next((table for table in context.tables if table.role == "test" and table.path in context.imaged), None)
    asked = context.sample.answers if context.sample else ()
    used = [context.imaged.get(name), "row", "row0", *(one for one in box_columns(cells) if one not in asked)]
    if context.sample:
        cells = marks.without_unknown(cells, context.sample.answers, context)
    return find_label(cells, used, context.sample, test.cells if test else None, name)


def _speaks_otherwise(cells: pd.DataFrame, label: Label, context: Context) -> bool:
    """Whether the sample answers in words that are not among the labels: a side table may hold these."""
    sample = context.sample
    if sample is None or not isinstance(label.column, str) or label.column not in cells or context.given("train.label"):
        return False
    asked = {value for value in sample.values if value and not NUMBER.fullmatch(value)}
    return bool(asked) and not asked & set(cells[label.column])


def _with_partner(table: TableFile, context: Context) -> Choice | None:
    """Two tables aligned by line: one of the images, one of the labels, with as many rows."""
    if len(table.columns) > 1:
        return None
    partners = [
        other
        for other in context.tables
        if other is not table and (len(other), len(other.columns), other.sheet) == (len(table), 1, table.sheet)
    ]
    partners = [t for t in partners if t.path not in context.imaged and t.role not in ("test", "sample")]
    if len(partners) != 1:
        return None
    cells = _aligned([table, partners[0]])
    label = _label(cells, table.path, context) or Label(cells.columns[1], "the same line of the other table")
    return Choice([table.path, partners[0].path], cells, label)


def _aligned(parts: list[TableFile]) -> pd.DataFrame:
    cells = pd.concat([part.cells[part.columns] for part in parts], axis=1)
    if not parts[0].sheet.header:
        cells.columns = [f"column{k + 1}" for k in range(cells.shape[1])]
    return counted(cells.loc[:, ~cells.columns.duplicated()])


def _with_sides(table: TableFile, context: Context) -> Choice | None:
    """The image table with the tables that share a key with it; one of them brings the label."""
    cells, joins = table.cells, []
    for other in context.tables:
        if other is table or other.role in ("test", "sample") or len(joins) == MOST_SIDES:
            continue
        own = cells.columns.drop(["row", "row0"])
        keys = [(by, key) for by in own for key in other.columns if _is_key(cells[by], other.cells[key])]
        if keys:
            by, key = max(keys, key=lambda pair: (pair[0] == pair[1], cells[pair[0]].nunique()))
            join = Join(table=other.path, by=by, key=None if by == key else key, **other.sheet.model_dump())
            cells, joins = tables.joined(cells, other.cells[other.columns], join, table.path), [*joins, join]
    cells = marks.as_given(cells, context)
    label = _label(cells, table.path, context) if joins else None
    if label is None or (label.column in table.cells and _speaks_otherwise(cells, label, context)):
        return None
    return Choice([table.path], cells, label, tuple(joins))


def _with_folders(table: TableFile, context: Context) -> Choice | None:
    """A list of paths whose folders are the labels."""
    column = context.imaged.get(table.path)
    if column not in table.columns or len(table.columns) > 1:
        return None
    template = f"{{{column}:folder}}"
    counts = pd.Series(templates.fill(template, table.cells)).value_counts()
    if not 1 < len(counts) <= len(table) / 3 or "" in counts:
        return None
    how = f"{plural(len(counts), 'folder')} in the paths, such as {counts.index[0]}"
    return Choice([table.path], table.cells, Label(template, how))


def _is_key(on: pd.Series, key: pd.Series) -> bool:
    return on.nunique() > 1 and key.is_unique and bool(on.isin(key).all())
