"""What the preview shows: some images of each class, the first test rows, every fact, and what became of each file."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from src.competition.card import Card
from src.competition.create import Prepared
from src.competition.detect.draft import Fact, flow
from src.competition.guesses import CONFIRMED
from src.competition.quality.accounting import Share
from src.core.wording import plural
from src.images.pixel_format import PixelFormat, to_shown
from src.images.read import read_image
from src.images.stream import each_in_threads
from src.reporting.page.pictures import shown
from src.targets import Strata

SIDE = 88  # pixels of an image
CLASSES, IMAGES, EACH = 60, 240, 8  # classes with images, images of all of them, images of one class at most
TESTS = 24
NAMES = 3000  # of the classes without images, those that are named


@dataclass(frozen=True)
class Tile:
    """One image as it was read. image: (h, w, 3) uint8, or None where it cannot be read. file: its path below data/.

    more: what else is said of it, such as its other labels.
    """

    id: str
    file: str
    image: np.ndarray | None
    more: str = ""


@dataclass(frozen=True)
class ShownClass:
    """A class with its labelled rows, and some of their images. share: of the largest class."""

    name: str
    count: int
    share: float
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class ShownFact:
    """A fact of the card, in words: explained is how far it reaches, such as 118 of 120 rows."""

    key: str
    value: str
    certainty: str
    how: str
    explained: str
    signals: tuple[str, ...]
    against: tuple[str, ...]
    rivals: tuple[str, ...]


@dataclass(frozen=True)
class Contents:
    """All that is shown. doubts: what a reader should see first, beside the guesses. parts: what `classes` are, such as
    classes, or ranges of a number."""

    name: str
    title: str
    summary: str
    facts: tuple[ShownFact, ...]
    doubts: tuple[str, ...]
    parts: tuple[str, str]
    classes: tuple[ShownClass, ...]
    others: tuple[tuple[str, int], ...]
    tests: tuple[Tile, ...]
    test_count: int
    absent: tuple[str, ...]
    shares: tuple[Share, ...]
    files: int

    @property
    def guesses(self) -> list[ShownFact]:
        return [fact for fact in self.facts if fact.certainty == "guess"]


def contents_of(done: Prepared) -> Contents:
    """Choose what is shown, and read these images; the rest is not opened."""
    card, samples = done.card, done.samples
    names, strata = samples.target.parted(samples.targets, samples.classes)
    counts = np.bincount(strata.labels, minlength=len(names))
    rows = _rows_to_show(strata, counts)
    root = f"{card.data.resolve()}/"
    tested = samples.test.iloc[:TESTS]
    paths = [samples.train["path"].iloc[row] for held in rows.values() for row in held]
    images = _read([*paths, *tested["path"]], card.pixel_format)

    def train_tile(row: int, of: int) -> Tile:
        sample = samples.train.iloc[row]
        told = _others(done, row, names[of])
        return Tile(sample["id"], sample["path"].removeprefix(root), images.get(sample["path"]), told)

    most = max(int(counts.max()), 1)
    classes = tuple(
        ShownClass(
            names[k],
            int(counts[k]),
            int(counts[k]) / most,
            tuple(train_tile(row, k) for row in held),
        )
        for k, held in rows.items()
    )
    others = [(names[k], int(counts[k])) for k in range(len(names)) if k not in rows]
    tests = tuple(
        Tile(id_, path.removeprefix(root), images.get(path))
        for id_, path in zip(tested["id"], tested["path"], strict=True)
    )
    return Contents(
        name=card.id,
        title=card.title,
        summary=_summary(done),
        facts=tuple(_fact(key, done.facts[key]) for key in sorted(done.facts, key=_place)),
        doubts=tuple(_doubts(done)),
        parts=samples.target.parts,
        classes=classes,
        others=tuple(others),
        tests=tests,
        test_count=len(samples.test),
        absent=samples.test_without_image,
        shares=done.accounting.shares,
        files=done.accounting.total,
    )


def _rows_to_show(strata: Strata, counts: np.ndarray) -> dict[int, list[int]]:
    """Some training rows of each class, the first and the last among them; of many classes the largest, the smallest
    and some between."""
    order = np.argsort(-counts, kind="stable")
    if len(order) > CLASSES:
        third = CLASSES // 3
        between = np.linspace(third, len(order) - third - 1, CLASSES - 2 * third).astype(int)
        order = np.concatenate([order[:third], order[between], order[-third:]])
    else:
        order = np.arange(len(counts))
    each = int(np.clip(IMAGES // len(order), 2, EACH))
    by_label = np.argsort(strata.labels, kind="stable")
    begins = np.searchsorted(strata.labels[by_label], np.arange(len(counts) + 1))
    held = {int(k): strata.rows[by_label[begins[k] : begins[k + 1]]] for k in order}
    return {k: [int(rows[at]) for at in _spread(len(rows), each)] for k, rows in held.items()}


def _spread(count: int, wanted: int) -> list[int]:
    """`wanted` places from the first to the last of `count`."""
    return sorted(set(np.linspace(0, count - 1, min(wanted, count)).astype(int).tolist())) if count else []


def _read(paths: Iterable[str], pixels: PixelFormat) -> dict[str, np.ndarray]:
    """Small images by path; those that cannot be read are left out."""
    paths = sorted(set(paths))
    found: dict[str, np.ndarray] = {}

    def one(place: int) -> None:
        image = to_shown(read_image(Path(paths[place]), pixels, SIDE).pixels)
        height, width = image.shape[:2]
        if max(height, width) > 4 * min(height, width):  # of a strip, its middle
            side = 4 * min(height, width)
            top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
            image = image[top : top + side, left : left + side]
        found[paths[place]] = shown(image, SIDE)

    each_in_threads(one, len(paths), None, "reading images for the preview")
    return found


def _others(done: Prepared, row: int, part: str) -> str:
    """The labels of a row beside the name of the part that it is shown in, and the group that it belongs to."""
    samples, text = done.samples, []
    names = samples.target.cells(samples.targets[[row]], samples.classes)[0]
    held = [name for name in names if name != part]
    also = "also " if part in names else ""
    text += [f"{also}{', '.join(held[:4])}{' …' if len(held) > 4 else ''}"] if held else []
    if group := samples.train["group"].iloc[row]:
        text.append(f"group {group}")
    return "; ".join(text)


def _summary(done: Prepared) -> str:
    samples, card = done.samples, done.card
    count = len(samples.target.parted(samples.targets, samples.classes)[0])
    test = f"{plural(len(samples.test), 'test image')}" if card.test else "no test images"
    asked = f", submission: {card.submission_kind.registered}" if card.submission else ""
    return (
        f"{plural(len(samples.train), 'training row')} in {plural(count, *samples.target.parts)}, {test}. "
        f"Target: {card.target}, metric: {card.metric}{asked}."
    )


def _place(key: str) -> int:
    """Where the card has this fact."""
    return list(Card.model_fields).index(key.partition(".")[0])


def _fact(key: str, fact: Fact) -> ShownFact:
    evidence = fact.evidence
    explained = f"{evidence.explained} of {evidence.total} {evidence.unit}" if evidence.total else ""
    how = fact.how.removeprefix(CONFIRMED)
    certainty = "confirmed" if how != fact.how else fact.certainty
    return ShownFact(
        key, flow(fact.value), certainty, how, explained, evidence.signals, evidence.against, evidence.rivals
    )


def _doubts(done: Prepared) -> Iterable[str]:
    """What often shows that a reading is wrong, counted; then the notes."""
    samples = done.samples
    files = samples.train["path"].nunique()
    if files < len(samples.train):
        yield f"{plural(len(samples.train), 'training row')} share {plural(files, 'image file')}"
    if len(samples.test) and (files := samples.test["path"].nunique()) < len(samples.test):
        yield f"{plural(len(samples.test), 'test row')} share {plural(files, 'image file')}"
    few = [name for name, count in zip(samples.classes, samples.counts, strict=True) if count < 2]
    if few:
        yield f"{len(few)} of {len(samples.classes)} classes have fewer than two rows, such as {few[0]}"
    if done.card.test is None:
        yield "no test images were found: there will be nothing to submit"
    if unreadable := done.overview["unreadable"]:
        yield f"{plural(len(unreadable), 'image')} cannot be read, such as {next(iter(unreadable))}"
    yield from map(str, done.notes)
    yield from done.overview["notes"]
