"""How a text table is written: its encoding, its separator, and whether its first line is a header."""

import codecs
import csv
import re
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from src.competition.card import Sheet

SEPARATORS = (",", ";", "\t", "|")
LOOKED_AT = 200  # lines
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def sniff(path: Path, is_image: Callable[[str], bool]) -> Sheet | None:
    """How the file is written, None where it is no table. `is_image` tells whether a cell names an image."""
    encoding = encoding_of(path)
    with path.open(encoding=encoding, newline="", errors="replace") as file:
        lines = [line for line in islice(file, LOOKED_AT) if line.strip()]
    if not lines or "\0" in lines[0]:
        return None
    separator = _separator(lines, (*SEPARATORS, " ") if path.suffix.lower() == ".txt" else SEPARATORS)
    rows = list(csv.reader(lines, delimiter=separator, skipinitialspace=separator == " "))
    if path.suffix.lower() == ".txt" and len({len(row) for row in rows}) > 1:
        return None  # prose
    return Sheet(header=has_header(rows, is_image), separator=separator, encoding=encoding.removesuffix("-sig"))


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


def has_header(rows: list[list[str]], is_image: Callable[[str], bool]) -> bool:
    """Whether the first row names the columns: it does not where its cells are like those below it."""
    first, rest = rows[0], [row for row in rows[1:] if len(row) == len(rows[0])]
    if not rest:
        return not any(is_image(cell) for cell in first)
    if len(set(first)) < len(first) and any(first):
        return False
    votes = 0
    for cell, column in zip(first, zip(*rest, strict=True), strict=True):
        if is_image(cell) or cell in column:
            return False  # an image, or a value that comes again below
        if all(NUMBER.fullmatch(other) for other in column):
            votes += -1 if NUMBER.fullmatch(cell) else 1
        elif NUMBER.fullmatch(cell):
            votes -= 1
        elif len(set(column)) <= len(column) / 2:
            votes += 1  # the values come again and again, and this one never
        elif len({_shape(other) for other in column}) == 1 and not column[0].isalpha():
            votes += -1 if _shape(cell) == _shape(column[0]) else 1
    return votes >= 0


def _shape(cell: str) -> str:
    """A cell's outline, so that IMG_0012.jpg and IMG_0013.jpg are alike."""
    return re.sub(r"[a-z]+", "a", re.sub(r"[A-Z]+", "A", re.sub(r"\d+", "0", cell)))
