"""How a text table is written: its encoding, its separator, and whether its first line is a header."""

import codecs
import csv
import re
from collections.abc import Callable, Container, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from src.competition.card import Sheet
from src.competition.detect.roles import words

SEPARATORS = (",", ";", "\t", "|")
LOOKED_AT = 200  # lines
csv.field_size_limit(1 << 30)  # a cell may hold an outline of thousands of points
MOST_BEFORE = 5  # lines of remarks before a table
SAID = re.compile(r"sep=(.)", re.IGNORECASE)  # a first line that some spreadsheets write
COLUMN_WORDS = {"id", "ids", "image", "images", "img", "file", "filename", "files", "filepath", "path", "paths"}
COLUMN_WORDS |= {"name", "names", "photo", "picture", "label", "labels", "class", "classname", "category", "target"}
COLUMN_WORDS |= {"species", "index", "key", "url", "uid", "uuid", "code"}
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def sniff(
    path: Path, is_image: Callable[[str], bool], shared: Container[str] = (), given: Mapping[str, Any] | None = None
) -> Sheet | None:
    """How the file is written, None where it is no table.

    is_image: whether a cell names an image. shared: cells that begin several tables. given: facts that the user says.
    """
    given = given or {}
    encoding = given.get("encoding") or encoding_of(path)
    with path.open(encoding=encoding, newline=None, errors="replace") as file:
        held = list(islice(file, LOOKED_AT))
    lines = [line for line in held if line.strip()]
    if not lines or "\0" in lines[0]:
        return None
    said = SAID.fullmatch(lines[0].strip('\ufeff"\r\n '))
    blank = (" ",) if path.suffix.lower() == ".txt" else ()
    skip = given.get("skip")
    if isinstance(skip, int):
        lines = [line for line in held[skip:] if line.strip()]
    else:
        before = 1 if said else _before_header(lines)
        skip = next(k for k, line in enumerate(held) if line is lines[before]) if 0 < before < len(lines) else before
        lines = lines[before:]
    if not lines:
        return None
    separator = given.get("separator") or (said and said[1]) or _separator(lines, (*SEPARATORS, *blank))
    trim = given.get("trim", separator != " " and _blanks_follow(lines, separator))
    rows = list(csv.reader(lines, delimiter=separator, skipinitialspace=separator == " " or trim))
    rows = [row for row in rows if row]
    if not rows or (path.suffix.lower() == ".txt" and len({len(row) for row in rows}) > 1):
        return None  # prose
    header = given["header"] if "header" in given else has_header(rows, is_image, shared)
    encoding = encoding.removesuffix("-sig")
    return Sheet(header=header, separator=separator, encoding=encoding, skip=skip, trim=trim)


def _before_header(lines: list[str]) -> int:
    """The lines before the table: a title or remarks, above lines that are all cut into the same number of cells."""
    marked = next((k for k, line in enumerate(lines) if not line.startswith("#")), 0)
    if marked > 1:
        return marked
    for count in range(1, min(MOST_BEFORE, len(lines) - 3) + 1):
        above, table = lines[:count], lines[count:]
        for separator in SEPARATORS:
            cells = {len(row) for row in csv.reader(table, delimiter=separator) if row}
            if len(cells) == 1 and cells.pop() > 1:
                plain = all(line.startswith("#") or separator not in line for line in above)
                others = [line for line in above if line.count(separator) != table[0].count(separator)]
                return count if plain and others else 0
    return 0


def first_cells(path: Path) -> list[str]:
    """The cells of a table's first line, whatever separates them."""
    with path.open("rb") as file:
        line = file.readline(1 << 16).decode("utf-8-sig", errors="replace")
    return [cell.strip(" \t\"'\r\n") for cell in re.split(r"[,;\t|]", line)]


def _blanks_follow(lines: list[str], separator: str) -> bool:
    """Whether blanks stand after nearly all separators."""
    marks = sum(line.count(separator) for line in lines)
    blanks = sum(line.count(f"{separator} ") for line in lines)
    return blanks > 0 and blanks >= 0.9 * marks


def encoding_of(path: Path) -> str:
    """UTF-8 if it is that, by its mark UTF-16; else the Windows code page, which is a guess."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        head = file.read(4)
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        file.seek(0)
        try:
            while block := file.read(1 << 20):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "cp1252" if _decodes(path, "cp1252") else "latin-1"
    return "utf-8-sig"


def _decodes(path: Path, encoding: str) -> bool:
    try:
        path.read_text(encoding=encoding)
    except UnicodeDecodeError:
        return False
    return True


def _separator(lines: list[str], candidates: tuple[str, ...]) -> str:
    """The one that cuts every line into the same number of cells, the largest number of them."""
    best, most = ",", 1
    for separator in candidates:
        counts = {len(row) for row in csv.reader(lines, delimiter=separator, skipinitialspace=separator == " ") if row}
        if len(counts) == 1 and (count := counts.pop()) > most:
            best, most = separator, count
    if most == 1:  # no clean cut: take what the first line holds most of, so that a faulty row is told as one
        held = {separator: lines[0].count(separator) for separator in candidates if separator != " "}
        best = max(held, key=held.get) if max(held.values()) else ","
    return best


def has_header(rows: list[list[str]], is_image: Callable[[str], bool], shared: Container[str] = ()) -> bool:
    """Whether the first row names the columns. Every cell votes: most against, where it is like those below it."""
    first, rest = rows[0], [row for row in rows[1:] if len(row) == len(rows[0])]
    if not rest:
        return not any(is_image(cell) and not _names_column(cell) for cell in first)
    if len(set(first)) < len(first) and all(NUMBER.fullmatch(cell) for cell in first if first.count(cell) > 1 and cell):
        return False
    votes = [_vote(cell, column, is_image, shared) for cell, column in zip(first, zip(*rest, strict=True), strict=True)]
    return sum(votes) >= 0


def _vote(cell: str, column: tuple[str, ...], is_image: Callable[[str], bool], shared: Container[str]) -> int:
    """For a header above 0, against it below."""
    number, held = NUMBER.fullmatch(cell) is not None, set(column)
    word = 3 if cell in shared and not number else 2 if _names_column(cell) else 0
    if is_image(cell) and not word:
        return -4  # a name of an image among names of images
    if cell in held:
        return word - 2  # a value that comes again below
    if number:  # 3 may head a column of 0.2, or of 0 and 1 alone
        other = all(map(NUMBER.fullmatch, held)) and not any(map(str.isdigit, held)) and cell.isdigit()
        return 1 if other or (len(held) == 1 and len(column) > 2) else -1
    if all(map(NUMBER.fullmatch, held)) or len(held) <= len(column) / 2:
        return word + 1  # no number above numbers; or the values come again and again, and this one never
    if len({_shape(other) for other in held}) == 1 and not column[0].isalpha():
        return word + (-1 if _shape(cell) == _shape(column[0]) else 1)
    return word


def _names_column(cell: str) -> bool:
    """Whether every word of a cell is one that columns are called by: image_id, File Name."""
    held = words(cell)
    return bool(held) and len(held) <= 3 and all(word in COLUMN_WORDS for word in held)


def _shape(cell: str) -> str:
    """A cell's outline, so that IMG_0012.jpg and IMG_0013.jpg are alike."""
    return re.sub(r"[a-z]+", "a", re.sub(r"[A-Z]+", "A", re.sub(r"\d+", "0", cell)))
