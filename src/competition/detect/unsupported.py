"""Tasks that a card cannot express yet, each recognised by its own object and told in one line.

Once a task can be expressed, its object goes, or becomes the reading of it. `signs` gives the evidence in words, None
where the files do not show the task.
"""

import re
from collections import Counter
from typing import Protocol

import pandas as pd

from src.competition.box_files import format_of
from src.competition.detect.bag_rows import shared_id
from src.competition.detect.box_tables import box_file_tables
from src.competition.detect.boxes import box_columns
from src.competition.detect.context import Context
from src.competition.detect.inventory import TableFile
from src.competition.detect.roles import words
from src.competition.detect.rules import find_bag_rules
from src.competition.detect.sample import Sample
from src.competition.detect.sniff import NUMBER
from src.competition.templates import stem
from src.core.errors import Problem

MOST = 0.9  # of the cells must be of a kind for a column to be of it
LOOKED_AT = 500  # cells
SHARED = 0.05  # of a table's rows are of an image that has another row, where they are boxes
KINDS = 100  # rows that one image is asked at most
FEWEST = 20  # rows that can tell texts from classes
RUNS = re.compile(r"\d+ \d+( \d+ \d+)+")  # start length start length ...
MASK_WORDS = {"encodedpixels", "encodedpixel", "rle", "mask", "masks", "segmentation"}
BOX_WORDS = {"bbox", "bboxes", "box", "boxes", "predictionstring"}
CORNERS = (
    {"xmin", "ymin", "xmax", "ymax"},
    {"x", "y", "w", "h"},
    {"x", "y", "width", "height"},
    {"x1", "y1", "x2", "y2"},
)


class Unsupported(Problem):
    """The files ask for something else than an answer to each image."""

    code = "unsupported-task"

    def __init__(self, task: str, signs: str, remedy: str = "") -> None:
        """remedy: where a card can express it, and only the files do not tell how."""
        cannot = (
            "which cannot be expressed here yet. Podium answers an image with classes, numbers or shares of classes"
        )
        super().__init__(f"{signs}: this is {task}, {remedy or cannot}")


class Task(Protocol):
    """A task that is recognised: its name, and what in the files shows it. remedy: see Unsupported."""

    name: str
    remedy: str = ""

    def signs(self, context: Context) -> str | None: ...


class LongForm(Task):
    """Several rows of the sample submission for one image, one a question: IMG_1_left, IMG_1_right."""

    name = "a submission in long form"
    remedy = (
        "and the files do not tell which answer of the training table a row asks for. Write the card by hand: "
        "submission.rows and submission.id tell how a row's id is made (competition/README.md)"
    )

    def signs(self, context: Context) -> str | None:
        sample = context.sample
        if sample is None or not len(sample.ids) or context.boxed:
            return None
        ids = sample.ids
        if again := self._repeated(sample, context):
            return again
        if sum(stem(one) in context.tree.by_stem for one in ids[:LOOKED_AT]) > len(ids[:LOOKED_AT]) / 2:
            return None
        if any(rule.full for rule in find_bag_rules(list(dict.fromkeys(ids[:LOOKED_AT])), sample.id, context.tree)):
            return None  # each id means the images of a folder or of a name
        pairs = [self._split(one, context) for one in ids]
        found = [pair for pair in pairs if pair]
        heads, tails = {head for head, _ in found}, Counter(tail for _, tail in found)
        if len(found) < MOST * len(ids) or not 1 < len(tails) <= KINDS or len(found) < 1.5 * len(heads):
            return self._by_table(sample, context)
        some = ", ".join(tail for tail, _ in tails.most_common(3))
        return (
            f"{sample.table.path} has several rows of one image, a row for each of {some}{', ...' * (len(tails) > 3)}"
            f" ({len(ids)} rows of {len(heads)} images, such as {ids[0]})"
        )

    def _repeated(self, sample: Sample, context: Context) -> str | None:
        """A column of the sample that names each image several times, beside one that names the question."""
        table = sample.table
        for column in table.columns if not any(table.cells[one].is_unique for one in table.columns) else ():
            count = table.cells[column].nunique()
            if _names_images(table, column, context) and len(table) >= 1.5 * count:
                return f"{table.path} has several rows of one image ({len(table)} rows of {count} images in {column})"
        return None

    def _split(self, one: str, context: Context) -> tuple[str, str] | None:
        """An image's name at the beginning of an id, the longest, and what follows."""
        for match in reversed(list(re.finditer(r"[^A-Za-z0-9]+", one))):
            if one[: match.start()] in context.tree.by_stem and one[match.end() :]:
                return one[: match.start()], one[match.end() :]
        return None

    def _by_table(self, sample: Sample, context: Context) -> str | None:
        """A test table that gives each row of the sample an image, the same to several."""
        for table in context.tables:
            if table is sample.table or len(table) != len(sample.ids):
                continue
            if box_columns(table.cells):  # its rows are boxes, and each is an image
                continue
            keyed = [column for column in table.columns if set(sample.ids) == set(table.cells[column])]
            images = [
                column for column in table.columns if column not in keyed and _names_images(table, column, context)
            ]
            if keyed and images and table.cells[images[0]].nunique() < 0.7 * len(table):
                count = table.cells[images[0]].nunique()
                return f"{sample.table.path} has several rows of one image ({len(table)} rows of {count} images)"
        return None


class SeveralImages(Task):
    """One answer for several rows of images, such as those of a patient, where these are read neither as the bag of a
    folder nor as the rows of a table of test images."""

    name = "one answer for several images"
    remedy = "and no table of test images gives each image its id. Name the table that does: test.table=TABLE bag=rows"

    def signs(self, context: Context) -> str | None:
        sample = context.sample
        if sample is None or not sample.ids or context.given("bag") or context.boxed:
            return None
        few = sample.ids[:LOOKED_AT]
        if any(stem(one) in context.tree.by_stem for one in few):
            return None
        wanted = set(sample.ids)
        imaged = [one for one in context.tables if one.path in context.imaged and one is not sample.table]
        if any(self._read(table, context.imaged[table.path], sample) for table in imaged if table.role != "train"):
            return None
        for table in imaged:
            image = context.imaged[table.path]
            for column in table.columns:
                again = column != image and table.cells[column].nunique() < 0.9 * len(table)
                if again and wanted <= set(table.cells[column]):
                    images = table.cells.groupby(column)[image].nunique()
                    if images[images.index.isin(wanted)].mean() > 1.2:
                        return f"{column} {few[0]!r} of {table.path} stands for several images"
        return None

    def _read(self, table: TableFile, image: str, sample: Sample) -> bool:
        """Whether the rows that the sample asks for, all or those of one part, are read as bags."""
        if shared_id(table.cells, image, sample.ids):
            return True
        parts = (table.cells[table.cells[column].isin(sample.ids)] for column in table.columns if column != image)
        return any(len(part) and shared_id(part, image, sample.ids) for part in parts)


class Pairs(Task):
    """A question about two images at once."""

    name = "a comparison of pairs of images"

    def signs(self, context: Context) -> str | None:
        for table in context.tables:
            named = [column for column in table.columns if _names_images(table, column, context)]
            for k, one in enumerate(named):
                for other in named[k + 1 :]:
                    a, b = table.cells[one].map(stem), table.cells[other].map(stem)
                    if (a != b).mean() > MOST and not _belong_together(a, b):
                        return f"{table.path} names two images in a row, {one} and {other}"
        return None


class Masks(Task):
    """Masks as lists of runs."""

    name = "segmentation with masks (run-length encoding)"

    def signs(self, context: Context) -> str | None:
        for table in context.tables:
            for column in table.columns:
                cells = [cell for cell in table.cells[column].iloc[:LOOKED_AT] if cell.strip()]
                named = bool({*words(column), column.casefold()} & MASK_WORDS)
                runs = sum(RUNS.fullmatch(cell.strip()) is not None for cell in cells)
                asked = context.sample is not None and column in context.sample.answers
                other = bool(cells) and all(map(NUMBER.fullmatch, cells))  # a probability of the class called mask
                likely = bool(cells) and runs > MOST * len(cells)
                if (named and asked and not other) or (likely and (named or asked)):
                    such = f", such as {cells[0][:30]!r}" if cells else ""
                    return f"the column {column} of {table.path} holds masks{such}"
        return None


class Boxes(Task):
    """Places of things in an image, asked for by the sample submission."""

    name = "detection of boxes"

    def signs(self, context: Context) -> str | None:
        sample = context.sample
        if sample is None:
            return None
        answers = {column.casefold() for column in sample.answers}
        if any(corner <= answers for corner in CORNERS):
            return f"{sample.table.path} asks for the coordinates of boxes ({', '.join(sample.answers)})"
        for column in sample.answers:
            cells = [cell for cell in sample.table.cells[column].iloc[:LOOKED_AT] if cell.strip()]
            other = bool(cells) and all(map(NUMBER.fullmatch, cells))  # a probability of the class called box
            if {*words(column), column.casefold()} & BOX_WORDS and not other:
                return f"the column {column} of {sample.table.path} asks for boxes"
        return None


class ToldBoxes(Task):
    """A table of boxes, an image in several rows, where no sample submission tells what is asked."""

    name = Boxes.name
    remedy = (
        "which cannot be expressed here. To tell what each box shows, as an image of its own, name the table of boxes: "
        "train.table=TABLE"
    )

    def signs(self, context: Context) -> str | None:
        if context.sample or any(context.given(f"train.{key}") for key in ("label", "files", "images", "table")):
            return None
        for table in context.tables:
            images = table.cells[context.imaged[table.path]].nunique() if table.path in context.imaged else len(table)
            columns = box_columns(table.cells)
            if columns and images < (1 - SHARED) * len(table):
                return f"{table.path} holds {len(table)} boxes of {images} images ({', '.join(columns)})"
        return None


class Texts:
    """A text of its own for each image: captions, or what is written in them."""

    name = "a text for each image (captions, or reading)"

    @staticmethod
    def signs(cells: pd.Series, column: str) -> str | None:
        """Asked once the label is known: nearly every image has a label of its own."""
        different = cells.nunique()
        if len(cells) < FEWEST or different < MOST * len(cells) or all(map(NUMBER.fullmatch, cells)):
            return None
        return f"{column} holds {different} different labels in {len(cells)} rows, such as {cells.iloc[0][:40]!r}"


TASKS: tuple[Task, ...] = (LongForm(), SeveralImages(), Pairs(), Masks(), Boxes(), ToldBoxes())


def check_tasks(context: Context) -> None:
    """Raises Unsupported where the tables and the sample submission ask for something else."""
    for task in TASKS:
        signs = task.signs(context)
        if signs:
            raise Unsupported(task.name, signs, task.remedy)


def check_box_files(context: Context) -> None:
    """Raises Unsupported where a file beside each image tells its boxes. Asked once nothing else gives a label: the
    folders of classes may hold such files, too."""
    tables = box_file_tables(context.tree)
    if tables:
        table = next((one for one in tables if one.role in ("train", "")), tables[0])
        files, layout = table.path, format_of(table.path).name
        signs = f"{files} tells {len(table)} boxes in the images ({layout})"
        raise Unsupported(Boxes.name, signs, ToldBoxes.remedy.replace("=TABLE", f"='{files}'"))


WITH_UNIT = re.compile(r"([+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][+-]?\d+)?)( ?(?:%|[a-zA-Z]{1,3}))?")
FRACTIONS = 0.1  # of the different cells: so many make amounts of them


class Units:
    """Amounts in cells such as 12.5 kg, or 12,5: what the sample submission wants in their place is not told."""

    name = "an amount with a unit or a decimal comma, which must be plain numbers in a table"

    @staticmethod
    def signs(column: str, names: list[str]) -> str | None:
        """Asked once the label is known."""
        numbers = _amounts(names)
        fractions = sum(not float(number).is_integer() for number in numbers)
        if len(numbers) < 3 or fractions <= len(numbers) * FRACTIONS:
            return None
        return f"{column} holds {len(numbers)} different numbers, {fractions} of them fractions, such as {names[0]!r}"

    @staticmethod
    def doubt(column: str, names: list[str]) -> str:
        """The same of whole numbers with a unit, which classes may be called."""
        numbers = _amounts(names)
        if len(numbers) < 3 or all(map(NUMBER.fullmatch, names)):
            return ""
        return f"{column} holds {len(numbers)} amounts such as {names[0]!r}: they may be numbers, which are no classes"


def _amounts(names: list[str]) -> list[str]:
    """The numbers in cells such as 12,5, 40% and 3 kg, all with one unit; none where a cell is something else."""
    found = [WITH_UNIT.fullmatch(name) for name in names]
    if None in found or len({match[2] for match in found}) > 1:
        return []
    return [match[1].replace(",", ".") for match in found]


def _names_images(table: TableFile, column: str, context: Context) -> bool:
    """Whether nearly all cells of a column are names of images. Bare short numbers are none."""
    cells = table.cells[column].iloc[:LOOKED_AT].unique()
    named = sum(stem(cell) in context.tree.by_stem and not re.fullmatch(r"\d{1,3}", cell) for cell in cells)
    return len(cells) > 2 and named > MOST * len(cells)


def _belong_together(a: pd.Series, b: pd.Series) -> bool:
    """Whether the names of a row hold each other: an image and its mask."""
    pairs = list(zip(a.iloc[:LOOKED_AT], b.iloc[:LOOKED_AT], strict=True))
    return sum(one in other or other in one for one, other in pairs) > len(pairs) / 2
