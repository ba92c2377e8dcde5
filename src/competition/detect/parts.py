"""Which part of the data each folder holds: training, validation or test images.

A word in a folder's name is one signal, its siblings are another. Beside bus, car and ship a folder called train is
a class; beside test it is a part. What stays open is kept in `open_folders`, for a question.
"""

import re
from collections import Counter, defaultdict

from src.competition.detect.roles import Role, role_of_word, words
from src.competition.templates import name, stem

PARTS = ("train", "validation", "test")
PLAIN = {"image", "images", "img", "imgs", "set", "data", "dataset", "files", "folder", "photos", "pictures", "jpg"}
PLAIN |= {"jpeg", "png", "final", "new", "all", "small", "simple", "v", "part", "stage", "raw", "full", "resized"}
FEWEST = 10  # images whose names can tell parts
COVERED = 0.9  # of a folder's images must be named after parts before their names say anything


class Parts:
    """The parts of a tree's images. `roots`: the folders, with a / at their end, whose names say their part."""

    def __init__(self, images: list[str], asked: set[str], tested: set[str]) -> None:
        """asked: classes that the sample submission names. tested: names of images without ending that it lists."""
        self.roots: dict[str, Role] = {}
        self.open_folders: dict[str, list[str]] = {}  # a folder that may be a class, and its siblings
        self._asked, self._tested = asked, tested
        self._files: dict[str, list[str]] = defaultdict(list)
        self._below: dict[str, set[str]] = defaultdict(set)
        for path in images:
            self._files[path.rpartition("/")[0] + "/" if "/" in path else ""].append(path)
        for folder in list(self._files):
            above = folder
            while above:
                over = _above(above)
                self._below[over].add(above)
                above = over
        self._find("")
        self._named = {folder for folder in self._files if self._names_parts(folder)}
        self._known: dict[str, Role] = {}

    def role(self, path: str) -> Role:
        """The part of an image, or of the images that a template finds."""
        fixed = path.partition("{")[0]
        folder = fixed.rpartition("/")[0] + "/" if "/" in fixed else ""
        role = self._of_folder(folder)
        if role or folder not in self._named:
            return role
        return _role_of_name(re.sub(r"\{[^}]*\}", " ", path.rpartition("/")[2]))

    def root(self, path: str) -> str:
        """The folder that gives an image its part, else empty."""
        folder = path.rpartition("/")[0] + "/" if "/" in path else ""
        while folder and folder not in self.roots:
            folder = _above(folder)
        return folder

    def _of_folder(self, folder: str) -> Role:
        if folder not in self._known:
            self._known[folder] = self.roots.get(self.root(folder), "")
        return self._known[folder]

    def _find(self, folder: str) -> None:
        """The parts among the folders below this one; what lies below a part is of that part."""
        below = sorted(self._below.get(folder, ()))
        named = {one: role for one in below if (role := role_of_word(name(one.rstrip("/")))) in PARTS}
        if named and (len(below) == len(named) or self._are_parts(named, below)):
            self.roots |= named
        for one in below:
            if one not in self.roots:
                self._find(one)

    def _are_parts(self, named: dict[str, Role], below: list[str]) -> bool:
        """Whether some folders among others, called after parts, are parts."""
        first, role = next(iter(named.items()))
        called = {name(one.rstrip("/")) for one in below}
        if self._asked and name(first.rstrip("/")) in self._asked:
            return False  # the sample submission names it as a class
        nested = any(self._below.get(one) for one in below)
        said = self._asked and called - {name(one.rstrip("/")) for one in named} >= self._asked
        if len(named) > 1 or nested or said or any(stem(path) in self._tested for path in self._files[first][:20]):
            return True
        named_after = all(self._bears_its_name(one) for one in below) and self._alike(below, 3)  # test/test_image.jpg
        if named_after or not _only_part(first):
            return False
        if role == "train":
            return len(below) < 3 or not self._alike(below)
        if role == "test" or self._alike(below):
            self.open_folders[first] = sorted(called)
        return True

    def _bears_its_name(self, folder: str) -> bool:
        """Whether the images of a folder are called after it, as those of classes often are."""
        called = name(folder.rstrip("/")).casefold()
        return all(stem(path).casefold().startswith(called) for path in self._files[folder])

    def _alike(self, folders: list[str], times: int = 10) -> bool:
        """Whether folders hold numbers of images that are not far apart."""
        counts = [len(self._files[one]) for one in folders]
        return max(counts) <= times * max(1, min(counts))

    def _names_parts(self, folder: str) -> bool:
        """Whether the images of one folder are called after their parts, as in Train_0.jpg and Test_0.jpg."""
        held = self._files[folder]
        if len(held) < FEWEST or (not role_of_word(stem(held[0])) and not role_of_word(stem(held[-1]))):
            return False
        roles = Counter(_role_of_name(path) for path in held)
        return len(roles.keys() & {*PARTS}) > 1 and roles[""] <= (1 - COVERED) * len(held)


def _role_of_name(path: str) -> Role:
    """By the first or the last word of a file's name."""
    held = [word for word in words(stem(path)) if not word.isdigit()]
    roles = {role for word in held[:1] + held[-1:] if (role := role_of_word(word)) in PARTS}
    return roles.pop() if len(roles) == 1 else ""


def _only_part(folder: str) -> bool:
    """Whether a folder's name says a part and nothing else: test_images does, test tube does not."""
    held = [word for word in words(name(folder.rstrip("/"))) if not word.isdigit()]
    return all(role_of_word(word) or word in PLAIN for word in held)


def _above(folder: str) -> str:
    """The folder over a/b/: a/."""
    over = folder.rstrip("/").rpartition("/")[0]
    return f"{over}/" if over else ""
