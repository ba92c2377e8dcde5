"""What the name of a file or folder says about its part in a competition."""

import re
from typing import Literal

Role = Literal["train", "validation", "test", "sample", ""]

WORDS: dict[str, set[str]] = {
    "sample": {"sample", "submission", "submit", "sub", "samplesubmission"},
    "test": {"test", "tests", "testing", "testset", "tst", "unlabeled", "unlabelled"},
    "validation": {"val", "valid", "validation", "validate", "valset", "dev", "holdout"},
    "train": {"train", "training", "trainset", "trn", "trainval"},
}
WEAK = {
    "evaluation": "test",
    "eval": "test",
    "private": "test",
    "public": "test",
    "labeled": "train",
    "labelled": "train",
}
FIGURES = {"doc", "docs", "figure", "figures", "fig", "figs", "asset", "assets", "readme", "screenshot", "screenshots"}
FIGURES |= {"plot", "plots", "logo", "logos", "cover", "banner", "icon", "icons", "thumbnail", "thumbnails"}
MASKS = {"mask", "masks", "segmentation", "segmentations", "seg", "groundtruth", "gt", "annotation", "annotations"}
MARGIN = "10%"  # around what a mask shows, in what is proposed
MASK_ENDING = re.compile(rf"[ _.-]+(?:{'|'.join(sorted(MASKS))})(?:[ _.-]+\d+)?$", re.IGNORECASE)
BESIDE = {"image", "images", "img", "imgs", "train", "test", "val", "data", "labels", "png", "binary"}  # say no more


def words(name: str) -> list[str]:
    """The words of a name, lower case: trainLabels_v2 is train, labels, v, 2."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_]+", name)]


def role_of_word(text: str) -> Role:
    """The part that a name plays; empty where it says nothing, or names two parts at once."""
    held = words(text)
    roles = {role for role, known in WORDS.items() if known.intersection(held)}
    if "sample" in roles:
        return "sample"
    roles = roles or {WEAK[word] for word in held if word in WEAK}
    return roles.pop() if len(roles) == 1 else ""


def parts_of_column(column: str, values: set[str]) -> dict[Role, list[str]] | None:
    """The parts that a column of 0 and 1 tells apart by its name: train_test_split, is_training_image, is_test."""
    if values not in ({"0", "1"}, {"True", "False"}):
        return None
    held, role = words(column), role_of_word(column)
    if "train" in held or role == "train":
        return {"train": [max(values)], "test": [min(values)]}
    if role == "test" and held[0] in ("is", "in"):
        return {"train": [min(values)], "test": [max(values)]}
    return None


def role_of_table(path: str, root: str) -> Role:
    """The part of a table: its own name goes before its folders, `root`, which holds everything, says nothing."""
    folders, _, name = path.removeprefix(root).rpartition("/")
    roles = (role_of_word(part) for part in folders.split("/"))
    above = next((role for role in roles if role not in ("", "sample")), "")
    return role_of_word(name.rpartition(".")[0] or name) or above


def is_masks(name: str) -> bool:
    """Whether a folder is called after masks and nothing else. A class may be called with_mask."""
    held = {*words(name)}
    return bool(held & MASKS) and held <= MASKS | BESIDE


def without_mask(stem: str) -> str:
    """The name of the image that a mask called 7_mask or 7_mask_1 belongs to; empty where it is called otherwise."""
    plain = MASK_ENDING.sub("", stem)
    return plain if plain != stem else ""


def is_figures(name: str) -> bool:
    """Whether a folder or file is called after pictures for the reader, such as readme_images, and nothing else."""
    held = {*words(name)}
    return bool(held & FIGURES) and held <= FIGURES | BESIDE
