"""Which rows an epoch shows: every row once, or drawn by the classes' sizes; in steps of nearly one size."""

import numpy as np
import pytest

from src.images.samplers import SAMPLERS, Drawn, Sampler, epoch_steps, sampler_of, steps_per_epoch
from src.targets import target_type
from tests.fixtures.codes import raises

MULTICLASS, MULTILABEL = target_type("multiclass"), target_type("multilabel")
COUNTS = (800, 150, 50)
TARGETS = np.repeat([0, 1, 2], COUNTS)
ROWS = np.arange(len(TARGETS)) + 5_000  # rows of a table of which the fold holds only a part
DRAWN = Drawn(ROWS, TARGETS, MULTICLASS)


def shares(exponent: float, epochs: int = 40) -> np.ndarray:
    weighted = sampler_of("weighted", exponent)
    steps = [np.concatenate(epoch_steps(weighted, DRAWN, 64, (0, 0, e))) for e in range(epochs)]
    drawn = np.concatenate(steps)
    return np.bincount(TARGETS[drawn - 5_000]) / len(drawn)


@pytest.mark.parametrize(
    ("exponent", "expected"),
    [(0, (0.8, 0.15, 0.05)), (1, (1 / 3, 1 / 3, 1 / 3)), (0.5, np.sqrt(COUNTS) / np.sqrt(COUNTS).sum())],
)
def test_the_exponent_sets_the_classes_shares(exponent, expected):
    # 40,000 draws: a share's standard deviation is below 0.0025.
    np.testing.assert_allclose(shares(exponent), expected, atol=0.01)


def test_rows_of_one_class_are_drawn_alike():
    weighted = sampler_of("weighted", 1)
    steps = [np.concatenate(epoch_steps(weighted, DRAWN, 64, (0, 0, epoch))) for epoch in range(300)]
    drawn = np.concatenate(steps)
    frequent_confusions = np.bincount(drawn - 5_000, minlength=len(ROWS))[TARGETS == 2]  # each about 2000 times
    assert 1800 < frequent_confusions.min() < frequent_confusions.max() < 2200


def test_without_weights_each_row_comes_once():
    steps = epoch_steps(sampler_of("plain", 1), DRAWN, 64, (0, 0, 0))
    order = np.concatenate(steps)
    assert sorted(order.tolist()) == ROWS.tolist()
    assert order.tolist() != ROWS.tolist()


@pytest.mark.parametrize(("rows", "batch"), [(1000, 64), (65, 64), (64, 64), (63, 64), (1, 64), (129, 64), (7, 1)])
@pytest.mark.parametrize("name", ["plain", "weighted"])
def test_steps_have_nearly_one_size(rows, batch, name):
    targets = np.arange(rows) % 2
    steps = epoch_steps(sampler_of(name, 1), Drawn(np.arange(rows), targets, MULTICLASS), batch, (0, 0, 0))
    sizes = [len(step) for step in steps]
    assert sum(sizes) == rows
    assert len(steps) == steps_per_epoch(rows, batch) == -(-rows // batch)
    assert max(sizes) <= batch
    assert max(sizes) - min(sizes) <= 1


def test_the_order_is_a_function_of_seed_fold_and_epoch():
    for sampler in (sampler_of("plain", 1), sampler_of("weighted", 0.5)):
        keys = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
        orders = [np.concatenate(epoch_steps(sampler, DRAWN, 64, key)).tolist() for key in keys]
        again = [np.concatenate(epoch_steps(sampler, DRAWN, 64, key)).tolist() for key in keys]
        assert orders == again
        assert len({tuple(order) for order in orders}) == len(keys)


def test_several_classes_a_row_count_by_the_rarest():
    targets = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]])
    # Class 0 has four rows, class 1 one; two rows have no class at all.
    np.testing.assert_allclose(MULTILABEL.sampler_weights(targets, 1), [1 / 4, 1 / 4, 1, 1 / 4, 1 / 2, 1 / 2])
    np.testing.assert_allclose(MULTILABEL.sampler_weights(targets, 0), np.ones(6))


@pytest.mark.parametrize("drawn", [lambda rows: rows[:-1], lambda rows: rows + 1])
def test_a_sampler_that_draws_other_rows_than_those_to_learn_from_is_refused(drawn):
    class Leaky(Sampler):
        def draw(self, these, random, epoch):
            return drawn(these.rows)

    with raises("sampler-output"):
        epoch_steps(Leaky(), DRAWN, 64, (0, 0, 0))


def test_a_samplers_own_setting_goes_before_the_exponent_of_the_configuration():
    assert sampler_of({"name": "weighted", "exponent": 0.25}, 1.0).exponent == 0.25
    assert sampler_of("weighted", 0.5).exponent == 0.5
    assert set(SAMPLERS) == {"plain", "weighted"}
