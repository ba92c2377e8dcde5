"""What is learned from: classes and their sizes, what the images are like, and which stand there twice."""

import numpy as np
import pandas as pd

from src.competition.bags import BAG
from src.competition.quality.cleaning import entries_of, index_samples
from src.competition.quality.duplicates import find_pairs, shown_by_many
from src.competition.quality.image_index import ImageIndex
from src.reporting.page.blocks import Bar, Bars, Block, Chart, Gallery, Section, Text, Tile
from src.reporting.page.charts import class_bars, histograms, points
from src.reporting.run_results import RunResults
from src.reporting.sections import SECTIONS
from src.reporting.tiles import id_of, in_words, isolated, names_of, pictures
from src.targets import Strata

EXAMPLES, EACH = 300, 6  # pictures in all, and of one class at most
SHOWN_CLASSES = 300
PAIRS = 12
POINTS = 1500  # of either set
SIDE = 84


@SECTIONS.register("data")
def data(results: RunResults) -> Section:
    competition, samples = results.competition, results.competition.samples
    images = index_samples(competition.card, samples)
    train, test = entries_of(images, samples.train), entries_of(images, samples.test)
    doubles = _pairs(results, images, train, test)
    seen = np.concatenate(train), np.concatenate([np.zeros(0, np.int64), *test])
    blocks: list[Block] = [*_what_they_are_like(images, *seen), _parts(results), _examples(results)]
    if len(doubles):
        blocks.append(_duplicates(results, doubles))
    return Section("data", "The data", _reading(results, doubles), tuple(blocks))


def _parted(results: RunResults) -> tuple[tuple[str, ...], Strata, np.ndarray]:
    """The names of the parts that the training images are shown by, their rows, and how many each has."""
    samples = results.competition.samples
    names, strata = samples.target.parted(samples.targets, results.classes)
    return names, strata, np.bincount(strata.labels, minlength=len(names))


def _parts(results: RunResults) -> Bars:
    names, _, count_of = _parted(results)
    one, several = results.competition.target.parts
    counts = pd.DataFrame({"class": names, "value": count_of})
    counts = counts.sort_values("value", ascending=False, kind="stable")
    most, shown = max(1, int(counts["value"].max())), counts.head(SHOWN_CLASSES)
    bars = tuple(Bar(name, count / most, str(count)) for name, count in shown.itertuples(index=False))
    title = f"Training images of each {one}" + _of_many(len(counts), "the largest", several)
    alt = f"{len(counts)} {several} with {counts['value'].min()} to {most} images"
    return Bars("classes", title, alt, bars, class_bars(shown, "training images"), counts)


def _what_they_are_like(images: ImageIndex, train: np.ndarray, test: np.ndarray) -> list[Block]:
    """Sizes, where they differ, and brightness: of the training images against the test images."""
    sets = {"training": train} | ({"test": test} if len(test) else {})
    blocks: list[Block] = []
    used = np.concatenate(list(sets.values()))
    if len(np.unique(images.size[used], axis=0)) > 1:
        generator = np.random.default_rng(0)
        few = {name: generator.permutation(rows)[:POINTS] for name, rows in sets.items()}
        sizes = {name: (images.size[rows, 1], images.size[rows, 0]) for name, rows in few.items()}
        numbers = pd.concat(
            [pd.DataFrame({"set": name, "width": x, "height": y}) for name, (x, y) in sizes.items()], ignore_index=True
        )
        medians = ", ".join(f"{name} {np.median(x):.0f} x {np.median(y):.0f}" for name, (x, y) in sizes.items())
        alt = f"width and height of the images; medians: {medians} pixels"
        blocks.append(Chart("sizes", f"Sizes; medians: {medians}", alt, points(sizes, "width", "height"), numbers))
    else:
        height, width = images.size[used[0]]
        blocks.append(Text(f"All images are {width} pixels wide and {height} high."))
    bright = {name: images.levels[rows] for name, rows in sets.items()}
    edges = np.linspace(0, 255, 27)
    table = pd.DataFrame({"left": edges[:-1], "right": edges[1:]})
    for name, values in bright.items():
        table[name] = np.histogram(values, edges)[0] / len(values)
    means = ", ".join(f"{name} {values.mean():.0f}" for name, values in bright.items())
    alt = f"how bright the images are, of 255; means: {means}"
    draw = histograms(table, "mean brightness of an image, of 255", "share of the images")
    return [*blocks, Chart("brightness", f"Brightness; means: {means}", alt, draw, table)]


def _examples(results: RunResults) -> Gallery:
    """A few images of each part, drawn at random but always the same."""
    names, strata, counts = _parted(results)
    one, several = results.competition.target.parts
    count = len(names)
    each = int(np.clip(EXAMPLES // count, 1, EACH))
    generator, chosen = np.random.default_rng(0), []
    order = np.argsort(-counts, kind="stable")[:SHOWN_CLASSES]
    for label in order[counts[order] > 0]:
        chosen.append((names[label], generator.permutation(strata.rows[strata.labels == label])[:each]))
    seen = iter(pictures(results, np.concatenate([rows for _, rows in chosen]), SIDE))
    tiles = tuple(
        Tile(
            tuple(next(seen) for _ in rows),
            tuple(f"an image of {isolated(name)}, id {id_of(results, row)}" for row in rows),
            (name,),
            (name,),
        )
        for name, rows in chosen
    )
    numbers = pd.DataFrame(
        [(name, id_of(results, row)) for name, rows in chosen for row in rows], columns=["class", "id"]
    )
    title = (
        f"{each} of each {one}" + _of_many(count, "the largest", several)
        if each > 1
        else f"One of each {one}{_of_many(count, 'the largest', several)}"
    )
    return Gallery("examples", title, tiles, numbers, scrolls=True)


def _pairs(results: RunResults, images: ImageIndex, train: list[np.ndarray], test: list[np.ndarray]) -> pd.DataFrame:
    """a, b: rows of `Subject.images`. equal: the same bytes. between: one is a test image. across: labels differ.

    train, test: the entries of each row. Bags that share an image, or near duplicates, are a pair, unless many show it.
    What is most alarming comes first.
    """
    samples = results.competition.samples
    row_of = np.full(len(images.paths), -1)
    for bags, first in ((test, len(train)), (train, 0)):
        if bags:
            row_of[np.concatenate(bags)] = first + np.repeat(np.arange(len(bags)), [len(bag) for bag in bags])
    pairs = find_pairs(images)
    rows = row_of[pairs.rows]
    shown = (rows >= 0).all(axis=1) & (rows[:, 0] != rows[:, 1])
    if BAG in samples.train:
        shown &= ~shown_by_many([*train, *test], pairs, len(images.paths))[pairs.rows].any(axis=1)
    table = pd.DataFrame({"a": rows[:, 0], "b": rows[:, 1], "equal": pairs.same})[shown]
    table[["a", "b"]] = np.sort(table[["a", "b"]].to_numpy(), axis=1)
    table = table.sort_values("equal", ascending=False, kind="stable").drop_duplicates(["a", "b"])
    table["between"] = (table["a"] < len(train)) & (table["b"] >= len(train))
    both = table["b"] < len(train)
    targets = samples.targets.reshape(len(samples.targets), -1)
    table["across"] = False
    differ = (targets[table["a"][both]] != targets[table["b"][both]]).any(axis=1)
    table.loc[both, "across"] = differ
    return table.sort_values(["across", "between"], ascending=False, kind="stable", ignore_index=True)


def _duplicates(results: RunResults, doubles: pd.DataFrame) -> Gallery:
    count = len(results.competition.samples.train)
    first = doubles.head(PAIRS)
    seen = iter(pictures(results, first[["a", "b"]].to_numpy().ravel()))

    def label(row: int) -> str:
        return in_words(names_of(results, row)) if row < count else "a test image"

    def what(pair: object) -> str:
        kind = "equal files" if pair.equal else "nearly the same"
        return f"{kind}, other labels" if pair.across else f"{kind}, training and test" if pair.between else kind

    tiles = tuple(
        Tile(
            (next(seen), next(seen)),
            tuple(f"id {id_of(results, row)}, {label(row)}" for row in (pair.a, pair.b)),
            (what(pair), " | ".join(dict.fromkeys((label(pair.a), label(pair.b))))),
            tuple(name for row in (pair.a, pair.b) if row < count for name in names_of(results, row)),
        )
        for pair in first.itertuples()
    )
    ids = {side: [id_of(results, row) for row in doubles[side]] for side in ("a", "b")}
    more = f", the first {PAIRS} of {len(doubles)}" if len(doubles) > PAIRS else ""
    return Gallery("duplicates", f"Images that stand there twice{more}", tiles, doubles.assign(**ids))


def _reading(results: RunResults, doubles: pd.DataFrame) -> str:
    samples, counts = results.competition.samples, _parted(results)[2]
    one, several = results.competition.target.parts
    there = counts[counts > 0]
    absent = int((counts == 0).sum())
    times = there.max() / there.min()
    each = f"{there.min()} to {there.max()}" if there.min() < there.max() else str(there.min())
    text = (
        f"{len(samples.train)} training images in {len(there)} {several}, {each} of each"
        f"{f' ({absent} {several} have none)' if absent else ''}: "
        f"{_evenness(times, one, several)}; {len(samples.test)} test images. "
    )
    if not len(doubles):
        return text + "No image was found twice."
    across, between = int(doubles["across"].sum()), int(doubles["between"].sum())
    return text + (
        f"{len(doubles)} pairs of images are the same or nearly so: {across} with different labels, {between} of a "
        f"training and a test image."
    )


def _evenness(times: float, one: str, several: str) -> str:
    if times < 1.5:
        return f"the {several} are about even"
    return f"the largest {one} has {times:.1f} times the images of the smallest"


def _of_many(count: int, which: str, several: str) -> str:
    return f", {which} {SHOWN_CLASSES} of {count} {several}" if count > SHOWN_CLASSES else ""
