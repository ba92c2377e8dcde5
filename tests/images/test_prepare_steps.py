"""What happens to a picture between its file and its square."""

import numpy as np
import pytest

from src.images.prepare_steps import PREPARE_STEPS, check_steps, prepared
from src.images.prepare_steps.steps import (
    ben_graham,
    clahe,
    crop_border,
    crop_uniform_border,
    crop_white_border,
    square_pad,
)
from src.images.stream import fitted
from tests.fixtures.codes import raises


def noise(height: int, width: int, low: int = 40, high: int = 220) -> np.ndarray:
    return np.random.default_rng(0).integers(low, high, (height, width, 3)).astype(np.uint8)


def framed(colour: int | tuple[int, int, int]) -> np.ndarray:
    """A 20 x 30 picture inside an 60 x 80 surface of `colour`, which is as uneven as JPEG leaves it."""
    canvas = np.clip(np.full((60, 80, 3), colour) + np.random.default_rng(1).integers(-3, 4, (60, 80, 3)), 0, 255)
    canvas[10:30, 40:70] = noise(20, 30)
    return canvas.astype(np.uint8)


@pytest.mark.parametrize(
    ("crop", "colour"),
    [(crop_border, 0), (crop_white_border, 255), (crop_uniform_border, (30, 140, 230)), (crop_uniform_border, 0)],
)
def test_borders_are_cut_away(crop, colour):
    assert np.array_equal(crop(framed(colour)), noise(20, 30))


@pytest.mark.parametrize("name", PREPARE_STEPS)
@pytest.mark.parametrize("colour", [0, 255, 128])
@pytest.mark.parametrize("shape", [(50, 70, 3), (1, 1, 3), (1, 9, 3)])
def test_a_plain_image_never_becomes_nothing(name, colour, shape):
    image = np.full(shape, colour, np.uint8)
    before = image.copy()
    got = PREPARE_STEPS.get(name)(image)
    assert got.dtype == np.uint8 and got.ndim == 3 and got.shape[2] == 3
    assert got.shape[0] >= shape[0] and got.shape[1] >= shape[1]
    assert np.array_equal(image, before), "the caller's image was changed"


def test_an_image_without_border_stays():
    for crop in (crop_border, crop_white_border):
        assert np.array_equal(crop(noise(40, 50)), noise(40, 50))


def test_square_pad():
    got = square_pad(noise(20, 31))
    assert got.shape == (31, 31, 3)
    assert np.array_equal(got[5:25], noise(20, 31)) and not got[:5].any() and not got[25:].any()


def test_clahe_spreads_the_lightness():
    flat = noise(64, 64, 100, 120)
    assert clahe(flat).std() > 1.5 * flat.std()


def test_ben_graham_takes_the_lighting_away():
    dark, bright = noise(120, 120, 40, 80), noise(120, 120, 40, 80) + 100
    assert np.abs(ben_graham(dark).astype(int) - ben_graham(bright)).max() <= 4
    assert abs(float(ben_graham(dark).mean()) - 128) < 3


def test_unknown_preparation():
    picture = framed(0)
    assert np.array_equal(prepared(picture, ["crop_border", "square_pad"]), square_pad(crop_border(picture)))
    with raises("unknown-prepare-step", "crop_bordr", "crop_border"):
        check_steps(["square_pad", "crop_bordr"])


def marked() -> np.ndarray:
    """120 x 240: a red, a green and a blue third, from left to right."""
    image = np.zeros((120, 240, 3), np.uint8)
    for third in range(3):
        image[:, third * 80 : third * 80 + 80, third] = 200
    return image


def test_fits():
    stretch, crop, pad = (fitted(marked(), 60, fit) for fit in ("stretch", "crop", "pad"))
    assert stretch.shape == crop.shape == pad.shape == (60, 60, 3)
    assert [int(stretch[30, x].argmax()) for x in (2, 30, 58)] == [0, 1, 2]
    # The middle 120 of 240 columns: 20 of red, 80 of green, 20 of blue, at half the size.
    assert [int(crop[30, x].argmax()) for x in (2, 15, 45, 58)] == [0, 1, 1, 2]
    assert not pad[:15].any() and not pad[45:].any() and (pad[15:45].max(axis=2) > 0).all()
    assert [int(pad[30, x].argmax()) for x in (2, 30, 58)] == [0, 1, 2]


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (31, 17), (16, 16)])
def test_every_form_becomes_a_square(fit, shape):
    assert fitted(noise(*shape), 16, fit).shape == (16, 16, 3)


def test_the_same_size_keeps_every_pixel():
    for fit in ("stretch", "crop", "pad"):
        assert np.array_equal(fitted(noise(32, 32), 32, fit), noise(32, 32))
    middle = fitted(noise(32, 50), 32, "crop")
    assert np.array_equal(middle, noise(32, 50)[:, 9:41]) and middle.flags.c_contiguous


def test_shrinking_averages_and_does_not_skip():
    """A checkerboard of single pixels becomes even grey, in each direction on its own."""
    board = np.indices((128, 128)).sum(0) % 2 * np.uint8(200)
    image = np.repeat(board.astype(np.uint8)[..., None], 3, 2)
    assert np.ptp(fitted(image, 32, "stretch")) <= 1 and abs(int(fitted(image, 32, "stretch").mean()) - 100) <= 1
    assert np.ptp(fitted(image[:16], 32, "stretch")) <= 1, "shrunk in width only"


def test_unknown_fit():
    with raises("unknown-fit", "stretch, crop, pad"):
        fitted(noise(8, 8), 4, "squeeze")
