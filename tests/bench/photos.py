"""The photos that the rows are measured on, as a competition of its own in a home folder of the bench's own.

butterflies-20.csv is the whole split: every fifth of the hundred species in the order of the alphabet, and of each
species, in the order of the (random) file names, the first 20 for the test and the next 15 to validate by. The host's
own test answers are not public, so that all of it is cut from the labelled part. A photo that comes again in a part
before its own is `left_out`; every row of these species that is not listed is trained on.
"""

import contextlib
import csv
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

from src.competition.card import load_card
from src.competition.sources.data_folder import find_archive
from src.core.files import write_text
from src.core.paths import home

SPLIT = Path(__file__).parent / "butterflies-20.csv"
CONFIGS = Path(__file__).parent / "configs"
PARTS = ("train", "valid", "test")
NAME = "butterflies-20"
VIEWS = "eight-views"  # the same training rows, with every photo of the archive as its test set
CARD = """\
# Written by tests/bench/photos.py.
title: {title}
train: {{table: train.csv, id: id, images: "{{path}}", label: label}}
validation: {{table: valid.csv, id: id, images: "{{path}}", label: label}}
test: {{table: {test}.csv, id: id, images: "{{path}}"}}
target: multiclass
metric: accuracy
submission: {{kind: label, header: [id, label]}}
"""

Row = tuple[str, str, str]  # the path in the archive, the species, the part


def workplace() -> Path:
    """Where all that the bench makes lies: runs/bench in PODIUM_HOME or the repository, which git ignores."""
    return home() / "runs" / "bench"


def split() -> list[tuple[str, str, str]]:
    """The rows of butterflies-20.csv: path in the archive, species, and test, valid or left_out."""
    with SPLIT.open(encoding="utf-8", newline="") as file:
        return [(row["filepath"], row["label"], row["part"]) for row in csv.DictReader(file)]


def rows_of(table: Iterator[str] | list[str]) -> list[Row]:
    """Every row of the chosen species in the archive's train.csv, given as lines, with its part."""
    listed = {path: part for path, _, part in split()}
    species = {label for _, label, _ in split()}
    rows = [(row["filepath"], row["label"]) for row in csv.DictReader(table) if row["label"] in species]
    return [(path, label, listed.get(path, "train")) for path, label in sorted(rows)]


def bench_home(few: bool = False) -> Path:
    """A PODIUM_HOME with the competitions butterflies-20 and eight-views and the bench's configurations, made once.

    few: a handful of photos a species, to try the rows with. Raises Problem where the archive is not at hand.
    """
    folder = workplace() / ("few" if few else "home")
    if not (folder / "competition").is_dir():
        archive = find_archive(load_card("butterflies-100"))
        part = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        with zipfile.ZipFile(archive) as zipped:
            _write(zipped, part / "competition", few)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    shutil.copytree(CONFIGS, folder / "configs", dirs_exist_ok=True)  # as they are now
    return folder


def _write(zipped: zipfile.ZipFile, competitions: Path, few: bool) -> None:
    rows = rows_of(zipped.read("train.csv").decode().splitlines())
    data = competitions / NAME / "data"
    for part in PARTS:
        own = [row for row in rows if row[2] == part]
        if few:
            own = _first_of_each(own, 10 if part == "train" else 2)
        table = [("id", "path", "label")]
        for path, label, _ in own:
            name = Path(path).name
            _unpack(zipped, path, data / part / label / name)
            table.append((name, f"{part}/{label}/{name}", label))
        write_text(data / f"{part}.csv", _csv(table))
    _write_views(zipped, competitions, few)
    for name, title, test in ((NAME, "Twenty species", "test"), (VIEWS, "Eight views of every photo", "every")):
        write_text(competitions / name / "card.yaml", CARD.format(title=title, test=test))


def _write_views(zipped: zipfile.ZipFile, competitions: Path, few: bool) -> None:
    """The same training rows as links, and all photos of the archive in one folder."""
    data = competitions / VIEWS / "data"
    shutil.copytree(competitions / NAME / "data", data, copy_function=os.link)
    photos = sorted(name for name in zipped.namelist() if name.endswith(".jpg"))[: 200 if few else None]
    table = [("id", "path")]
    for path in photos:
        name = path.replace("/", "-")
        _unpack(zipped, path, data / "every" / name)
        table.append((name, f"every/{name}"))
    write_text(data / "every.csv", _csv(table))


def _first_of_each(rows: list[Row], count: int) -> list[Row]:
    seen: dict[str, int] = {}
    kept = []
    for row in rows:
        seen[row[1]] = seen.get(row[1], 0) + 1
        if seen[row[1]] <= count:
            kept.append(row)
    return kept


def _unpack(zipped: zipfile.ZipFile, path: str, target: Path) -> None:
    # Written under a name of ours, so that a name in the archive leads nowhere.
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(zipped.read(path))


def _csv(rows: list[tuple[str, ...]]) -> str:
    return "".join(",".join(row) + "\n" for row in rows)


@contextlib.contextmanager
def at_home(folder: Path) -> Iterator[None]:
    """Podium's own functions, called in this process, look into this home."""
    before = os.environ.get("PODIUM_HOME")
    os.environ["PODIUM_HOME"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("PODIUM_HOME")
        if before is not None:
            os.environ["PODIUM_HOME"] = before
