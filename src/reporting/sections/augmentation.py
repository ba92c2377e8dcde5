"""What the network saw: training images as the augmentation changes them."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import yaml

from src.config.image_size import Size, SizeWord
from src.config.schema import Augment
from src.images.augment import Augmentation
from src.images.bags import apart
from src.images.pixel_format import to_shown
from src.inference.external_runs import is_external
from src.reporting.page.blocks import Block, Code, Gallery, Section, Text, Tile
from src.reporting.page.pictures import shown
from src.reporting.run_results import RunResults
from src.reporting.sections import SECTIONS
from src.reporting.tiles import id_of, joined, names_of

IMAGES, TIMES, SIDE = 6, 5, 96
MOST = 3  # pipelines


@SECTIONS.register("seen")
def augmented(results: RunResults) -> Section:
    title = "What the network saw"
    if is_external(results.run):
        return Section("seen", title, "This run was trained elsewhere: what its network saw is not known here.", ())
    samples, config = results.competition.samples, results.competition.config
    rows = np.sort(np.random.default_rng(0).permutation(len(samples.train))[:IMAGES])
    images, blocks = results.images.batch(rows), []
    if config.images.bag_size:  # the first image of each
        images = apart(images, config.images.bag_size)[:: config.images.bag_size]
    pipelines = list(_pipelines(results))
    for number, (augment, size) in enumerate(pipelines[:MOST]):
        blocks += _shown(results, rows, images, augment, size, number)
    names = [name for augment, _ in pipelines for name in map(_name, augment.transforms)]
    message = ", ".join(dict.fromkeys(names)) or "no augmentation: every epoch shows the same pixels"
    mixed = [f"{name} (alpha {value:g})" for name in ("mixup", "cutmix") if (value := getattr(config.train, name))]
    if mixed:
        blocks.append(Text(f"On top of this, images of a batch are mixed with each other: {' and '.join(mixed)}."))
    sizes = dict.fromkeys(size for _, size in pipelines)
    reading = f"Images of {' and then '.join(map(str, sizes))} pixels, made anew in every epoch by: {message}."
    return Section("seen", title, reading, tuple(blocks))


def _pipelines(results: RunResults) -> Iterator[tuple[Augment, SizeWord]]:
    """Each augmentation and size that the run trained with, once."""
    config, found = results.competition.config, []
    for stage in config.train.stages or [None]:
        augment = (stage.augment if stage else None) or config.augment
        size = (stage.size if stage else None) or config.images.size
        if (augment, size) not in found:
            found.append((augment, size))
            yield augment, size


def _shown(
    results: RunResults, rows: np.ndarray, images: np.ndarray, augment: Augment, size: SizeWord, number: int
) -> list[Block]:
    pixels, colours = results.competition.seen_format, results.competition.in_colours
    augmentation = Augmentation(augment.transforms, size, Size(*images.shape[1:3]).word, pixels, colours)
    made = [augmentation(images, (0, number, time)) for time in range(TIMES)]
    tiles = tuple(
        Tile(
            tuple(shown(to_shown(image), SIDE) for image in (images[k], *(batch[k] for batch in made))),
            (f"id {id_of(results, row)} as it is", *(f"augmented, draw {time + 1}" for time in range(TIMES))),
            (joined(names_of(results, row)), "as it is, then five draws"),
            names_of(results, row),
        )
        for k, row in enumerate(rows)
    )
    numbers = pd.DataFrame(
        [(id_of(results, row), joined(names_of(results, row))) for row in rows], columns=["id", "class"]
    )
    name = "augmented" + (f"_{number + 1}" if number else "")
    only = f"; only for {augment.only}" if augment.only is not None else ""
    text = yaml.safe_dump(augment.transforms, sort_keys=False, allow_unicode=True)
    title = f"Training images at {size} pixels, as they are and augmented{only}"
    return [Gallery(name, title, tiles, numbers), Code("The pipeline", text.strip())]


def _name(transform: str | dict) -> str:
    return transform if isinstance(transform, str) else next(iter(transform), "")
