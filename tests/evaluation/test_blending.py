"""Several runs become one answer: joined by id, judged on rows that the fit did not see, the plain mean kept."""

import json
from dataclasses import replace

import numpy as np
import pytest

from src.evaluation.blending import BEST, PLAIN, RANKS, STACK, WEIGHTED, Blend, choose_blend, hill_climbing
from src.evaluation.held_out import HeldOut, RunTable, joined
from src.metrics import metric
from src.targets import target_type
from tests.fixtures.codes import raises
from tests.fixtures.made_up_competition import as_two, held_out, network

MULTICLASS = target_type("multiclass")


def runs(seed: int, skills: dict[str, float], rows: int = 800, classes: int = 4) -> tuple[np.ndarray, dict]:
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, classes, rows)
    return targets, {name: network(generator, targets, classes, skill) for name, skill in skills.items()}


def candidates(choice) -> dict:
    return {candidate.name: candidate for candidate in choice.comparison.candidates}


def mixture(seed: int, weights: list[float], rows: int) -> tuple[np.ndarray, dict]:
    """Truth drawn from a weighted mean of the runs' probabilities: no other way to join them can be better."""
    generator = np.random.default_rng(seed)
    tables = {run: generator.dirichlet(np.full(4, 0.3), rows) for run in "abcdef"[: len(weights)]}
    truth = sum(weight * table for weight, table in zip(weights, tables.values(), strict=True))
    return (truth.cumsum(axis=1) > generator.random((rows, 1))).argmax(axis=1), tables


def test_the_weights_are_those_of_the_known_mixture():
    weights = [0.6, 0.3, 0.1]
    targets, tables = mixture(0, weights, 6000)
    choice = choose_blend(held_out("log_loss", targets), tables)
    assert choice.taken.method == WEIGHTED
    np.testing.assert_allclose(choice.taken.weights, weights, atol=0.05)
    assert candidates(choice)[WEIGHTED].gain.real


@pytest.mark.parametrize("name", ["log_loss", pytest.param("accuracy", marks=pytest.mark.slow)])
def test_the_plain_mean_is_kept_where_it_is_as_good(name):
    kept, flattered = 0, 0
    for seed in range(15):
        targets, tables = mixture(seed, [1 / 3] * 3, 300)
        choice = choose_blend(held_out(name, targets), tables)
        kept += choice.taken.method == PLAIN
        candidate, plain = candidates(choice)[WEIGHTED], candidates(choice)[PLAIN]
        flattered += candidate.same_rows <= plain.score if name == "log_loss" else candidate.same_rows >= plain.score
        if choice.taken.method == PLAIN:
            assert choice.comparison.taken == PLAIN
            np.testing.assert_allclose(choice.answer, sum(tables.values()) / 3)
    assert kept >= 14
    assert flattered >= 14, "on the rows of the fit the weights look better"


def test_the_best_run_stays_alone_unless_joining_really_gains():
    targets, tables = runs(3, {"good": 2.0})
    tables["noise"] = np.random.default_rng(1).permutation(tables["good"])
    alone = choose_blend(held_out("accuracy", targets), tables, fitted=False, plain=BEST)
    assert alone.taken.alone == "good" and candidates(alone)[BEST].gain is None
    np.testing.assert_allclose(alone.answer, tables["good"])
    targets, tables = runs(3, {"one": 1.0, "other": 1.0})
    both = choose_blend(held_out("accuracy", targets), tables, plain=BEST)
    assert both.taken.alone is None and both.comparison.candidate.gain.real


@pytest.mark.slow
def test_what_runs_of_pure_noise_promise_is_not_kept():
    promised, held = [], []
    for seed in range(12):
        generator = np.random.default_rng(seed)
        targets = generator.integers(0, 2, 200)
        tables = {f"run{k}": as_two(generator.random(200)) for k in range(8)}
        choice = choose_blend(held_out("auc", targets), tables)
        candidate, plain = candidates(choice)[WEIGHTED], candidates(choice)[PLAIN]
        promised.append(candidate.same_rows - plain.score)
        held.append(candidate.gain.value)
        assert choice.taken.method == PLAIN
    assert min(promised) > 0.01
    assert np.mean(promised) > 0.05
    assert np.mean(held) < 0.01


def test_a_bad_run_is_weighed_down():
    targets, tables = runs(3, {"good": 4.0, "bad": 0.05}, rows=1500)
    tables["bad"] = tables["bad"][:, [1, 2, 3, 0]] ** 8  # sure of itself, and wrong
    tables["bad"] /= tables["bad"].sum(axis=1, keepdims=True)
    choice = choose_blend(held_out("accuracy", targets), tables)
    assert choice.taken.method != PLAIN
    assert candidates(choice)[WEIGHTED].gain.real
    beside = {candidate.name: candidate for candidate in choice.comparison.beside}
    assert beside["run good"].score > candidates(choice)[PLAIN].score > beside["run bad"].score


def test_ranks_join_runs_of_different_scales():
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 2, 1500)
    signals = [generator.normal(targets, 1.0), generator.normal(targets, 1.0)]
    tables = {
        "timid": as_two(0.5 + 0.01 * np.tanh(signals[0])),
        "sure": as_two(1 / (1 + np.exp(-8 * signals[1]))),
    }
    choice = choose_blend(held_out("auc", targets), tables)
    assert candidates(choice)[RANKS].gain.real
    assert choice.taken.method in (RANKS, STACK)
    answered = Blend(RANKS, ("timid", "sure"), MULTICLASS, (0.5, 0.5)).apply(tables)
    np.testing.assert_allclose(answered.sum(axis=1), 1)
    sharper = tables | {"timid": as_two(tables["timid"][:, 1] ** 3)}  # the same order in other numbers
    np.testing.assert_allclose(Blend(RANKS, ("timid", "sure"), MULTICLASS, (0.5, 0.5)).apply(sharper), answered)


def test_ranks_are_offered_for_scores_of_order_only():
    targets, tables = runs(0, {"a": 1.0, "b": 1.0}, rows=100)
    assert set(candidates(choose_blend(held_out("log_loss", targets), tables))) == {
        PLAIN,
        WEIGHTED,
        STACK,
    }


@pytest.mark.parametrize("several", [False, True], ids=["one class", "several"])
def test_a_stack_learns_what_a_mean_cannot(several):
    """Two halves of the evidence: their log-odds add up, their mean is too timid."""
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 4, 1500)
    if several:
        targets = (generator.random((1500, 4)) < 0.3).astype(np.float32)
    tables = {run: network(generator, targets, 4, 3.0) for run in "ab"}
    choice = choose_blend(held_out("log_loss", targets), tables)
    assert choice.taken.method == STACK
    assert choice.answer.shape == (1500, 4)
    assert several or np.allclose(choice.answer.sum(axis=1), 1)
    assert candidates(choice)[STACK].same_rows < candidates(choice)[STACK].score


def test_a_class_that_no_row_has_does_no_harm():
    targets, tables = runs(0, {"a": 2.0, "b": 2.0}, classes=4)
    targets = np.where(targets == 3, 2, targets)
    assert np.isfinite(choose_blend(held_out("log_loss", targets), tables).answer).all()


def test_one_fold_alone_is_judged_in_parts():
    targets, tables = runs(1, {"a": 3.0, "b": 0.2})
    held = held_out("accuracy", targets, folds=1)
    assert len(held.splits()) == 5
    assert np.isfinite(candidates(choose_blend(held, tables))[WEIGHTED].score)
    with raises("too-few-groups"):
        choose_blend(replace(held, groups=np.full(len(targets), "g")), tables)


def test_what_is_written_down_answers_the_test_rows_the_same():
    targets, tables = runs(0, {"a": 2.0, "b": 1.0}, rows=200)
    for weights, method in (((0.5, 0.5), RANKS), ((0.75, 0.25), WEIGHTED)):
        blend = Blend(method, ("a", "b"), MULTICLASS, weights)
        again = Blend.from_json(json.loads(json.dumps(blend.to_json())))
        assert again == blend
    taken = choose_blend(held_out("log_loss", targets), tables).taken
    again = Blend.from_json(json.loads(json.dumps(taken.to_json())))
    np.testing.assert_array_equal(again.apply(tables), taken.apply(dict(reversed(tables.items()))))
    with raises("missing-run", "run b"):
        taken.apply({"a": tables["a"]})


def test_a_single_run_is_no_blend():
    targets, tables = runs(0, {"a": 1.0}, rows=50)
    with raises("too-few-runs"):
        choose_blend(held_out("accuracy", targets), tables)


# Joining by id

IDS = np.array(["0001", "1", "10", "b"])


def run_table(run: str, ids: list[str] | np.ndarray, folds: str = "aaaa", classes: int = 3) -> RunTable:
    rows = {one: k for k, one in enumerate(IDS)}
    table = np.array([[rows.get(one, 9) + {"a": 0, "b": 100}[run]] * classes for one in ids], dtype=float)
    return RunTable(run, folds, np.array(ids, dtype=object), table.reshape(-1, classes))


def test_rows_are_joined_by_id_in_any_order():
    shuffled = run_table("b", ["b", "10", "not asked for", "0001", "1"])
    ids, tables = joined([run_table("a", IDS), shuffled], IDS, "aaaa")
    assert ids.tolist() == IDS.tolist()
    assert (tables["a"][:, 0].tolist(), tables["b"][:, 0].tolist()) == ([0, 1, 2, 3], [100, 101, 102, 103])


def test_shuffled_rows_change_nothing_of_the_choice():
    targets, tables = runs(2, {"a": 3.0, "b": 1.0}, rows=300)
    held, order = held_out("log_loss", targets), np.random.default_rng(0).permutation(300)
    mixed = [RunTable("a", "f", held.id, tables["a"]), RunTable("b", "f", held.id[order], tables["b"][order])]
    first, second = (choose_blend(held, one) for one in (tables, joined(mixed, held.id, "f")[1]))
    assert first.comparison == second.comparison
    assert first.taken == second.taken


def test_missing_rows_are_counted_and_the_first_is_named():
    with raises("missing-row", "run b", "2 of 4", "'1'"):
        joined([run_table("a", IDS), run_table("b", ["0001", "b"])], IDS, "aaaa")


def test_rows_that_all_share_when_asked():
    gaps = [run_table("a", ["b", "1", "0001"]), run_table("b", ["1", "10", "b"])]
    ids, tables = joined(gaps, IDS, "aaaa", shared=True)
    assert ids.tolist() == ["1", "b"]
    assert (tables["a"][:, 0].tolist(), tables["b"][:, 0].tolist()) == ([1, 3], [101, 103])
    with raises("no-shared-rows"):
        joined([run_table("a", ["b"]), run_table("b", ["1"])], IDS, "aaaa", shared=True)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(
    ("second", "code", "names"),
    [
        (run_table("b", IDS, folds="bbbb"), "run-folds-differ", ["run b"]),
        (run_table("b", ["0001", "1", "1", "10", "b"]), "repeated-id", ["run b", "'1'"]),
        (run_table("b", IDS, classes=2), "classes-differ", []),
        (run_table("a", IDS), "same-run-twice", ["a"]),
    ],
    ids=["folds", "doubled", "classes", "the same run"],
)
def test_runs_that_do_not_fit_together_are_refused(second, code, names, shared):
    with raises(code, *names):
        joined([run_table("a", IDS), second], IDS, "aaaa", shared)


def test_numbers_are_blended_by_the_weights_that_noise_asks_for():
    """Two runs that err by 1 and by 2, independently: of the mean of two the best has 4 / 5 of the first, and errs by
    sqrt(4 / 5); a third that says 10 too much is what only a constant can mend."""
    rng = np.random.default_rng(0)
    truth = rng.normal(50, 10, (4000, 1))
    tables = {"a": truth + rng.normal(0, 1, truth.shape), "b": truth + rng.normal(0, 2, truth.shape)}
    rows = np.arange(4000)
    held = HeldOut(metric("rmse", "regression"), rows.astype(str), truth, rows % 5, np.full(4000, ""))
    choice = choose_blend(held, tables)
    scores = {one.name: one.score for one in choice.comparison.candidates}
    assert scores[WEIGHTED] == pytest.approx(np.sqrt(0.8), rel=0.03)
    assert scores[STACK] == pytest.approx(np.sqrt(0.8), rel=0.03)
    assert scores[PLAIN] == pytest.approx(np.sqrt(5 / 4), rel=0.03)
    assert hill_climbing(held, tables, rows) == pytest.approx([0.8, 0.2], abs=0.06)
    tables["c"] = truth + 10 + rng.normal(0, 0.5, truth.shape)
    choice = choose_blend(held, tables)
    assert choice.taken.method == STACK
    best = 1 / np.sqrt(1 + 1 / 4 + 4)
    assert choice.comparison.candidate.score == pytest.approx(best, rel=0.05)
    assert np.sqrt(np.square(choice.taken.apply(tables) - truth).mean()) == pytest.approx(best, rel=0.05)
