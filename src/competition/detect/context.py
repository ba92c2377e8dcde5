"""What the steps of detection share, and the choice of the one rule that finds the images of a part."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from src.competition.bags import find_bags
from src.competition.card import Sheet
from src.competition.detect.boxes import box_columns
from src.competition.detect.draft import Draft
from src.competition.detect.inventory import TableFile
from src.competition.detect.parts import Parts
from src.competition.detect.roles import MARGIN, Role, is_masks
from src.competition.detect.rules import (
    Rule,
    find_bag_rules,
    find_joint_rules,
    find_likely_rules,
    find_numbered_rules,
    find_rules,
)
from src.competition.detect.sample import Sample
from src.competition.detect.undecided import Try, Undecided
from src.competition.file_tree import Tree
from src.competition.templates import fill, stem
from src.images.regions import split_region, with_region

LOOKED_AT = 300  # values of a column, to see whether it names images
WRITTEN = {
    "header": "the first line is like those below it",
    "separator": "it cuts every line alike",
    "encoding": "the file is no UTF-8; if its letters come out wrong, say another one",
    "skip": "lines before the header",
    "trim": "a blank follows each separator",
}
FEW_MISSING = 0.1  # of the test images; they are answered all the same


@dataclass
class Context:
    """Everything known so far. `taken`: files that another part uses already."""

    tree: Tree
    tables: list[TableFile]
    draft: Draft
    sample: Sample | None = None
    notes: list[str] = field(default_factory=list)
    questions: list[Undecided] = field(default_factory=list)  # what stops in the end, so that all is asked at once
    taken: set[str] = field(default_factory=set)
    boxed: bool = False  # whether the ids of the sample are those of boxes
    code_table: str | None = None  # a table that says which code stands for which label

    @cached_property
    def imaged(self) -> dict[str, str]:
        """Tables with a column that names images: that column, by the table's path. It may be the row's number."""
        found = {table.path: image_column(table, self) for table in self.tables if not table.pixels}
        return {path: column for path, column in found.items() if column}

    @cached_property
    def parts(self) -> Parts:
        """The parts that folders hold, by their names and what the sample submission says."""
        sample = self.sample
        asked = set(sample.answers if len(sample.answers) > 1 else sample.values) - {""} if sample else set()
        return Parts(self.tree.images, asked, {stem(one) for one in sample.ids} if sample else set())

    def add(self, tables: list[TableFile]) -> None:
        """Put tables beside the others."""
        self.tables += tables
        self.__dict__.pop("imaged", None)

    def role(self, path: str) -> Role:
        """The part that an image plays by its folders; `path` may be a template."""
        return self.parts.role(path)

    def given(self, key: str) -> str | None:
        return self.draft.given.get(key)

    def table(self, path: str) -> TableFile | None:
        return next((table for table in self.tables if table.path == path), None)

    def put_sheet(self, part: str, sheet: Sheet) -> None:
        """The facts of how a table is written, where they are not the usual ones."""
        for key, how in WRITTEN.items():
            value = getattr(sheet, key)
            if value != Sheet.model_fields[key].default and f"{part}.{key}" not in self.draft.facts:
                # The Western code page reads any file: that it is the right one, nothing tells.
                self.draft.put(f"{part}.{key}", value, how, guess=key == "encoding" and value != "utf-16")


def image_column(table: TableFile, context: Context) -> str | None:
    """The column whose different values name the most images, by the plainest rule; else the number of the row.

    The number of a row says nothing of an image as long as any column could.
    """
    return (
        _naming_column(table, context, find_rules)
        or _naming_column(table, context, find_likely_rules)
        or _naming_column(table, context, find_bag_rules)
        or _naming_column(table, context, find_numbered_rules)
        or _numbered(table, context)
    )


def _naming_column(table: TableFile, context: Context, find: Callable[..., list[Rule]]) -> str | None:
    wanted = context.sample.id if context.sample else None
    found: dict[str, tuple[int, bool, bool, bool]] = {}
    boxes = box_columns(table.cells)
    for column in table.columns:
        if column in boxes:
            continue
        values = table.cells[column].unique()
        # Several images are those of a name that stands once: a class is a folder of several images as well.
        fewest = {find_rules: _fewest(values, many=bool(boxes)), find_bag_rules: 1.0}.get(find, 0.5)
        if re.search(r"[{}:]", column) or not column or len(values) < fewest * len(table):
            continue
        few = values[:: max(1, len(values) // LOOKED_AT)].tolist()
        rules = find(few, column, context.tree)
        rules = rules or (
            find is find_rules
            and _joint(table.cells[table.columns].drop_duplicates(column).iloc[:LOOKED_AT], column, context)
        )
        if rules and rules[0].hits >= 0.5 * len(rules[0].files):
            plain = find is find_bag_rules or not re.search(r"[:*]", rules[0].images)
            whole = re.search(r"(^|/)\{[^{}]*\}[^/]*$", rules[0].images) is not None  # the name begins with the cell
            hits = len(values) * rules[0].hits // len(rules[0].files)
            found[column] = hits, plain, column == wanted, whole
    return max(found, key=found.get, default=None)


def _fewest(values: np.ndarray, many: bool) -> float:
    """The share of rows that a column's different values must reach: short numbers name images by accident.

    many: whether a row is a box, for a picture has any number of them.
    """
    if all(re.fullmatch(r"\d{1,3}|", value) for value in values[:LOOKED_AT]):
        return 0.5
    return 0.0 if many else 0.1


def _numbered(table: TableFile, context: Context) -> str | None:
    """row or row0, where the numbers of the rows are the names of all images in a folder.

    A column of ids should have named them: the order of the rows is no witness then.
    """
    if any(map(_is_identity, (table.cells[column] for column in table.columns))):
        return None
    for column in ("row", "row0"):
        rules = find_rules(table.cells[column].tolist(), column, context.tree)
        if any(rule.full and _fills_its_folder(rule, context) for rule in rules):
            return column
    return None


def _is_identity(cells: pd.Series) -> bool:
    """Whether a column gives each row a name of its own; measures with a fraction, and long texts, are none."""
    values = cells.tolist()
    if len(values) < 3 or len(set(values)) < len(values) or "" in values:
        return False
    return not any(re.fullmatch(r"[+-]?\d*[.,]\d*[1-9]\d*|.{200,}", value, re.DOTALL) for value in values)


def rules_for(cells: pd.DataFrame, column: str, context: Context) -> list[Rule]:
    """Every rule that makes files of a column, where need be together with a column that names their folder."""
    values = cells[column].tolist()
    rules = find_rules(values, column, context.tree)
    changed = not any(rule.full and re.search(r"(^|/)\{[^{}:]+\}(\.\w+|\.\*)?$", rule.images) for rule in rules)
    if rules and changed and (cells[column].is_unique or _is_asked(cells[column], context)):
        # Where a part of the id, or a number behind it, names files, whole folders may bear the id itself.
        bags = find_bag_rules(values, column, context.tree)
        if bags and bags[0].hits >= max(rule.hits for rule in rules):
            return bags
    for find in (lambda: _joint(cells, column, context), lambda: find_likely_rules(values, column, context.tree)):
        most = max((rule.hits for rule in rules), default=0)
        if most < len(cells):
            rules = [*rules, *(rule for rule in find() if rule.hits > most)]
    if 2 * max((rule.hits for rule in rules), default=0) < len(cells):
        bags = find_bag_rules(values, column, context.tree) if cells[column].is_unique else []
        if bags and bags[0].hits > max((rule.hits for rule in rules), default=0):
            return bags
    # Numbers alone agree with many files, such as masks: only where the names say nothing.
    if 2 * max((rule.hits for rule in rules), default=0) < len(cells):
        rules = [*rules, *find_numbered_rules(values, column, context.tree)]
    return rules


def _is_asked(cells: pd.Series, context: Context) -> bool:
    """Whether the sample submission asks for these ids, some of which come again: a table of series of each."""
    return context.sample is not None and set(cells) == set(context.sample.ids)


def _joint(cells: pd.DataFrame, column: str, context: Context) -> list[Rule]:
    folders = {part for path in context.tree.images for part in path.split("/")[:-1]}
    found = []
    for other in cells.columns.drop([column, "row", "row0"], errors="ignore"):
        values = set(cells[other].unique())
        if 1 < len(values) <= len(cells) / 2 and len(values & folders) > len(values) / 2:
            found += find_joint_rules(cells[column].tolist(), column, cells[other].tolist(), other, context.tree)
    return found


def pick(rules: list[Rule], part: Role, what: str, values: list[str], context: Context) -> Rule:
    """The one rule for a part of the data. Raises Undecided with all of them where none or several will do.

    Where one column is found in several folders, the folder's name and then its contents decide. `values`: the
    cells, for the message.
    """
    tries = [_try(rule, values) for rule in rules]
    key = f"{part}.images"
    best = _fitting(rules, part, context)
    if len(best) != 1:
        reason = "several rules find" if best else "no rule finds"
        remedy = f"Say how: {key}=TEMPLATE, such as {key}='images/{{id}}.jpg'"
        if together := _common_template(best):
            remedy += f". If all of them are images of one answer: bag=files {key}='{together}'"
        if cropped := _cropped_template(best):
            remedy += f". If one is a mask, which tells what is to be seen of the other: {key}='{cropped}'"
        raise Undecided(f"{what}: {reason} the images:", tries, remedy)
    rule = best[0]
    dropped = context.draft.get("on_bad_image") == "drop" and rule.hits > 0
    enough = dropped or (part == "test" and rule.hits >= (1 - FEW_MISSING) * len(rule.files))
    if not rule.full and not enough:
        remedy = (
            f"If files are missing, put them into {context.tree.root}, or leave their rows out: on_bad_image=drop. "
            f"If the rule is wrong: {key}=TEMPLATE"
        )
        raise Undecided(f"{what}: no rule finds every image:", tries, remedy)
    return rule


def _common_template(rules: list[Rule]) -> str:
    """One template for rules that differ behind the id alone, such as train/{id}_*; empty for others."""
    if len(rules) < 2 or not all(rule.full for rule in rules):
        return ""
    begins = [re.match(r"[^{}]*\{[^{}:]+\}[-_. ]*", rule.images) for rule in rules]
    shared = {match[0] for match in begins if match}
    return f"{shared.pop()}*" if None not in begins and len(shared) == 1 else ""


def _fitting(rules: list[Rule], part: Role, context: Context) -> list[Rule]:
    """The rules left when folders of this part go before others, full rules before others, unused files before used."""
    roles = {rule.images: context.role(rule.images) for rule in rules}
    own = [rule for rule in rules if roles[rule.images] == part and rule.hits >= (1 - FEW_MISSING) * len(rule.files)]
    others = ("", part, "train") if part == "validation" else ("", part)
    best = own or [rule for rule in rules if roles[rule.images] in others]
    best = best or [rule for rule in rules if rule.full and part == "test"]  # images of another part: told later
    most = max((rule.hits for rule in best), default=0)
    best = [rule for rule in best if rule.hits >= (most if most == len(rule.files) else 0.9 * most)]
    best = [rule for rule in best if not context.taken.intersection(rule.files)] or best
    if len(best) > 1:
        best = [rule for rule in best if _fills_its_folder(rule, context)] or best
    return best


def given_rule(template: str, cells: pd.DataFrame, context: Context) -> Rule:
    """The rule that the user gave as a template."""
    if "*" in template.rpartition("/")[2].removesuffix(".*"):
        bags = find_bags(fill(template, cells), context.tree)
        each = sum(map(len, bags)) / max(1, sum(map(bool, bags)))
        folder = re.split(r"[{*]", template, maxsplit=1)[0].rpartition("/")[0]
        return Rule(template, folder, tuple(bag[0] if bag else None for bag in bags), images_each=each)
    parts = [split_region(path) for path in fill(template, cells)]
    found = [context.tree.resolve(path, ":alike}" in template) for path, _ in parts]
    files = tuple(file and with_region(file, region) for file, (_, region) in zip(found, parts, strict=True))
    return Rule(template, re.split(r"[{*]", template, maxsplit=1)[0].rpartition("/")[0], files)


def _fills_its_folder(rule: Rule, context: Context) -> bool:
    return sum(path.startswith(rule.folder) for path in context.tree.images) == len(set(rule.files))


def _cropped_template(rules: list[Rule]) -> str:
    """The template of images that are cropped to their masks, where one of two rules finds files of a folder that is
    called after masks."""
    masks = [rule for rule in rules if any(map(is_masks, rule.images.split("/")[:-1]))]
    images = [rule for rule in rules if rule not in masks]
    return f"{images[0].images}/mask={masks[0].images},{MARGIN}" if len(masks) == len(images) == 1 else ""


def _try(rule: Rule, values: list[str]) -> Try:
    found = next((file for file in rule.files if file), "")
    missed = [value for value, file in zip(values, rule.files, strict=True) if not file]
    more = f" and {len(missed) - 3} more" if len(missed) > 3 else ""
    return Try(rule.images, rule.hits, len(rule.files), found, ", ".join(missed[:3]) + more)
