"""The files below a competition's data/ folder, walked once."""

import contextlib
import os
from collections import defaultdict
from functools import cached_property
from itertools import takewhile
from pathlib import Path

from src.competition.templates import alike, name, stem, without_extension
from src.core.errors import Problem
from src.images.decode import HEIC_SUFFIXES, SUFFIXES, ImageFault, suffix_of
from src.images.read import image_size, looks_like_image
from src.images.readers import keys_of, reader_of

TRIED = 5  # files of a kind, or without an ending in one folder, that are opened to see what they are


def common_folder(paths: list[str]) -> str:
    """The folder that holds all of these paths, with a / at its end, or empty."""
    folders = [path.split("/")[:-1] for path in (min(paths), max(paths))]
    shared = takewhile(lambda pair: pair[0] == pair[1], zip(*folders, strict=False))
    return "".join(f"{one}/" for one, _ in shared)


class Tree:
    """Paths are relative to `root`, with / between their parts, sorted."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def files(self) -> list[str]:
        return self._walked[0]

    @cached_property
    def dead(self) -> list[str]:
        """Links to files that are not there."""
        return self._walked[1]

    @cached_property
    def _walked(self) -> tuple[list[str], list[str]]:
        found, dead, folders = [], [], [""]
        while folders:
            below = folders.pop()
            with os.scandir(self.root / below) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    path = f"{below}{entry.name}"
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(f"{path}/")
                    elif entry.is_file():
                        found.append(path)
                    elif entry.is_symlink() and not entry.is_dir():
                        dead.append(path)
        return sorted(found), sorted(dead)

    @cached_property
    def shared(self) -> str:
        """The folder that everything lies in, with a / at its end, or empty."""
        if not self.files:
            return ""
        return common_folder(self.files)

    @cached_property
    def known(self) -> frozenset[str]:
        """All that a path of a card may name: files, and images in containers."""
        return frozenset([*self.files, *self.held])

    @cached_property
    def images(self) -> list[str]:
        """Files that look like images: by extension, or without one by the content of the first in their folder.

        HEIC, AVIF and arrays count where they can be read here: where the library is missing, or an array is no
        picture, they are of an unread kind.
        """
        doubtful: dict[str, list[str]] = defaultdict(list)
        bare: dict[str, list[str]] = defaultdict(list)
        found = []
        for path in self.files:
            lower = path.lower()
            if lower.endswith((*HEIC_SUFFIXES, ".avif")):
                doubtful[".avif" if lower.endswith(".avif") else "heic"].append(path)
            elif reader := reader_of(path):
                if not reader.holds_many(self.root / path):
                    doubtful[f"{path.rpartition('/')[0]}/{suffix_of(path)}"].append(path)
            elif lower.endswith(SUFFIXES) or ("?" in path and suffix_of(path) in SUFFIXES):
                found.append(path)
            elif "." not in name(path):
                bare[path.rpartition("/")[0]].append(path)
        more = [path for paths in bare.values() for path in self._images_among(paths)]
        for paths in doubtful.values():
            more += paths if any(map(self._opens, paths[:TRIED])) else []
        more += self.held
        return sorted(found + more) if more else found

    @cached_property
    def held(self) -> list[str]:
        """The images in containers, each as a path below its file; those of a file that cannot be read are left out."""
        found = []
        for path in self.files:
            reader = reader_of(path)
            if reader and reader.holds_many(self.root / path):
                with contextlib.suppress(ImageFault):
                    keys = [f"{path}/{key}" for key in keys_of(self.root / path)]
                    found += keys if any(map(self._opens, sorted(keys)[:TRIED])) else []
        return sorted(found)

    def _images_among(self, paths: list[str]) -> list[str]:
        """Of the files without an ending in one folder: all or none where the first ones agree, else each by itself."""
        first = [looks_like_image(self.root / path) for path in paths[:TRIED]]
        if len(set(first)) == 1:
            return paths if first[0] else []
        return [path for path in paths if looks_like_image(self.root / path)]

    def _opens(self, path: str) -> bool:
        try:
            image_size(self.root / path)
        except ImageFault:
            return False
        return True

    @cached_property
    def by_stem(self) -> dict[str, list[str]]:
        """The images that bear a name, whatever their folder and extension."""
        index: dict[str, list[str]] = defaultdict(list)
        for path in self.images:
            index[stem(path)].append(path)
        return index

    @cached_property
    def by_likeness(self) -> dict[str, list[str]]:
        """The images by what is left of their names where spelling does not count, see templates.alike."""
        index: dict[str, list[str]] = defaultdict(list)
        for path in self.images:
            index[alike(stem(path))].append(path)
        return index

    def resolve(self, wanted: str, likeness: bool = False) -> str | None:
        """The one file that `wanted` stands for: itself, or with **/ for any folders and .* for any extension.

        likeness: the name is one of `by_likeness`. None where there is no file. Raises Problem where there are several.
        """
        folder, anywhere, tail = wanted.rpartition("**/")
        if likeness:
            folder = folder if anywhere else wanted.rpartition("/")[0]
            near = self.by_likeness.get(name(wanted), ())
            return _only([path for path in near if path.startswith(folder)], wanted)
        any_extension = tail.endswith(".*")
        if not anywhere and not any_extension:
            return wanted if wanted in self.known else None
        found = []
        for path in self.by_stem.get(name(tail[:-2]) if any_extension else stem(tail), ()):
            if not path.startswith(folder):
                continue
            short = without_extension(path[len(folder) :]) if any_extension else path[len(folder) :]
            goal = tail[:-2] if any_extension else tail
            if short == goal or (anywhere and short.endswith(f"/{goal}")):
                found.append(path)
        return _only(found, wanted)


def _only(found: list[str], wanted: str) -> str | None:
    if len(found) > 1:
        raise Problem(
            f"{wanted} stands for several files: {', '.join(found[:3])}. Make the card's rule for images narrower",
            code="several-files",
        )
    return found[0] if found else None
