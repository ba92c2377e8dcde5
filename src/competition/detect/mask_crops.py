"""What is said of masks beside the images: they are set aside, and may as well crop them."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from src.competition.card import Card
from src.competition.detect.roles import MARGIN, is_masks, without_mask
from src.competition.file_tree import Tree
from src.competition.templates import name, stem
from src.images.masks import leaves_all, values_of
from src.images.regions import split_region

ENDINGS = (".png", ".gif", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")  # of masks that are read
LOOKED_AT = 50  # images
USUAL = 0.9  # of them have a mask
OPENED, MOST_VALUES = 8, 10  # masks of each part, and of their values


def masks_told(card: Card, tree: Tree, train: Sequence[str], test: Sequence[str]) -> str:
    """The words for `prepare` that crop each image to its mask; empty where most images have none, or their masks leave
    nothing out whatever value counts. train, test: the images' paths, absolute."""
    sources = {"train": (card.train, train), "test": (card.test, test)}
    templates, masks, by_name = {}, [], _masks_by_name(tree)
    for part, (source, paths) in sources.items():
        if source is None or not len(paths):
            continue
        inside = [path.removeprefix(f"{tree.root}/") for path in paths[:: len(paths) // LOOKED_AT + 1]]
        templates[part], found = _template(source.images, inside, by_name)
        if not templates[part]:
            return ""
        masks += [tree.root / mask for mask in found[:OPENED]]
    if not templates:
        return ""
    told = "most images have a mask, which is set aside. To see of each image what its mask shows:"
    value = ""
    if _most_whole(masks, None):
        values = values_of(masks)
        fits = [one for one in values[:MOST_VALUES] if not _most_whole(masks, one)]
        if not fits:
            return ""
        value = f"={fits[0]}"
        told = "most images have a mask, which is set aside. It leaves nothing out unless one of its values counts ("
        told += f"{', '.join(map(str, values[:MOST_VALUES]))}). To see of each image where its mask is {fits[0]}:"
    words = [f"{part}.images='{template}{value},{MARGIN}'" for part, template in templates.items()]
    return f"{told} {' '.join(words)}"


def _most_whole(masks: Sequence[Path], value: int | None) -> bool:
    return 2 * sum(leaves_all(mask, value) for mask in masks) > len(masks)


def _masks_by_name(tree: Tree) -> dict[str, list[str]]:
    """The images that are called after masks, or lie in a folder that is, by the names of those they belong to."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in tree.images:
        own = stem(path)
        if path.lower().endswith(ENDINGS) and (without_mask(own) or any(map(is_masks, path.split("/")[:-1]))):
            found[without_mask(own) or own].append(path)
    return found


def _template(images: str, paths: Sequence[str], by_name: dict[str, list[str]]) -> tuple[str, list[str]]:
    """The template of images that are cropped to their masks, by the masks that these paths have, and these; empty
    where it cannot be told."""
    if "*" in images or split_region(images)[1] or any(split_region(path)[1] for path in paths):
        return "", []
    found = [(path, mask) for path in paths if (mask := _mask_of(path, by_name))]
    if len(found) < USUAL * len(paths):
        return "", []
    path, mask = found[0]
    folder, tail = mask.rpartition("/")[0], name(mask).removeprefix(stem(path))
    bare = stem(name(images)) if "." in name(images) else name(images)
    beside = f"{folder}/" if folder else ""
    if any(one != f"{beside}{stem(of)}{tail}" for of, one in found):
        return "", []
    return f"{images}/mask={beside}{bare}{tail}", [one for _, one in found]


def _mask_of(path: str, by_name: dict[str, list[str]]) -> str | None:
    """The mask of an image: masks/7.png of images/7.png, or 7_mask.png beside it or in a folder of masks."""
    folder = path.rpartition("/")[0]
    for mask in by_name.get(stem(path), ()):
        above = mask.rpartition("/")[0]
        if mask != path and (above == folder or any(map(is_masks, above.split("/")))):
            return mask
    return None
