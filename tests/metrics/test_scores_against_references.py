"""Metrics against scikit-learn, a host's own program, or their definition written out; weights and intervals too."""

import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from src.evaluation.bootstrap import bootstrap_interval
from src.metrics import metric
from src.metrics.rules import OneThreshold, Temperature, TiltedPrior
from tests.fixtures.made_up_competition import as_two, network

ROWS = 120


@pytest.fixture
def two() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, ROWS)
    return truth, as_two((0.3 * truth + generator.random(ROWS) * 0.7).round(2))


@pytest.fixture
def four() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    truth = generator.integers(0, 4, ROWS)
    return truth, network(generator, truth, 4, 1.0)


@pytest.fixture
def sets() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(2)
    truth = (generator.random((ROWS, 4)) < [0.2, 0.3, 0.4, 0.5]).astype(np.float32)
    truth[:3], truth[3:5] = 0, 1
    return truth, network(generator, truth, 4, 1.0).round(2)


def test_mcc(two, four):
    for kind, (truth, p) in (("binary", two), ("multiclass", four)):
        assert metric("mcc", kind).score(truth, p) == pytest.approx(sk.matthews_corrcoef(truth, p.argmax(1)))
    assert metric("mcc", "binary").score(np.array([0, 1]), as_two(np.zeros(2))) == 0  # answers that are all alike


@pytest.mark.parametrize("beta", [0.5, 1, 2])
def test_fbeta(beta, two, four, sets):
    def score(kind, data, **given):
        return metric({"name": "fbeta", "beta": beta} | given, kind).score(*data)

    labels, marks = four[1].argmax(1), sets[1] >= 0.5
    assert score("binary", two) == pytest.approx(sk.fbeta_score(two[0], two[1].argmax(1), beta=beta))
    for average in ("macro", "micro"):
        expected = sk.fbeta_score(four[0], labels, beta=beta, average=average)
        assert score("multiclass", four, average=average) == pytest.approx(expected)
        expected = sk.fbeta_score(sets[0], marks, beta=beta, average=average)
        assert score("multilabel", sets, average=average) == pytest.approx(expected)
    assert score("multiclass", four) == score("multiclass", four, average="macro")
    expected = sk.fbeta_score(sets[0], marks, beta=beta, average="samples", zero_division=1)
    assert score("multilabel", sets) == pytest.approx(expected)


def test_micro_auc(four, sets):
    assert metric("micro_auc", "multilabel").score(*sets) == pytest.approx(sk.roc_auc_score(*sets, average="micro"))
    truth, p = four
    expected = sk.roc_auc_score(np.eye(4)[truth].ravel(), p.ravel())
    assert metric("micro_auc", "multiclass").score(truth, p) == pytest.approx(expected)


def test_partial_auc_is_that_of_the_host(two):
    """As ISIC 2024 computes it: scikit-learn's partial AUC of the swapped classes, its scaling undone."""
    truth, p = two
    for lowest in (0.8, 0.5):
        most = 1 - lowest
        scaled = sk.roc_auc_score(1 - truth, 1 - p[:, 1], max_fpr=most)
        expected = 0.5 * most**2 + (most - 0.5 * most**2) / 0.5 * (scaled - 0.5)
        assert metric({"name": "partial_auc", "min_tpr": lowest}, "binary").score(truth, p) == pytest.approx(expected)


def test_weighted_auc_is_the_weighted_sum_of_its_strips(two):
    truth, p = two
    fpr, tpr, _ = sk.roc_curve(truth, p[:, 1], drop_intermediate=False)
    heights = np.linspace(0, 1, 200_001)
    heights = (heights[1:] + heights[:-1]) / 2
    right_of_curve = 1 - np.interp(heights, tpr, fpr)  # the curve rises in its own order
    weights = np.where(heights < 0.4, 2, 1)
    expected = (right_of_curve * weights).sum() / weights.sum()
    assert metric("weighted_auc", "binary").score(truth, p) == pytest.approx(expected, abs=2e-3)
    flat = metric({"name": "weighted_auc", "tpr": [0, 1], "weights": [1]}, "binary")
    assert flat.score(truth, p) == pytest.approx(sk.roc_auc_score(truth, p[:, 1]))


def test_probabilistic_f1_counts_probabilities(two):
    truth, p = two
    for beta in (1, 2):
        true_positive, false_positive = p[truth == 1, 1].sum(), p[truth == 0, 1].sum()
        precision, recall = true_positive / (true_positive + false_positive), true_positive / (truth == 1).sum()
        expected = (1 + beta**2) * precision * recall / (beta**2 * precision + recall)
        assert metric({"name": "probabilistic_f1", "beta": beta}, "binary").score(truth, p) == pytest.approx(expected)


def test_lrap(sets):
    expected = sk.label_ranking_average_precision_score(*sets)
    assert metric("lrap", "multilabel").score(*sets) == pytest.approx(expected)


def test_top_error_and_recall(four, sets):
    truth, p = four
    for k in (1, 2, 3):
        right = sk.top_k_accuracy_score(truth, p, k=k, labels=np.arange(4))
        assert metric(f"top_error@{k}", "multiclass").score(truth, p) == pytest.approx(1 - right)
        assert metric(f"recall@{k}", "multiclass").score(truth, p) == pytest.approx(right)
    found = []
    for row, scores in zip(*sets, strict=True):
        best = sorted(range(4), key=lambda c: (-scores[c], c))[:2]
        if row.any():
            found.append(row[best].sum() / row.sum())
    assert metric("recall@2", "multilabel").score(*sets) == pytest.approx(np.mean(found))


def test_weighted_log_loss(four, sets):
    weights = [2, 1, 0, 3]
    truth, p = sets
    p = p.clip(0.01, 0.99)
    columns = [sk.log_loss(truth[:, c], p[:, c], labels=[0, 1]) for c in range(4)]
    weighted = metric({"name": "weighted_log_loss", "weights": weights}, "multilabel")
    assert weighted.score(truth, p) == pytest.approx(np.average(columns, weights=weights))
    truth, p = four
    classes = [-np.log(p[truth == c, c]).mean() for c in range(4)]
    weighted = metric({"name": "weighted_log_loss", "weights": weights}, "multiclass")
    assert weighted.score(truth, p) == pytest.approx(np.average(classes, weights=weights))
    alike = metric({"name": "weighted_log_loss", "weights": [1, 1, 1, 1]}, "multilabel")
    assert alike.score(*sets) == pytest.approx(metric("log_loss", "multilabel").score(*sets))


NEW = [
    ("mcc", "binary"),
    ({"name": "fbeta", "beta": 2}, "multilabel"),
    ("micro_auc", "multilabel"),
    ("weighted_auc", "binary"),
    ("partial_auc", "binary"),
    ("probabilistic_f1", "binary"),
    ("lrap", "multilabel"),
    ("top_error@2", "multiclass"),
    ("recall@2", "multilabel"),
    ({"name": "weighted_log_loss", "weights": [2, 1, 1, 3]}, "multilabel"),
]


@pytest.mark.parametrize(("spec", "kind"), NEW, ids=[str(one[0]) for one in NEW])
def test_its_interval_is_that_of_scoring_each_resampling(spec, kind, two, four, sets):
    """The percentiles of scores of rows drawn again and again, one by one, by another generator."""
    truth, p = {"binary": two, "multiclass": four, "multilabel": sets}[kind]
    one, generator, drawn = metric(spec, kind), np.random.default_rng(7), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(300):
            rows = generator.integers(ROWS, size=ROWS)
            drawn.append(one.score(truth[rows], p[rows]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    ours = bootstrap_interval(one, truth, p, np.full(ROWS, ""))
    np.testing.assert_allclose(ours, (low, high), atol=0.25 * (high - low))


@pytest.mark.parametrize(("spec", "kind"), NEW, ids=[str(one[0]) for one in NEW])
def test_row_weights_count_as_repeated_rows(spec, kind, two, four, sets):
    truth, p = {"binary": two, "multiclass": four, "multilabel": sets}[kind]
    one, weights = metric(spec, kind), np.random.default_rng(3).integers(1, 4, ROWS)
    rows = np.repeat(np.arange(ROWS), weights)
    near = 0.02 if spec == "micro_auc" else 1e-9
    assert one.weighted(truth, p)(weights[None].astype(float))[0] == pytest.approx(
        one.score(truth[rows], p[rows]), abs=near
    )


def test_the_rules_that_can_be_fitted():
    def rules(spec, kind):
        return [type(rule) for rule in metric(spec, kind).rules(None)]

    assert rules("mcc", "binary") == [OneThreshold]
    assert rules("mcc", "multiclass") == [TiltedPrior]
    assert rules({"name": "fbeta", "beta": 2}, "multilabel") == [OneThreshold]
    assert rules("probabilistic_f1", "binary") == [Temperature]
    assert rules("weighted_auc", "binary") == rules("top_error@5", "multiclass") == []


def test_probabilistic_f1_is_sharpened_where_that_scores(two):
    truth, p = two
    one = metric("probabilistic_f1", "binary")
    decision = Temperature().fit(one, truth, p)
    assert decision.temperature < 1
    assert one.score(truth, *decision.apply(p)) > one.score(truth, p)
