"""A new metric is one file: in PODIUM_HOME/extensions, or metric.py in the competition's folder. Nothing is edited."""

import json
from pathlib import Path

import pytest

from src.metrics.rules import TiltedPrior
from src.predict import main as predict
from src.report import main as report
from src.train import main as train
from tests.fixtures.codes import refused
from tests.fixtures.pages import sections
from tests.fixtures.recipes import recipe
from tests.fixtures.tiny import write_tiny

# A statistic and a parameter: weighted accuracy, in which the first class counts `first` times.
QUICK = recipe("Metric with a statistic")
# One function, nothing more: the share of the worst class that is right. It is no function of sums over rows.
SLOW = recipe("Metric")
# Needs the rows' groups and ids, and has one decision fitted.
OWN = """
needs = "labels"
higher_is_better = True
decision = "tilted prior"


def score(targets, labels, rows):
    assert len(rows.id) == len(rows.groups) == len(targets) and all(len(name) == 4 for name in rows.id)
    return float((targets == labels).mean())
"""


def used(home: Path, metric: str) -> tuple[dict, str]:
    """What prediction notes, and the page, of a run of the tiny competition with this metric in its card."""
    if not (home / "competition" / "tiny").exists():
        write_tiny(home)
    card = home / "competition" / "tiny" / "card.yaml"
    card.write_text(card.read_text().replace("metric: accuracy", f"metric: {metric}"))
    words = ["config=tiny", "train.epochs=1"]
    assert train(["fold=0..2", *words]) == 0
    assert predict(["--tta", *words]) == 0
    assert report(words) == 0
    facts = json.loads(next((home / "runs/tiny").glob("*/predictions/*.json")).read_text())
    return facts, next((home / "runs/tiny").glob("*/report/*.html")).read_text()


@pytest.mark.parametrize(
    ("code", "metric", "name"),
    [
        (QUICK, "{name: first_counts, first: 3}", "first_counts(first=3)"),
        pytest.param(SLOW, "worst_recall", "worst_recall", marks=pytest.mark.slow),
    ],
    ids=["with a statistic and a parameter", "one function"],
)
def test_an_extension_is_scored_judged_and_shown(tmp_path, monkeypatch, capsys, code, metric, name):
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path))
    (tmp_path / "extensions").mkdir()
    (tmp_path / "extensions" / "mine.py").write_text(code)
    facts, page = used(tmp_path, metric)
    assert facts["metric"] == name and name in page
    score = facts["score"]
    assert 0 <= score["low"] <= score["value"] <= score["high"] <= 1 and score["low"] < score["high"]
    told = capsys.readouterr()
    assert f"{name} " in told.out
    assert (TiltedPrior.name in told.out) == (code is QUICK)  # the rule that it names is judged


def test_metric_py_knows_the_rows_and_has_its_decision_fitted(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path))
    write_tiny(tmp_path)
    (tmp_path / "competition" / "tiny" / "metric.py").write_text(OWN)
    facts, page = used(tmp_path, "own")
    score = facts["score"]
    assert facts["metric"] == "own" and 0 < score["low"] <= score["value"] <= score["high"] <= 1
    assert TiltedPrior.name in capsys.readouterr().out
    assert "answer" in sections(page)


def test_a_wrong_parameter_is_refused_before_anything_is_trained(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path))
    write_tiny(tmp_path)
    card = tmp_path / "competition" / "tiny" / "card.yaml"
    text = card.read_text()
    for metric, code, name in (
        ("{name: fbeta, beta: high}", "bad-parameter", "beta"),
        ("{name: fbeta, betta: 2}", "unknown-parameter", "beta?"),
        ("fbeta", "missing-parameter", "beta"),
        ("{name: weighted_log_loss, weights: [1, 2]}", "bad-parameter", "weights=[1, 2]"),
        ("{name: top_error, k: 0}", "bad-parameter", "top_error@0"),
        ("{beta: 2}", "missing-name", "name"),
    ):
        card.write_text(text.replace("metric: accuracy", f"metric: {metric}"))
        refused(capsys, train, ["fold=0", "config=tiny"], code, name)
    assert not list((tmp_path / "runs").glob("tiny/*/*/fold*"))


BODY = """
from src.losses import LOSSES, Loss
from src.metrics import METRICS, Metric, metric_function
"""


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("@metric_function(needs='label')\ndef mine(truth, labels):\n    return 1.0", "unknown-needs"),
        ("@METRICS.register('mine')\nclass Mine(Metric):\n    need = 'labels'", "unknown-attribute"),
        ("@METRICS.register('mine')\nclass Mine(Metric):\n    higher_is_beter = False", "unknown-attribute"),
        ("@METRICS.register('mine')\nclass Mine(Metric):\n    higher_is_better = 'no'", "wrong-attribute"),
        ("@LOSSES.register('mine')\nclass Mine(Loss):\n    parameter = {'scale': 1.0}", "unknown-attribute"),
        ("@metric_function()\ndef accuracy(truth, p):\n    return 1.0", "name-taken"),
        ("@metric_function()\ndef mine(truth, p)\n    return 1.0", "extension-failed"),
        ("@metric_function()\ndef mine(truth, p):\n    return None", "metric-not-a-number"),
        ("@metric_function()\ndef mine(truth, p):\n    return p[:, 99].mean()", "extension-failed"),
        ("", "unknown-metric"),
    ],
)
def test_a_fault_in_a_users_metric_is_one_line_with_its_file(tmp_path, monkeypatch, capsys, code, error):
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path))
    write_tiny(tmp_path)
    (tmp_path / "extensions").mkdir()
    (tmp_path / "extensions/own.py").write_text(BODY + code)
    card = tmp_path / "competition/tiny/card.yaml"
    card.write_text(card.read_text().replace("metric: accuracy", "metric: mine"))
    assert train(["config=tiny", "fold=0", "train.epochs=1", "--json"]) in (1, 2)
    out, err = capsys.readouterr()
    told = json.loads(out)["error"]
    assert told["code"] == error
    assert "\n" not in told["message"] and "Traceback" not in err
    assert ("own.py" in told["message"]) == (error not in ("unknown-metric", "metric-not-a-number"))
