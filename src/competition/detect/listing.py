"""A training part without a table: the labels stand in the names of folders or files."""

from collections import Counter
from dataclasses import replace
from typing import NoReturn

import pandas as pd

from src.competition.detect.context import Context
from src.competition.detect.draft import Evidence
from src.competition.detect.names import REMEDY, Named, label_in_names
from src.competition.detect.roles import BESIDE, is_masks, role_of_word, without_mask, words
from src.competition.detect.several import Label
from src.competition.detect.train import Train
from src.competition.detect.undecided import Try, Undecided
from src.competition.detect.unsupported import check_box_files
from src.competition.file_tree import common_folder
from src.competition.templates import fields, literal, name, pattern, stem
from src.core.errors import UsageError
from src.core.wording import plural

NUMBERED = ("{number:d}.{ending}", "{name}{number:d}.{ending}", "{name}({number:d}).{ending}")
SHOWN = 5  # paths or folders in a line
MASKS_LOOKED_AT = 5_000  # names, to see whether there are masks


def from_names(context: Context) -> Train:
    """The training images by their folders or names. Raises Undecided where no pattern gives them labels."""
    given = context.given("train.files")
    if given:
        found = matched(given, context.tree.images)
        if "label" not in found or not len(found):
            such = context.tree.images[0]
            raise UsageError(
                f"train.files={given}: it must have a field {{label}} and fit some image, such as {such}",
                code="pattern-without-files",
            )
        paths = list(found["path"])
        named = Named(given, tuple(found["label"]), "given on the command line", tuple(paths))
    else:
        paths = pool(context)
        named = label_in_names(paths, _asked(context)) if paths else None
    if not given and (named is None or (named.guess and "{label}" in name(named.files))):
        check_box_files(context)
    _ask_about_folders(context)
    if named is None:
        _refuse(paths, context)
    if not given and "{label}" in name(named.files):
        _ask_about_tables(paths, named, context)
    draft = context.draft
    cells = matched(named.files, context.tree.images)
    labels = sorted(set(named.labels))
    own = cells[cells["label"].isin(labels)]
    if not given and len(own) < len(cells) and set(own["path"]) == set(named.paths):
        draft.put("train.where", {"label": labels}, "the other folders are other parts")
        cells = own
    if not given and set(cells["path"]) != set(named.paths):
        named, cells = _narrowed(named, cells, context)
    if not given and set(cells["path"]) != set(named.paths):
        more = sorted(set(cells["path"]) ^ set(named.paths))
        tries = [Try(named.files, len(named.paths), len(cells), named.paths[0], more[0])]
        raise Undecided("the pattern of the training images does not fit the images of this part alone:", tries, REMEDY)
    such = ", ".join(named.aside[:SHOWN]) + ", ..." * (len(named.aside) > SHOWN)
    beside = (f"beside the classes: {such}",) if named.aside else ()
    rivals = tuple(f"train.files='{one}'" for one in named.rivals)
    evidence = Evidence(len(named.paths), len(paths), "images", against=beside, rivals=rivals)
    draft.put("train.files", named.files, named.how, named.guess, evidence)
    unique = len({name(path) for path in named.paths}) == len(named.paths)
    draft.put(
        "train.id", "{path:name}" if unique else "path", "file names are unique" if unique else "file names come again"
    )
    context.taken.update(named.paths)
    return Train(cells, "path", tuple(cells["path"]), Label("label", named.how))


def _narrowed(named: Named, cells: pd.DataFrame, context: Context) -> tuple[Named, pd.DataFrame]:
    """The pattern with a number in the names, where that alone leaves out what lies among the images, such as masks."""
    folder = named.files.removesuffix("/{file}")
    for tail in NUMBERED if folder != named.files else ():
        found = matched(f"{folder}/{tail}", context.tree.images)
        if set(found["path"]) == set(named.paths):
            return replace(named, files=f"{folder}/{tail}"), found
    return named, cells


def _ask_about_tables(paths: list[str], named: Named, context: Context) -> None:
    """A training table whose cells name no image is a stronger witness of the labels than the names of files."""
    for table in context.tables:
        if table.role == "train" and table.path not in context.imaged and 2 * len(table) >= len(paths):
            tries = [Try(one, 0, 0, ", ".join(table.cells[one].iloc[:3])) for one in table.columns[:SHOWN]]
            tries += [Try("images", 0, 0, ", ".join(map(name, paths[:3]))), Try(named.files, 0, 0, named.how)]
            what = f"{table.path} has {len(table)} rows, but none of its columns names the images:"
            remedy = (
                f"Say how: train.table={table.path} train.images=TEMPLATE; or, if the names of the files hold the "
                f"label: train.files='{named.files}'"
            )
            context.questions.append(Undecided(what, tries, remedy))


def _refuse(paths: list[str], context: Context) -> NoReturn:
    tries = [Try(table.path, 0, 0, f"columns {', '.join(map(str, table.columns[:5]))}") for table in context.tables]
    folders = Counter(path.rpartition("/")[0] or "the top folder" for path in paths)
    for folder, count in folders.most_common(SHOWN):
        such = next(path for path in paths if (path.rpartition("/")[0] or "the top folder") == folder)
        tries.append(Try(folder, 0, 0, f"{plural(count, 'image')}, such as {name(such)}"))
    what = f"no table names images and labels, and the names of {len(paths)} images hold no label either:"
    remedy = f"{REMEDY}, or train.table=TABLE train.images=TEMPLATE train.label=COLUMN"
    for table in context.tables:
        if table.role == "train" and len(table) == len(paths):
            remedy += f". If the rows of {table.path} are in the order of the images' numbers: train.id=row"
    if not paths:
        roots = Counter(f"{context.parts.root(path)} ({context.role(path)})" for path in context.tree.images)
        tries += [Try(root, found=f"{count} images") for root, count in roots.most_common(SHOWN)]
        what = "no images are left to train on: all belong to other parts, by the names of their folders:"
    elif any(is_masks(part) for path in context.tree.images for part in path.split("/")[:-1]):
        what = f"no table and no folder gives {len(paths)} images a label, and masks lie beside them (segmentation?):"
    sample = context.sample
    held = {column for table in context.tables if sample and table is not sample.table for column in table.columns}
    lacking = [column for column in sample.answers if column not in held] if sample else []
    if lacking:
        shown = ", ".join(lacking[:SHOWN]) + ", ..." * (len(lacking) > SHOWN)
        what = f"{sample.table.path} asks for {shown}, which no other table has; {what}"
    raise Undecided(what, tries, remedy)


def _ask_about_folders(context: Context) -> None:
    """Folders that are called after a part and look like the classes beside them."""
    if context.given("train.files") or context.given("test.files") or context.given("validation.files"):
        return
    for folder, siblings in context.parts.open_folders.items():
        called = name(folder.rstrip("/"))
        tries = [
            Try(one, found=f"{plural(count, 'image')}") for one, count in _counts(folder, siblings, context).items()
        ]
        above = folder.removesuffix(f"{called}/")
        part = context.parts.roots.get(folder, "test")
        remedy = (
            f"Say it: train.files='{literal(above)}{{label}}/{{file}}' if {called} is a class, "
            f"{part}.files='{literal(folder)}{{file}}' if it is no class"
        )
        context.questions.append(Undecided(f"the folder {called} may be a class or the {part} images:", tries, remedy))


def _counts(folder: str, siblings: list[str], context: Context) -> dict[str, int]:
    above = folder.rstrip("/").rpartition("/")[0]
    above = f"{above}/" if above else ""
    return {one: sum(path.startswith(f"{above}{one}/") for path in context.tree.images) for one in siblings}


def _asked(context: Context) -> set[str]:
    """The classes that the sample submission names."""
    sample = context.sample
    return set(sample.answers if len(sample.answers) > 1 else sample.values) - {""} if sample else set()


def matched(files: str, paths: list[str]) -> pd.DataFrame:
    """The paths that fit a pattern, with its fields."""
    matcher = pattern(files)
    rows = [(path, *match.groups()) for path in paths if (match := matcher.fullmatch(path))]
    return pd.DataFrame(rows, columns=["path", *fields(files)], dtype=object)


def pool(context: Context) -> list[str]:
    """Images that no other part uses: those in folders named train where there are any, else all but other parts'."""
    free = [path for path in context.tree.images if path not in context.taken]
    roles = [context.role(path) for path in free]
    for part in ("train", ""):
        held = [path for path, role in zip(free, roles, strict=True) if role == part]
        if held:
            return _without_masks(held, context)
    return []


def _without_masks(paths: list[str], context: Context) -> list[str]:
    """The images without masks that lie beside them, such as 7_mask.png, or masks/7.png beside images/7.png."""
    few = paths[:: len(paths) // MASKS_LOOKED_AT + 1]
    if not any(without_mask(stem(path)) or any(map(is_masks, path.split("/")[:-1])) for path in few):
        return paths
    stems = {path: stem(path) for path in paths}
    places = {(path.rpartition("/")[0], one) for path, one in stems.items()}
    masks = {path for path, one in stems.items() if (path.rpartition("/")[0], without_mask(one)) in places}
    folders = {part for path in paths for part in path.split("/")[:-1]}
    if any(map(is_masks, folders)):
        named = {path for path in paths if any(map(is_masks, path.split("/")[:-1]))}
        masks |= {path for path in named if not _is_class(path, named, context)}
    return [path for path in paths if path not in masks] if len(masks) < len(paths) else paths


def _is_class(path: str, named: set[str], context: Context) -> bool:
    """Whether a folder that is called after masks may be a class all the same: another image bears no name like it."""
    others = [one for one in context.tree.by_stem[stem(path)] if one not in named]
    return not any({*words(part)} <= BESIDE for one in others for part in one.split("/")[:-1])


def part_images(part: str, context: Context) -> list[str]:
    """The free images of one part; where several folders bear its name, those of the one that is called so alone."""
    images = [path for path in context.tree.images if path not in context.taken and context.role(path) == part]
    roots = Counter(context.parts.root(path) for path in images)
    if len(roots) < 2:
        return images
    if len({name(folder.rstrip("/")) for folder in roots}) == 1 and "" not in roots:
        return images  # cat/test, dog/test
    best = min(roots, key=lambda folder: (len(words(name(folder.rstrip("/")))), -roots[folder]))
    if best and any(folder.startswith(best) for folder in roots if folder != best):
        return images
    others = [folder for folder in roots if folder != best]
    context.notes.append(f"{best} is taken for the {part} images; left aside: {', '.join(others)}")
    return [path for path in images if context.parts.root(path) == best]


def same_pattern(train_files: str, images: list[str], context: Context) -> tuple[str, pd.DataFrame] | None:
    """The training pattern moved to the folder of another part's images, where it finds exactly these."""
    if not images:
        return None
    fixed = train_files.partition("{")[0].rpartition("/")[0]
    rest = train_files[len(fixed) + 1 :] if fixed else train_files
    lowest = context.parts.root(images[0])
    inside = train_files.split("/")
    for place, folder in enumerate(inside[:-1]):  # {label}/train/{file} becomes {label}/test/{file}
        if lowest.count("/") == place + 1 and role_of_word(folder) == "train":
            other = "/".join([*inside[:place], literal(name(lowest.rstrip("/"))), *inside[place + 1 :]])
            found = matched(other, context.tree.images)
            if set(found["path"]) == set(images):
                return other, found
    root = common_folder(images)
    while root.startswith(lowest):
        found = matched(literal(root) + rest, context.tree.images)
        if len(found) == len(images) and set(found["path"]) == set(images):
            return literal(root) + rest, found
        if not root:
            return None
        root = root.rstrip("/").rpartition("/")[0] + "/" if "/" in root.rstrip("/") else ""
    return None
