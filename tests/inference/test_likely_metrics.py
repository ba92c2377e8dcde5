"""A guessed metric harms none of the likely ones: one column may be scored by AUC or by log loss."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from src import predict, prepare
from src.competition.card import load_card
from src.core.paths import competition_folder, runs_folder
from src.evaluation.blending import RANKS
from src.metrics.decision import Decision
from src.targets import target_type
from tests.fixtures.layouts import cats, csv, grades

SURE = 16.0  # a network of such logits is wrong in every fifth row
CHANCE = np.log(2)


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    """Cats and dogs, and two runs trained elsewhere that are far too sure. The truth of the test rows, by id."""
    home = tmp_path_factory.mktemp("likely")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(home / "home"))
        made = cats(home / "pets")
        assert prepare.main([str(home / "pets")]) == 0
        for number, run in enumerate(("loud", "shout")):
            bring(run, made.truth, number)
        yield pd.Series(made.truth).eq("dog")


def bring(run: str, test: dict[str, str], seed: int) -> None:
    folder = runs_folder("pets") / run
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    assert predict.main([f"run={run}", "competition=pets"]) != 0, "it makes the folds"
    file = next(runs_folder("pets").glob("folds-*.csv"))
    (folder / "run.json").write_text(json.dumps({"folds": hashlib.sha256(file.read_bytes()).hexdigest()[:8]}))
    table = pd.read_csv(file, dtype={"id": str}, keep_default_na=False)
    generator = np.random.default_rng(seed)
    for fold in sorted(set(table["fold"]) - {-1}):
        held = table["id"][table["fold"] == fold]
        save(folder, fold, "oof", held, held.str.contains("dog"), generator)
        ids = pd.Series(list(test))
        save(folder, fold, "test", ids, ids.map(test).eq("dog"), np.random.default_rng(100 + seed))


def save(folder: Path, fold: int, part: str, ids: pd.Series, dogs: pd.Series, generator: np.random.Generator) -> None:
    """The folds err in the same test rows, as networks of one kind do."""
    right = generator.random(len(ids)) > 0.2
    logits = np.zeros((len(ids), 2), np.float32)
    logits[:, 1] = np.where(dogs == right, SURE, -SURE) + np.random.default_rng(fold).normal(0, 3, len(ids))
    path = folder / f"seed0/fold{fold}/logits/{part}-identity.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, id=ids.to_numpy(dtype=str), logits=logits, classes=["cat", "dog"], meta="{}")


def answered(capsys, *words: str) -> tuple[pd.Series, dict, str]:
    """The column that was written by id, the facts of the prediction, and what was printed."""
    capsys.readouterr()
    assert predict.main([*words, "competition=pets", "--json"]) == 0
    text = capsys.readouterr()
    facts = json.loads(text.out)
    return pd.read_csv(facts["submission"], dtype={"id": str}).set_index("id")["label"], facts, text.err


def mean_of(run: str) -> pd.Series:
    """What the folds answer on average, untouched."""
    tables = [np.load(file) for file in sorted((runs_folder("pets") / run).glob("seed0/fold*/logits/test-*.npz"))]
    each = [1 / (1 + np.exp(-table["logits"][:, 1].astype(float))) for table in tables]
    return pd.Series(np.mean(each, axis=0), tables[0]["id"])


def losses(truth: pd.Series, column: pd.Series) -> tuple[float, float]:
    truth = truth[column.index]
    return log_loss(truth, column), roc_auc_score(truth, column)


def test_a_guessed_metric_calibrates_and_keeps_the_order(pets, capsys):
    column, facts, text = answered(capsys, "run=loud")
    plain = mean_of("loud")[column.index]
    (before, area), (after, kept) = losses(pets, plain), losses(pets, column)
    assert before > CHANCE > after
    assert kept == area
    assert (column.rank() == plain.rank()).all()
    assert facts["metric"] == "auc"
    assert list(facts["likely"]) == ["auc", "log_loss"]
    assert facts["likely"]["auc"] == facts["score"]["value"]
    assert facts["likely"]["log_loss"] < CHANCE
    for value in facts["likely"].values():
        assert f"{value:.4f}" in text
    decision = Decision.from_json(facts["decision"])
    again = decision.apply(np.stack([1 - plain, plain], axis=1))[0][:, 1]
    np.testing.assert_allclose(again, column, rtol=1e-6)


def test_a_blend_under_a_guessed_metric_stays_a_probability(pets, capsys):
    """Of so few rows no gain is beyond doubt, and the loss is worse than chance."""
    column, facts, text = answered(capsys, "runs=loud,shout")
    assert losses(pets, column)[0] < CHANCE
    assert facts["likely"]["log_loss"] < CHANCE
    assert RANKS not in text


def test_a_confirmed_metric_leaves_the_probabilities_alone(pets, capsys):
    card = competition_folder("pets") / "card.yaml"
    guessed = card.read_text()
    assert prepare.main(["pets", "confirm=metric"]) == 0
    try:
        column, facts, _ = answered(capsys, "run=loud")
        blend = answered(capsys, "runs=loud,shout")
    finally:
        card.write_text(guessed)
    plain = mean_of("loud")[column.index]
    assert column.tolist() == [float(f"{value:.9g}") for value in plain]
    assert "likely" not in facts
    assert facts["decision"]["temperature"] == 1
    assert "of_mean" not in facts["decision"]
    assert RANKS in blend[2], "the mean of ranks is tried again"


def test_columns_of_grades_are_guessed_to_be_probabilities(tmp_path, monkeypatch):
    """A kappa compares one grade a row: its decisions would fill the columns with 0 and 1."""
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path / "home"))
    made = grades(tmp_path / "eyes")
    sample = pd.DataFrame({made.header[0]: list(made.truth)})
    csv(
        tmp_path / "eyes" / "sample_submission.csv", sample.assign(**dict.fromkeys(made.classes, 1 / len(made.classes)))
    )
    assert prepare.main([str(tmp_path / "eyes")]) == 0
    card = load_card("eyes")
    assert (card.target, card.submission.kind, card.metric) == ("ordinal", "columns", "log_loss")


def test_a_stored_decision_of_the_mean_is_read_again():
    decision = Decision("temperature", target_type("binary"), temperature=3.0, of_mean=True)
    p = np.array([[0.01, 0.99], [0.4, 0.6]])
    assert (decision.changed(p) == p).all(), "networks are averaged first"
    read = Decision.from_json(json.loads(json.dumps(decision.to_json())))
    assert (read.decided(p)[0] == decision.apply(p)[0]).all()
    assert (read.decided(p)[0][:, 1] < p[:, 1]).all()
