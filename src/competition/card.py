"""The card: the facts that the host of a competition published, and nothing tuned."""

import difflib
import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from src.competition.submission_kinds import SubmissionKind, kind_class, submission_kind
from src.competition.templates import fields
from src.core.errors import UsageError
from src.core.files import read_settings
from src.core.paths import REPOSITORY, competition_folder, home
from src.core.suggestions import did_you_mean
from src.images.pixel_format import COLOURS, MOST_CHANNELS, STANDARD, PixelFormat
from src.targets import TargetType, target_type
from src.targets.label_cells import NO, YES

AUTO, NONE = "auto", "none"  # of a card's metadata
ON_CONFLICT = {  # of rows whose labels differ
    "drop": "they are left out",
    "first": "the first label counts",
    "majority": "the most frequent label counts",
}


class Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class Sheet(Facts):
    """How a table file is written. Without a header, its columns are called column1, column2, ...

    skip: lines before the header, such as sep=; trim: blanks after a separator are no part of the cells.
    """

    header: bool = True
    separator: str = ","
    encoding: str = "utf-8"
    skip: int = Field(0, ge=0)
    trim: bool = False


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", text):
        raise ValueError(f"a name holds letters, digits and . _ - only, not {text!r}")
    return text


def _inside(text: str) -> str:
    """A card is often a stranger's: what it names lies in its own folder."""
    path = PurePosixPath(text.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in text:
        raise ValueError(f"{text!r} leaves the competition's folder: name a place inside it")
    return text


Name = Annotated[str, AfterValidator(_name)]
Inside = Annotated[str, AfterValidator(_inside)]


class Join(Sheet):
    """A side table: its row whose `key` equals the main table's `by` adds its columns."""

    table: Inside
    by: str
    key: str | None = None  # the same name as `by`, unless given


class Pixels(Facts):
    """Images that stand in the table: the columns first..last, one column that is split at its blanks, or several
    columns of lists, one a channel."""

    columns: str | list[str]
    shape: list[int]  # height, width, and the channels where there are several


class ImageFacts(Facts):
    """How the numbers in the files become pixels, where they are more than 8 bits of up to three colours.

    channels: that each file holds; one is shown as three equal ones. values: what becomes black and white, `type`,
    `window`, `own`, [low, high], or a list of such pairs, one a channel; see PixelFormat. bits: 8 or 16, of what is
    kept. nan: what stands for numbers that are none.
    """

    channels: int = Field(COLOURS, ge=1, le=MOST_CHANNELS)
    values: Literal["type", "window", "own"] | tuple[float, float] | tuple[tuple[float, float], ...] = "type"
    bits: Literal[8, 16] = 16
    nan: float | None = None

    @model_validator(mode="after")
    def _ranges(self) -> "ImageFacts":
        if isinstance(self.values, str):
            return self
        pairs = self.values if isinstance(self.values[0], tuple) else (self.values,)
        if pairs is self.values and len(pairs) != self.channels:
            raise ValueError(
                f"values has {len(pairs)} pairs, and there are {self.channels} channels: write one for each"
            )
        if odd := [list(pair) for pair in pairs if not pair[0] < pair[1]]:
            raise ValueError(f"write the smaller number first, [low, high], not {odd[0]}")
        return self

    @property
    def pixels(self) -> PixelFormat:
        values = self.values[0] if self.channels == 1 and isinstance(self.values[0], tuple) else self.values
        return PixelFormat(COLOURS if self.channels == 1 else self.channels, self.bits, values, self.nan)


class Pivot(Facts):
    """Of a table with a row for each image and each of several answers: `name`, a column or a template, says which
    answer a row tells, and the column `value` its cell. The rows of one id become one, with a column for each name."""

    name: str
    value: str


class Table(Sheet):
    """Rows of images: from `table` (csv, tsv, json; several are aligned by line) or from `files`, a pattern over
    the files such as train/{label}/{name}.jpg, whose fields are its columns, beside `path`.

    `id` and `label` are a column's name or a template; `images` is a template of a path below data/. Every table
    also has the columns `row`, which counts from 1, and `row0`. What a template may do: see templates.py.
    """

    table: Inside | list[Inside] | None = None
    files: Inside | None = None
    join: list[Join] = []
    where: dict[str, str | list[str]] = {}  # only the rows with these values
    id: str
    images: Inside = "{path}"
    pixels: Pixels | None = None
    pivot: Pivot | None = None

    @model_validator(mode="after")
    def _one_source(self) -> "Table":
        if (self.table is None) == (self.files is None):
            raise ValueError("name either a table or a pattern of files")
        return self

    @property
    def tables(self) -> list[str]:
        return [self.table] if isinstance(self.table, str) else list(self.table or [])

    @property
    def name(self) -> str:
        """What to call it in a message."""
        return self.files or ", ".join(self.tables)


class TrainTable(Table):
    """`label`: the column of the answer, a list of 0/1 columns, one a class, or a label source with its parameters.
    `missing`: cells that mean no label; their rows are left out. `marks`: what cells of 0/1 columns that are neither
    stand for, such as {"-1": "0"}."""

    label: str | list[str] | dict[str, Any]
    label_separator: str | None = None  # a cell holds several labels, so separated
    empty_label: Literal["stop", "drop"] = "stop"
    missing: list[str] = []
    marks: dict[str, str] = {}

    @field_validator("marks")
    @classmethod
    def _yes_or_no(cls, value: dict[str, str]) -> dict[str, str]:
        odd = [mark for mark in value.values() if mark not in YES | NO]
        if odd:
            raise ValueError(f"a cell stands for 0 or 1, not for {odd[0]!r}")
        return value

    def labelled_by(self, column: str) -> "TrainTable":
        """The same with its label in this column."""
        return self.model_copy(update={"label": column})


class Submission(Facts):
    """kind: what a row holds, such as `label`; see submission_kinds. `label_separator` parts the classes in a cell.

    Without a `sample`, the test images in their order are the sample, under the names of `header`.
    `rows`: where the sample has a row for each image and each of several answers, how their ids are made, of `id` and
    `output`: "{id}__{output}".
    """

    sample: Inside | None = None
    kind: str | dict[str, Any]
    id: str | None = None  # the sample's column of ids, or a template of several: its first, unless given
    header: list[str] | None = None
    separator: str = Field(",", min_length=1, max_length=1)
    encoding: str = "utf-8"
    skip: int = Field(0, ge=0)
    trim: bool = False
    label_separator: str = Field(" ", min_length=1)
    top: int = 5
    rows: str | None = None

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, value: str | dict[str, Any]) -> str | dict[str, Any]:
        try:
            kind_class(value)
        except UsageError as error:
            raise ValueError(str(error)) from None
        return value

    @model_validator(mode="after")
    def _rows_of_a_sample(self) -> "Submission":
        if self.rows is not None and (self.sample is None or set(fields(self.rows)) != {"id", "output"}):
            raise ValueError("rows is a template of {id} and {output}, the ids of a sample: give both")
        if self.rows is not None and not kind_class(self.kind).column_each:
            raise ValueError(f"kind {self.kind} has one answer for an image, and rows asks for several: take columns")
        return self


class Cut(Facts):
    """What is taken of another competition's training rows; `held_out` rows of every class that is kept become the
    validation."""

    of: Name
    without: list[str] = []  # classes
    rows: dict[str, int] = {}  # of each class that is kept, so many; none given: all classes, with all of their rows
    tail: int | None = Field(None, ge=2)  # the largest class is so many times the smallest
    held_out: int = Field(0, ge=0)
    seed: int = 0


class Card(Facts):
    """One competition. Paths are relative to its data/ folder, `test_labels` to the competition's folder.

    `classes` fixes the order of the classes, or maps the labels of the tables to the names of the submission.
    A competition without `test` is a labelled collection: it can be trained on, and has nothing to submit.
    `weight`: the column of the training table that says how much a row counts, in loss, metric and intervals.
    `metadata`: the columns that training and test table share and that are learned from beside the pictures.
    `bag`: several images have one answer: `files`, those that a template with * means, or `rows`, those of all rows
    with one id. `channels`: the files that a template with * means are the channels of one picture.
    `on_conflict`: what becomes of an image whose rows have different labels, or whose columns of 0 and 1 tell not one.
    """

    id: Name
    title: str
    embedded: Literal["digits"] | None = None
    cut: Cut | None = None
    archive: Inside | None = None
    kaggle: Name | None = None
    train: TrainTable
    validation: TrainTable | None = None
    extra: dict[str, TrainTable] = {}
    test: Table | None = None
    target: str | dict[str, Any]
    image: ImageFacts | None = None
    bag: Literal["files", "rows", "channels"] | None = None
    classes: list[str] | dict[str, str] | None = None
    group: str | None = None
    weight: str | None = None
    metadata: Literal["auto", "none"] | list[str] = NONE
    metric: str | dict[str, Any]
    submission: Submission | None = None
    test_labels: Inside | None = None
    on_bad_image: Literal["stop", "drop"] = "stop"
    on_conflict: Literal["stop", "drop", "first", "majority"] = "stop"

    @model_validator(mode="after")
    def _answers_have_rows(self) -> "Card":
        if (self.test is None) != (self.submission is None):
            raise ValueError("test and submission belong together: give both or none")
        return self

    @field_validator("target")
    @classmethod
    def _known_target(cls, value: str | dict[str, Any]) -> str | dict[str, Any]:
        try:
            target_type(value)
        except UsageError as error:
            raise ValueError(str(error)) from None
        return value

    @property
    def target_type(self) -> TargetType:
        """What is predicted, as an object: whatever depends on the kind of target is asked of it."""
        return target_type(self.target)

    @property
    def way_back(self) -> str:
        """How files of data/ that are gone come back."""
        if self.embedded or self.cut:
            return "delete this folder, and the next command makes it anew"
        return "where SOURCE has it: delete this folder and give python -m src.prepare SOURCE again"

    @property
    def submission_kind(self) -> SubmissionKind | None:
        """What a row of the submission holds, as an object; None where there is nothing to submit."""
        return submission_kind(self.submission) if self.submission else None

    @property
    def pixel_format(self) -> PixelFormat:
        """How the numbers in the files become pixels."""
        return self.image.pixels if self.image else STANDARD

    @property
    def folder(self) -> Path:
        return competition_folder(self.id)

    @property
    def data(self) -> Path:
        return self.folder / "data"


KINDS = (Card, TrainTable, ImageFacts, Pivot, Join, Pixels, Submission, Cut)


def card_file(competition: str) -> Path | None:
    """The card of the user's folder before the repository's; None where there is none."""
    candidates = [root / "competition" / competition / "card.yaml" for root in (home(), REPOSITORY)]
    return next((path for path in candidates if path.is_file()), None)


def load_card(competition: str) -> Card:
    """The card of one competition. Raises UsageError where it is absent or holds a wrong key."""
    path = card_file(competition)
    if path is None:
        known = sorted({p.parent.name for r in (home(), REPOSITORY) for p in r.glob("competition/*/card.yaml")})
        raise UsageError(
            f"competition={competition}: there is no competition/{competition}/card.yaml."
            f"{did_you_mean(competition, known)} Known: {', '.join(known)}. To add one: python -m src.prepare SOURCE",
            code="unknown-competition",
        )
    facts = read_settings(path)
    if str(facts.get("id", competition)) != competition:
        raise UsageError(
            f"{path}: id is {facts['id']!r}, and the folder {competition!r}: take id out of the card",
            code="card-id",
        )
    return check_card(competition, facts, str(path))


def check_card(competition: str, facts: dict[str, Any], where: str) -> Card:
    """A Card from a plain tree. Raises UsageError that names the first wrong key."""
    try:
        return Card.model_validate({"id": competition, **facts})
    except ValidationError as error:
        raise UsageError((f"{where}: " if where else "") + _wording(error.errors()[0]), code="bad-card") from None


def _wording(fault: dict[str, Any]) -> str:
    """A fault of a card in one line: the key, what is wrong, and what it must be."""
    parts = [part for part in map(str, fault["loc"]) if not part.startswith(("dict[", "list[", "function-"))]
    key = ".".join(parts[:-1] if parts[-1:] == ["str"] else parts)
    what = fault["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if fault["type"] == "missing":
        return f"{key} is missing: say it, {key}=..."
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(parts[-1], [name for kind in KINDS for name in kind.model_fields], n=1)
        return f"{key} is no key of a card: " + (f"did you mean {near[0]}?" if near else "take it out")
    if fault["type"] == "string_type":
        what = "must be one text"
    return f"{key or 'the card'}: {what}" + ("" if fault["type"] == "value_error" else f", not {fault['input']!r}")
