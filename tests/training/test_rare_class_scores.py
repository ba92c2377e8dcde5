"""Scores for a long tail, on a table small enough to work out by hand."""

import numpy as np
import pytest

from src.targets import target_type
from src.training.rare_class_scores import rarity_scores

MULTICLASS = target_type("multiclass")
TRAINED = np.array([60, 30, 10])
TRUTH = np.array([0, 0, 1, 1, 2, 2])
ANSWERS = np.eye(3)[[0, 0, 1, 0, 0, 2]]  # recall 1, 1/2, 1/2


def test_each_score_is_what_its_name_says():
    scores = rarity_scores(TRUTH, ANSWERS, TRAINED, MULTICLASS)
    assert scores["balanced_accuracy"] == pytest.approx(2 / 3)
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 2 / 3) / 3)
    assert scores["rarest"] == pytest.approx(1 / 2)  # class 2 alone is the rarest third
    assert scores["as_trained"] == pytest.approx(0.6 * 1 + 0.3 / 2 + 0.1 / 2)


def test_a_class_that_is_not_held_out_has_no_part():
    rows = TRUTH < 2
    scores = rarity_scores(TRUTH[rows], ANSWERS[rows], TRAINED, MULTICLASS)
    assert np.isnan(scores["rarest"])
    assert scores["as_trained"] == pytest.approx((0.6 * 1 + 0.3 / 2) / 0.9)


def test_even_classes_and_several_labels_have_no_tail():
    assert rarity_scores(TRUTH, ANSWERS, np.array([30, 20, 25]), MULTICLASS) == {}
    assert rarity_scores(np.eye(3)[TRUTH], ANSWERS, TRAINED, target_type("multilabel")) == {}
