"""Which image of a bag counted: the weights that the network's pool gave to the images of held-out bags."""

from pathlib import Path

import numpy as np
import pandas as pd

from src.core.paths import relative_paths
from src.images.bags import BagImages, apart
from src.images.dataset import PlainRows
from src.images.pixel_format import to_shown
from src.inference.trained_networks import trained_network
from src.models.bag_head import bag_weights
from src.reporting.page.blocks import Gallery, Section, Table, Text, Tile
from src.reporting.page.pictures import shown
from src.reporting.run_results import RunResults
from src.reporting.sections import SECTIONS
from src.reporting.tiles import SIDE, id_of, in_words, names_of, pictures

TITLE = "Which image counted"
LOOKED_AT, AT_ONCE = 512, 16  # held-out bags whose weights are computed, and so many at a time
SHOWN = 8


@SECTIONS.register("bags")
def bags(results: RunResults) -> Section:
    images = results.competition.config.images
    if images.bag_size == 1:
        one = f"{images.slices} slices of its series" if images.slices else "one of its images"
        return Section("bags", TITLE, f"With images.bag_size=1 a bag is one picture, of {one}.", ())
    rows = np.sort(np.random.default_rng(0).permutation(len(results.held.id))[:LOOKED_AT])
    weights = weights_of(results, rows)
    if weights is None:
        pool = results.competition.config.model.bag
        return Section("bags", TITLE, f"model.bag={pool} weighs no image; model.bag=attention does.", ())
    table = weight_table(results, rows, weights)
    several = table.groupby("id", sort=False)["weight"].agg(["max", "size"]).query("size > 1")
    sure = float((several["max"] > 0.5).mean()) if len(several) else 0.0
    reading = (
        f"In {sure:.0%} of {len(several)} held-out bags of several images one image has more than half the weight."
    )
    blocks = (_gallery(results, rows, weights), Table("bag_weights", "The weight of each image", table.round(4)))
    if len(rows) < len(results.held.id):
        blocks += (Text(f"Computed for {len(rows)} of {len(results.held.id)} held-out bags, chosen at random."),)
    return Section("bags", TITLE, reading, blocks)


def weights_of(results: RunResults, rows: np.ndarray) -> np.ndarray | None:
    """(held-out rows, slots) float32 by their own fold's network, of the first seed; None where none are given."""
    config, held = results.competition.config, results.held
    plain = PlainRows(results.images, config.images.size)
    weights = np.zeros((len(rows), config.images.bag_size), np.float32)
    for fold in np.unique(held.folds[rows]):
        member = next(member for member in results.judges if member.fold == fold)
        network, _ = trained_network(config, member.folder, len(results.classes), results.competition.target)
        places = np.flatnonzero(held.folds[rows] == fold)
        for start in range(0, len(places), AT_ONCE):
            part = places[start : start + AT_ONCE]
            images, _ = plain[results.rows[rows[part]]]
            found = bag_weights(network, images)
            if found is None:
                return None
            weights[part] = found
    return weights


def weight_table(results: RunResults, rows: np.ndarray, weights: np.ndarray) -> pd.DataFrame:
    """id, image and weight, one line an image that was seen."""
    competition, images = results.competition, results.images
    lines = []
    for row, given in zip(results.rows[rows], weights, strict=True):
        paths = _paths_of(images, row, competition.bags[row].paths)
        names = relative_paths(paths, competition.card.folder / "data")
        lines += [(id_of(results, row), name, weight) for name, weight in zip(names, given, strict=False)]
    return pd.DataFrame(lines, columns=["id", "image", "weight"])


def _paths_of(images: BagImages, row: int, paths: tuple[str, ...]) -> list[str]:
    """Of the images that a bag is seen by, in their slots."""
    return [paths[member - images.ends[row]] for member in images.members(row)]


def _gallery(results: RunResults, rows: np.ndarray, weights: np.ndarray) -> Gallery:
    """The bags in which one image has the largest share beyond an even one, each beside that image."""
    images, places = results.images, results.rows[rows]
    counts = np.array([len(images.members(row)) for row in places])
    first = np.argsort(1 / counts - weights.max(1), kind="stable")[:SHOWN]
    tiles, numbers = [], []
    whole = pictures(results, places[first])
    for at, bag in zip(first, whole, strict=True):
        row, slot = places[at], int(weights[at].argmax())
        image = to_shown(apart(images.batch([row]), images.slots)[slot])
        path = Path(_paths_of(images, row, results.competition.bags[row].paths)[slot])
        truth, share = in_words(names_of(results, row)), float(weights[at, slot])
        alts = f"the {counts[at]} images of id {id_of(results, row)}", f"image {slot + 1}, which counts most"
        lines = f"image {slot + 1} of {counts[at]} has {share:.2f} of the weight", f"by the table {truth}"
        lines += (f"id {id_of(results, row)}", path.name)
        tiles.append(Tile((bag, shown(image, SIDE)), alts, lines, names_of(results, row)))
        numbers.append((id_of(results, row), slot + 1, counts[at], share))
    table = pd.DataFrame(numbers, columns=["id", "image", "images", "weight"])
    return Gallery("bag_images", "Bags of which one image counts most, and that image", tuple(tiles), table.round(4))
