"""Tables made of files that tell the boxes of one picture each, and whether the sample submission asks for boxes."""

from collections import defaultdict

from src.competition import box_files
from src.competition.box_files import FORMATS, BoxFiles
from src.competition.card import Sheet
from src.competition.detect.boxes import box_columns, box_id
from src.competition.detect.context import Context
from src.competition.detect.inventory import TableFile, counted
from src.competition.detect.roles import Role, role_of_table
from src.competition.file_tree import Tree, common_folder
from src.competition.templates import name, stem
from src.core.errors import Problem

OPENED = 20  # files of one layout, to see whether they tell boxes
FEWEST = 1 / 3  # of the images have such a file


def box_file_tables(tree: Tree) -> list[TableFile]:
    """A table for each part that folders of such files hold; none where files tell something else, or too few do.

    Raises Problem for a file of boxes that cannot be read.
    """
    for kind in FORMATS:
        named = [path for path in tree.files if _is_beside_image(path, kind, tree)]
        if len(named) < FEWEST * len(tree.images) or not _tell_boxes(named, kind, tree):
            continue
        parts: dict[Role, list[str]] = defaultdict(list)
        for path in named:
            parts[role_of_table(f"{path.rpartition('/')[0]}/x", tree.shared)].append(path)
        found = [table for role, paths in parts.items() if (table := _table(paths, role, kind, tree))]
        if found:
            return found
    return []


def add_box_files(context: Context, asked: bool = False) -> list[TableFile]:
    """Put such tables beside the others, and return them. asked: only where the sample asks for their boxes."""
    there = [table for table in context.tables if box_files.is_pattern(table.path)]
    few = context.sample.ids[:OPENED] if context.sample else []
    if there or (asked and all(stem(one) in context.tree.by_stem for one in few)):
        return there  # an answer to each picture: the files need not be read for that
    tables = box_file_tables(context.tree)
    if tables and (not asked or _asked(context, tables)):
        context.add(tables)
        return tables
    return []


def asks_for_boxes(context: Context) -> bool:
    """Whether the ids of the sample submission are those of boxes, of a table that is here."""
    return _asked(context, context.tables)


def class_names(numbers: list[str], context: Context) -> dict[str, str] | None:
    """What the numbers of classes in files of YOLO stand for, by a list beside them; None where the sample answers with
    the numbers, or no list tells all."""
    pattern, sample = context.draft.get("train.table"), context.sample
    if not isinstance(pattern, str) or not box_files.is_pattern(pattern) or not all(map(str.isdecimal, numbers)):
        return None
    asked = {*sample.values, *sample.answers} if sample else set()
    for path in context.tree.files:
        found = box_files.listed_names(context.tree.root / path)
        if len(found) > max(map(int, numbers)) and not asked & set(numbers):
            context.code_table = path
            return {number: found[int(number)] for number in sorted(numbers, key=int)}
    return None


def _asked(context: Context, tables: list[TableFile]) -> bool:
    sample = context.sample
    if sample is None or not sample.ids:
        return False
    others = (table for table in tables if table is not sample.table and len(table) >= len(sample.ids))
    return any(box_columns(table.cells) and box_id(table.cells, sample.ids) for table in others)


def _is_beside_image(path: str, kind: type[BoxFiles], tree: Tree) -> bool:
    return path.endswith(kind.ending) and name(path)[: -len(kind.ending)] in tree.by_stem


def _tell_boxes(paths: list[str], kind: type[BoxFiles], tree: Tree) -> bool:
    """Whether most files that are looked at hold boxes; an empty one is a picture without any."""
    held = []
    for path in paths[:: max(1, len(paths) // OPENED)][:OPENED]:
        try:
            held.append(len(kind.boxes(tree.root / path)) > 0)
        except (ValueError, OSError):
            held.append(False)
    return sum(held) > len(held) / 2


def _table(paths: list[str], role: Role, kind: type[BoxFiles], tree: Tree) -> TableFile | None:
    """None where the pattern would mean other files too."""
    folder = common_folder(paths)
    deep = "**/" * any("/" in path[len(folder) :] for path in paths)
    pattern = f"{folder}{deep}*{kind.ending}"
    meant = {file.relative_to(tree.root).as_posix() for file in box_files.files_of(tree.root / pattern)}
    if not meant >= set(paths) or len(meant) > len(paths) + max(2, len(paths) / 10):
        return None
    try:
        cells = box_files.read(tree.root / pattern)
    except ValueError as error:
        raise Problem(f"{folder}{error}: mend the file, or take it away", code="unreadable-table") from None
    return TableFile(pattern, role, Sheet(), counted(cells)) if len(cells) else None


def named_table(pattern: str, tree: Tree) -> list[TableFile]:
    """The tables of such files, that of the pattern that the user gives among them. Raises Problem."""
    found = box_file_tables(tree)
    if any(table.path == pattern for table in found):
        return found
    try:
        cells = counted(box_files.read(tree.root / pattern))
    except ValueError as error:
        raise Problem(f"{pattern}: {error}", code="unreadable-table") from None
    return [TableFile(pattern, role_of_table(f"{pattern.rpartition('/')[0]}/x", tree.shared), Sheet(), cells)]
