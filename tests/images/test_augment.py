"""Augmentation: new pictures in every epoch and step, the same ones with the same seed, however many workers load."""

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from src.config.load import config_names
from src.config.request import parse
from src.images.augment import Augmentation
from src.images.cache import ImageCache
from src.images.dataset import AugmentedSteps, Feed, PlainRows, Step
from src.train import main as train
from tests.fixtures.codes import raises

SIZE = 24
STRONG = [
    {"RandomResizedCrop": {"size": ["size", "size"], "scale": [0.5, 1.0]}},
    {"HorizontalFlip": {"p": 0.5}},
    {"OneOf": {"transforms": [{"Affine": {"rotate": [-30, 30]}}, {"ColorJitter": {"brightness": 0.3}}], "p": 0.7}},
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> ImageCache:
    """Six noisy images as a cache of 28 x 28 squares."""
    folder, generator = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    paths = []
    for number in range(6):
        paths.append(folder / f"{number}.png")
        cv2.imwrite(str(paths[-1]), generator.integers(0, 256, (28, 28, 3), dtype=np.uint8))
    return ImageCache.open(folder / "cache", paths, 28, "stretch")


def steps(seed: int, epoch: int, count: int = 4) -> list[Step]:
    """The same rows in every step, so that two steps differ by their randomness alone."""
    return [Step(np.arange(6), (seed, 0, epoch, number)) for number in range(count)]


def loaded(photos: ImageCache, epochs: list[list[Step]], workers: int) -> list[np.ndarray]:
    """The batches of all epochs, from one feed that keeps its workers between them."""
    feed = Feed(AugmentedSteps(photos, Augmentation(STRONG, SIZE)), workers, torch.device("cpu"))
    return [images.numpy().copy() for epoch in epochs for images, _ in feed(epoch)]


def test_every_worker_and_epoch_draws_anew_and_the_number_of_workers_changes_nothing(photos):
    epochs = [steps(seed=0, epoch=0), steps(seed=0, epoch=1)]
    alone, together = loaded(photos, epochs, workers=0), loaded(photos, epochs, workers=2)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len({batch.tobytes() for batch in together}) == 8, "two steps of two epochs show the same pictures"


def test_the_images_of_one_batch_differ():
    picture = np.random.default_rng(0).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    batch = Augmentation(STRONG, SIZE)(np.stack([picture] * 16), (0, 0, 0, 0))
    assert len({image.tobytes() for image in batch}) == 16


def test_it_repeats_with_the_seed(photos):
    first, again, other = (loaded(photos, [steps(seed, 3)], workers=0) for seed in (5, 5, 6))
    assert [batch.tobytes() for batch in first] == [batch.tobytes() for batch in again]
    assert all((one != two).any() for one, two in zip(first, other, strict=True))


def test_images_that_are_scored_are_left_as_they_are(photos):
    feed = Feed(PlainRows(photos, 28), 0, torch.device("cpu"))
    ((images, rows),) = feed([np.array([4, 1])])
    np.testing.assert_array_equal(images.permute(0, 2, 3, 1).numpy(), photos.batch([4, 1]))
    assert rows.tolist() == [4, 1]


# Independence of the transforms of one list


def marked(count: int) -> np.ndarray:
    """(count, 8, 8, 3): black, with a white top left corner that tells where it went."""
    images = np.zeros((count, 8, 8, 3), np.uint8)
    images[:, :2, :2] = 255
    return images


def corners(images: np.ndarray) -> Counter:
    """How often the mark lies at the (bottom, right)."""
    places = {(b, r): images[:, -1 if b else 0, -1 if r else 0, 0] > 0 for b in (0, 1) for r in (0, 1)}
    return Counter({place: int(there.sum()) for place, there in places.items()})


@pytest.mark.parametrize(
    "transforms",
    [
        ["HorizontalFlip", "VerticalFlip"],
        [{"Sequential": {"transforms": ["HorizontalFlip", "VerticalFlip"], "p": 1}}],
        [{"OneOf": {"transforms": ["HorizontalFlip"]}}, {"OneOf": {"transforms": ["VerticalFlip"]}}],
    ],
    ids=["list", "nested", "choices"],
)
def test_two_flips_do_not_fall_together(transforms):
    """Each of the four outcomes is drawn about a quarter of the time: with one stream for both, two never are."""
    batch = Augmentation(transforms, 8)(marked(600), (0, 0, 0, 0))
    found = corners(batch)
    assert sum(found.values()) == 600
    assert all(110 < found[place] < 190 for place in found), found


def test_one_of_applies_exactly_one():
    flips = [{"HorizontalFlip": {"p": 1}}, {"VerticalFlip": {"p": 1}}]
    found = corners(Augmentation([{"OneOf": {"transforms": flips, "p": 1}}], 8)(marked(400), (0, 0, 0, 0)))
    assert found[0, 0] == found[1, 1] == 0
    assert min(found[0, 1], found[1, 0]) > 140


def test_choices_within_choices():
    inner = {"OneOf": {"transforms": [{"VerticalFlip": {"p": 1}}, {"Transpose": {"p": 1}}], "p": 1}}
    outer = [{"OneOf": {"transforms": [{"HorizontalFlip": {"p": 1}}, inner], "p": 1}}]
    found = corners(Augmentation(outer, 8)(marked(400), (0, 0, 0, 0)))
    # To the right: a mirror; below: the inner flip; in place: the inner transposition of a mark on the diagonal.
    assert found[1, 1] == 0
    assert all(found[place] > 60 for place in ((0, 1), (1, 0), (0, 0)))


# What is made of the configuration


@pytest.mark.parametrize("name", config_names("augment"))
def test_every_shipped_list_makes_pictures_of_the_asked_size(name, photos):
    transforms = parse([f"augment={name}"]).config.augment.transforms
    images = photos.batch(np.arange(6))
    made = Augmentation(transforms, 32)(images, (0, 0, 0, 0))
    assert (made.shape, made.dtype) == ((6, 32, 32, 3), np.uint8)
    plain = Augmentation([], 32)(images, (0, 0, 0, 0))
    assert (made == plain).all() == (name == "none")


@pytest.mark.parametrize("name", ["RandomRotate90", "MedianBlur", "ToSepia"])
def test_transforms_without_a_schema_of_the_library_are_taken_too(name, photos):
    assert Augmentation([{name: {"p": 1}}], 28)(photos.batch([0, 1]), (0, 0, 0, 0)).shape == (2, 28, 28, 3)
    with raises("bad-augment", "prob"):
        Augmentation([{name: {"prob": 1}}], 28)


def test_the_shipped_lists_are_found():
    assert {"none", "light", "strong", "upright"} <= set(config_names("augment"))


@pytest.mark.parametrize(
    ("transform", "text"),
    [
        ("HorizontalFlop", "HorizontalFlop"),
        ("{HorizontalFlip: {prob: 0.5}}", "prob"),
        ("{HorizontalFlip: {p: often}}", "HorizontalFlip"),
        ("{HorizontalFlip: 0.5}", "HorizontalFlip"),
        ("{OneOf: {transforms: [{HorizontalFlip: {prob: 1}}]}}", "prob"),
        ("{OneOf: {transforms: [HorizontalFlop]}}", "HorizontalFlop"),
        ("{OneOf: {transforms: [HorizontalFlip], often: 1}}", "often"),
        ("{OneOf: {}}", "OneOf"),
        ("{OneOf: [HorizontalFlip]}", "OneOf"),
        ("{HorizontalFlip: {}, VerticalFlip: {}}", "VerticalFlip"),
        ("DualTransform", "DualTransform"),
        ("{RandomCrop: {height: 300, width: 300}}", "RandomCrop"),
        ("Normalize", "Normalize"),
        ("ToFloat", "ToFloat"),
    ],
)
def test_a_wrong_list_is_told_before_anything_is_made(tiny, capsys, transform, text):
    """Misspelt, or such that no picture in 8 bits of the cached one's size could come out of it."""
    assert train(["config=tiny", "fold=0", f"augment=[{transform}]"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert "augment" in message
    assert text in message
    assert not (Path(tiny) / "runs" / "tiny").exists() or not list((tiny / "runs" / "tiny").glob("*/seed*"))


def test_an_empty_list_only_resizes(photos):
    images = photos.batch([0])
    np.testing.assert_array_equal(Augmentation([], 28)(images, (0, 0, 0, 0)), images)
    with raises("unknown-transform", "Shuffle"):
        Augmentation(["Shuffle"], 28)
    for colours in ("ToGray", {"ColorJitter": {"hue": [-0.1, 0.1]}}):  # three slices, or dyes, are none
        Augmentation([colours], 28)
        with raises("bad-augment"):
            Augmentation([colours], 28, colours=False)
