"""The menu of losses: each does what its paper says, on numbers small enough to work out."""

import math

import numpy as np
import pytest
import torch

from src.config import schema
from src.losses import Loss, class_weights, loss_of
from src.targets import target_type
from tests.fixtures.codes import raises

COUNTS = np.array([80, 15, 5])
LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.0, 0.0], [0.0, 0.0, 3.0]])
TARGETS = torch.tensor([0, 1, 2])


def loss(target: str = "multiclass", counts: np.ndarray = COUNTS, **choices) -> Loss:
    plain = {"name": "auto", "smoothing": 0.0, "class_weights": "none", "beta": 0.999, "gamma": 2.0, "margin": 0.3}
    return loss_of(schema.Loss(**plain | choices), counts, target_type(target))


def test_plain_is_cross_entropy_and_smoothing_mixes_in_every_class():
    p = LOGITS.softmax(1)
    expected = -p[range(3), TARGETS].log().mean()
    torch.testing.assert_close(loss()(LOGITS, TARGETS), expected)
    smooth = 0.9 * expected + 0.1 * -p.log().mean()
    torch.testing.assert_close(loss(smoothing=0.1)(LOGITS, TARGETS), smooth)


def test_class_weights_make_classes_count_alike():
    weights = class_weights("balanced", COUNTS, 0)
    shares = weights.numpy() * COUNTS
    np.testing.assert_allclose(shares, shares[0])
    np.testing.assert_allclose((weights.numpy() * COUNTS).sum() / COUNTS.sum(), 1, rtol=1e-6)
    effective = class_weights("effective", np.array([5000, 10]), 0.999).numpy()
    assert 1 < effective[1] / effective[0] < 500, "milder than the inverse count"
    alike = class_weights("effective", np.array([5000, 10]), 0.0).numpy()
    np.testing.assert_allclose(alike, 1)


def test_focal_weighs_what_is_right_already_by_less():
    p = LOGITS.softmax(1)[range(3), TARGETS]
    torch.testing.assert_close(loss(name="focal", gamma=2.0)(LOGITS, TARGETS), (-((1 - p) ** 2) * p.log()).mean())
    torch.testing.assert_close(loss(name="focal", gamma=0.0)(LOGITS, TARGETS), loss()(LOGITS, TARGETS))


def test_balanced_softmax_learns_what_is_left_beside_the_prior():
    """With logits of nought everywhere it already answers the class frequencies."""
    even = torch.zeros(3, 3)
    expected = -np.log(COUNTS / COUNTS.sum()).mean()
    assert loss(name="balanced_softmax")(even, TARGETS).item() == pytest.approx(expected, rel=1e-5)


def test_a_loss_takes_the_settings_that_it_declares():
    set_by_name = loss(name={"name": "focal", "gamma": 0.5}, gamma=3.0)
    torch.testing.assert_close(set_by_name(LOGITS, TARGETS), loss(name="focal", gamma=0.5)(LOGITS, TARGETS))
    with raises("unknown-parameter", "gama"):
        loss(name={"name": "focal", "gama": 0.5})
    with raises("bad-parameter", "gamma"):
        loss(name={"name": "focal", "gamma": "much"})


@pytest.mark.parametrize("name", ["ordinal", "smooth_l1"])
def test_a_miss_by_two_grades_costs_more_than_by_one(name):
    sure = torch.eye(4)[[1, 2, 3]] * 8
    criterion = loss("ordinal", np.array([10, 10, 10, 10]), name=name)
    by_one, by_two, by_three = (criterion(sure[i : i + 1], torch.tensor([0])).item() for i in range(3))
    assert by_one < by_two < by_three
    assert criterion(torch.eye(4)[[0]] * 8, torch.tensor([0])).item() < by_one / 10


def test_the_margin_makes_the_true_class_harder():
    cosine = torch.tensor([[0.9, 0.1, 0.0]]) * 30
    assert loss(name="arcface", margin=0.0)(cosine, TARGETS[:1]).item() == pytest.approx(
        loss()(cosine, TARGETS[:1]).item(), abs=1e-4
    )
    expected = torch.tensor([[math.cos(math.acos(0.9) + 0.3), 0.1, 0.0]]) * 30
    torch.testing.assert_close(
        loss(name="arcface", margin=0.3)(cosine, TARGETS[:1]), loss()(expected, TARGETS[:1]), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("name", ["auto", "focal", "balanced_softmax", "arcface"])
def test_mixed_images_have_shares_of_classes(name):
    shares = torch.nn.functional.one_hot(TARGETS, 3).float()
    criterion = loss(name=name, class_weights="none")
    torch.testing.assert_close(criterion(LOGITS, shares), criterion(LOGITS, TARGETS), atol=1e-5, rtol=1e-5)


def test_several_classes_an_image():
    targets = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(LOGITS, targets)
    torch.testing.assert_close(loss("multilabel")(LOGITS, targets), expected)
    assert loss("multilabel", name="focal")(LOGITS, targets) < expected
    with raises("unfit-for-target", "multilabel"):
        loss("multilabel", name="balanced_softmax")
    with raises("unfit-for-target", "multiclass"):
        loss("multiclass", name="ordinal")


def test_chance_is_the_loss_of_the_frequencies():
    targets = np.repeat([0, 1, 2], COUNTS)
    shares = torch.tensor(COUNTS / COUNTS.sum(), dtype=torch.float32)
    for smoothing in (0.0, 0.2):
        best = shares * (1 - smoothing) + smoothing / 3
        answered = loss(smoothing=smoothing)(best.log().repeat(100, 1), torch.from_numpy(targets)).item()
        assert target_type("multiclass").chance_loss(targets, None, smoothing, 3) == pytest.approx(answered, rel=1e-5)
    weights = (1 / COUNTS)[targets]
    assert target_type("multiclass").chance_loss(targets, weights, 0.0, 3) == pytest.approx(math.log(3))
