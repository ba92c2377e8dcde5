"""Which rows an epoch shows: every row once, or drawn by the classes' sizes; in steps of nearly one size."""

import numpy as np
import pytest

from src.images.samplers import epoch_steps, steps_per_epoch
from src.targets import target_type

MULTICLASS, MULTILABEL = target_type("multiclass"), target_type("multilabel")
COUNTS = (800, 150, 50)
TARGETS = np.repeat([0, 1, 2], COUNTS)
ROWS = np.arange(len(TARGETS)) + 5_000  # rows of a table of which the fold holds only a part


def shares(exponent: float, epochs: int = 40) -> np.ndarray:
    weights = MULTICLASS.sampler_weights(TARGETS, exponent)
    drawn = np.concatenate([np.concatenate(epoch_steps(ROWS, weights, 64, (0, 0, e))) for e in range(epochs)])
    return np.bincount(TARGETS[drawn - 5_000]) / len(drawn)


@pytest.mark.parametrize(
    ("exponent", "expected"),
    [(0, (0.8, 0.15, 0.05)), (1, (1 / 3, 1 / 3, 1 / 3)), (0.5, np.sqrt(COUNTS) / np.sqrt(COUNTS).sum())],
)
def test_the_exponent_sets_the_classes_shares(exponent, expected):
    # 40,000 draws: a share's standard deviation is below 0.0025.
    np.testing.assert_allclose(shares(exponent), expected, atol=0.01)


def test_rows_of_one_class_are_drawn_alike():
    weights = MULTICLASS.sampler_weights(TARGETS, 1)
    drawn = np.concatenate([np.concatenate(epoch_steps(ROWS, weights, 64, (0, 0, epoch))) for epoch in range(300)])
    often = np.bincount(drawn - 5_000, minlength=len(ROWS))[TARGETS == 2]  # each about 2000 times
    assert 1800 < often.min() < often.max() < 2200


def test_without_weights_each_row_comes_once():
    steps = epoch_steps(ROWS, None, 64, (0, 0, 0))
    order = np.concatenate(steps)
    assert sorted(order.tolist()) == ROWS.tolist()
    assert order.tolist() != ROWS.tolist()


@pytest.mark.parametrize(("rows", "batch"), [(1000, 64), (65, 64), (64, 64), (63, 64), (1, 64), (129, 64), (7, 1)])
@pytest.mark.parametrize("weighted", [False, True])
def test_steps_have_nearly_one_size(rows, batch, weighted):
    targets = np.arange(rows) % 2
    steps = epoch_steps(np.arange(rows), MULTICLASS.sampler_weights(targets, 1) if weighted else None, batch, (0, 0, 0))
    sizes = [len(step) for step in steps]
    assert sum(sizes) == rows
    assert len(steps) == steps_per_epoch(rows, batch) == -(-rows // batch)
    assert max(sizes) <= batch
    assert max(sizes) - min(sizes) <= 1


def test_the_order_is_a_function_of_seed_fold_and_epoch():
    weights = MULTICLASS.sampler_weights(TARGETS, 0.5)
    for given in (None, weights):
        keys = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
        orders = [np.concatenate(epoch_steps(ROWS, given, 64, key)).tolist() for key in keys]
        again = [np.concatenate(epoch_steps(ROWS, given, 64, key)).tolist() for key in keys]
        assert orders == again
        assert len({tuple(order) for order in orders}) == len(keys)


def test_several_classes_a_row_count_by_the_rarest():
    targets = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]])
    # Class 0 has four rows, class 1 one; two rows have no class at all.
    np.testing.assert_allclose(MULTILABEL.sampler_weights(targets, 1), [1 / 4, 1 / 4, 1, 1 / 4, 1 / 2, 1 / 2])
    np.testing.assert_allclose(MULTILABEL.sampler_weights(targets, 0), np.ones(6))
