"""A page becomes one HTML file that needs nothing else; its figures lie beside it as PNG, their numbers as CSV."""

import base64
import hashlib
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

from src.core.files import DamagedFile, csv_for_people, read_json, write_json, write_text, written_whole
from src.reporting.page.blocks import Block, Chart, Gallery, Matrix, Page, Picture, Table
from src.reporting.page.charts import png_and_svg_of, png_of
from src.reporting.page.pictures import contact_sheet, data_uri, png_uri

HERE = Path(__file__).parent
WRITTEN = "figures.json"  # the names of the figures of the last page
CELLS = 12_000  # of a confusion matrix that are drawn, the fullest first
SMALL, ENLARGED = 64, 72  # images narrower than that are shown that wide
FAINT = {True: 0.15, False: 0.75}  # the strength of the faintest cell: a mistake must be seen
LISTED = 40  # lines of numbers that stand in the page itself


def write_page(page: Page, folder: Path) -> Path:
    """Write report.html into `folder`, and of each figure <name>.png and <name>.csv; return the page's path.

    Figures of an earlier page that this one does not have are removed; nothing else in `folder` is touched.
    """
    note = folder / WRITTEN
    try:
        before = set(read_json(note, kind=list))
    except DamagedFile:  # or missing: then nothing is known of an earlier page
        before = set()
    kept: set[str] = set()
    vectors: dict[str, str] = {}
    for section in page.sections:
        for block in section.blocks:
            kept |= _write_figure(block, folder, vectors)
    file = folder / "report.html"
    write_text(file, html_of(page, vectors))
    for stale in before - kept:
        (folder / Path(stale).name).unlink(missing_ok=True)
    write_json(note, sorted(kept))
    return file


def html_of(page: Page, vectors: dict[str, str] | None = None) -> str:
    """The whole page. What a class, a file or a run is called is text, and never becomes a tag.

    vectors: the <svg> of each chart, by its name.
    """
    room = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    room.filters |= {"svg": lambda block: Markup(vectors[block.name]), "uri": data_uri, "cells": _cells}
    room.filters |= {"rows": _rows, "width": _width, "png": png_uri}
    script = (HERE / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return room.get_template("page.html").render(
        page=page,
        style=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=digest,  # no other script may run in this page
        listed=LISTED,
    )


def _write_figure(block: Block, folder: Path, vectors: dict[str, str]) -> set[str]:
    """The names of the files that a block became; none where it has no name. A chart's <svg> goes into `vectors`."""
    if not getattr(block, "name", ""):
        return set()
    if isinstance(block, Picture):
        files = {f"{block.name}.png": block.png}
    else:
        files = {f"{block.name}.csv": csv_for_people(block.numbers).encode()}
    if isinstance(block, Gallery):
        files[f"{block.name}.png"] = contact_sheet([tile.images for tile in block.tiles])
    elif isinstance(block, Chart):
        files[f"{block.name}.png"], vectors[block.name] = png_and_svg_of(block.draw, block.name)
    elif not isinstance(block, Table | Picture):
        files[f"{block.name}.png"] = png_of(block.draw)
    for name, content in files.items():
        with written_whole(folder / name) as part:
            part.write_bytes(content)
    return set(files)


def _cells(matrix: Matrix) -> list[tuple[int, int, int, float, bool]]:
    """(row, column, count, strength of the colour, right) of what is not 0. The root of a share: small ones show."""
    counts = matrix.counts
    rows, columns = np.nonzero(counts)
    first = np.argsort(-counts[rows, columns], kind="stable")[:CELLS]
    shares = np.sqrt(counts / counts.sum(axis=1, keepdims=True).clip(1))
    return [
        (int(r), int(c), int(counts[r, c]), round(FAINT[r == c] + (1 - FAINT[r == c]) * float(shares[r, c]), 2), r == c)
        for r, c in zip(rows[first], columns[first], strict=True)
    ]


def _width(image: np.ndarray) -> int:
    """Pixels across in the page: the smallest images are shown larger than they are."""
    return image.shape[1] if image.shape[1] >= SMALL else ENLARGED


def _rows(numbers: pd.DataFrame) -> list[list[tuple[str, bool]]]:
    """Cells as they are shown, and whether each is a number."""
    return [[_shown(value) for value in row] for row in numbers.itertuples(index=False)]


def _shown(value: Any) -> tuple[str, bool]:
    if value is pd.NA:
        return "–", True
    if isinstance(value, float | np.floating):
        return ("–" if np.isnan(value) else f"{value:.3g}" if 0 < abs(value) < 1e-3 else f"{value:.4f}"), True
    return str(value), isinstance(value, int | np.integer)
