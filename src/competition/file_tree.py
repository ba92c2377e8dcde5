"""The files below a competition's data/ folder, walked once."""

import os
from collections import defaultdict
from functools import cached_property
from itertools import takewhile
from pathlib import Path

from src.competition.templates import name, stem, without_extension
from src.core.errors import Problem
from src.images.decode import SUFFIXES, looks_like_image


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
        found, folders = [], [""]
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
        return sorted(found)

    @cached_property
    def shared(self) -> str:
        """The folder that everything lies in, with a / at its end, or empty."""
        if not self.files:
            return ""
        return common_folder(self.files)

    @cached_property
    def known(self) -> frozenset[str]:
        return frozenset(self.files)

    @cached_property
    def images(self) -> list[str]:
        """Files that look like images: by extension, or without one by the content of the first in their folder."""
        bare: dict[str, bool] = {}
        found = []
        for path in self.files:
            if path.lower().endswith(SUFFIXES):
                found.append(path)
            elif "." not in name(path):
                folder = path.rpartition("/")[0]
                if folder not in bare:
                    bare[folder] = looks_like_image(self.root / path)
                if bare[folder]:
                    found.append(path)
        return found

    @cached_property
    def by_stem(self) -> dict[str, list[str]]:
        """The images that bear a name, whatever their folder and extension."""
        index: dict[str, list[str]] = defaultdict(list)
        for path in self.images:
            index[stem(path)].append(path)
        return index

    def resolve(self, wanted: str) -> str | None:
        """The one file that `wanted` stands for: itself, or with **/ for any folders and .* for any extension.

        None where there is none. Raises Problem where there are several.
        """
        folder, anywhere, tail = wanted.rpartition("**/")
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
        if len(found) > 1:
            raise Problem(
                f"{wanted} stands for several files: {', '.join(found[:3])}. Make the card's rule for images narrower"
            )
        return found[0] if found else None
