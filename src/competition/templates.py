"""Templates and patterns: the one small language in which a card says how names are made of columns.

A template is text with columns in braces: train/{image_id}.jpg. A column may be changed on its way:
{c:name} the last part of a path, {c:stem} that without its image extension, {c:folder} the folder that holds it,
{c:lower}, {c:upper}, {c:posix} with / for \\, {c:04} padded with zeros, {c:without X} without the beginning X,
{c:before X} and {c:after X} what stands before and after the last X, {c:number} the last number in it (7 of img_007),
{c:number:04} one change after the other,
{c:alike} the one file whose name is the same but for capitals, blanks, separators, zeros before a number, %20 and the
ending. {{ and }} stand for braces.

A pattern is the same turned round, for paths of files: train/{label}/{name}.jpg takes a path apart. A field
ends at a slash; {n:d} is a number, {p:path} may hold slashes, * is anything within a name, **/ any folders.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from urllib.parse import unquote

import pandas as pd

from src.core.errors import Problem
from src.images.readers import image_suffixes

_FIELD = re.compile(r"\{\{|\}\}|\{([^{}:]+)(?::([^{}]*))?\}")
_ENDING = re.compile(r"((?<=\d)\.0+|\.[a-z][a-z0-9]{1,4})$")


def is_template(text: str) -> bool:
    return "{" in text


def literal(text: str) -> str:
    """A text as it must stand in a template."""
    return text.replace("{", "{{").replace("}", "}}")


def fields(template: str) -> list[str]:
    """The columns that a template asks for, each once."""
    return list(dict.fromkeys(match[1] for match in _FIELD.finditer(template) if match[1]))


def fill(template: str, table: pd.DataFrame) -> list[str]:
    """The template with each row's cells in it, (rows,). Every field must be a column of `table`."""
    pieces: list[Iterable[str]] = []
    at = 0
    for match in _FIELD.finditer(template):
        pieces.append([template[at : match.start()] + (match[0][0] if not match[1] else "")] * len(table))
        at = match.end()
        if not match[1]:
            continue
        change = _change(match[2] or "", template)
        cells = table[match[1]].tolist()
        pieces.append([change(cell) for cell in cells] if change else cells)
    pieces.append([template[at:]] * len(table))
    return ["".join(row) for row in zip(*pieces, strict=True)]


def name(path: str) -> str:
    return path.replace("\\", "/").rsplit("/", 1)[-1]


def stem(path: str) -> str:
    """The last part of a path without its image extension: any other dot belongs to the name."""
    return without_extension(name(path))


def without_extension(path: str) -> str:
    head, dot, tail = path.partition("?")[0].rpartition(".")  # a downloader may have kept 12.jpg?width=300
    known, ending = image_suffixes(), dot + tail.lower()
    first, dot, middle = head.rpartition(".")  # of scan.nii.gz
    if first and dot + middle.lower() + ending in known:
        return first
    return head if head and ending in known else path


def alike(text: str) -> str:
    """What is left of a name when all that programs change on the way is taken off: see {c:alike}."""
    text = unicodedata.normalize("NFKC", unquote(name(text.strip()))).casefold()
    text = _ENDING.sub("", _ENDING.sub("", text))
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)  # 1,037 is 1037
    return "-".join(part.lstrip("0") or "0" for part in re.findall(r"\d+|[^\W\d_]+", text))


def number(text: str) -> str:
    """The last number in a name, without zeros before it; empty without one. 7.0 is 7."""
    found = re.findall(r"\d+", re.sub(r"\.0+$", "", stem(text)))
    return str(int(found[-1])) if found else ""


def _folder(path: str) -> str:
    return name(path.replace("\\", "/").rpartition("/")[0])


CHANGES: dict[str, Callable[[str], str]] = {
    "name": name,
    "stem": stem,
    "folder": _folder,
    "lower": str.lower,
    "upper": str.upper,
    "posix": lambda text: text.replace("\\", "/"),
    "number": number,
    "alike": alike,
}


def _change(word: str, template: str) -> Callable[[str], str] | None:
    if not word:
        return None
    first, _, then = word.partition(":")
    if then:
        before, after = _change(first, template), _change(then, template)
        return lambda text: after(before(text))
    if word in CHANGES:
        return CHANGES[word]
    if re.fullmatch(r"0\d+", word):
        return lambda text: text.zfill(int(word))
    verb, _, rest = word.partition(" ")
    if rest and verb in ("without", "before", "after"):
        return {
            "without": lambda text: text.removeprefix(rest),
            "before": lambda text: text.rpartition(rest)[0] or text,
            "after": lambda text: text.rpartition(rest)[2],
        }[verb]
    raise Problem(
        f"{template}: unknown change {word!r}. Known: {', '.join(CHANGES)}, 04, without X, before X, after X",
        code="bad-template",
    )


def pattern(text: str) -> re.Pattern[str]:
    """A pattern of paths as a regular expression with a group for each of `fields(text)`.

    A field that is named twice must hold the same both times.
    """
    out, seen, at = [], [], 0
    for match in re.finditer(rf"{_FIELD.pattern}|\*\*/|\*", text):
        out.append(re.escape(text[at : match.start()]))
        at = match.end()
        if match[0] in ("{{", "}}"):
            out.append(re.escape(match[0][0]))
            continue
        field, kind = match[1], {"d": r"(\d+)", "path": r"(.+)"}.get(match[2] or "", r"([^/]+?)")
        if field in seen:
            kind = rf"\{seen.index(field) + 1}"
        elif field:
            seen.append(field)
        out.append({"**/": r"(?:.*/)?", "*": r"[^/]*"}.get(match[0], kind))
    return re.compile("".join([*out, re.escape(text[at:])]), re.DOTALL)
