"""Submissions, and training tables, with a row for each image and each of several answers: IMG_1__height.

They are read as if they were wide, so that all other steps see one row an image and a column an answer; what makes
them so is put into the card, which reads the long files and writes a long submission.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from src.competition.detect.context import Context
from src.competition.detect.inventory import TableFile, counted
from src.competition.detect.sample import Sample
from src.competition.detect.undecided import Try, Undecided
from src.competition.templates import literal, stem

MOST_ANSWERS = 100  # of an image
LOOKED_AT = 500  # ids
FEWEST = 1.5  # rows an image
PAIR = "/"  # between the two columns that tell the rows of a sample apart


@dataclass(frozen=True)
class Parts:
    """What a column of long ids is made of: the image's part of each row, the mark, and the answer that it asks."""

    heads: list[str]
    mark: str
    tails: list[str]

    @property
    def answers(self) -> list[str]:
        """Each once, in the order of the rows."""
        return list(dict.fromkeys(self.tails))


@dataclass(frozen=True)
class LongForm:
    """What must be changed in the card once it is worked out: `{column` becomes `{column:before MARK` in these keys."""

    columns: dict[str, tuple[str, str]]  # part of the card -> the column of long ids, and its mark

    def finish(self, context: Context) -> None:
        """Let the card's templates take ids apart where the tables are long."""
        facts = context.draft.facts
        for part, (column, mark) in self.columns.items():
            if part == "test" and context.draft.get("test.table") != context.sample.table.path:
                continue  # a table of its own lists the test images
            for key in (f"{part}.id", f"{part}.images", *(["group"] if part == "train" else [])):
                if key not in facts or key in context.draft.given:
                    continue
                spec = facts[key].value
                spec = f"{{{column}}}" if spec == column else spec
                field = re.compile(rf"\{{{re.escape(column)}(?=[:}}])")
                facts[key] = replace(
                    facts[key], value=field.sub(f"{{{column}:before {mark}".replace("\\", r"\\"), spec)
                )


def read_long(context: Context) -> LongForm | None:
    """Put a wide sample and wide tables in the place of long ones; None where the sample is not long, or cannot be
    told apart for sure: what is found otherwise then refuses it."""
    sample = context.sample
    if sample is None or not sample.ids or context.given("submission.rows"):
        return None
    pair = _two_columns(sample, context)
    return _read_pairs(sample, *pair, context) if pair else _read_ids(sample, context)


def _read_ids(sample: Sample, context: Context) -> LongForm | None:
    """The same of a sample whose ids name image and answer."""
    if len(sample.answers) != 1:
        return None
    few = sample.ids[:LOOKED_AT]
    if sum(stem(one) in context.tree.by_stem for one in few) > len(few) / 2:
        return None
    parts = _parts(sample.ids, lambda one: one in context.tree.by_stem)
    if parts is None or len(set(sample.ids)) < len(sample.ids):
        return None
    answers, columns = set(parts.answers), {}
    tables, pivot, told = [], None, False
    for table in context.tables:
        wide = None
        if table is sample.table:
            wide = _pivoted(table, sample.id, parts.heads, parts.tails, table.cells[sample.answers[0]].tolist())
            if all(one.rpartition(parts.mark)[0] == head for one, head in zip(sample.ids, parts.heads, strict=True)):
                columns["test"] = sample.id, parts.mark
        elif table.role == "test":
            wide = _one_row_an_image(table, parts, context)
        else:
            wide, found = _wide(table, sample.answers[0], answers, parts.mark, context)
            told = told or found is not None or answers <= set(table.columns)
            pivot = pivot or found
            if found and "{" in found["name"]:
                columns["train"] = table.columns[0], parts.mark
        tables.append(wide or table)
    listed = any(table.role == "test" for table in tables)
    if not told:
        _ask_about_lacking(sample, answers, context)
    if not told or (not listed and "test" not in columns):
        return None
    if pivot:
        context.draft.put("train.pivot", pivot, "the table has a row for each image and each answer")
    context.tables[:] = tables
    wide = next(table for table in tables if table.path == sample.table.path)
    context.sample = Sample(wide, sample.id, tuple(parts.answers))
    how = f"a row for each image and each of {', '.join(parts.answers[:3])}{', ...' * (len(answers) > 3)}"
    context.draft.put("submission.rows", "{id}" + literal(parts.mark) + "{output}", how)
    return LongForm(columns)


def _two_columns(sample: Sample, context: Context) -> tuple[str, str, str] | None:
    """The column of a sample that names images, each in several rows, the one that names the answer, and the answers'
    own; None where another column tells the rows apart, or these do not."""
    table = sample.table
    if len(table.columns) != 3 or any(table.cells[one].is_unique for one in table.columns):
        return None
    image = _image_column(table, context)
    for name in table.columns if image is not None else ():
        held = table.cells[name].nunique()
        if name != image and 1 < held <= MOST_ANSWERS and not table.cells[[image, name]].duplicated().any():
            (value,) = {*table.columns} - {image, name}
            return image, name, value
    return None


def _read_pairs(sample: Sample, image: str, name: str, value: str, context: Context) -> LongForm | None:
    """The same of a sample whose rows are told apart by an image and the name of an answer, in two columns."""
    table, tables, told, pivot = sample.table, [], False, None
    keys, names = table.cells[image].tolist(), table.cells[name].tolist()
    answers = set(names)
    for other in context.tables:
        wide = found = None
        if other is table:
            wide = _pivoted(table, image, keys, names, table.cells[value].tolist())
        elif other.role != "test":
            wide, found = _wide(other, value, answers, PAIR, context)
            told = told or found is not None or answers <= set(other.columns)
        pivot = pivot or found
        tables.append(wide or other)
    if not told:
        _ask_about_lacking(sample, answers, context)
        return None
    if pivot:
        context.draft.put("train.pivot", pivot, "the table has a row for each image and each answer")
    context.tables[:] = tables
    wide = next(one for one in tables if one.path == table.path)
    key = f"{{{image}}}{PAIR}{{{name}}}"
    context.sample = Sample(wide, image, tuple(dict.fromkeys(names)), key)
    context.draft.put("submission.rows", f"{{id}}{PAIR}{{output}}", f"a row for each {image} and {name}")
    return LongForm({})


def _parts(ids: list[str], is_image: Callable[[str], bool]) -> Parts | None:
    """The ids taken apart, where each begins with an image's name, the longest, and one mark follows in all."""
    found = []
    for one in ids:
        match = next((m for m in reversed([*re.finditer(r"[^A-Za-z0-9]+", one)]) if is_image(one[: m.start()])), None)
        if match is None or not one[match.end() :]:
            return None
        found.append((one[: match.start()], match[0], one[match.end() :]))
    heads, marks, tails = map(list, zip(*found, strict=True))
    if len(set(marks)) > 1 or not 1 < len(set(tails)) <= MOST_ANSWERS or len(ids) < FEWEST * len(set(heads)):
        return None
    return Parts(heads, marks[0], tails)


def _wide(
    table: TableFile, value: str, answers: set[str], mark: str, context: Context
) -> tuple[TableFile | None, dict[str, Any] | None]:
    """A training table with a row an image, and the `pivot` that makes it; None twice where it is not long.

    Raises Undecided for one that is long, and does not say each answer of an image once.
    """
    if value not in table.columns or answers <= set(table.columns):
        return None, None
    names = [one for one in table.columns if one != value and set(table.cells[one].unique()) == answers]
    image = _image_column(table, context) if names else None
    if image is not None and not table.cells[[image, names[0]]].duplicated().any():
        keys, told = (table.cells[one].tolist() for one in (image, names[0]))
        return _pivoted(table, image, keys, told, table.cells[value].tolist()), {"name": names[0], "value": value}
    first = table.columns[0]
    parts = [one.rpartition(mark) for one in table.cells[first]]
    heads, tails = [head for head, _, _ in parts], [tail for _, _, tail in parts]
    if set(tails) == answers and not table.cells[first].duplicated().any():
        pivot = {"name": f"{{{first}:after {mark}}}", "value": value}
        return _pivoted(table, first, heads, tails, table.cells[value].tolist()), pivot
    if names or set(tails) == answers:
        raise _not_one_row(table, image or first, names[0] if names else first)
    return None, None


def _ask_about_lacking(sample: Sample, answers: set[str], context: Context) -> None:
    """Raises Undecided where a training table has columns for some of the answers only."""
    for table in context.tables:
        there = [one for one in table.columns if one in answers]
        lacking = sorted(answers - set(there))
        if table is sample.table or table.role == "test" or not there or len(lacking) > len(there):
            continue
        tries = [Try(one, found=", ".join(table.cells[one].unique()[:3])) for one in there]
        tries += [Try(f"{one}: no column of the table") for one in lacking]
        what = (
            f"{table.path}: of the {len(answers)} answers that {sample.table.path} asks for, it lacks {len(lacking)}:"
        )
        remedy = "Bring the table that has them; or write the card by hand, with train.label and submission.rows"
        raise Undecided(what, tries, remedy)


def _not_one_row(table: TableFile, image: str, name: str) -> Undecided:
    """A table with a row for each image and answer, of which some come again or the image is not told."""
    cells = table.cells[list(dict.fromkeys([image, name]))]
    again = cells[cells.duplicated()]
    tries = [Try(" ".join(row), found="stands there more than once") for row in again.head(5).to_numpy().tolist()]
    what = f"{table.path} has a row for each image and each answer, but {len(again)} rows come again:"
    if not tries:
        what, tries = f"{table.path} has a row for each answer, but no column that names its image:", [Try(image)]
    remedy = (
        "Take out the rows that are wrong; or write the card by hand, with train.pivot: {name: COLUMN, value: COLUMN}"
    )
    return Undecided(what, tries, remedy)


def _pivoted(table: TableFile, key: str, keys: list[str], names: list[str], values: list[str]) -> TableFile:
    """One row for each of the keys, with a column for each name; other columns stay where they tell of the key."""
    cells = table.cells[table.columns].assign(**{key: keys})
    kept = cells[_constant_within(cells, key)].drop_duplicates(key)
    long = pd.DataFrame({"key": keys, "name": names, "value": values})
    wide = long.drop_duplicates(["key", "name"]).pivot(index="key", columns="name", values="value")
    wide = wide.reindex(index=kept[key], columns=list(dict.fromkeys(names))).fillna("")
    kept = kept.reset_index(drop=True)
    return replace(table, cells=counted(pd.concat([kept, wide.reset_index(drop=True)], axis=1)))


def _one_row_an_image(table: TableFile, parts: Parts, context: Context) -> TableFile | None:
    """A test table whose rows are those of the sample, with each image once."""
    image = _image_column(table, context)
    if image is None or table.cells[image].is_unique:
        return None
    cells = table.cells[table.columns]
    kept = cells[_constant_within(cells, image)].drop_duplicates(image).reset_index(drop=True)
    known = {stem(one) for one in kept[image]}
    return replace(table, cells=counted(kept)) if known >= set(parts.heads) else None


def _image_column(table: TableFile, context: Context) -> str | None:
    """The column whose cells all name images, several rows each."""
    for column in table.columns:
        cells = table.cells[column]
        if len(cells) >= FEWEST * cells.nunique() and all(stem(one) in context.tree.by_stem for one in cells.unique()):
            return column
    return None


def _constant_within(cells: pd.DataFrame, key: str) -> list[str]:
    """The columns that hold one value for each key."""
    most = cells.groupby(key, sort=False).nunique(dropna=False).max()
    return [column for column in cells if column == key or most[column] <= 1]
