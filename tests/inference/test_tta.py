"""The views of test-time augmentation, each against what numpy makes of a small image of numbers."""

import numpy as np
import pytest
import torch
from torch import nn

from src.inference.predictor import view_logits
from src.inference.tta import SETS, VIEWS, view_names
from tests.fixtures.codes import raises

SIDE = 24
STEP, INNER = 2, 21  # a twelfth and seven eighths of the side


def image(side: int = SIDE) -> np.ndarray:
    """(side, side, 3) uint8, smooth enough to be scaled and without any symmetry."""
    y, x = np.mgrid[:side, :side] / side
    planes = [200 * x + 30 * y, 180 * y + 50 * x * y, 90 + 60 * np.sin(5 * x) * np.cos(3 * y)]
    return np.stack(planes, axis=-1).round().astype(np.uint8)


def seen(view: str, *pictures: np.ndarray) -> np.ndarray:
    """What the network sees of pictures (side, side, 3), as (n, side, side, 3)."""
    batch = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return VIEWS.get(view)(batch).permute(0, 2, 3, 1).numpy()


def moved(picture: np.ndarray, down: int, right: int) -> np.ndarray:
    height, width = picture.shape[:2]
    rows, columns = np.arange(height) - down, np.arange(width) - right
    return picture[rows.clip(0, height - 1)][:, columns.clip(0, width - 1)]


def scaled(picture: np.ndarray, side: int) -> np.ndarray:
    """Bilinear with pixel centres at halves; shrinking averages over the whole of what a new pixel covers."""

    def weights(before: int) -> np.ndarray:
        scale = before / side
        centres = (np.arange(side) + 0.5) * scale - 0.5
        away = np.abs(np.arange(before)[None] - centres[:, None]) / max(scale, 1)
        triangle = (1 - away).clip(0)
        return triangle / triangle.sum(1, keepdims=True)

    return np.einsum("ya,abc,xb->yxc", weights(picture.shape[0]), picture.astype(float), weights(picture.shape[1]))


def part(picture: np.ndarray, top: int, left: int) -> np.ndarray:
    return scaled(picture[top : top + INNER, left : left + INNER], SIDE)


def shrunk(picture: np.ndarray) -> np.ndarray:
    before = (SIDE - INNER) // 2
    return np.pad(scaled(picture, INNER), ((before, SIDE - INNER - before),) * 2 + ((0, 0),), mode="edge")


REST = SIDE - INNER
EXPECTED = {
    "identity": lambda p: p,
    "hflip": lambda p: p[:, ::-1],
    "vflip": lambda p: p[::-1],
    "rot90": lambda p: np.rot90(p, 1),
    "rot180": lambda p: np.rot90(p, 2),
    "rot270": lambda p: np.rot90(p, 3),
    "transpose": lambda p: p.transpose(1, 0, 2),
    "antitranspose": lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    "up": lambda p: moved(p, -STEP, 0),
    "down": lambda p: moved(p, STEP, 0),
    "left": lambda p: moved(p, 0, -STEP),
    "right": lambda p: moved(p, 0, STEP),
    "zoom": lambda p: part(p, round(REST / 2), round(REST / 2)),
    "shrink": shrunk,
    "crop_top_left": lambda p: part(p, 0, 0),
    "crop_top_right": lambda p: part(p, 0, REST),
    "crop_bottom_left": lambda p: part(p, REST, 0),
    "crop_bottom_right": lambda p: part(p, REST, REST),
}


def test_every_view_is_looked_at():
    assert set(EXPECTED) == set(VIEWS)


@pytest.mark.parametrize("view", VIEWS)
def test_each_view_is_what_numpy_makes_of_the_image(view):
    pictures = [image(), image()[::-1].copy()]
    for found, picture in zip(seen(view, *pictures), pictures, strict=True):
        expected = EXPECTED[view](picture).astype(float)
        assert np.abs(found - expected).max() <= 0.51, "more than rounding"
        assert view == "identity" or (found != picture).any()


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("side", [8, 17, 32])
def test_every_view_keeps_shape_and_kind_and_the_picture_itself(view, side):
    picture = image(side)
    found = seen(view, picture)
    assert (found.shape, found.dtype) == ((1, side, side, 3), np.uint8)
    np.testing.assert_array_equal(picture, image(side))


def test_the_square_holds_its_eight_symmetries():
    names = view_names(["square"])
    images = {seen(name, image()).tobytes() for name in names}
    assert len(names) == len(images) == 8
    for one in names:  # and no other: two of them in a row are again one of them
        for other in names:
            assert seen(other, seen(one, image())[0]).tobytes() in images


def test_sets_and_views_mix_without_repeats():
    assert view_names(["flips", "hflip", "up", "identity"]) == ("identity", "hflip", "up")
    assert view_names(["shifts"]) == ("identity", "up", "down", "left", "right")
    for name, views in SETS.items():
        assert set(views) <= set(VIEWS), name
        assert name not in VIEWS


def test_an_unknown_view_is_told_with_the_known_ones():
    with raises("unknown-view", "sideways", "hflip", "square"):
        view_names(["identity", "sideways"])


class Corner(nn.Module):
    """Answers an image with the colour of its top left pixel."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert not self.training
        return images[:, :, 0, 0].float()


def test_the_network_is_shown_each_view_of_each_row_in_order():
    pictures = np.random.default_rng(0).integers(0, 256, (7, 6, 6, 3), dtype=np.uint8)
    asked, progress = [], []

    def feed(requests):
        for rows in requests:
            asked.append(rows.tolist())
            yield torch.from_numpy(pictures[rows]).permute(0, 3, 1, 2), torch.from_numpy(rows)

    rows = np.array([6, 0, 3, 5, 1])
    views = ("identity", "hflip", "rot180")
    tables = view_logits(Corner().train(), feed, rows, views, 2, torch.inference_mode, progress.append)
    assert asked == [[6, 0], [3, 5], [1]]  # each image is fetched once for all views
    assert sum(progress) == 5
    np.testing.assert_array_equal(tables["identity"], pictures[rows, 0, 0])
    np.testing.assert_array_equal(tables["hflip"], pictures[rows, 0, -1])
    np.testing.assert_array_equal(tables["rot180"], pictures[rows, -1, -1])
    assert all(table.dtype == np.float32 for table in tables.values())
