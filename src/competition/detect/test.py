"""The test part: the images to be answered, under the ids of the sample submission."""

from dataclasses import dataclass

import pandas as pd

from src.competition import templates
from src.competition.bags import ROWS
from src.competition.detect.bag_files import put_bags
from src.competition.detect.bag_rows import put_bag, put_training_bags, shared_id
from src.competition.detect.boxes import box_columns, boxed, is_box, numbered_ids, own_id
from src.competition.detect.context import Context, given_rule, pick, rules_for
from src.competition.detect.decide import label_cells
from src.competition.detect.draft import Draft
from src.competition.detect.inventory import TableFile
from src.competition.detect.listing import matched, part_images, same_pattern
from src.competition.detect.sample import Sample
from src.competition.detect.train import Train, found_by
from src.competition.detect.undecided import Try, Undecided
from src.competition.file_tree import common_folder
from src.competition.templates import literal
from src.core.errors import UsageError
from src.core.wording import plural
from src.targets.label_cells import parts_of

NAMED = "its values are the ids of the sample submission"


@dataclass(frozen=True)
class Identity:
    """What holds the ids of the test rows: a column or a template."""

    spec: str
    how: str
    guess: bool = False
    shared: bool = False  # whether several rows have one id


def find_test(train: Train | None, context: Context) -> pd.DataFrame | None:
    """Put the facts of a test part that a table or the sample lists: its rows with columns id and path, else None."""
    if train and train.split and "test" in train.split.values:
        cells = train.split.cells[train.split.cells[train.split.column].isin(train.split.values["test"])]
        return _with_answers(_from_split(train, cells, context), cells, train)
    table = _table(context)
    if table is not None:
        found = _from_pixels(table, context) if table.pixels else _from_table(table, context, train)
        return _with_answers(found, table.cells, train)
    if context.sample is not None:
        return _from_sample(context.sample, context, train)
    return None


def _with_answers(found: pd.DataFrame, cells: pd.DataFrame, train: Train | None) -> pd.DataFrame:
    """The test rows with the columns of their answers, where the same columns as in training tell every one.

    A single answer in all rows is the host's placeholder.
    """
    if train is None:
        return found
    label = train.label.column
    columns = [label] if isinstance(label, str) else list(label)
    if not set(columns) <= set(cells) or {"id", "path"}.intersection(columns):
        return found
    held = set(map(tuple, cells[columns].to_numpy()))
    empty = ("",) * len(columns)
    if len(held) < 2 or empty in held or not _classes_in(held, train) <= _classes_in(train.cells[columns], train):
        return found
    return found.assign(**{column: cells[column].to_numpy() for column in columns})


def _classes_in(rows: set[tuple[str, ...]] | pd.DataFrame, train: Train) -> set[object]:
    """The classes of some label cells: parts of a list, or else whole cells."""
    rows = set(map(tuple, rows.to_numpy())) if isinstance(rows, pd.DataFrame) else rows
    separator = train.label.separator
    return {part for (cell,) in rows for part in parts_of(cell, separator)} if separator else rows


def _table(context: Context) -> TableFile | None:
    """The table of test images: given, or by its name."""
    given = context.given("test.table")
    if given:
        return context.table(given)
    found = [
        table for table in context.tables if table.role == "test" and (table.pixels or table.path in context.imaged)
    ]
    found = [table for table in found if not context.sample or table.path != context.sample.table.path]
    if len(found) > 1 and context.sample:
        found = [table for table in found if len(table) == len(context.sample.table)] or found
    if len(found) > 1:
        tries = [Try(table.path, 0, 0, plural(len(table), "row")) for table in found]
        answers = [{"test.table": table.path} for table in found]
        raise Undecided("several tables could list the test images:", tries, "Say which: test.table=TABLE", answers)
    return found[0] if found else None


def _from_table(table: TableFile, context: Context, train: Train | None) -> pd.DataFrame:
    context.draft.put("test.table", table.path)
    context.put_sheet("test", table.sheet)
    what = f"{table.path} ({plural(len(table), 'row')})"
    return _with_rule(table.cells, context.imaged[table.path], what, context, train)


def _from_split(train: Train, cells: pd.DataFrame, context: Context) -> pd.DataFrame:
    split, draft, table = train.split, context.draft, context.table(context.draft.get("train.table"))
    draft.put("test.table", table.path, "the same table")
    context.put_sheet("test", table.sheet)
    if draft.get("train.join"):
        draft.put("test.join", draft.get("train.join"))
    draft.put("test.where", {split.column: split.values["test"]})
    if table.pixels:
        return _put_pixels(table, cells, context)
    return _with_rule(cells, train.id, f"{table.path}, test rows ({len(cells)})", context, train)


def _from_sample(sample: Sample, context: Context, train: Train | None) -> pd.DataFrame:
    context.draft.put("test.table", sample.table.path, "the sample submission lists the test images")
    context.put_sheet("test", sample.table.sheet)
    what = f"{sample.table.path} ({plural(len(sample.ids), 'row')})"
    return _with_rule(sample.table.cells, sample.id, what, context, train)


def _with_rule(cells: pd.DataFrame, column: str, what: str, context: Context, train: Train | None) -> pd.DataFrame:
    draft = context.draft
    template = context.given("test.images")
    rules = [given_rule(template, cells, context)] if template else rules_for(cells, column, context)
    rule = pick(rules, "test", what, cells[column].tolist(), context)
    identity = _id_of(cells, column, context.sample)
    draft.put("test.id", identity.spec, identity.how, identity.guess)
    spec = identity.spec
    ids = cells[spec].tolist() if spec in cells else templates.fill(spec, cells)
    if identity.shared and draft.get("bag") in (None, ROWS):
        put_bag(cells, spec, context)
        put_training_bags(train, cells, spec, context)
    draft.put("test.images", rule.images, *found_by(rule, cells[column].tolist()))
    context.taken.update(filter(None, rule.files))
    put_bags(rule, "test", cells, context)
    boxes = context.boxed or (train is not None and any(map(is_box, train.files)))
    whole = context.sample is not None and len(set(ids)) < len(ids)  # it asks for an answer to each picture
    files = rule.files if whole else boxed("test", cells, column, rule.files, draft, boxes) or rule.files
    if context.sample is None and any(map(is_box, files)):
        draft.put("test.id", *own_id(cells, column))
        spec = draft.get("test.id")
        ids = cells[spec].tolist() if spec in cells else templates.fill(spec, cells)
    return pd.DataFrame({"id": ids, "path": files}, dtype=object)


def _id_of(cells: pd.DataFrame, column: str, sample: Sample | None) -> Identity:
    """The column, or the template, that gives the sample's ids. Raises Undecided where none does.

    The number of a row comes last, and is a guess: any list has one.
    """
    if sample is None:
        return Identity(column, "there is no sample submission")
    wanted, boxes = set(sample.ids), bool(box_columns(cells))
    if not boxes and (shared := shared_id(cells, column, sample.ids)):
        return Identity(shared, NAMED, shared=True)
    endings = {path.rpartition(".")[2] for path in sample.ids[:1000] if "." in path}
    others = cells.columns.drop([column, "row", "row0"], errors="ignore")
    specs = [column, *others]
    specs += [f"{{{column}:{change}}}" for change in ("name", "stem")]
    specs += [f"{{{column}}}.{ending}" for ending in sorted(endings)]
    specs += [f"{{{one}:number}}" for one in (column, *others)]
    specs += [*numbered_ids(cells, sample.ids), "row", "row0"]
    tries = []
    for spec in specs:
        ids = cells[spec].tolist() if spec in cells else templates.fill(spec, cells)
        known = set(ids)
        hits = len(wanted & known)
        each = len(cells) if boxes else len(set(cells[column]))
        if hits == len(wanted) and (spec == column or len(known) == each):
            by_row = spec in ("row", "row0")
            how = "nothing but the order of the rows tells which id is which image" if by_row else NAMED
            return Identity(spec, how, by_row)
        missed = next((one for one in sample.ids if one not in known), "") if len(tries) < 12 else ""
        tries.append(Try(spec, hits, len(wanted), "", missed))
    raise Undecided(
        f"the ids of {sample.table.path} are not those of the test table:",
        tries,
        "Say how: test.id=COLUMN or a template",
    )


def _from_pixels(table: TableFile, context: Context) -> pd.DataFrame:
    context.draft.put("test.table", table.path)
    context.put_sheet("test", table.sheet)
    return _put_pixels(table, table.cells, context)


def _put_pixels(table: TableFile, cells: pd.DataFrame, context: Context) -> pd.DataFrame:
    first = table.columns[0] if table.columns and cells[table.columns[0]].is_unique else "row"
    identity = _id_of(cells, first, context.sample)
    spec = identity.spec
    context.draft.put("test.id", spec, identity.how)  # the numbers of the rows are the images of such a table
    context.draft.put(
        "test.images", f"pixels/test/{{row}}{table.pixel_ending}", "written from the numbers in the table"
    )
    context.draft.put("test.pixels", table.pixels.model_dump(), "")
    return pd.DataFrame({"id": cells[spec], "path": None}, dtype=object)


def test_folder(train: Train, context: Context) -> pd.DataFrame | None:
    """No table and no sample: the images in folders named test, or those of the pattern that was given; None without.

    Their names may hold a label too. Raises UsageError for a pattern that fits no image.
    """
    draft, files, given = context.draft, context.draft.get("train.files"), context.given("test.files")
    images = [] if given else part_images("test", context)
    if len(images) == 1:
        context.notes.append(f"{images[0]} alone is taken for no test set")
        return None
    if given:
        pattern, found = given, matched(given, [path for path in context.tree.images if path not in context.taken])
        if not len(found):
            raise UsageError(
                f"test.files={given}: it fits no image that is free, such as {context.tree.images[0]}",
                code="pattern-without-files",
            )
    elif images:
        same = same_pattern(files, images, context) if files else None
        if same and not set(same[1]["label"]) <= set(train.cells["label"]):
            same = None
        pattern, found = same or _below_one_folder(images, context)
    else:
        return None
    draft.put("test.files", pattern, "there is no sample submission")
    spec = _like_training_ids(found, train, draft)
    draft.put("test.id", spec, "as the training ids are written" if spec != "path" else "file names come again")
    context.taken.update(found["path"])
    ids = found["path"].tolist() if spec == "path" else templates.fill(spec, found)
    labelled = "label" in found and set(found["label"]) <= set(label_cells(train))
    return found[["path", "label"] if labelled else ["path"]].assign(id=ids)


def _below_one_folder(images: list[str], context: Context) -> tuple[str, pd.DataFrame]:
    """A pattern for all images below one folder. Raises Undecided where others lie there, too."""
    folder = common_folder(images)
    pattern = f"{literal(folder)}{{file:path}}"
    more = set(context.tree.images) - set(images) if not folder else set()
    more = more or {path for path in context.tree.images if path.startswith(folder)} - set(images)
    if more:
        tries = [Try(pattern, len(images), len(images) + len(more), images[0], min(more))]
        what = f"no pattern fits the {len(images)} test images alone:"
        raise Undecided(what, tries, "Say how: test.files=PATTERN, such as {class}/test/{file}")
    return pattern, pd.DataFrame({"path": images}, dtype=object)


def _like_training_ids(found: pd.DataFrame, train: Train, draft: Draft) -> str:
    """The file's name, with its extension where the training ids have it; the path where names come again."""
    bare = not any(templates.without_extension(one) != one for one in train.cells[train.id].head(50))
    spec = "path" if draft.get("train.id") == "path" else "{path:stem}" if bare else "{path:name}"
    return spec if spec == "path" or len(set(templates.fill(spec, found))) == len(found) else "path"
