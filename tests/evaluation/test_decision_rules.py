"""Decisions that fit the metric: exact on the rows given, judged on rows that the fit did not see."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from src.evaluation.decision_choice import choose_decision
from src.metrics import METRICS, metric
from src.metrics.decision import Decision, expected_grade
from src.metrics.metric import OneThreshold
from src.metrics.rules import ClassThresholds, NoneOfThem, PriorDividedOut, TiltedPrior
from src.metrics.thresholds import cut_points, macro_thresholds, micro_thresholds, sample_thresholds
from src.targets import TARGETS, ClassTarget, target_type
from tests.fixtures.codes import raises
from tests.fixtures.made_up_competition import as_two, held_out, network

ONE, SETS = target_type("multiclass"), target_type("multilabel")
NONE = np.zeros((1, 1))  # predictions that nothing is made of
PARAMETERS = {  # of the metrics that need some
    "fbeta": {"beta": 2},
    "map": {"k": 2},
    "recall": {"k": 2},
    "top_error": {"k": 1},
}


def candidates(choice) -> dict:
    return {candidate.name: candidate for candidate in choice.comparison.candidates}


def grades(generator: np.random.Generator, rows: int, cuts: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """An ordinal model: true grades, and probabilities whose expected grade rises with what decides the grade."""
    hidden = generator.uniform(0.02, 0.98, rows)
    far = hidden * 4
    p = np.stack([1 - far / 4, *([np.zeros(rows)] * 3), far / 4], axis=1)  # the expected grade is `far` itself
    return np.searchsorted(cuts, far), p


def multilabel(seed: int, rows: int = 300, skill: float = 2.0, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    targets = (generator.random((rows, classes)) < [0.1, 0.2, 0.3, 0.5][:classes]).astype(np.float32)
    return targets, network(generator, targets, classes, skill)


# Fits


def test_cut_points_recover_the_known_ordinal_model():
    cuts = [0.6, 1.1, 2.5, 3.4]
    targets, p = grades(np.random.default_rng(0), 2000, cuts)
    found = choose_decision(held_out("qwk", targets), p)
    np.testing.assert_allclose(found.decision.cuts, cuts, atol=0.02)
    assert candidates(found)["cut-points"].score > 0.99 > candidates(found)["argmax"].score
    assert (found.decision.apply(p)[1] == targets).mean() > 0.99


def test_cut_points_are_the_best_there_are():
    for seed in range(10):
        generator = np.random.default_rng(seed)
        targets, expected = generator.integers(0, 3, 14), generator.random(14).round(1) * 2
        places = np.unique(np.concatenate([[-1, 9], expected - 0.05]))
        best = max(
            metric("qwk", ONE).score(targets, NONE, np.searchsorted(pair, expected, side="right"))
            for pair in itertools.combinations_with_replacement(places, 2)
            if len(np.union1d(targets, np.searchsorted(pair, expected, side="right"))) > 1
        )
        cuts = cut_points(targets, expected, 3)
        assert (np.diff(cuts) >= 0).all()
        reached = metric("qwk", ONE).score(targets, NONE, np.searchsorted(cuts, expected, side="right"))
        assert reached > best - 0.06, "each cut is best with the other held, which is nearly the best of all"


@pytest.mark.parametrize(
    "name", ["macro_f1", *(pytest.param(name, marks=pytest.mark.slow) for name in ("micro_f1", "sample_f1"))]
)
def test_thresholds_are_the_best_there_are(name):
    fits = {
        "macro_f1": macro_thresholds,
        "micro_f1": micro_thresholds,
        "sample_f1": lambda truth, p: sample_thresholds(truth, p, 0.5),
    }
    for seed in range(6):
        generator = np.random.default_rng(seed)
        truth = generator.random((12, 2)) < 0.4
        truth[0] = True
        p = (0.6 * truth + 0.7 * generator.random((12, 2))).clip(0, 1)
        every = [np.unique(np.concatenate([p[:, c], [2]])) for c in range(2)]
        score = metric(name, SETS).score
        best = max(score(truth.astype(np.float32), p, p >= np.array(pair)) for pair in itertools.product(*every))
        reached = score(truth.astype(np.float32), p, p >= fits[name](truth, p))
        assert reached == pytest.approx(best) or (name == "sample_f1" and reached > best - 0.05)


@pytest.mark.parametrize("fit", [macro_thresholds, micro_thresholds])
def test_thresholds_follow_the_order_alone(fit):
    targets, p = multilabel(0)
    truth = targets > 0.5
    np.testing.assert_array_equal(p >= fit(truth, p), p**3 >= fit(truth, p**3))


def test_a_temperature_is_found_again():
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 4, 3000)
    true = network(generator, targets, 4, 2.0)
    sure = true**2.5 / (true**2.5).sum(axis=1, keepdims=True)
    found = choose_decision(held_out("log_loss", targets), sure)
    assert found.decision.temperature == pytest.approx(2.5, rel=0.1)
    np.testing.assert_allclose(found.decision.apply(sure)[0], true, atol=0.05)
    assert choose_decision(held_out("log_loss", targets), true).decision.name == ONE.undecided_rule


def test_a_temperature_of_several_classes():
    targets, true = multilabel(0, 2000)
    odds = (true / (1 - true)) ** 2
    found = choose_decision(held_out("log_loss", targets), odds / (1 + odds))
    assert found.decision.temperature == pytest.approx(2, rel=0.1)


def test_the_samplers_prior_is_divided_out():
    """Bayes' rule with balanced classes becomes Bayes' rule with the true ones."""
    generator = np.random.default_rng(0)
    shares = np.array([0.7, 0.2, 0.1])
    targets = generator.choice(3, 4000, p=shares)
    balanced = network(generator, targets, 3, 2.0)
    shift = ONE.prior_shift(targets, ONE.sampler_weights(targets, 1.0), 3)
    np.testing.assert_allclose(shift, np.log(np.bincount(targets) / 4000 * 3), atol=1e-9)
    np.testing.assert_allclose(ONE.prior_shift(targets, np.ones(4000), 4), 0, atol=1e-9)
    for name in ("accuracy", "log_loss", "map@2"):
        found = choose_decision(held_out(name, targets), balanced, shift)
        assert candidates(found)[PriorDividedOut.name].gain.real
        assert found.decision.shift == pytest.approx(tuple(shift))
        expected = balanced * shares / (balanced * shares).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(Decision("x", ONE, shift=tuple(shift)).apply(balanced)[0], expected, atol=0.03)
    other = choose_decision(held_out("balanced_accuracy", targets), balanced, shift)
    assert candidates(other)[PriorDividedOut.name].gain.high < 0
    assert other.decision.shift is None, "balanced classes are what this score wants"


def test_a_prior_of_several_classes_and_of_an_empty_one():
    targets, p = multilabel(0, 2000)
    targets[:, 3] = 0
    shift = SETS.prior_shift(targets, 1 + 4 * targets[:, 0], 4)
    assert shift[0] < -1
    assert shift[3] == 0
    true = Decision("x", SETS, shift=tuple(shift)).apply(p)[0]
    np.testing.assert_allclose(np.log(true / (1 - true)), np.log(p / (1 - p)) + shift, atol=1e-9)


def test_rare_classes_are_weighed_up_for_macro_scores():
    generator = np.random.default_rng(0)
    shares = np.array([0.8, 0.15, 0.05])
    targets = generator.choice(3, 3000, p=shares)
    p = network(generator, targets, 3, 1.5) * shares
    found = choose_decision(held_out("balanced_accuracy", targets), p / p.sum(axis=1, keepdims=True))
    assert found.decision.name == TiltedPrior.name
    assert found.decision.shift[2] > found.decision.shift[1] > found.decision.shift[0]


def test_a_threshold_for_the_f1_of_two_classes():
    generator = np.random.default_rng(0)
    targets = (generator.random(2000) < 0.1).astype(int)
    odds = generator.normal(0, 1.2, 2000) + 1.5 * targets - 3
    found = choose_decision(held_out("f1", targets), as_two(1 / (1 + np.exp(-odds))))
    assert found.decision.name == OneThreshold.name
    assert found.decision.thresholds[1] < 0.4
    changed, labels = found.decision.apply(as_two(np.array([0.01, 0.99])))
    assert labels.tolist() == [0, 1]
    assert changed.shape == (2, 2)


# Nested estimates


def test_on_pure_noise_cut_points_gain_on_their_own_rows_only():
    same, nested, taken = [], [], 0
    for seed in range(20):
        generator = np.random.default_rng(seed)
        targets, p = generator.integers(0, 5, 300), generator.dirichlet(np.ones(5), 300)
        found = choose_decision(held_out("qwk", targets), p)
        same.append(candidates(found)["cut-points"].same_rows)
        nested.append(candidates(found)["cut-points"].score)
        taken += found.decision.cuts is not None
    assert np.mean(same) > 0.08
    assert min(same) > 0.02
    assert abs(np.mean(nested)) < 0.02
    assert taken <= 1


@pytest.mark.slow
def test_on_pure_noise_a_threshold_each_class_is_no_better_than_one():
    same, nested = [], []
    for seed in range(15):
        generator = np.random.default_rng(seed)
        targets = (generator.random((200, 6)) < 0.3).astype(np.float32)
        found = candidates(choose_decision(held_out("macro_f1", targets), generator.random((200, 6))))
        same.append(found[ClassThresholds.name].same_rows - found[OneThreshold.name].same_rows)
        nested.append(found[ClassThresholds.name].score - found[OneThreshold.name].score)
    assert min(same) > 0
    assert np.mean(same) > 0.005
    assert np.mean(nested) < 0


def test_thresholds_that_help_are_taken():
    targets, p = multilabel(1, 2000)
    timid = p**2
    for name in ("macro_f1", "micro_f1", "sample_f1"):
        found = choose_decision(held_out(name, targets), timid)
        assert found.decision.thresholds is not None
        assert found.answer[1].dtype == bool
        assert candidates(found)[found.decision.name].gain.real
        for candidate in candidates(found).values():
            assert candidate.interval[0] <= candidate.score <= candidate.interval[1]


@pytest.mark.parametrize("name", ["auc", "accuracy", "map@3"])
def test_scores_that_want_no_decision_get_none(name):
    generator = np.random.default_rng(0)
    classes = 2 if name == "auc" else 4
    targets = generator.integers(0, classes, 100)
    p = network(generator, targets, classes, 1.0)
    found = choose_decision(held_out(name, targets), p)
    assert len(candidates(found)) == 1
    assert found.decision.apply(p)[1] is None
    np.testing.assert_array_equal(found.decision.apply(p)[0], p)


def test_every_metric_is_decided_somehow():
    for name in METRICS:
        judged = [kind for kind, made in TARGETS.items() if issubclass(made, METRICS.get(name).targets)]
        for kind in (kind for kind in judged if issubclass(TARGETS.get(kind), ClassTarget)):
            generator = np.random.default_rng(0)
            classes = 2 if kind == "binary" else 3
            targets = generator.integers(0, classes, 60)
            if kind == "multilabel":
                targets = (generator.random((60, 3)) < 0.4).astype(np.float32)
            p = network(generator, targets, classes, 2.0)
            one = metric(
                {"name": name}
                | PARAMETERS.get(name, {"weights": [1, 2, 3][:classes]} if name == "weighted_log_loss" else {}),
                kind,
            )
            held = replace(held_out("accuracy", targets), metric=one)
            found = choose_decision(held, p, np.zeros(classes))
            assert np.isfinite(one.score(targets, *found.answer))
            assert found.comparison.lines[0].startswith(name)


# What is written down


def test_what_is_written_down_decides_the_same():
    _, p = multilabel(0, 200)
    for decision in (
        Decision("a", SETS, thresholds=(0.1, 0.2, 0.3, 0.4)),
        Decision("b", ONE, temperature=1.5, shift=(0.1, 0, 0, -1.0)),
        Decision("c", ONE, cuts=(0.5, 1.5, 2.5)),
        Decision("d", ONE),
    ):
        again = Decision.from_json(json.loads(json.dumps(decision.to_json())))
        assert again == decision
        for one, two in zip(again.apply(p), decision.apply(p), strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("values", [{"shift": (0.0,) * 3}, {"thresholds": (0.5,) * 3}, {"cuts": (0.5, 1.5)}])
def test_another_number_of_classes_is_refused(values):
    with raises("classes-differ"):
        Decision("x", ONE, **values).apply(np.full((2, 4), 0.25))


def test_probabilities_of_nought_and_one_stay_probabilities():
    p = np.array([[1.0, 0, 0], [0, 0.5, 0.5]])
    for target in (ONE, SETS):
        changed = Decision("x", target, temperature=0.5, shift=(0.0, 1.0, -1.0)).apply(p)[0]
        assert np.isfinite(changed).all()
        assert ((changed >= 0) & (changed <= 1)).all()


def test_expected_grades():
    p = np.array([[0.5, 0.0, 0.5], [0.2, 0.4, 0.4]])
    np.testing.assert_allclose(expected_grade(p), [1, 1.2])


@pytest.mark.parametrize("name", ["accuracy", "map@3"])
def test_how_easily_none_of_them_is_answered_is_fitted(name):
    target = target_type({"name": "multiclass", "none_of_them": "new"})
    generator = np.random.default_rng(5)
    truth = generator.choice(5, 1500, p=[0.15, 0.15, 0.15, 0.15, 0.4])  # the last is none of the others
    p = network(generator, truth, 5, 3.0)
    held = replace(held_out("accuracy", truth), metric=metric(name, target))
    shy = target.from_strength(target.log_strength(p) - [0, 0, 0, 0, 4.0])
    found = choose_decision(held, shy)
    assert found.comparison.taken == NoneOfThem.name
    assert found.decision.shift[:4] == (0, 0, 0, 0) and 2.5 < found.decision.shift[4] < 6
    nested, fair = held.objective(found.answer), held.objective((p, None))
    assert held.objective((shy, None)) + 0.05 < nested and nested > fair - 0.03
    # Of the same numbers without such a class nothing of the kind is tried.
    plain = choose_decision(replace(held, metric=metric(name, "multiclass")), shy)
    assert NoneOfThem.name not in candidates(plain)


@pytest.mark.parametrize("name", ["balanced_accuracy", "macro_f1"])
def test_a_prior_is_corrected_where_classes_count_alike(name):
    """Uneven classes and a network that is right of itself: rare classes are answered too seldom for such a score."""
    generator = np.random.default_rng(2)
    truth = generator.choice(6, 3000, p=[0.6, 0.2, 0.1, 0.05, 0.03, 0.02])
    prior = np.log(np.bincount(truth) / len(truth))
    p = ONE.from_strength(ONE.log_strength(network(generator, truth, 6, 2.5)) + prior)
    held = held_out(name, truth)
    found = choose_decision(held, p)
    assert found.comparison.taken == TiltedPrior.name
    assert held.objective(found.answer) > held.objective((p, None)) + 0.02
    shift = np.array(found.decision.shift)
    assert (np.diff(shift) >= 0).all() and shift[-1] > shift[0]  # the rarer, the more easily
