"""Boosted trees over networks' answers and columns: taken where the columns tell something, and only there."""

import numpy as np
import pytest

from src.evaluation.boosted_columns import ALONE, BOOSTED, Beside, choose_columns
from src.evaluation.held_out import HeldOut
from src.metrics import metric
from src.targets import target_type
from src.targets.boosting import Columns
from tests.fixtures.codes import raises

ROWS = 400
NAMES = ("depth", "site", "noise")
KINDS = {
    "regression": "rmse",
    "multiclass": "log_loss",
    "binary": "log_loss",
    "multilabel": "log_loss",
    "ordinal": "log_loss",
    "soft_labels": "kl_divergence",
}
MIXED = {"name": "mixed", "columns": {"a": ["x", "y"], "b": "regression"}}
LAPLACE = {"name": "laplace", "spread": "sure"}
BOUNDED = {"name": "bounded", "low": -6, "high": 6}


def made(rng, told: float):
    """Columns, the value that they tell `told` of, and the picture's part of it."""
    depth, site, noise = rng.uniform(-1, 1, ROWS), rng.integers(1, 4, ROWS), rng.normal(size=ROWS)
    beside = told * (2 * np.abs(depth) - 1 + (site - 2))
    cells = np.stack([np.where(rng.random(ROWS) < 0.05, np.nan, depth), site, noise], axis=1)
    picture = rng.normal(size=ROWS)
    return Columns(cells, np.array([False, True, False])), picture + beside, picture


def truth_and_answers(kind, value, picture):
    """The truth that such a value is of each kind, and what a network answers that sees the picture alone."""
    p = 1 / (1 + np.exp(-2 * np.stack([picture, -picture], axis=1)))
    two = np.stack([1 - p[:, 0], p[:, 0]], axis=1)
    if kind == "regression" or (isinstance(kind, dict) and kind["name"] == "bounded"):
        return value[:, None].astype(np.float32), picture[:, None]
    if kind is LAPLACE:
        return value[:, None].astype(np.float32), np.stack([picture, np.full(ROWS, 1.5)], axis=1)
    if kind == "multilabel":
        return np.stack([value > 0, value < -1], axis=1).astype(np.float32), p
    if kind == "soft_labels":
        shares = 1 / (1 + np.exp(-2 * value))
        return np.stack([1 - shares, shares], axis=1).astype(np.float32), two
    if isinstance(kind, dict):
        return np.stack([value > 0, value], axis=1).astype(np.float32), np.column_stack([two, picture])
    return (value > 0).astype(np.int64), two


def chosen(kind, told: float, seed: int = 0):
    rng = np.random.default_rng(seed)
    columns, value, picture = made(rng, told)
    truth, answers = truth_and_answers(kind, value, picture)
    of_parameters = {"mixed": "mixed", "bounded": "rmse", "laplace": "laplace_log_likelihood"}
    name = KINDS[kind] if isinstance(kind, str) else of_parameters[kind["name"]]
    ids = np.array([f"{k}" for k in range(ROWS)])
    held = HeldOut(metric(name, kind), ids, truth, np.arange(ROWS) % 3, np.full(ROWS, ""))
    return choose_columns(held, answers, Beside(columns), NAMES), held, answers, columns


FAST = ("regression", "multiclass", "mixed")
EVERY = [(kind if isinstance(kind, str) else kind["name"], kind) for kind in [*KINDS, BOUNDED, MIXED, LAPLACE]]


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, id=name, marks=() if name in FAST else pytest.mark.slow) for name, kind in EVERY]
)
def test_what_the_columns_tell_is_found(kind):
    choice, held, answers, columns = chosen(kind, 1.0)
    assert choice.taken and choice.trees.gain.low > 0
    # The columns that tell nothing are worth nothing.
    assert choice.importance["noise"] < 0.2 * max(choice.importance["depth"], choice.importance["site"])
    # Test rows: what was fitted on all rows, of a category that no row has, and of missing cells, too.
    cells = columns.cells[:4].copy()
    cells[:2] = [[np.nan, 0, 0.0], [0.1, np.nan, np.nan]]
    found = choice.apply(answers[:4], Beside(Columns(cells, columns.is_category)))
    assert found.shape == answers[:4].shape and np.isfinite(found).all()
    if held.target.sums_to_one:
        assert np.allclose(found.sum(axis=1), 1)


def test_columns_that_tell_nothing_are_left_out():
    choice, _, answers, columns = chosen("binary", 0.0)
    assert choice.comparison.taken == ALONE and choice.answer is answers
    assert choice.apply(answers, Beside(columns)) is answers
    assert {one.name for one in choice.comparison.candidates} == {ALONE, BOOSTED}


def test_the_same_bits_again():
    first, *_ = chosen("regression", 1.0)
    again, *_ = chosen("regression", 1.0)
    assert first.answer.tobytes() == again.answer.tobytes() and first.importance == again.importance


def test_a_class_that_a_fold_lacks():
    rng = np.random.default_rng(1)
    columns, value, _ = made(rng, 1.0)
    truth, answers = np.digitize(value, [0.0]), rng.dirichlet(np.ones(3), ROWS)
    found = target_type("multiclass").fit_boosted(truth, answers, columns, None)(answers, columns)
    # No row teaches the third class: it keeps what the network gave it.
    assert np.allclose(found[:, 2], answers[:, 2]) and np.allclose(found.sum(axis=1), 1)
    assert (found[:, :2].argmax(axis=1) == truth).mean() > 0.8


def test_what_trees_cannot_be_fitted_for():
    columns, value, picture = made(np.random.default_rng(0), 1.0)
    few = np.arange(20)
    held = HeldOut(metric("rmse", "regression"), few.astype(str), value[few, None], few % 2, np.full(20, ""))
    with raises("too-few-rows"):
        choose_columns(held, picture[few, None], Beside(columns.at(few)), NAMES)


def test_features_of_the_pictures():
    """What the networks' answer has lost stands in their features: the trees find it there."""
    rng = np.random.default_rng(0)
    columns, _, _ = made(rng, 0.0)
    features = rng.normal(size=(ROWS, 50)) * np.linspace(2, 0.1, 50)
    value = features[:, 0] + features[:, 1]
    ids = np.arange(ROWS).astype(str)
    held = HeldOut(metric("rmse", "regression"), ids, value[:, None], np.arange(ROWS) % 3, np.full(ROWS, ""))
    answers = features[:, :1]
    assert not choose_columns(held, answers, Beside(columns), NAMES).taken
    assert choose_columns(held, answers, Beside(columns, features), NAMES).taken
