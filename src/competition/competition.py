"""A competition made ready for work: card, samples, folds, metric and images, all checked before the first epoch."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src.competition.auto_config import resolve_auto, with_values
from src.competition.bags import CHANNELS, Bag, bags_of, in_order
from src.competition.card import Card, load_card
from src.competition.folds import Folds, freeze_folds, units_of
from src.competition.labels import test_answers
from src.competition.quality.cleaning import inspect
from src.competition.quality.ignored_images import Ignored, leave_out, read_ignored
from src.competition.quality.image_index import INDEX
from src.competition.samples import Samples, load_samples, refuse_constant
from src.competition.sources.data_folder import ensure_data
from src.config.image_size import Size, SizeWord
from src.config.schema import GRAY, Config, Data, Model
from src.core.console import note
from src.core.errors import Problem, UsageError
from src.core.files import sha256_of, write_text
from src.core.paths import Run, relative_paths, runs_folder
from src.core.wording import plural
from src.images.bags import BagImages
from src.images.cache import ImageCache
from src.images.decoded import DecodedImages
from src.images.fits import version_of
from src.images.local_copy import local_folder
from src.images.pixel_format import COLOURS, MOST_CHANNELS, STANDARD, PixelFormat
from src.images.prepare_steps import versions_of
from src.images.slices import VERSION as SLICES_VERSION
from src.images.slices import folder_of, seen_format, series_of
from src.images.stream import ImageStream
from src.metrics import Metric, Rows, metric
from src.models.bags import BAGS
from src.targets import TargetType

USUAL_BAG, MOST_SLOTS = "mean", 8  # of model.bag, and of images.bag_size at most, where they are not said


@dataclass(frozen=True)
class Competition:
    """Rows of `images` are the training rows, then the test rows. What data.ignore leaves out is not among them."""

    card: Card
    samples: Samples
    folds: Folds
    metric: Metric
    config: Config
    ignored: Ignored | None = None
    decoded: DecodedImages | None = None  # of the first look at the images: what a cache need not decode again

    @property
    def target(self) -> TargetType:
        """What is predicted, as an object."""
        return self.metric.target

    @cached_property
    def rows(self) -> Rows:
        """What a metric may want to know of the training rows."""
        return Rows(self.samples.train["id"].to_numpy(), units_of(self.samples.train), self.samples.weights)

    @cached_property
    def images_hash(self) -> str:
        """Of the names and bytes of all image files and what is done to them: logits of other pixels are stale."""
        return self._images_hash(lambda table: table["digest"])

    def same_images(self, text: str | None) -> bool:
        """Whether `told` is the hash of these images; of older tables of logits it knows their files' sizes only."""
        return text == self.images_hash or text == self._images_hash(lambda table: map(_size, table["path"]))

    def _images_hash(self, of_files: Callable[[pd.DataFrame], Iterable[int]]) -> str:
        images = self.config.images
        recipe: list[Any] = [version_of(images.fit), versions_of(images.prepare)]
        if self.card.pixel_format != STANDARD:
            recipe.append(self.card.pixel_format.to_json())
        if images.tiles:
            recipe.append(["tiles", images.tiles])
        if images.slices:
            recipe.append(["slices", images.slices, SLICES_VERSION])
        digest = hashlib.sha256(json.dumps(recipe).encode())
        for table in (self.samples.train, self.samples.test):
            for name, text in zip(relative_paths(table["path"], self.card.folder), of_files(table), strict=True):
                digest.update(f"{name}\0{text}\0".encode())
        return digest.hexdigest()[:16]

    @cached_property
    def cells(self) -> np.ndarray | None:
        """(rows of `images`, columns) float32, what the network sees beside each picture; None where it sees none."""
        return cells_beside(self.samples, self.config.model)

    @property
    def cells_hash(self) -> str | None:
        """Of the cells: logits of other ones are stale."""
        return None if self.cells is None else hashlib.sha256(self.cells.tobytes()).hexdigest()[:16]

    @cached_property
    def bags(self) -> list[Bag] | None:
        """The images of each row of `images`; None where each has one."""
        bags = bags_of(self.samples.train, self.samples.test, self.config.images.tiles)
        return in_order(bags) if bags and self.config.images.slices else bags

    @property
    def seen_format(self) -> PixelFormat:
        """Of the pictures that a network sees: of slices, so many together."""
        return seen_format(self.card.pixel_format, self.config.images.slices)

    @property
    def in_colours(self) -> bool:
        """Whether three channels that a network sees are red, green and blue, and not slices, or files as channels."""
        return self.config.images.slices is None and self.card.bag != CHANNELS

    def images(self, size: SizeWord | None = None, once: bool = False) -> ImageCache | ImageStream | BagImages:
        """Every image decoded for networks that see `size` pixels (None: as trained). once: for one look at them no
        cache is written, but one that is there is read.

        Raises Problem listing those that cannot be.
        """
        wanted, bags = self.config.images, self.bags
        paths = [*self.samples.train["path"], *self.samples.test["path"]]
        digests = np.concatenate([self.samples.train["digest"], self.samples.test["digest"]]).tolist()
        if bags is not None:
            paths, digests = [path for bag in bags for path in bag.paths], [one for bag in bags for one in bag.digests]
        images = ImageCache.open(
            self.card.folder / "cache",
            paths,
            wanted.load_side(size),
            wanted.fit,
            tuple(wanted.prepare),
            max_gb=self.config.machine.cache_max_gb,
            local=local_folder(self.config.machine.cache_local),
            digests=digests,
            build=not once,
            pixels=self.card.pixel_format,
            decoded=self.decoded,
        )
        if self.decoded is not None and isinstance(images, ImageCache):
            self.decoded.clear()
        if bags is None:
            return images
        ends = np.cumsum([0, *(len(bag.paths) for bag in bags)])
        series = series_of([bag.paths for bag in bags]) if wanted.slices else None
        return BagImages(images, ends, wanted.bag_size, wanted.slices, series)


def cells_beside(samples: Samples, model: Model) -> np.ndarray | None:
    """(training rows, then test rows; columns) float32, what a network sees beside each picture; None where it sees
    none. Raises Problem where it was made for other columns than there are."""
    metadata = samples.metadata
    if not model.columns:
        return None
    held = {column.name: len(column.categories) for column in metadata.columns} if metadata else {}
    if held != model.columns:
        told = ", ".join(model.columns)
        raise Problem(
            f"the network sees the columns {told}, and the card's metadata are now {', '.join(held) or 'none'}, or "
            "have other categories: put the card and its tables back, or train anew",
            code="run-metadata-differs",
        )
    return np.concatenate([metadata.of(samples.train), metadata.of(samples.test)]).astype(np.float32)


def _size(path: str) -> int:
    """Of a file in bytes, -1 where it is absent."""
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):
        return -1


def open_competition(config: Config, run: Run) -> Competition:
    """Everything that `run` stands on, with nothing left to auto.

    Raises UsageError or Problem for whatever is wrong with the card, its files or the tables in them.
    """
    card = load_card(config.competition)
    if card.metric == "own":
        _tell_own_metric(card.folder / "metric.py", runs_folder(card.id) / "metric.sha256")
    measure = metric(card.metric, card.target_type, card.folder)
    data = config.data
    decoded = _first_decoded(card, config)
    samples = _clean_samples(card, data, decoded)
    _check(card, samples)
    check_metric(measure, samples)
    host = data.validation == "host"
    folds = freeze_folds(samples, data.folds, data.fold_seed, runs_folder(card.id), host=host)
    ignored = read_ignored(data.ignore, samples) if data.ignore else None
    if ignored:  # only now: the frozen folds are those of all rows
        samples, folds = leave_out(samples, folds, ignored)
    config = resolve_auto(_for_bags(_for_channels(config, card.pixel_format), samples), run, samples, measure)
    return Competition(card, samples, folds, measure, config, ignored, decoded)


def _first_decoded(card: Card, config: Config) -> DecodedImages | None:
    """What the first look at the images fills, where the size that will be needed is known already: each file is then
    read and decoded once, for the look and for the cache."""
    wanted = config.images
    if wanted.size == "auto" or wanted.tiles or not config.probe.off or (card.folder / "cache" / INDEX).exists():
        return None
    stream = ImageStream([], wanted.load_side(), wanted.fit, wanted.prepare, card.pixel_format)
    return DecodedImages(stream)


def _for_bags(config: Config, samples: Samples) -> Config:
    """The configuration whose network joins the images of a bag. Raises UsageError where there are no bags to join."""
    tiles = config.images.tiles
    bags = bags_of(samples.train, samples.test, tiles)
    if bags is None:
        usual = {"model.bag": "auto", "images.bag_size": None, "images.slices": None}
        asked = [name for name, value in usual.items() if config.value(name) != value]
        if asked:
            more = "say in the card which images are one answer (bag: files)"
            more = more if asked[0] == "images.slices" else "give images.tiles"
            text = f"{asked[0]}: each answer of {config.competition} has one image: leave it out, or {more}"
            raise UsageError(text, code="no-bags")
        return config
    if config.model.bag != "auto" and BAGS.get(config.model.bag).joins_answers and samples.target.own_unit:
        text = f"model.bag={config.model.bag} joins answers of yes or no, and those of {config.competition} are numbers"
        raise UsageError(f"{text}: take model.bag=max", code="unfit-for-bags")
    values = {"model.bag": USUAL_BAG} if config.model.bag == "auto" else {}
    if config.images.bag_size is None:
        most = max(MOST_SLOTS, Size.of(tiles).pixels) if tiles else MOST_SLOTS  # of one picture every tile is seen
        values["images.bag_size"] = min(most, max(len(bag.paths) for bag in bags))
    config = with_values(config, values) if values else config
    if config.images.slices:
        _check_slices(config, bags)
    return config


def _check_slices(config: Config, bags: list[Bag]) -> None:
    """Raises UsageError where pictures cannot be made of slices."""
    if config.images.tiles:
        text = "images.slices joins the images of an answer, and images.tiles cuts them: leave one of them out"
        raise UsageError(text, code="slices-and-tiles")
    several = [bag.paths for bag in bags if len(bag.paths) > 1]
    folders = [list(dict.fromkeys(map(folder_of, paths))) for paths in several]
    mixed = [held for held in folders if len(held) > 1]
    if mixed and all(len(held) == len(paths) for held, paths in zip(folders, several, strict=True)):
        text = f"images.slices: a slice has its neighbours in its own folder, and each folder holds one: {mixed[0][0]}"
        raise UsageError(f"{text}. Leave it out", code="no-series")
    if mixed and config.images.bag_size == 1:
        text = f"images.bag_size=1 joins slices of one series, and {len(mixed)} of {plural(len(bags), 'answer')} have"
        text += f" several: {', '.join(held.rpartition('/')[2] for held in mixed[0])}. Name one in the templates of "
        text += "images of the card, such as {id}/T1/*.dcm, or leave images.bag_size out"
        raise UsageError(text, code="several-series")


def _for_channels(config: Config, files: PixelFormat) -> Config:
    """The configuration whose network sees the channels that the images have, or so many slices together."""
    pixels = seen_format(files, config.images.slices)
    if pixels.channels > MOST_CHANNELS:
        text = f"images.slices={config.images.slices}: {pixels.channels} channels, and {MOST_CHANNELS} at most are seen"
        raise UsageError(text, code="unfit-channels")
    if config.images.slices and config.model.channels == GRAY:
        text = "model.channels=1 sees one gray, and images.slices has several in a picture: leave one of them out"
        raise UsageError(text, code="unfit-channels")
    if pixels.channels == config.model.planes:
        return config
    if config.model.channels != COLOURS:
        text = f"model.channels={config.model.channels}, and the images have {pixels.channels}: leave it out"
        raise UsageError(text, code="unfit-channels")
    return with_values(config, {"model.channels": pixels.channels})


def check_metric(measure: Metric, samples: Samples) -> None:
    """Raises UsageError where it cannot score these rows."""
    measure.check_outputs(samples.classes)
    if samples.weights is not None and not measure.weighs_rows:
        text = f"metric {measure.name} cannot weigh rows, and those of the training table count differently"
        raise UsageError(f"{text}: take another metric, or leave `weight` out of the card", code="unfit-for-weights")
    if why := measure.undefined_for(samples.targets):
        raise UsageError(f"{why}, so no answer has a score: mend the table, or take another metric", code="no-score")


_kept: dict[tuple[object, ...], Samples] | None = None


@contextlib.contextmanager
def loaded_once(configs: Iterable[Config] = ()) -> Iterator[None]:
    """Within it, and in processes forked from it, samples are loaded and cleaned once: those of these configurations
    at once, others when they are first asked for.

    A configuration whose competition cannot be opened is passed over: whoever opens it is told why.
    """
    global _kept  # noqa: PLW0603  forked processes find it without being handed it
    before, _kept = _kept, dict(_kept or {})
    try:
        for config in configs:
            with contextlib.suppress(Problem):
                _clean_samples(load_card(config.competition), config.data)
        yield
    finally:
        _kept = before


def _clean_samples(card: Card, data: Data, decoded: DecodedImages | None = None) -> Samples:
    key = (repr(card), tuple(data.extra), data.duplicates)  # a card that was changed meanwhile is another one
    if _kept is not None and key in _kept:
        return _kept[key]
    ensure_data(card)
    found = load_samples(card, tuple(data.extra))
    samples = inspect(card, found, duplicates=data.duplicates == "group", decoded=decoded)
    if _kept is not None:
        _kept[key] = samples
    return samples


def _tell_own_metric(file: Path, known: Path) -> None:
    """Say that a program is run which came with the card: the first time, and whenever it is another one."""
    digest = sha256_of(file) if file.is_file() else ""
    if digest and not (known.is_file() and known.read_bytes().strip() == digest.encode()):
        note("own-metric", f"running {file}, the competition's own metric: a program, so look at it if it is not yours")
        write_text(known, f"{digest}\n")


def _check(card: Card, samples: Samples) -> None:
    """What would only show when folds have been trained for hours."""
    refuse_constant(card, samples)
    test_answers(card, samples.classes, samples.test["id"].to_numpy())
