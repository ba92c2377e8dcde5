"""Files that belong to one id: several images of one answer, or the channels of one picture."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from src.competition.bags import CHANNELS, FILES, find_bags
from src.competition.detect.context import Context
from src.competition.detect.draft import Evidence
from src.competition.detect.roles import BESIDE, MASKS, words
from src.competition.detect.rules import Rule
from src.competition.detect.undecided import Try, Undecided
from src.competition.templates import fill, name, stem
from src.images.decode import ImageFault
from src.images.read import raw_image

OPENED = 6  # images, to see whether they are gray
MOST_NAMES = 20  # of channels
USUAL = 0.9  # of the bags hold a file of this name


def put_bags(rule: Rule, part: str, cells: pd.DataFrame, context: Context) -> None:
    """Put `bag: files` where the rule finds several images of each row. Raises Undecided where they may be channels
    of one picture, or masks lie among them."""
    if rule.images_each <= 1:
        return
    draft, wanted = context.draft, list(dict.fromkeys(fill(rule.images, cells)))
    bags = find_bags(wanted, context.tree)
    how = f"{rule.images_each:.1f} images of each answer, on average: {rule.images}"
    if "bag" in draft.given or f"{part}.images" in draft.given:
        return draft.put("bag", draft.get("bag") or FILES, how)
    ends = [_ends(text, bag) for text, bag in zip(wanted, bags, strict=True) if bag]
    _ask_about_masks(rule, part, bags, ends)
    guess, signs = _like_channels(bags, ends, context)
    if guess:
        shown = ", ".join(sorted(ends[0]))
        how = f"{how}; or are {shown} the channels of one picture? Then bag=channels"
    if guess and signs:
        what = f"each of the {len(ends)} answers of {rule.images} has gray files of the same names:"
        tries = [Try(end, found=path) for end, path in sorted(zip(ends[0], bags[0], strict=True))]
        remedy = (
            "If they are several images of one answer: bag=files. If they are the channels of one picture: bag=channels"
        )
        raise Undecided(what, tries, remedy, [{"bag": FILES}, {"bag": CHANNELS}])
    counted = Evidence(len(ends), len(bags), "answers")
    draft.put("bag", FILES, how, guess=guess, evidence=counted)


def _ends(text: str, bag: Sequence[str]) -> list[str]:
    """What tells the files of a bag apart: their names without the id's, B02 of S2_7/S2_7_B02.tif."""
    head = text.partition("*")[0]
    own = name(head.rstrip("/")) if head.endswith("/") else name(head)
    return [stem(path[len(head.rpartition("/")[0]) + 1 :] if "/" in head else path).removeprefix(own) for path in bag]


def _like_channels(bags: Sequence[Sequence[str]], ends: list[list[str]], context: Context) -> tuple[bool, bool]:
    """Whether all bags hold gray files of the same names, and whether these are more than numbers."""
    first = set(ends[0])
    if not 1 < len(first) <= MOST_NAMES or any(set(one) != first or len(one) != len(first) for one in ends):
        return False, False
    for path in [path for bag in bags if bag for path in bag][:OPENED]:
        try:
            values = raw_image(Path(context.tree.root / path)).values
            if (values != values[:, :, :1]).any():  # a gray picture may have three equal channels
                return False, False
        except ImageFault:
            continue
    return True, any(any(one.isalpha() for one in end) for end in first)


def _ask_about_masks(rule: Rule, part: str, bags: Sequence[Sequence[str]], ends: list[list[str]]) -> None:
    """Raises Undecided where most bags hold a mask beside their images."""
    counts = Counter(end for one in ends for end in set(one))
    masks = [end for end, count in counts.items() if _is_mask(end) and count > USUAL * len(ends)]
    if not masks:
        return
    paths = [path for bag in bags for path in bag]
    endings = Counter(path.rpartition(".")[2] for path in paths if not _is_mask(stem(path)))
    others = {path.rpartition(".")[2] for path in paths if _is_mask(stem(path))}
    apart = [ending for ending in endings if ending not in others]
    template = f"{rule.images}.{apart[0]}" if apart else f"{rule.images.removesuffix('*')}PATTERN*"
    tries = [Try(end, counts[end], len(ends)) for end in masks]
    remedy = (
        f"To leave them out: bag=files {part}.images='{template}', and so for the other part. If they are images like "
        "the others: bag=files"
    )
    raise Undecided(f"the images of each answer ({rule.images}) have a mask among them:", tries, remedy)


def _is_mask(end: str) -> bool:
    held = {*words(end)}
    return bool(held & MASKS) and held <= MASKS | BESIDE
