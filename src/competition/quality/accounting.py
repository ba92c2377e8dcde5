"""Every file of a competition's data/ folder, accounted for: what it is used as, or why it is set aside."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import pandas as pd

from src.competition import box_files
from src.competition.bags import image_paths
from src.competition.card import Card
from src.competition.detect.roles import is_figures, is_masks, without_mask
from src.competition.file_tree import Tree
from src.competition.samples import TRAIN, VALIDATION, Samples
from src.competition.templates import stem
from src.images.bands import band_files
from src.images.decode import HEIC_REMEDY, HEIC_SUFFIXES, reads_heic, suffix_of
from src.images.masks import mask_files
from src.images.read import looks_like_image
from src.images.readers import reader_of, split_key

TRAINED, VALIDATED, TESTED = "training images", "images of the host's validation set", "test images"
BOTH, TABLE = "training images and test images at once", "tables"
UNUSED = "tables that the card does not use"
OTHER, EXTRA, DEAD = "other files", "images of extra tables", "links to files that are not there"
MASK, FIGURE, NO_PART = "images set aside as masks", "images set aside as figures", "images that belong to no part"
NOT_READ, UNNAMED = ", which is not read", "images by their content, but not by their names"

ONE = {
    MASK: "an image set aside as a mask",
    FIGURE: "an image set aside as a figure",
    NO_PART: "an image that belongs to no part",
    UNNAMED: "an image by its content, but not by its name",
    DEAD: "a link to a file that is not there",
    UNUSED: "a table that the card does not use",
}

PLACES = 3  # folders that are told of one kind
TOLD = 8  # lines in the terminal; the preview has them all
OPENED = 40  # files of unknown kinds whose content is looked at

PICTURE, SHEET, SERIES = "convert them to PNG", "save them as .csv", "they are no pictures: write each as an image file"
UNREAD = {
    **dict.fromkeys(HEIC_SUFFIXES, HEIC_REMEDY),
    **dict.fromkeys((".jxl", ".jxr", ".wdp", ".bpg", ".qoi", ".psd", ".xcf", ".svg", ".eps", ".ico", ".tga"), PICTURE),
    **dict.fromkeys((".exr", ".hdr", ".dds", ".pcx", ".ras", ".sgi", ".fits", ".fit", ".mpo"), PICTURE),
    **dict.fromkeys((".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"), PICTURE),
    **dict.fromkeys((".mha", ".mhd", ".nrrd"), "medical images: convert them to DICOM, NIfTI or PNG"),
    **dict.fromkeys((".mat", ".pt", ".pkl", ".pickle"), SERIES),
    **dict.fromkeys((".tfrecord", ".tfrec", ".feather", ".arrow", ".lmdb", ".mdb", ".rec"), SERIES),
    **dict.fromkeys((".mp4", ".avi", ".mov", ".mkv", ".webm"), "films: save their frames as images"),
    ".parquet": "tables: pip install pyarrow, which reads them",
    ".xml": "where they tell the labels, write these into a .csv; boxes (Pascal VOC): train.table='FOLDER/*.xml'",
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods", ".sqlite", ".db"), SHEET),
}
TABLES = (".csv", ".tsv", ".json", ".jsonl", ".data", ".lst")


@dataclass(frozen=True)
class Share:
    """Files that have one thing in common. `used`: whether the reading takes them; `why`: the others' reason or remedy.

    paths: below data/. quiet: not told in the terminal, such as a README.
    """

    name: str
    paths: tuple[str, ...]
    used: bool = False
    why: str = ""
    quiet: bool = False

    def __len__(self) -> int:
        return len(self.paths)

    @cached_property
    def places(self) -> list[tuple[str, int]]:
        """The folders that hold them, with their numbers, the fullest first."""
        return Counter(path.rpartition("/")[0] + "/" for path in self.paths).most_common()

    @property
    def where(self) -> str:
        """The folders in words: the fullest three, and how many more there are."""
        text = [
            f"{count} in {_named(place)}" if len(self.places) > 1 else _named(place) for place, count in self.places
        ]
        left = len(text) - PLACES
        more = [f"{left} more folder{'s' if left > 1 else ''}"] if left > 0 else []
        return ", ".join([*text[:PLACES], *more])

    @property
    def line(self) -> str:
        """Place, number and reason, in one line."""
        why = f": {self.why}" if self.why else ""
        if len(self) == 1:
            return f"1 file, {self.paths[0]}: {ONE.get(self.name, self.name)}{why}"
        if len(self) <= PLACES:
            return f"{len(self)} files, {', '.join(self.paths)}, are {self.name}{why}"
        if len(self.places) == 1:
            return f"{len(self)} files in {self.where} are {self.name}{why}"
        return f"{len(self)} files are {self.name} ({self.where}){why}"


@dataclass(frozen=True)
class Accounting:
    """Each file stands in one share, so that they add up to `total`, the files of the tree but hidden ones."""

    shares: tuple[Share, ...]

    @property
    def total(self) -> int:
        return sum(map(len, self.shares))

    @property
    def aside(self) -> list[Share]:
        """What is not used and must be told."""
        return [share for share in self.shares if not share.used and not share.quiet]

    @property
    def summary(self) -> str:
        """All numbers in one line."""
        used = [_counted(len(share), share.name) for share in self.shares if share.used]
        rest = {"set aside": sum(map(len, self.aside)), OTHER: sum(len(one) for one in self.shares if one.quiet)}
        return f"{self.total} in all: " + ", ".join(
            used + [_counted(count, name) for name, count in rest.items() if count]
        )

    @property
    def lines(self) -> list[str]:
        """What is set aside, with place and number."""
        text = [share.line for share in self.aside]
        more = (
            [f"and {len(text) - TOLD} more kinds of files are set aside: see the preview"] if len(text) > TOLD else []
        )
        return [*text[:TOLD], *more]

    def to_json(self) -> dict[str, Any]:
        """Plain values: the total, and each share with its number, folders and reason."""
        shares = [
            {"name": one.name, "files": len(one), "used": one.used, "where": one.where, "why": one.why}
            for one in self.shares
        ]
        return {"files": self.total, "shares": shares}


def account(card: Card, samples: Samples, tree: Tree) -> Accounting:
    """Sort every file below data/ by what the card and its samples make of it."""
    root = f"{tree.root.resolve()}/"

    def files_of(rows: pd.DataFrame) -> set[str]:
        """Those of masks and of further channels too."""
        paths = image_paths(rows)
        further = [file for path in paths if "=" in path for file in (*band_files(path), *mask_files(path))]
        found = {split_key(path)[0].removeprefix(root) for path in paths}
        return found | {os.path.normpath(file).removeprefix(root) for file in further}

    test = files_of(samples.test)
    parts: dict[str, set[str]] = defaultdict(set)
    for part, rows in samples.train.groupby("part", sort=False):
        parts[part] = files_of(rows)
    used = {
        BOTH: test & parts[TRAIN],
        TRAINED: parts[TRAIN],
        VALIDATED: parts[VALIDATION],
        TESTED: test,
        TABLE: set(_tables(card, tree)),
    }
    groups: dict[str, list[str]] = {name: [] for name in used}
    taken = {path.rpartition("/")[0] for name, paths in used.items() if name != TABLE for path in paths}
    rest = Unused(tree, card, taken)
    for path in tree.files:
        name = next((name for name, paths in used.items() if path in paths), None)
        groups.setdefault(name or rest.kind(path), []).append(path)
    groups[DEAD] = tree.dead
    shares = [
        _share(name, tuple(paths), name in used, card.test is not None) for name, paths in groups.items() if paths
    ]
    places = {name: place for place, name in enumerate(used)}
    return Accounting(
        tuple(sorted(shares, key=lambda one: (places.get(one.name, len(used)), one.quiet, -len(one), one.name)))
    )


def unread_lines(tree: Tree, told: str = "") -> list[str]:
    """The files of kinds that are not read, a line a kind: where there is no reading, they may be the reason.

    told: what is said already; a kind that it names, such as *.xml, is left out.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    unused = Unused(tree)
    for path in tree.files:
        groups[unused.kind(path)].append(path)
    return [_share(name, tuple(paths)).line for name, paths in groups.items() if _is_unread(name, told)]


def _is_unread(name: str, told: str) -> bool:
    return name == UNNAMED or (NOT_READ in name and f"*{name.removesuffix(NOT_READ)}" not in told)


class Unused:
    """Tells what a file is that no table and no pattern of the card takes. folders: of images that are taken."""

    def __init__(self, tree: Tree, card: Card | None = None, folders: Collection[str] = ()) -> None:
        self.tree, self.images, self.folders = tree, set(tree.images), folders
        sources = card.extra.values() if card else ()
        heads = ((source.files or source.images).partition("{")[0] for source in sources)
        self.extra = tuple(filter(None, heads))
        self.seen: dict[tuple[str, str], bool] = {}  # whether the files of a folder and an ending hold images

    def kind(self, path: str) -> str:
        """The name of the share that the file belongs to."""
        folder, suffix = path.rpartition("/")[0], suffix_of(path)
        if path in self.images:
            if self.extra and path.startswith(self.extra):
                return EXTRA
            if without_mask(stem(path)) in self.tree.by_stem:
                return MASK
            return NO_PART if folder in self.folders else self._aside(folder)
        if suffix in TABLES or (suffix == ".parquet" and find_spec("pyarrow")):
            return UNUSED
        if suffix in UNREAD or suffix == ".avif" or reader_of(path):
            return f"{suffix}{NOT_READ}"
        key = folder, suffix
        if key not in self.seen and len(self.seen) < OPENED:
            self.seen[key] = looks_like_image(self.tree.root / path)
        return UNNAMED if self.seen.get(key) else OTHER

    def _aside(self, folder: str) -> str:
        """What an image is by the names above it. A class may be called with_mask: all words of a name must say it."""
        if any(map(is_masks, folder.split("/"))):
            return MASK
        return FIGURE if not folder or any(map(is_figures, folder.split("/"))) else NO_PART


def _share(name: str, paths: tuple[str, ...], used: bool = False, tested: bool = True) -> Share:
    """The files with what there is to say about them."""
    why = ""
    if name.endswith(NOT_READ):
        suffix = name.removesuffix(NOT_READ)
        damaged = suffix == ".avif" or (suffix in HEIC_SUFFIXES and reads_heic())
        why = "they are damaged" if damaged else UNREAD.get(suffix) or _unread_array(paths[0])
    elif name == UNNAMED:
        why = f"give them the extension of their kind, such as .jpg (now {paths[0].rpartition('/')[2]})"
    elif name == DEAD:
        why = "put the files themselves there"
    elif name == NO_PART and not tested:
        folder = Counter(path.rpartition("/")[0] for path in paths).most_common(1)[0][0]
        why = f"if they are the test images: test.files='{folder}/{{file}}'"
    return Share(name, paths, used or name == EXTRA, why, name == OTHER)


def _unread_array(path: str) -> str:
    """Why a file of a kind that is read holds no image."""
    packages = [name for name in getattr(reader_of(path), "packages", ()) if find_spec(name) is None]
    return f"pip install {' '.join(packages)}, which reads them" if packages else "they hold no pictures"


def _tables(card: Card, tree: Tree) -> Iterable[str]:
    """Every table that the card names."""
    sources = [card.train, card.validation, card.test, *card.extra.values()]
    for source in filter(None, sources):
        for table in source.tables:
            found = box_files.files_of(tree.root / table) if box_files.is_pattern(table) else [tree.root / table]
            yield from (file.relative_to(tree.root).as_posix() for file in found)
        yield from (join.table for join in source.join)
    if card.submission and card.submission.sample:
        yield card.submission.sample


def _counted(count: int, name: str) -> str:
    """1 table, 2 tables."""
    one = re.sub("(?:(?<=image)|(?<=table)|(?<=file))s", "", name)
    return f"{count} {one if count == 1 else name}"


def _named(place: str) -> str:
    return place if place != "/" else "the top folder"
