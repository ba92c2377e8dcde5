"""Metrics against values worked out by hand or from the formula, with the cases where libraries mislead."""

import math
import subprocess
import sys

import numpy as np
import pytest

from src.core.paths import REPOSITORY
from src.metrics import METRICS, metric, metrics_for
from src.targets import target_type
from tests.fixtures.codes import raises
from tests.fixtures.made_up_competition import metric_for


def score(name, targets, probabilities, decisions=None):
    return metric_for(name, targets).score(targets, probabilities, decisions)


def sure_of(labels, classes):
    """Probabilities whose likeliest class is the given one."""
    return np.eye(classes)[labels] * 0.8 + 0.2 / classes


def test_accuracy_takes_the_likeliest_class_or_the_decisions():
    targets = np.array([0, 1, 2, 2])
    probabilities = sure_of([0, 1, 2, 0], 3)
    assert score("accuracy", targets, probabilities) == 0.75
    assert score("accuracy", targets, probabilities, decisions=np.array([0, 1, 2, 2])) == 1


def test_accuracy_of_sets_wants_the_whole_row_right():
    targets = np.array([[1, 0], [1, 1]], np.float32)
    assert score("accuracy", targets, np.array([[0.9, 0.1], [0.9, 0.2]])) == 0.5
    # One half is enough for a class to apply.
    assert score("accuracy", targets, np.array([[0.9, 0.1], [0.9, 0.5]])) == 1


def test_balanced_accuracy_is_the_mean_recall_of_the_classes_in_the_truth():
    targets, answers = np.array([0, 0, 0, 1]), [0, 0, 2, 1]
    assert score("balanced_accuracy", targets, sure_of(answers, 4)) == pytest.approx((2 / 3 + 1) / 2)


def test_log_loss_divides_rows_by_their_sums_then_clips_as_the_host_does():
    def loss(targets, probabilities):
        return score("log_loss", targets, probabilities)

    assert loss(np.array([0, 1]), np.array([[2.0, 6.0], [1.0, 1.0]])) == pytest.approx((math.log(4) + math.log(2)) / 2)
    # A sure and wrong answer costs -log(1e-15), also where the input has single precision only.
    assert loss(np.array([0]), np.array([[0, 1]], np.float32)) == pytest.approx(15 * math.log(10))
    # A class that the truth lacks does not disturb: scikit-learn would stop here without labels=.
    assert loss(np.array([0, 0]), np.full((2, 3), 1 / 3)) == pytest.approx(math.log(3))
    assert not metric("log_loss", "multiclass").higher_is_better


def test_log_loss_of_sets_is_the_mean_over_all_cells():
    targets = np.array([[1, 0, 1]], np.float32)
    expected = -(math.log(0.8) + math.log(0.7) + math.log(1e-15)) / 3
    assert score("log_loss", targets, np.array([[0.8, 0.3, 0.0]])) == pytest.approx(expected)
    sure_and_wrong = score("log_loss", np.zeros((1, 2)), np.ones((1, 2), np.float32))
    assert sure_and_wrong == pytest.approx(15 * math.log(10), rel=1e-2)  # 1 - 1e-15 is only near to it in binary


def test_auc_is_the_share_of_pairs_in_the_right_order():
    targets, positive = np.array([0, 1, 0, 1]), np.array([0.1, 0.4, 0.4, 0.8])
    assert score("auc", targets, np.column_stack([1 - positive, positive])) == 3.5 / 4


@pytest.mark.parametrize("name", ["auc", "mean_column_auc"])
def test_auc_of_one_class_is_not_defined_and_says_so(name):
    with pytest.warns(UserWarning, match=name):
        assert math.isnan(score(name, np.array([1, 1]), sure_of([0, 1], 2)))


def test_mean_column_auc_leaves_out_a_column_of_one_class_and_names_it():
    targets = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 0], [0, 0, 0]], np.float32)
    probabilities = np.array([[0.9, 0.5, 0.8], [0.1, 0.6, 0.7], [0.8, 0.7, 0.75], [0.2, 0.8, 0.1]])
    with pytest.warns(UserWarning, match=r"\b1\b"):
        assert score("mean_column_auc", targets, probabilities) == pytest.approx((1 + 0.75) / 2)


def test_mean_column_auc_of_single_labels_sets_each_class_against_the_rest():
    probabilities = np.array([[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.2, 0.3, 0.5], [0.7, 0.1, 0.2]])
    # Each row of a class, for that class, stands above every other row.
    assert score("mean_column_auc", np.array([0, 1, 2, 0]), probabilities) == 1
    assert score("mean_column_auc", np.array([0, 1, 2, 1]), probabilities) == pytest.approx((2 / 3 + 2 / 4 + 1) / 3)


def quadratic_kappa(truth, answers, classes):
    """The formula as hosts print it: 1 - sum(weights * observed) / sum(weights * expected)."""
    observed = np.zeros((classes, classes))
    np.add.at(observed, (truth, answers), 1)
    expected = np.outer(observed.sum(1), observed.sum(0)) / len(truth)
    weights = np.subtract.outer(np.arange(classes), np.arange(classes)) ** 2
    return 1 - (weights * observed).sum() / (weights * expected).sum()


def test_qwk_keeps_the_distance_across_ratings_that_nobody_gave():
    targets, answers = np.array([0, 0, 1, 4, 4, 1]), np.array([0, 1, 4, 4, 4, 1])
    assert score("qwk", targets, sure_of(answers, 5)) == pytest.approx(quadratic_kappa(targets, answers, 5))
    from sklearn.metrics import cohen_kappa_score

    shrunk = cohen_kappa_score(targets, answers, weights="quadratic")  # takes 1 and 4 for neighbours
    assert score("qwk", targets, sure_of(answers, 5)) != pytest.approx(shrunk)


def test_qwk_of_one_single_class_is_not_defined():
    with pytest.warns(UserWarning, match="qwk"):
        assert math.isnan(score("qwk", np.array([2, 2]), sure_of([2, 2], 5)))


def test_macro_f1_averages_the_classes_in_truth_or_answers():
    targets, answers = np.array([0, 0, 1, 1]), [0, 0, 1, 3]  # class 2 is nowhere, class 3 only answered
    assert score("macro_f1", targets, sure_of(answers, 5)) == pytest.approx((1 + 2 / 3 + 0) / 3)
    sets = np.array([[1, 0, 0], [1, 1, 0]], np.float32)
    assert score("macro_f1", sets, np.array([[0.9, 0.1, 0.2], [0.8, 0.1, 0.3]])) == pytest.approx((1 + 0) / 2)


def test_f1_of_all_cells_of_each_row_and_of_the_positive_class():
    sets = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 0]], np.float32)
    answers = np.array([[0.9, 0.1, 0.8], [0.1, 0.1, 0.1], [0.1, 0.9, 0.1]])
    assert score("micro_f1", sets, answers) == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert score("sample_f1", sets, answers) == pytest.approx((0.5 + 1 + 1) / 3)  # an empty row met by none is right
    assert score("micro_f1", np.array([0, 1, 2]), sure_of([0, 1, 1], 3)) == pytest.approx(2 / 3)
    assert score("f1", np.array([0, 1, 1]), sure_of([1, 1, 0], 2)) == 0.5


def test_map_at_k_counts_the_rank_of_the_truth():
    probabilities = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
    targets = np.array([0, 1, 2])
    assert score("map@2", targets, probabilities) == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert score("map@5", targets, probabilities) == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    # Of several true classes: mean precision at each, over as many as could be there.
    sets = np.array([[1, 0, 1]], np.float32)
    assert score("map@3", sets, np.array([[0.5, 0.3, 0.2]])) == pytest.approx((1 + 2 / 3) / 2)
    assert score("map@1", sets, np.array([[0.5, 0.3, 0.2]])) == 1


def test_ties_of_ranks_stand_in_the_order_of_the_classes():
    assert score("map@1", np.array([0, 1]), np.full((2, 2), 0.5)) == 0.5


def test_each_metric_prefers_perfect_answers_and_gives_a_plain_float():
    single, sets = np.array([0, 1, 1, 0]), np.array([[1, 0], [0, 1], [1, 1], [0, 1]], np.float32)
    given = {
        "fbeta": {"beta": 2},
        "map": {"k": 1},
        "recall": {"k": 2},
        "top_error": {"k": 1},
        "weighted_log_loss": {"weights": [1, 2]},
    }
    assert len([*METRICS]) > 18
    for targets, kind in ((single, "binary"), (sets, "multilabel")):
        for name in metrics_for(target_type(kind)):
            found = metric({"name": name} | given.get(name, {}), kind)
            perfect = (np.eye(2)[targets] if targets.ndim == 1 else targets).astype(np.float64)
            best, worst = found.score(targets, perfect), found.score(targets, 1 - perfect)
            most = 0.2 if name == "partial_auc" else 1
            assert type(best) is float
            assert best == pytest.approx(most if found.higher_is_better else 0), name
            assert (best > worst) == found.higher_is_better or name == "recall", name  # two of two classes hold all


def test_nan_among_the_probabilities_scores_nan():
    assert math.isnan(score("accuracy", np.array([0]), np.array([[math.nan, 1.0]])))


@pytest.mark.parametrize("name", ["acuracy", "map@0", "map@", "map@x", ""])
def test_an_unknown_metric_is_refused_with_the_known_names(name):
    with raises("unknown-metric", "accuracy, balanced_accuracy", "map@5"):
        metric(name, "multiclass")


def test_a_metric_that_cannot_judge_the_target_is_refused_with_those_that_can():
    with raises("unfit-for-target", "qwk", "mean_column_auc"):
        metric("qwk", "multilabel")
    with raises("unfit-for-target", "auc"):
        metric("auc", "multiclass")
    assert metric("qwk", "ordinal").needs == "labels"


def test_a_competition_brings_its_own_metric(tmp_path):
    (tmp_path / "metric.py").write_text(
        "higher_is_better = False\n"
        "def score(targets, probabilities):\n"
        "    return abs(probabilities[:, 1] - targets).mean()\n"
    )
    own = metric("own", "ordinal", tmp_path)
    assert (own.needs, own.higher_is_better) == ("probabilities", False)
    assert own.score(np.array([0, 1]), np.array([[0.75, 0.25], [0.5, 0.5]])) == pytest.approx(0.375)
    (tmp_path / "metric.py").write_text(
        "needs = 'labels'\n"
        "higher_is_better = True\n"
        "def score(targets, labels):\n"
        "    return (targets == labels).mean()\n"
    )
    own = metric("own", "multiclass", tmp_path)
    assert own.score(np.array([0, 1]), sure_of([0, 0], 2)) == 0.5
    assert own.score(np.array([0, 1]), sure_of([0, 0], 2), decisions=np.array([0, 1])) == 1
    # Its own file never takes the place of a name that everybody knows.
    assert type(metric("accuracy", "multiclass", tmp_path)) is METRICS.get("accuracy")


@pytest.mark.parametrize(
    ("text", "code", "name"),
    [
        (None, "no-such-file", "own"),
        ("def score(targets, probabilities): return 1", "own-metric-incomplete", "higher_is_better"),
        ("higher_is_better = True", "own-metric-incomplete", "def score"),
        (
            "higher_is_better = True\nneeds = 'magic'\ndef score(t, p): return 1",
            "own-metric-incomplete",
            "needs",
        ),
        ("def score(:", "extension-failed", "SyntaxError"),
    ],
)
def test_an_own_metric_that_is_absent_or_wrong_names_the_file(tmp_path, text, code, name):
    if text is not None:
        (tmp_path / "metric.py").write_text(text)
    with raises(code, str(tmp_path / "metric.py"), name):
        metric("own", "multiclass", tmp_path)


def test_an_own_metric_that_fails_names_the_file_and_the_reason(tmp_path):
    (tmp_path / "metric.py").write_text("higher_is_better = True\ndef score(t, p):\n    return t['x']\n")
    with raises("own-metric-failed", "metric.py", "score", "IndexError"):
        metric("own", "multiclass", tmp_path).score(np.array([0]), np.array([[1.0]]))


def test_importing_the_metrics_loads_no_heavy_library():
    code = "import sys, src.metrics; print([m for m in ('sklearn', 'torch', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
