"""A training part without a table: the labels stand in the names of folders or files."""

import pandas as pd

from src.competition.detect.context import Context
from src.competition.detect.names import REMEDY, Named, label_in_names
from src.competition.detect.several import Label
from src.competition.detect.train import Train
from src.competition.detect.undecided import Try, Undecided
from src.competition.file_tree import common_folder
from src.competition.templates import fields, name, pattern
from src.core.errors import UsageError


def from_names(context: Context) -> Train:
    """The training images by their folders or names. Raises Undecided where no pattern gives them labels."""
    given = context.given("train.files")
    if given:
        found = matched(given, context.tree.images)
        if "label" not in found or not len(found):
            such = context.tree.images[0]
            raise UsageError(f"train.files={given}: it must have a field {{label}} and fit some image, such as {such}")
        paths, named = list(found["path"]), Named(given, tuple(found["label"]), "given on the command line")
    else:
        paths = _pool(context)
        named = label_in_names(paths, _asked(context)) if paths else None
    if named is None:
        tries = [Try(table.path, 0, 0, f"columns {', '.join(map(str, table.columns[:5]))}") for table in context.tables]
        what = f"no table names images and labels, and the names of {len(paths)} images hold no label either:"
        raise Undecided(what, tries, f"{REMEDY}, or train.table=TABLE train.images=TEMPLATE train.label=COLUMN")
    draft = context.draft
    cells = matched(named.files, context.tree.images)
    if not given and set(cells["path"]) != set(paths):
        more = sorted(set(cells["path"]) - set(paths))
        tries = [Try(named.files, len(paths), len(cells), paths[0], more[0])]
        raise Undecided("the pattern of the training images also fits images of other parts:", tries, REMEDY)
    draft.put("train.files", named.files, f"{len(paths)} images; {named.how}", named.guess)
    unique = len({name(path) for path in paths}) == len(paths)
    draft.put(
        "train.id", "{path:name}" if unique else "path", "file names are unique" if unique else "file names come again"
    )
    context.taken.update(paths)
    return Train(cells, "path", tuple(paths), Label("label", named.how))


def _asked(context: Context) -> set[str]:
    """The classes that the sample submission names."""
    sample = context.sample
    return set(sample.answers if len(sample.answers) > 1 else sample.values) - {""} if sample else set()


def matched(files: str, paths: list[str]) -> pd.DataFrame:
    """The paths that fit a pattern, with its fields."""
    rows = [(path, *match.groups()) for path in paths if (match := pattern(files).fullmatch(path))]
    return pd.DataFrame(rows, columns=["path", *fields(files)], dtype=object)


def _pool(context: Context) -> list[str]:
    """Images that no other part uses: those in folders named train where there are any, else all but other parts'."""
    free = [path for path in context.tree.images if path not in context.taken]
    roles: dict[str, str] = {}
    for path in free:
        folder = path.rpartition("/")[0]
        if folder not in roles:
            roles[folder] = context.role(path)
    for part in ("train", ""):
        pool = [path for path in free if roles[path.rpartition("/")[0]] == part]
        if pool:
            return pool
    return []


def same_pattern(train_files: str, part: str, context: Context) -> tuple[str, pd.DataFrame] | None:
    """The training pattern moved to the folder of another part, and what it finds there."""
    images = [path for path in context.tree.images if path not in context.taken and context.role(path) == part]
    if not images:
        return None
    fixed = train_files.partition("{")[0].rpartition("/")[0]
    rest = train_files[len(fixed) + 1 :] if fixed else train_files
    root = common_folder(images)
    while True:
        found = matched(root + rest, images)
        if len(found) == len(images):
            return root + rest, found
        if not root:
            return None
        root = root.rstrip("/").rpartition("/")[0] + "/" if "/" in root.rstrip("/") else ""
