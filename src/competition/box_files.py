"""Boxes that a file beside each picture tells, as one table: Pascal VOC (.xml) and YOLO (.txt).

A card names the files by a pattern, `table: labels/train/*.txt`. A row is a box. `file`: the file's name without its
ending, as the picture's is. `object`, `object0`: the number of the box in its file, from 1 and from 0. `class`, and the
box: xmin, ymin, xmax, ymax in pixels, or x_center, y_center, width, height as shares of the picture.
"""

import math
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import yaml

MOST_SURE = 8  # numbers of four key points: fewer may be a polygon with a long corner
COUNTED = ("file", "object", "object0", "class")
LISTS = frozenset({"classes.txt", "_darknet.labels.txt", "obj.names.txt", "predefined_classes.txt"})  # of class names


class BoxFiles:
    """One layout. ending: of its files. columns: of a box."""

    name: ClassVar[str]
    ending: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]

    @staticmethod
    def boxes(file: Path) -> list[tuple[str, ...]]:
        """The class and the box of each object. Raises ValueError, with a reason."""
        raise NotImplementedError


class Voc(BoxFiles):
    name, ending = "Pascal VOC", ".xml"
    columns = ("xmin", "ymin", "xmax", "ymax")

    @staticmethod
    def boxes(file: Path) -> list[tuple[str, ...]]:
        try:
            tree = ElementTree.parse(file)
        except ElementTree.ParseError as error:
            raise ValueError(f"no whole XML ({error})") from None
        found = []
        for one in tree.iter("object"):
            box = one.find("bndbox")
            if box is None:
                raise ValueError("an object has no bndbox")
            cells = [(box.findtext(column) or "").strip() for column in Voc.columns]
            if not all(map(_is_number, cells)):
                raise ValueError(f"a bndbox holds {' '.join(cells)!r}, and no four numbers")
            found.append(((one.findtext("name") or "").strip(), *cells))
        return found


class Yolo(BoxFiles):
    """A line is a class, and the middle and size of its box, key points behind it or not; or the corners of a polygon,
    of which the box around it is taken."""

    name, ending = "YOLO", ".txt"
    columns = ("x_center", "y_center", "width", "height")

    @staticmethod
    def boxes(file: Path) -> list[tuple[str, ...]]:
        lines = [line.split() for line in file.read_bytes().decode("utf-8-sig", "replace").splitlines() if line.strip()]
        found, posed = [], _hold_key_points([line[1:] for line in lines])
        for line in lines:
            shares = line[1:5] if posed else line[1:]
            whole = all(map(_is_number, line)) and all(-0.1 <= float(one) <= 1.1 for one in shares)
            polygon = len(shares) >= 6 and len(shares) % 2 == 0
            if not whole or not (len(shares) in (4, 5) or polygon):
                raise ValueError(f"the line {' '.join(line)[:60]!r} is no class with a box in shares of the picture")
            found.append((line[0], *(_around(list(map(float, shares))) if polygon else shares[:4])))
        return found


FORMATS: tuple[type[BoxFiles], ...] = (Voc, Yolo)


def listed_names(file: Path) -> list[str]:
    """The names of the classes 0, 1, ... that a file lists, such as data.yaml or classes.txt; of other files none."""
    if file.suffix.lower() in (".yaml", ".yml"):
        try:
            tree = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
        except (yaml.YAMLError, ValueError, OSError):
            return []
        names = tree.get("names") if isinstance(tree, dict) else None
        if isinstance(names, dict) and all(k in names for k in range(len(names))):
            names = [names[k] for k in range(len(names))]
        return [str(one) for one in names] if isinstance(names, list) else []
    if file.name.lower() in LISTS or file.suffix.lower() == ".names":
        lines = file.read_bytes().decode("utf-8-sig", "replace").splitlines()
        return [line.strip() for line in lines if line.strip()]
    return []


def is_pattern(table: str | Path) -> bool:
    """Whether a table's name means such files."""
    return "*" in str(table)


def format_of(pattern: str) -> type[BoxFiles] | None:
    """The layout of a pattern's files, by their ending."""
    return next((kind for kind in FORMATS if pattern.lower().endswith(kind.ending)), None)


def files_of(pattern: Path) -> list[Path]:
    """The files that an absolute pattern means, in the order of their names; lists of class names are none."""
    folder, rest = _split(pattern)
    found = folder.glob(rest) if folder.is_dir() else ()
    return sorted(file for file in found if not file.name.startswith(".") and file.name.lower() not in LISTS)


def columns_of(pattern: Path) -> list[str]:
    """The columns of the table. Raises ValueError for files of another kind."""
    return [*COUNTED, *_known(pattern).columns]


def read(pattern: Path) -> pd.DataFrame:
    """A row for each box, every cell text. Raises ValueError, with the file, where one is something else."""
    files = files_of(pattern)
    if not files:
        raise ValueError("no file is meant by this pattern")
    return _read(pattern, tuple(files), max(file.stat().st_mtime_ns for file in files)).copy()


@lru_cache(maxsize=8)
def _read(pattern: Path, files: tuple[Path, ...], _changed: int) -> pd.DataFrame:
    rows = [row for file in files for row in _rows(file, pattern)]
    return pd.DataFrame(rows, columns=columns_of(pattern), dtype=object)


def _rows(file: Path, pattern: Path) -> Iterator[tuple[str, ...]]:
    folder, kind = _split(pattern)[0], _known(pattern)
    try:
        boxes = kind.boxes(file)
    except ValueError as error:
        raise ValueError(f"{file.relative_to(folder)}: {error}") from None
    name = file.relative_to(folder).as_posix()[: -len(kind.ending)]
    for number, (label, *box) in enumerate(boxes):
        yield name, str(number + 1), str(number), label, *box


def _known(pattern: Path) -> type[BoxFiles]:
    kind = format_of(pattern.name)
    if kind is None:
        raise ValueError(f"a pattern of tables ends with {' or '.join(one.ending for one in FORMATS)}")
    return kind


def _split(pattern: Path) -> tuple[Path, str]:
    """The folder above the first *, and what follows."""
    parts = pattern.parts
    first = next(place for place, part in enumerate(parts) if "*" in part)
    return Path(*parts[:first]), "/".join(parts[first:])


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _hold_key_points(lines: list[list[str]]) -> bool:
    """Whether each line is a box with the key points of its object, x,y,visibility or x,y each, and no polygon.

    Points without visibility look like the corners of a polygon: they are known only where in some line the size of the
    box, read as a corner, would lie far from the others.
    """
    if (
        not lines
        or len({len(line) for line in lines}) > 1
        or not all(_is_number(one) for line in lines for one in line)
    ):
        return False
    numbers = np.array(lines, dtype=float)
    box, points = numbers[:, :4], numbers[:, 4:]
    if points.shape[1] >= 3 and points.shape[1] % 3 == 0 and np.isin(points[:, 2::3], (0, 1, 2)).all():
        x, y = points[:, ::3], points[:, 1::3]
        return bool(_are_inside(x, y, box).all())
    if points.shape[1] < MOST_SURE or points.shape[1] % 2:
        return False
    x, y = points[:, ::2], points[:, 1::2]
    far = np.zeros(len(lines), bool)
    for corner, middle, held in ((box[:, 2], box[:, 0], x), (box[:, 3], box[:, 1], y)):
        both = np.concatenate([held, middle[:, None]], axis=1)
        low, high = both.min(1), both.max(1)
        far |= (corner < low - (high - low)) | (corner > high + (high - low))
    return bool(_are_inside(x, y, box).all() and far.any())


def _are_inside(x: np.ndarray, y: np.ndarray, box: np.ndarray) -> np.ndarray:
    """(n,) whether the box lies in the picture and all points, (n, k), in it or at 0,0, as those that are not seen."""
    middle, size = box[:, None, :2], box[:, None, 2:]
    points = np.stack([x, y], axis=2)
    inside = (np.abs(points - middle) <= 0.6 * size).all(2) | (points == 0).all(2)
    whole = (np.abs(box[:, :2] - 0.5) + box[:, 2:] / 2 <= 0.55).all(1)
    return whole & inside.all(1)


def _around(corners: list[float]) -> tuple[str, ...]:
    """Middle and size of the box around a polygon."""
    across, down = corners[::2], corners[1::2]
    left, right, top, bottom = min(across), max(across), min(down), max(down)
    return tuple(f"{one:.6g}" for one in ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top))
