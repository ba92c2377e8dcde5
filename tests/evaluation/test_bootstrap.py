"""Scores, and gaps between scores, come with intervals that hold what they promise, and in seconds."""

import time
import warnings

import numpy as np
import pytest
from scipy.stats import norm

from src.evaluation.bootstrap import (
    bootstrap_interval,
    fold_luck,
    fold_spread,
    format_difference,
    format_interval,
    gains,
    paired_difference,
    units,
)
from src.metrics import METRICS, metric
from src.targets import TARGETS, TargetType, target_type
from tests.fixtures.made_up_competition import as_two, network

ALONE = np.full(400, "")
ACCURACY = metric("accuracy", "multiclass")
PARAMETERS = {  # of the metrics that need some; several where they decide how the score is computed
    "fbeta": [{"beta": 2}, {"beta": 0.5, "average": "macro"}, {"beta": 2, "average": "micro"}],
    "map": [{"k": 1}, {"k": 3}],
    "recall": [{"k": 2}],
    "top_error": [{"k": 2}],
    "weighted_log_loss": [{"weights": [1, 2, 3, 0, 5]}],
    "weighted_r2": [{"weights": [1, 3]}],
}
OUTPUTS = {"binary": 2, "regression": 2, "bounded": 2}  # of the made-up tables; 5 of all others
SPECS = {
    "bounded": {"name": "bounded", "low": 0, "high": 12},
    "laplace": {"name": "laplace", "spread": "Confidence"},
    "mixed": {"name": "mixed", "columns": {"shade": ["dark", "dim", "light"], "size": "regression"}},
}
CASES = [
    ({"name": name} | given, kind)
    for name, kind_of in METRICS.items()
    for kind, target in TARGETS.items()
    if issubclass(target, kind_of.targets)
    for given in PARAMETERS.get(name, [{}])
    if len(given.get("weights", [])) in (0, OUTPUTS.get(kind, 5))
]


def made(kind: str) -> TargetType:
    return target_type(SPECS.get(kind, kind))


def table(kind: str, n: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Targets and probabilities with ties, and with a class that no row has."""
    generator = np.random.default_rng(seed)
    classes = OUTPUTS.get(kind, 5)
    if kind in ("regression", "bounded"):
        truth = generator.uniform(1, 9, (n, 2))
        return truth, (truth + generator.normal(size=(n, 2))).round(1).clip(0)
    if kind == "mixed":
        truth = np.stack([generator.integers(0, 3, n), generator.uniform(1, 9, n)], axis=1)
        numbers = truth[:, 1:] + generator.normal(size=(n, 1))
        return truth, np.hstack([network(generator, truth[:, 0].astype(int), 3, 1.0), numbers])
    if kind == "laplace":
        truth = generator.uniform(0, 1000, (n, 1))
        return truth, np.hstack([truth + generator.normal(0, 90, (n, 1)), generator.uniform(50, 150, (n, 1))])
    if kind == "soft_labels":
        return generator.dirichlet(np.ones(5), n), generator.dirichlet(np.ones(5), n)
    if kind == "multilabel":
        targets = (generator.random((n, classes)) < 0.3).astype(np.float32)
        targets[:, 4] = 0
    else:
        targets = generator.integers(0, 2 if kind == "binary" else 4, n)
    return targets, network(generator, targets, classes, 1.0).round(2).clip(0.01)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_weights_score_as_repeated_rows_do(name, kind):
    assert len(CASES) > 50
    targets, p = table(kind)
    one, generator = metric(name, made(kind)), np.random.default_rng(1)
    weights = generator.integers(0, 3, (3, len(targets)))
    rows = [np.repeat(np.arange(len(targets)), row) for row in weights]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a class no row has is left out
        expected = [one.score(targets[row], p[row]) for row in rows]
        whole = one.score(targets, p)
    # An area under a curve is no sum over rows: what the sums leave out is of the order of one over the rows.
    near = 0.02 if one.quick and "auc" in one.name else 1e-9
    np.testing.assert_allclose(one.weighted(targets, p)(weights.astype(float)), expected, atol=near)
    assert one.weighted(targets, p)(np.ones((1, len(targets))))[0] == pytest.approx(whole, abs=1e-9)
    assert one.quick_score(targets, p) == pytest.approx(whole, abs=1e-9)


def test_decisions_take_the_place_of_the_likeliest_class():
    targets, p = table("multiclass")
    wrong = (target_type("multiclass").decide(p) + 1) % 5
    for name in ("accuracy", "macro_f1", "qwk", "balanced_accuracy"):
        expected = metric(name, "multiclass").score(targets, p, wrong)
        assert metric(name, "multiclass").quick_score(targets, p, wrong) == pytest.approx(expected, abs=1e-9)


def test_the_interval_of_an_auc_holds_the_truth_as_often_as_it_says():
    held, truth = 0, norm.cdf(1.3 / np.sqrt(2))
    for seed in range(150):
        generator = np.random.default_rng(seed)
        targets = generator.integers(0, 2, 200)
        p = as_two(1 / (1 + np.exp(-generator.normal(1.3 * targets, 1))))
        low, high = bootstrap_interval(metric("auc", "binary"), targets, p, ALONE[:200])
        held += low <= truth <= high
    assert 0.90 <= held / 150 <= 0.99


def test_intervals_hold_the_truth_as_often_as_they_say():
    held, truth = 0, 0.8
    for seed in range(200):
        right = np.random.default_rng(seed).random(150) < truth
        low, high = bootstrap_interval(ACCURACY, right.astype(int), as_two(np.ones(150)), ALONE[:150])
        held += low <= truth <= high
    assert 0.90 <= held / 200 <= 0.99


def test_a_metric_of_ones_own_has_intervals_too(tmp_path):
    text = "higher_is_better = False\ndef score(targets, p):\n    return (p.argmax(1) != targets).mean()\n"
    (tmp_path / "metric.py").write_text(text)
    targets, p = table("multiclass", n=100)
    own, accuracy = metric("own", "multiclass", tmp_path), ACCURACY
    assert own.quick_score(targets, p) == pytest.approx(1 - accuracy.score(targets, p))
    low, high = bootstrap_interval(accuracy, targets, p, ALONE[:100])
    np.testing.assert_allclose(bootstrap_interval(own, targets, p, ALONE[:100]), (1 - high, 1 - low), atol=0.03)
    better = 0.5 * p + 0.5 * np.eye(5)[targets]
    assert paired_difference(own, targets, p, better, ALONE[:100]).value > 0


def test_rows_of_a_group_are_drawn_together():
    targets, p = table("multiclass", n=80)
    groups = np.array([f"g{row}" for row in range(80)])
    alone = bootstrap_interval(ACCURACY, targets, p, groups)
    for tenfold in (np.repeat(groups, 10), np.repeat(np.arange(80), 10)):
        together = bootstrap_interval(ACCURACY, np.repeat(targets, 10), np.repeat(p, 10, axis=0), tenfold)
        np.testing.assert_allclose(together, alone, atol=0.02)
    apart = bootstrap_interval(ACCURACY, np.repeat(targets, 10), np.repeat(p, 10, axis=0), np.full(800, ""))
    assert apart[1] - apart[0] < 0.5 * (alone[1] - alone[0])


def test_empty_groups_are_rows_of_their_own():
    assert len(np.unique(units(np.array(["", "a", "", "a", "b"])))) == 4
    assert units(np.array([7, 3, 7])).tolist() == [1, 0, 1]


def test_the_same_rows_are_compared():
    """Two runs that mostly err together: each score's interval is wide, that of their difference is not."""
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 2, 400)
    first = np.where(generator.random(400) < 0.75, targets, 1 - targets)
    second = np.where((first != targets) & (generator.random(400) < 0.2), targets, first)
    tables = [as_two(labels * 0.8 + 0.1) for labels in (first, second)]
    gain = paired_difference(ACCURACY, targets, *tables, ALONE)
    intervals = [bootstrap_interval(ACCURACY, targets, p, ALONE) for p in tables]
    assert intervals[0][1] > intervals[1][0], "taken apart they overlap"
    assert gain.real
    assert gain.high - gain.low < 0.7 * (intervals[0][1] - intervals[0][0])
    told = format_difference("first", "second", gain)
    assert told.index("second") < told.index("first")  # the better one is the subject
    back = paired_difference(ACCURACY, targets, *tables[::-1], ALONE)
    assert (back.value, back.real) == (-gain.value, False)
    told = format_difference("second", "first", back)
    assert told.index("second") < told.index("first")


def test_a_lower_loss_is_a_gain():
    targets, p = table("multiclass", n=400)
    better = 0.9 * p + 0.1 * np.eye(5)[targets]
    assert paired_difference(metric("log_loss", "multiclass"), targets, p, better, ALONE).real
    assert paired_difference(metric("log_loss", "multiclass"), targets, better, p, ALONE).high < 0


def test_no_difference_is_called_none():
    targets, p = table("multiclass", n=400)
    same = paired_difference(ACCURACY, targets, p, p, ALONE)
    assert (same.value, same.low, same.high, same.real) == (0, 0, 0, False)
    told = format_difference("first", "second", same)
    assert told.index("first") < told.index("second")


def test_the_best_of_many_is_corrected_for_the_picking():
    """Twenty runs that are as good as the base: the best of them looks better than chance far too often."""
    alone = corrected = 0
    for seed in range(60):
        generator = np.random.default_rng(seed)
        targets = np.ones(200, dtype=int)
        base, *others = [(as_two((generator.random(200) < 0.8).astype(float)), None) for _ in range(21)]
        found = gains(ACCURACY, targets, base, others, ALONE[:200])
        best = max(found, key=lambda gain: gain.value)
        other = others[found.index(best)]
        alone += gains(ACCURACY, targets, base, [other], ALONE[:200])[0].real
        corrected += best.real
    assert alone / 60 > 0.15
    assert corrected / 60 <= 0.07


def test_a_score_that_no_draw_defines_has_no_interval():
    targets, p = np.zeros(50, dtype=int), as_two(np.linspace(0, 1, 50))
    assert np.isnan(bootstrap_interval(metric("auc", "binary"), targets, p, ALONE[:50])).all()
    assert not paired_difference(metric("auc", "binary"), targets, p, p[::-1], ALONE[:50]).real


def test_the_spread_over_folds():
    targets, folds = np.zeros(8, dtype=int), np.array([0, 0, 1, 1, 2, 2, 2, 2])
    p = as_two(np.array([0, 0, 0, 1, 1, 1, 1, 1.0]))
    spread = fold_spread(ACCURACY, targets, p, folds)
    assert spread.scores == (1, 0.5, 0)
    assert (spread.mean, spread.deviation) == (0.5, 0.5)
    assert np.isnan(fold_spread(ACCURACY, targets, p, np.zeros(8)).deviation)


@pytest.mark.parametrize("name", ["accuracy", "log_loss", "macro_f1", "mean_column_auc"])
def test_a_large_table_takes_seconds(name):
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 100, 13_000)
    p = network(generator, targets, 100, 3.0)
    began = time.perf_counter()
    bootstrap_interval(metric(name, "multiclass"), targets, p, np.full(13_000, ""))
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize("right", [True, False])
def test_a_score_at_its_edge_is_no_certainty(right):
    """Of 110 images without a mistake, and of as many without a right answer (Wilson, 1927)."""
    targets = np.full(110, int(right))
    low, high = bootstrap_interval(ACCURACY, targets, as_two(np.ones(110)), ALONE[:110])
    assert (low, high) == pytest.approx((0.9663, 1) if right else (0, 0.0337), abs=1e-4)
    # Rows of one group are one witness, not ten.
    groups = np.array([f"patient {row // 10}" for row in range(110)])
    low, high = bootstrap_interval(ACCURACY, targets, as_two(np.ones(110)), groups)
    assert (low, high) == pytest.approx((0.7412, 1) if right else (0, 0.2588), abs=1e-4)


def test_an_interval_that_cannot_be_told_is_not_made_up():
    targets = np.tile([0, 1, 2], 20)
    low, high = bootstrap_interval(metric("qwk", "ordinal"), targets, np.eye(3)[targets], ALONE[:60])
    assert np.isnan([low, high]).all() and not any(c.isdigit() for c in format_interval(low, high))
    assert format_interval(0.9872, 1) == "0.9872 to 1.0000"


def test_the_interval_of_an_auc_stays_where_an_auc_can_be():
    targets = np.tile([0, 1], 6)
    for seed in range(20):
        p = as_two(1 / (1 + np.exp(-np.random.default_rng(seed).normal(1.5 * targets, 1))))
        low, high = bootstrap_interval(metric("auc", "binary"), targets, p, ALONE[:12])
        assert 0 <= low < high <= 1
    low, high = bootstrap_interval(metric("auc", "binary"), targets, as_two(targets), ALONE[:12])
    assert low == pytest.approx(0.6097, abs=1e-4) and high == 1  # 6 positives, 6 negatives, all in order


def test_folds_differ_by_luck_or_by_more():
    folds, targets, found = np.repeat(np.arange(5), 40), np.zeros(200, dtype=int), []
    for seed in range(60):
        right = np.random.default_rng(seed).random(200) < 0.8
        luck, p = fold_luck(ACCURACY, targets, as_two(~right), folds, ALONE[:200])
        assert luck == pytest.approx(np.sqrt(right.mean() * (1 - right.mean()) / 40), rel=0.15)
        found.append(p)
    assert np.mean(np.array(found) < 0.05) < 0.12 and 0.3 < np.mean(found) < 0.75
    right = np.random.default_rng(0).random(200) < np.where(folds == 2, 0.4, 0.9)
    assert fold_luck(ACCURACY, targets, as_two(~right), folds, ALONE[:200])[1] < 0.01
    assert fold_luck(ACCURACY, targets, as_two(np.zeros(200)), folds, ALONE[:200]) == (0, 1)
