"""A search: what it may try, that its trials are ordinary runs, who is stopped early, and that nothing is lost."""

import json
import os
import re
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from src.core.locks import only_one
from src.core.paths import REPOSITORY
from src.evaluation.bootstrap import picked
from src.experiments.axes import Axis
from src.experiments.ranges import Range
from src.experiments.search_space import space_of
from src.experiments.study import FAILED, STOPPED, Study
from src.experiments.trial import PARTS, by_part
from src.metrics import metric
from src.sweep import main as sweep
from src.train import main as train
from tests.fixtures.codes import refused
from tests.fixtures.made_up_competition import network
from tests.fixtures.notes import names_it
from tests.fixtures.warm_python import KILL, warm_python

SEARCH = ["--search", "config=tiny", "fold=0", "train.epochs=2", "machine.jobs=1", "optim.lr=1e-4..1e-1"]


def space(*words: str) -> dict[str, Range | Axis]:
    found = space_of(["--search", *words])
    return dict(zip(found.axes, found.dimensions, strict=True))


def study(*words: str) -> Study:
    return Study(space_of(list(words)).folder, higher_is_better=True)


def folder(*words: str) -> Path:
    return space_of(list(words)).folder


# What a search may try


def test_ranges_and_choices_are_read_as_they_are_meant(tiny):
    found = space(
        "config=tiny",
        "optim.lr=1e-4..1e-1",
        "optim.weight_decay=0.01..0.1",
        "model.drop_rate=0..1",
        "train.epochs=2..9",
        "train.global_batch=4..400",
        "model=resnet8,resnet18",
    )
    look = {key: (one.whole, one.logarithmic) for key, one in found.items() if isinstance(one, Range)}
    assert look == {
        "optim.lr": (False, True),
        "optim.weight_decay": (False, False),  # ends ten times apart
        "model.drop_rate": (False, False),  # 0 to 1, but the key takes what lies between
        "train.epochs": (True, False),
        "train.global_batch": (True, True),
    }
    assert list(found["model"].choices) == ["resnet8", "resnet18"]
    assert str(found["optim.lr"]) == "optim.lr 1e-4 to 1e-1 (evenly by factors)"


def test_a_tried_value_can_be_given_again():
    rate = Range("optim.lr", "1.2345e-4", "0.98765", whole=False)
    assert rate.word(0.00123456) == "0.00123"
    assert rate.word(1.2345e-4) == "1.2345e-4"  # rounded it would lie below the range
    assert rate.word(0.98765) == "0.98765"
    assert Range("train.epochs", "2", "9", whole=True).word(7.0) == "7"


def test_a_sweep_in_a_file_can_be_searched(tiny):
    (tiny / "configs" / "sweeps").mkdir()
    axes = "{optim.lr: [1e-4..1e-1], way: {plain: {}, clipped: {optim.clip: 1}}}"
    text = f"title: Mine\nconfig: tiny\nfold: 0\naxes: {axes}\n"
    (tiny / "configs" / "sweeps" / "mine.yaml").write_text(text)
    found = space_of(["--search", "sweep=mine"])
    assert (found.title, found.axes, found.trials) == ("Mine", ("optim.lr", "way"), 30)
    request = found.cell({"optim.lr": 0.012, "way": "clipped"}).request
    assert (request.config.optim.lr, request.config.optim.clip, request.folds) == (0.012, 1, (0,))


@pytest.mark.parametrize(
    ("words", "code", "name"),
    [
        (["--search", "config=tiny"], "nothing-to-search", "optim.lr=1e-4..1e-1"),
        (["--search", "config=tiny", "optim.lr=1e-1..1e-4"], "bad-range", "optim.lr=1e-4..1e-1"),
        (["--search", "config=tiny", "optim.lr=1e-1..0.1"], "bad-range", "optim.lr=1e-1"),
        (["--search", "config=tiny", "model.drop_rate=0..2"], "bad-value", "model.drop_rate"),
        (["--search", "config=tiny", "optim.lrr=0..2"], "unknown-key", "optim.lr?"),
        (["--search", "config=tiny", "optim.lr=1e-4..1e-1", "model=resnet8,resnet"], "unknown-config", "model=resnet"),
        (["--search", "config=tiny", "optim.lr=1e-4..1e-1", "trials=many"], "trials", "trials=many"),
        (["--search", "config=tiny", "optim.lr=1e-4..1e-1", "trials=1"], "trials", "trials=1"),
        (["--search", "config=tiny", "optim.lr=1e-4..1e-1", "machine.threads=1..2"], "same-run-twice", "machine.thr"),
        (["--search", "config=tiny", "train.epochs=2..5", "trials=4"], "too-many-trials", " 4 "),
        (["--search", "config=tiny", "optim.lr=1e-4..1e-1", "fold=all"], "bad-fold", "fold=all"),
        (["config=tiny", "optim.lr=1e-4..1e-1", "model=resnet8,resnet18"], "range-in-sweep", "--search"),
        (["config=tiny", "optim.lr=1e-3,1e-2", "trials=3"], "unknown-key", "trials"),
    ],
)
def test_what_cannot_be_searched_is_told_before_anything_is_trained(tiny, capsys, words, code, name):
    refused(capsys, sweep, words, code, name)
    assert not (tiny / "runs").exists()


# Its trials are ordinary runs


def score_by_log_loss(home: Path) -> None:
    """No two runs have the same one, so that of two trials one is always the poorer."""
    card, data = home / "competition" / "tiny" / "card.yaml", home / "competition" / "tiny" / "data"
    text = card.read_text().replace("metric: accuracy", "metric: log_loss").replace("kind: label", "kind: columns")
    card.write_text(text.replace("test_labels: answers/test.csv\n", ""))
    sample = pd.read_csv(data / "sample_submission.csv", dtype=str)[["image_id"]]
    sample.assign(blue=0.3, green=0.3, red=0.4).to_csv(data / "sample_submission.csv", index=False)


def test_a_search_finds_the_rate_stops_the_poor_and_writes_a_comparison(tiny, capsys, notes, drawn):
    score_by_log_loss(tiny)
    words = [*SEARCH[:3], "train.epochs=3", "machine.jobs=1", "optim.lr=1e-6..1e-1", "trials=7"]
    assert sweep(words) == 0
    said, searched = capsys.readouterr().out, space_of(words)
    found = Study(searched.folder, higher_is_better=False)
    stopped = found.with_fate(STOPPED)
    assert len(stopped) + len(found.done) == len(found.trials) == 7
    assert len(found.done) >= 5
    # The table holds what was done, the best first, and says what a pick is.
    table = pd.read_csv(searched.folder / "summary.csv", dtype={"label": str})
    assert list(table["label"]) == [searched.cell(one.values).label for one in found.done]
    np.testing.assert_allclose(table["log_loss"], [one.score for one in found.done], atol=1e-6)
    assert table["log_loss"].is_monotonic_increasing
    assert table["gain"].isna().tolist() == [True] + [False] * (len(table) - 1)
    assert float(table["optim.lr"].iloc[0]) > 1e-3  # below, three epochs teach nothing
    assert all(cv2.imread(str(searched.folder / f"{name}.png")).std() > 5 for name in ("curves", "per_class"))
    text = (searched.folder / "comparison.md").read_text()
    # What the pick is worth stands in the file and on the screen: its score, and that on rows that did not pick it.
    pick = next(line for line in said.splitlines() if names_it(line, f"{table['log_loss'][0]:.4f}") and "95 %" in line)
    assert pick in text and names_it(pick, len(table)) and len(re.findall(r"\d\.\d{4}", pick.partition(" ")[2])) == 4
    remark = said.splitlines()[-2]
    assert remark in text and names_it(remark, 7) and names_it(remark, len(stopped))
    # A poor trial ended after a checkpoint, is told, and can be trained on.
    assert stopped
    label = searched.cell(stopped[0].values).label
    assert f"- {label}: " in text and STOPPED in text.casefold()
    member = tiny / "runs" / "tiny" / stopped[0].run / "seed0" / "fold0"
    epochs = len(pd.read_csv(member / "log.csv"))
    assert epochs < 3
    assert not (member / "done.json").exists()
    assert train(["config=tiny", "fold=0", "train.epochs=3", f"optim.lr={label}"]) == 0
    assert notes.take().texts("fold-resumed", f"{epochs + 1}/3")
    # What is done is a run like any other, and the same command has nothing to do.
    label = searched.cell(found.done[0].values).label
    assert train(["config=tiny", "fold=0", "train.epochs=3", f"optim.lr={label}"]) == 0
    assert "nothing-to-do" in notes.codes
    assert sweep(words) == 0
    assert len(Study(searched.folder, higher_is_better=False).trials) == 7


@pytest.mark.slow
def test_side_by_side_the_trials_are_all_made_once(tiny, notes):
    words = [*SEARCH[:4], "machine.jobs=2", "optim.lr=1e-4..1e-1", "model=resnet8,test_resnet", "trials=3"]
    (tiny / "configs" / "model").mkdir()
    other = (REPOSITORY / "configs" / "model" / "resnet18.yaml").read_text().replace("resnet18", "test_resnet")
    (tiny / "configs" / "model" / "test_resnet.yaml").write_text(other)
    assert sweep(words) == 0
    assert re.findall(r"\d+", notes.texts("search-begun")[0])[-2:] == ["3", "2"]  # trials, and so many at once
    assert len({one.run for one in study(*words).trials}) == 3
    runs = {path.parent.parent.parent.name for path in (tiny / "runs").rglob("done.json")}
    assert runs == {one.run for one in study(*words).done}


def chosen(folder: Path, stop_after: int) -> list[dict]:
    """The values of 14 trials, scored by how near they are to one rate, with a new process after `stop_after`."""
    found = Study(folder, higher_is_better=True)
    for number in range(14):
        found = Study(folder, higher_is_better=True) if number == stop_after else found
        tried = found.ask(space_of(SEARCH))
        found.end(tried.number, -abs(np.log10(tried.values["optim.lr"] / 3e-3)))
    return [one.values for one in found.trials]


def test_a_search_chooses_the_same_whether_it_was_stopped_or_not(tiny):
    whole, in_two = chosen(tiny / "whole", 0), chosen(tiny / "two", 11)
    assert whole == in_two
    assert len({one["optim.lr"] for one in whole}) == 14
    far = [abs(np.log10(one["optim.lr"] / 3e-3)) for one in whole]
    assert np.mean(far[10:]) < np.mean(far[:10])  # after ten by chance it looks where the good ones were


# Poor trials


def noted(home: Path, scores: list[list[float]]) -> Study:
    """A study of trials that were told these scores, epoch by epoch."""
    found = Study(home / "search", higher_is_better=True)
    for line in scores:
        tried = found.ask(space_of(SEARCH))
        for epoch, score in enumerate(line, start=1):
            assert not found.report(tried.number, {epoch: score}, warmup=1)
        found.end(tried.number, line[-1])
    return found


def test_a_trial_below_the_median_is_stopped_but_not_at_once(tiny):
    found = noted(tiny, [[0.3, 0.5 + n / 100, 0.7, 0.8] for n in range(5)])
    poor, good = found.ask(space_of(SEARCH)), found.ask(space_of(SEARCH))
    assert not found.report(poor.number, {1: 0.0}, warmup=1)  # the first epoch tells nothing
    assert found.report(poor.number, {1: 0.0, 2: 0.4}, warmup=1)
    assert not found.report(poor.number, {1: 0.0, 2: 0.4}, warmup=1)  # nothing new
    assert not found.report(good.number, {1: 0.0, 2: 0.6}, warmup=1)


def test_runs_of_different_lengths_are_held_against_each_other_at_the_same_part_of_their_way(tiny):
    """Half-way through its schedule a long run is not yet where a short one ends."""
    short = pd.DataFrame({"epoch": range(1, 5), "score": [0.2, 0.4, 0.6, 0.8]})
    long = pd.DataFrame({"epoch": range(1, 9), "score": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]})
    half, other = by_part({0: short[:2]}, 4), by_part({0: long[:4]}, 8)
    assert max(half) == max(other) == PARTS // 2
    assert half[PARTS // 2] == other[PARTS // 2] == 0.4
    two = by_part({0: short, 1: short[:1]}, 4)  # a second fold goes on from there
    assert (max(two), two[PARTS], two[PARTS + 1]) == (PARTS + PARTS // 4, 0.8, 0.2)


def test_the_first_trials_are_never_stopped(tiny):
    found = noted(tiny, [[0.9, 0.9, 0.9]] * 4)
    assert not found.report(found.ask(space_of(SEARCH)).number, {1: 0.0, 2: 0.0, 3: 0.0}, warmup=1)


def test_a_loss_that_is_no_number_makes_a_poor_trial_and_a_wrong_value_a_failed_one(tiny, capsys):
    words = [*SEARCH[:-1], "optim.lr=1e28..1e30", "optim.name=adamw,nonesuch", "trials=3"]
    refused(capsys, sweep, words, "runs-failed", "optim.name=nonesuch")
    found = study(*words)
    assert found.with_fate(STOPPED)
    assert found.with_fate(FAILED)
    assert all(names_it(one.reason, "nan") for one in found.with_fate(STOPPED))
    assert sweep(words) == 1
    assert len(study(*words).trials) == 3


# Nothing is lost


@pytest.mark.slow  # several trainings
def test_a_killed_search_goes_on_with_the_trial_that_was_under_way(tiny, notes):
    words = [
        "--search",
        "config=tiny",
        "fold=0",
        "train.epochs=30",
        "machine.jobs=1",
        "optim.lr=1e-4..1e-1",
        "trials=2",
    ]
    command = [warm_python(), "-m", "src.sweep", *words]
    look = {"env": os.environ | {"PODIUM_HOME": str(tiny)}, "cwd": REPOSITORY, "stdout": subprocess.DEVNULL}
    process = subprocess.Popen(command, **look)
    deadline = time.monotonic() + 300
    while not list((tiny / "runs").rglob("checkpoint.pt")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(KILL)
    process.wait()
    journal = folder(*words) / "trials.journal"
    with journal.open("ab") as file:
        file.write(b'{"op_code":')  # as a power cut leaves it
    assert not list((tiny / "runs").rglob("done.json")), "killed too late to show anything"
    assert sweep(words) == 0
    assert any(text.startswith("0 | fold 0 ") for text in notes.texts("fold-resumed"))
    assert [one.number for one in study(*words).trials] == [0, 1]
    assert all(json.loads(line) for line in journal.read_text().splitlines())


def test_the_same_search_twice_at_once_is_refused(tiny, capsys):
    with only_one(folder(*SEARCH), "search"):
        refused(capsys, sweep, SEARCH, "busy", str(os.getpid()))


def test_trials_of_another_configuration_are_not_mixed_in(tiny, capsys):
    assert sweep([*SEARCH, "trials=2"]) == 0
    config = tiny / "configs" / "tiny.yaml"
    config.write_text(config.read_text().replace("batch: 8", "batch: 16"))
    refused(capsys, sweep, [*SEARCH, "trials=3"], "search-differs")


# A pick


def test_the_score_of_a_pick_is_told_without_its_luck():
    """Twenty networks of one skill: the best of them on 200 rows looks better than it is."""
    generator, accuracy = np.random.default_rng(0), metric("accuracy", "multiclass")
    targets = generator.integers(0, 3, 200)
    answers = [(network(generator, targets, 3, 0.5), None) for _ in range(20)]
    scores = [accuracy.score(targets, probabilities) for probabilities, _ in answers]
    pick = picked(accuracy, targets, answers, np.full(200, ""))
    assert max(scores) - np.mean(scores) > 0.04
    assert abs(pick.value - np.mean(scores)) < 0.6 * (max(scores) - np.mean(scores))
    assert pick.low < np.mean(scores) < pick.high


def test_a_pick_that_is_really_better_keeps_its_score():
    generator, accuracy = np.random.default_rng(1), metric("accuracy", "multiclass")
    targets = generator.integers(0, 3, 400)
    answers = [(network(generator, targets, 3, skill), None) for skill in (0.5, 0.5, 6.0)]
    best = accuracy.score(targets, answers[2][0])
    assert abs(picked(accuracy, targets, answers, np.full(400, "")).value - best) < 0.005
