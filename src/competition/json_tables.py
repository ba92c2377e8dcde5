"""Tables in JSON: lists of records, a value for each key, and the COCO layout of images, annotations, categories."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SUFFIXES = frozenset({".json", ".jsonl", ".ndjson"})


def read(path: Path, encoding: str = "utf-8") -> pd.DataFrame:
    """The records of a file, every cell as text. Raises ValueError for a shape that is none of the three."""
    text = path.read_bytes().decode("utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding)
    if path.suffix.lower() != ".json":
        return _table([json.loads(line) for line in text.splitlines() if line.strip()])
    tree = json.loads(text)
    if isinstance(tree, dict) and isinstance(tree.get("images"), list):
        return _coco(tree)
    if isinstance(tree, dict) and len(tree) == 1 and isinstance(next(iter(tree.values())), list):
        tree = next(iter(tree.values()))
    if isinstance(tree, dict) and tree and not any(isinstance(value, dict | list) for value in tree.values()):
        return as_text(pd.DataFrame({"key": list(tree), "value": list(tree.values())}))
    if isinstance(tree, dict) and tree and all(isinstance(value, dict) for value in tree.values()):
        tree = [{"key": key, **value} for key, value in tree.items()]
    if isinstance(tree, list) and tree and all(isinstance(record, dict) for record in tree):
        return _table(tree)
    raise ValueError("it holds neither records, nor a value for each key, nor images, annotations and categories")


def _coco(tree: dict[str, Any]) -> pd.DataFrame:
    """A row for each annotation, or for each image where there are none. Image columns, then the annotation's.

    The key of images and of categories is `id` in most files, image_id and category_id in some.
    """
    images = _keyed(tree["images"], "image_id")
    if not tree.get("annotations"):
        return as_text(images)
    notes = _records(tree["annotations"]).rename(columns={"id": "annotation_id"})
    if "segmentation" in notes:
        around = notes["segmentation"].map(_around)
        notes["bbox"] = notes["bbox"].where(notes["bbox"].notna(), around) if "bbox" in notes else around
    for table, name in ((images, "images"), (notes, "annotations")):
        if "image_id" not in table:
            raise ValueError(f"it looks like COCO, but its {name} have no key of the image")
        table["image_id"] = table["image_id"].map(_cell)
    table = images.merge(notes, on="image_id", how="inner", suffixes=("", "_annotated"))
    if tree.get("categories") and "category_id" in table:
        categories = _keyed(tree["categories"], "category_id")
        if "category_id" not in categories:
            raise ValueError("it looks like COCO, but its categories have no key")
        categories = categories.drop_duplicates("category_id").set_index("category_id")
        categories.columns = [f"category.{column}" for column in categories.columns]
        table = table.join(categories, on="category_id")
    return as_text(table)


def _around(polygons: Any) -> list[float] | str:
    """The box around polygons, [x, y, x, y, ...] each, or around a mask in run lengths: left, top, width, height. Empty
    for masks of other forms."""
    if isinstance(polygons, dict):
        return _around_runs(polygons)
    if not isinstance(polygons, list) or not all(isinstance(one, list) and one for one in polygons):
        return ""
    across, down = ([x for one in polygons for x in one[start::2]] for start in (0, 1))
    return [min(across), min(down), max(across) - min(across), max(down) - min(down)] if down else ""


def _around_runs(mask: dict[str, Any]) -> list[float] | str:
    """Of COCO's run lengths, which go down the columns: lists of counts, or these as text."""
    try:
        height, counts = int(mask["size"][0]), mask["counts"]
        ends = np.cumsum(_counts_of(counts) if isinstance(counts, str) else counts)
    except (KeyError, TypeError, ValueError, IndexError):
        return ""
    first, last = ends[:-1:2], ends[1::2] - 1  # of each run that is inside, counted down the columns
    first, last = first[last >= first], last[last >= first]
    if height < 1 or not len(first):
        return ""
    across = (first // height != last // height).any()  # from one column to the next: from top to bottom
    top, bottom = (0, height - 1) if across else ((first % height).min(), (last % height).max())
    left, right = first[0] // height, last[-1] // height
    return [int(one) for one in (left, top, right - left + 1, bottom - top + 1)]


def _counts_of(text: str) -> list[int]:
    """Counts that are written in characters of 5 bits each, from the fourth on as differences to the last but one.
    Raises ValueError for other text."""
    found, value, shift = [], 0, 0
    for one in text:
        bits = ord(one) - ord("0")
        if not 0 <= bits < 64:
            raise ValueError("no run lengths")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:  # the last of this number
            value -= (1 << shift) * bool(bits & 16)
            found.append(value + (found[-2] if len(found) > 2 else 0))
            value = shift = 0
    return found


def _records(rows: Any) -> pd.DataFrame:
    """Records as a table, cells as the file has them. Raises ValueError for anything else."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("it holds something else where records must be")
    return pd.DataFrame(rows)


def _table(rows: Any) -> pd.DataFrame:
    return as_text(_records(rows))


def _keyed(rows: Any, key: str) -> pd.DataFrame:
    table = _records(rows)
    return table if key in table else table.rename(columns={"id": key})


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """Cells as the file writes them; what is absent is empty."""
    return table.map(_cell)


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # pandas makes floats of a column of integers with gaps
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | bool) else str(value)
