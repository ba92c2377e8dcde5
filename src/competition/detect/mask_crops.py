"""What is said of masks beside the images: they are set aside, and may as well crop them."""

from collections import defaultdict
from collections.abc import Sequence

from src.competition.card import Card
from src.competition.detect.roles import MARGIN, is_masks, without_mask
from src.competition.file_tree import Tree
from src.competition.templates import name, stem
from src.images.regions import split_region

ENDINGS = (".png", ".gif", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")  # of masks that are read
LOOKED_AT = 50  # images
USUAL = 0.9  # of them have a mask


def masks_told(card: Card, tree: Tree, train: Sequence[str], test: Sequence[str]) -> str:
    """The words for `prepare` that crop each image to its mask; empty where most images have none. train, test: the
    images' paths, absolute."""
    sources = {"train": (card.train, train), "test": (card.test, test)}
    words, by_name = [], _masks_by_name(tree)
    for part, (source, paths) in sources.items():
        if source is None or not len(paths):
            continue
        inside = [path.removeprefix(f"{tree.root}/") for path in paths[:: len(paths) // LOOKED_AT + 1]]
        template = _template(source.images, inside, by_name)
        if not template:
            return ""
        words.append(f"{part}.images='{template}'")
    if not words:
        return ""
    return f"most images have a mask, which is set aside. To see of each image what its mask shows: {' '.join(words)}"


def _masks_by_name(tree: Tree) -> dict[str, list[str]]:
    """The images that are called after masks, or lie in a folder that is, by the names of those they belong to."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in tree.images:
        own = stem(path)
        if path.lower().endswith(ENDINGS) and (without_mask(own) or any(map(is_masks, path.split("/")[:-1]))):
            found[without_mask(own) or own].append(path)
    return found


def _template(images: str, paths: Sequence[str], by_name: dict[str, list[str]]) -> str:
    """The template of images that are cropped to their masks, by the masks that these paths have."""
    if "*" in images or split_region(images)[1] or any(split_region(path)[1] for path in paths):
        return ""
    found = [(path, mask) for path in paths if (mask := _mask_of(path, by_name))]
    if len(found) < USUAL * len(paths):
        return ""
    path, mask = found[0]
    folder, tail = mask.rpartition("/")[0], name(mask).removeprefix(stem(path))
    bare = stem(name(images)) if "." in name(images) else name(images)
    beside = f"{folder}/" if folder else ""
    if any(one != f"{beside}{stem(of)}{tail}" for of, one in found):
        return ""
    return f"{images}/mask={beside}{bare}{tail},{MARGIN}"


def _mask_of(path: str, by_name: dict[str, list[str]]) -> str | None:
    """The mask of an image: masks/7.png of images/7.png, or 7_mask.png beside it or in a folder of masks."""
    folder = path.rpartition("/")[0]
    for mask in by_name.get(stem(path), ()):
        above = mask.rpartition("/")[0]
        if mask != path and (above == folder or any(map(is_masks, above.split("/")))):
            return mask
    return None
