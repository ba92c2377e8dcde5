"""A budget: the probe's answer first, then a plan that fits into the time, told, kept and held to."""

import json
import math
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import timm
import torch
from safetensors.torch import save_file

from src.competition.competition import open_competition
from src.config import run_config
from src.config.load import load
from src.config.request import parse
from src.config.schema import seconds_of
from src.core.files import read_json, write_json
from src.core.paths import Run
from src.core.reporter import SilentReporter
from src.experiments.budget import Pace
from src.experiments.budget_plan import Planned, recipe
from src.experiments.first_folds import FirstFolds
from src.experiments.first_probe import larger_size
from src.experiments.learning_curve import lengths, promised
from src.experiments.time_plan import Sizes, Speed, Work
from src.inference.planned_answer import PROBE_ALONE, RUN_ALONE
from src.models.zoo import register_networks
from src.predict import main as predict
from src.report import main as report
from src.submit import main as submit
from src.train import main as train
from src.training.run import train_within
from tests.fixtures.codes import raises
from tests.fixtures.notes import names_it
from tests.fixtures.pages import caption
from tests.fixtures.tiny import write_tiny

HERE = ["competition=tiny", "data.folds=3", "images.size=32", "machine.device=cpu", "machine.threads=1", "run=b"]


def of_json(capsys: pytest.CaptureFixture) -> dict:
    return json.loads(capsys.readouterr().out)


def mislabel(home: Path) -> None:
    """A third of the rows, so that a trial from scratch could be told to be better than the probe."""
    file = home / "competition/tiny/data/train.csv"
    table = pd.read_csv(file, dtype=str)
    table.loc[::3, "colour"] = table["colour"].iloc[::3].map({"blue": "green", "green": "red", "red": "blue"})
    table.to_csv(file, index=False)


@pytest.fixture(scope="module")
def planned(tmp_path_factory) -> tuple[Path, dict, list[str]]:
    """A home, the plan, and the words of a run that was trained within its time, but for fold 2."""
    home = tmp_path_factory.mktemp("planned")
    write_tiny(home)
    mislabel(home)
    words = [*HERE, "budget=150s", "schedule.warmup_steps=1"]  # there are few steps
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(home))
        begun = time.monotonic()
        assert train([*words, "fold=0..1"]) == 0
        took = time.monotonic() - begun
    return home, read_json(home / "runs/tiny/b/plan.json") | {"seen": took}, words


@pytest.fixture
def at_home(planned, monkeypatch):
    monkeypatch.setenv("PODIUM_HOME", str(planned[0]))
    return planned


def test_the_probe_answers_first_and_the_plan_keeps_to_its_time(at_home):
    home, plan, _ = at_home
    probe = plan["probe"]
    assert Path(probe["file"]).exists() and probe["low"] <= probe["value"] <= probe["high"]
    assert (home / "runs/tiny/b-probe/seed0/fold1/done.json").exists()
    assert plan["seconds"] == 150 and set(plan["planned"]) == {"training", "prediction", "page"}
    assert set(plan["took"]) >= {"competition", "probe", "speeds", "training"}
    assert plan["seen"] < 150 and sum(plan["planned"].values()) < 150
    assert plan["scratch"]["fold"] == 0 and plan["by"] in ("scratch", "fine-tune")  # for its pictures are small
    assert (plan["scratch"]["score"] > plan["scratch"]["probe"]) == (plan["by"] == "scratch")
    stored = run_config.read(home / "runs/tiny/b")
    assert stored.budget == "150s" and stored.undecided == () and stored.train.epochs == plan["epochs"]


def test_what_follows_finds_the_run_and_keeps_its_plan(at_home, capsys, notes):
    home, plan, words = at_home
    before = (home / "runs/tiny/b/config.yaml").read_text()
    # Folds that were left out because the first ones gained nothing wait until they alone are asked for.
    kept = read_json(home / "runs/tiny/b/plan.json")
    assert kept["no_gain"] is False
    write_json(home / "runs/tiny/b/plan.json", kept | {"no_gain": True, "left_out": [[0, 2]]})
    assert train([*words, "fold=0..2", "--json"]) == 0
    assert [one["fold"] for one in of_json(capsys)["members"]] == [0, 1] and notes.texts("no-gain", 2)
    assert train([*words, "fold=2", "--json"]) == 0
    assert [one["fold"] for one in of_json(capsys)["members"]] == [2]
    assert train([*words, "fold=0..2", "--json"]) == 0
    told = of_json(capsys)
    assert [one["fold"] for one in told["members"]] == [0, 1, 2] and told["plan"]["chosen"] == plan["chosen"]
    assert (home / "runs/tiny/b/config.yaml").read_text() == before
    assert predict([*words, "--tta", "--json"]) == 0
    told = of_json(capsys)
    probe, probe_file, what = plan["probe"]["value"], plan["probe"]["file"], told["answer"]["what"]
    own, other = (sum(score_of(home, run, fold) for fold in (0, 1)) for run in ("b", "b-probe"))
    single = {RUN_ALONE: told["submission"], PROBE_ALONE: probe_file}
    assert told["submit"] == single.get(what, told["submit"]) and Path(told["submit"]).is_file()
    assert (own >= other or what != RUN_ALONE) and (other >= own or what != PROBE_ALONE)
    assert (told["submit"] in single.values()) == (what in single)
    assert submit([*words, "--dry-run", "--json"]) == 0
    assert of_json(capsys)["file"] == told["submit"]
    plan_file = home / "runs/tiny/b/plan.json"
    write_json(plan_file, read_json(plan_file) | {"submit": probe_file})
    assert submit([*words, "--dry-run", "--json"]) == 0
    assert of_json(capsys)["file"] == probe_file
    assert report(words) == 0
    page = (home / "runs/tiny/b/report/report.html").read_text()
    assert names_it(caption(page, "plan"), "150s") and f"{probe:.4f}" in page
    assert set(read_json(home / "runs/tiny/b/plan.json")["took"]) >= {"prediction", "page"}
    capsys.readouterr()
    # Other words under this name are another configuration, and are not overruled by the plan.
    assert train([*words, "fold=0", "optim.lr=0.5", "--json"]) == 2
    assert of_json(capsys)["error"]["code"] == "run-config-differs"
    assert train([*HERE, "schedule.warmup_steps=1", "budget=160s", "fold=0", "--json"]) == 2
    assert of_json(capsys)["error"]["code"] == "run-config-differs"


def score_of(home: Path, run: str, fold: int) -> float:
    return read_json(home / f"runs/tiny/{run}/seed0/fold{fold}/done.json")["score"]


def test_no_fold_begins_where_the_first_ones_gain_nothing(at_home, notes):
    home, plan, _ = at_home
    config, members = run_config.read(home / "runs/tiny/b"), [(0, 0), (0, 1), (0, 2)]
    same = Planned(plan | {"by": "fine-tune"}, config, "")
    assert not FirstFolds(Run("tiny", "b-probe"), same, members).gain() and notes.texts("no-gain", 0, 1)
    assert FirstFolds(Run("tiny", "not-begun"), same, members).gain()
    trained, probe = (score_of(home, run, 0) for run in ("b", "b-probe"))
    gain = FirstFolds(Run("tiny", "b"), same, members[:1]).gain()
    assert gain or trained <= probe


@pytest.mark.slow
def test_where_nothing_fits_the_probe_stays_the_answer(planned, home, capsys):
    """Its features are there already, so that these seconds are spent on what is asked."""
    shutil.copytree(planned[0] / "configs", home / "configs")
    shutil.copytree(planned[0] / "competition", home / "competition")
    words = [*HERE, "budget=3s", "fold=0..1", "schedule.warmup_steps=1"]
    assert train(words) == 0
    plan = read_json(home / "runs/tiny/b/plan.json")
    assert plan["by"] == "probe" and plan["planned"] == {}
    capsys.readouterr()
    assert predict([*words, "--tta", "--json"]) == 0
    assert of_json(capsys)["score"]["value"] == pytest.approx(plan["probe"]["value"])


def test_a_probe_that_stays_is_made_larger_as_the_time_allows():
    """Its time goes with the pixels, and a tenth is kept."""
    found = [larger_size(128, 400, 100, room) for room in (171, 172, 336, 337, 556, 557)]
    assert found == [None, 160, 160, 224, 224, 288]
    assert larger_size(128, 200, 1, 1000) == 160 and larger_size(288, 900, 1, 1000) is None


def test_where_rows_are_few_neither_trial_nor_training_begins(tiny):
    """One mistake of the probe is too little to tell a better answer by, and the recipe's rate rises for longer than
    eight epochs of so few rows last."""
    file = tiny / "competition/tiny/data/train.csv"
    table = pd.read_csv(file, dtype=str)
    table.loc[0, "colour"] = "green" if table.loc[0, "colour"] == "blue" else "blue"
    table.to_csv(file, index=False)
    assert train([*HERE, "budget=60s", "fold=0..2"]) == 0
    plan = read_json(tiny / "runs/tiny/b/plan.json")
    assert plan["probe"]["value"] < 1 and plan["by"] == "probe" and plan["scratch"] is None and not plan["speeds"]


def test_where_the_probe_is_never_wrong_nothing_is_trained(tiny):
    assert train([*HERE, "budget=60s", "fold=0..1"]) == 0
    plan = read_json(tiny / "runs/tiny/b/plan.json")
    assert plan["probe"]["value"] == 1 and plan["by"] == "probe" and plan["scratch"] is None and not plan["speeds"]
    assert (tiny / "runs/tiny/b/seed0/fold1/done.json").exists()


def test_what_is_asked_of_a_network_that_is_chosen_stays(tiny):
    """Its channels, here of the network that the probe has chosen."""
    mislabel(tiny)
    asked = ["model.channels=1", "schedule.warmup_steps=1", "images.load_size=32"]
    assert train([*HERE, *asked, "budget=150s", "fold=0..1"]) == 0
    assert run_config.read(tiny / "runs/tiny/b").model.channels == 1


def test_a_named_network_begins_with_its_file(tiny):
    """In the probe too; and it is trained as networks with weights are."""
    register_networks()
    torch.manual_seed(0)
    file = tiny / "own.safetensors"
    save_file(timm.create_model("resnet8", num_classes=5).state_dict(), file)
    named = ["model.name=resnet8", f"model.pretrained={file}"]
    assert train([*HERE, *named, "budget=150s", "fold=0..1"]) == 0
    plan, stored = (read_json(tiny / "runs/tiny/b/plan.json"), run_config.read(tiny / "runs/tiny/b"))
    assert plan["by"] == "fine-tune" and plan["probe"]["network"] == "resnet8"
    assert run_config.read(tiny / "runs/tiny/b-probe").model.weights == str(file) == stored.model.weights
    assert stored.train.head_init == "probe" and stored.train.frozen == 3 and stored.train.hold_norms


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["budget=20"], "bad-value"),
        (["budget=0m"], "bad-value"),
        (["budget=soon"], "bad-value"),
        (["budget=20m", "train.epochs=3"], "nothing-to-plan"),
        (["budget=20m", "train.stages=[{epochs: 3}]"], "nothing-to-plan"),
        (["budget=20m", "fold=all"], "budget-needs-folds"),
    ],
)
def test_what_cannot_be_planned_is_refused(tiny, capsys, words, code):
    assert train([*HERE, *words, "--json"]) == 2
    assert of_json(capsys)["error"]["code"] == code
    assert not (tiny / "runs/tiny/b/config.yaml").exists()


def test_who_does_not_plan_says_so(tiny):
    """As a run of a sweep, or a cell on another machine; what trains nothing needs no plan."""
    with raises("budget-not-planned"):
        train_within(parse(["competition=tiny", "budget=10m"]), SilentReporter())
    config = open_competition(parse(["competition=tiny", "budget=10m"]).config, Run("tiny", "none")).config
    assert config.budget is None and config.undecided == ()


def test_a_budget_is_a_time_and_part_of_the_name():
    assert [seconds_of(word) for word in ("90s", "20m", "1h30m", "1h1m1s")] == [90, 1200, 5400, 3661]
    for word in ("20", "m", "", "1.5h", "30m1h", "-5m"):
        with pytest.raises(ValueError):
            seconds_of(word)
    assert parse(["competition=tiny", "budget=20m"]).run != parse(["competition=tiny", "budget=60m"]).run
    assert parse(["competition=tiny"]).config.budget == "10m"
    assert parse(["competition=tiny", "train.epochs=3"]).config.budget is None
    plain = load("demo-digits", {})
    assert plain.budget is None and plain.hash() == load("demo-digits", {"budget": "null"}).hash()


SPEED = Speed("net", 100, "fp32", "channels_last", step=1.0, answer=0.01, alone=0.6)
WORK = Work(rows=640, held=100, passes=2000, folds=5, jobs=2, batch=64)


def test_epochs_and_size_are_what_fits():
    one = SPEED.fold(WORK, 1)
    assert SPEED.folds(WORK, 1) == pytest.approx(one * 2.6)  # two rounds of two, and one alone
    for epochs in (2, 7):
        seconds = SPEED.folds(WORK, epochs) + SPEED.answers(WORK)
        assert SPEED.epochs(WORK, seconds + 0.01) == epochs == SPEED.epochs(WORK, seconds * 0.99) + 1
    assert SPEED.at(200).fold(WORK, 5) > 3.5 * SPEED.fold(WORK, 5)
    seconds = SPEED.folds(WORK, 3) + SPEED.answers(WORK) + 0.01
    sizes = Sizes([50, 100, 200], own=200, wanted=3, most=8)
    assert sizes.largest(SPEED, WORK, seconds) == 100
    assert sizes.largest(SPEED, WORK, seconds / 4) == 50
    assert sizes.largest(SPEED, WORK, seconds, lambda speed: seconds * (speed.size > 50) / 2) == 50
    # Photos of 60 pixels are made larger where eight epochs fit.
    small = replace(sizes, own=60)
    assert small.largest(SPEED, WORK, seconds) == small.largest(SPEED, WORK, seconds / 100) == 50
    assert small.largest(SPEED, WORK, SPEED.folds(WORK, 8) + SPEED.answers(WORK) + 0.01) == 100
    assert small.up_to(50).largest(SPEED, WORK, 1e9) == 50


def test_a_longer_training_is_promised_by_the_trend_of_two():
    assert [lengths(epochs) for epochs in (2, 7, 8, 11, 40)] == [(2,), (7,), (2, 6), (2, 8), (10, 30)]
    assert promised({4: 0.8, 12: 0.9}, 36, 1.0) == pytest.approx(0.9 + 0.1 * (1 - 0.5 ** (math.log(3) / math.log(3))))
    assert promised({4: 0.2, 12: 0.9}, 24, 1.0) == pytest.approx(0.95)  # no steeper than half for twice the epochs
    assert promised({4: 0.8, 12: 0.6}, 36, 0.0) == pytest.approx(0.45)  # an error is better where it is less
    for flat in ({12: 0.9}, {4: 0.95, 12: 0.9}, {4: 1.0, 12: 1.0}, {4: 3.0, 12: 4.0}):
        assert promised(flat, 36, 1.0) == flat[12]
    assert promised({4: 0.8, 12: 0.9}, 12, 1.0) == 0.9
    assert promised({4: 80.0, 12: 90.0}, 36, None) == 90.0  # of a metric whose end is not known


def test_the_recipe_of_a_plan_is_the_files():
    file = load("fine-tune", {"competition": "tiny"})
    for key, value in recipe().items():
        section, name = key.split(".")
        found = file.model_dump()[section][name]
        assert found == value or (key == "train.global_batch" and value == file.train.batch)
    assert recipe()["train.head_init"] == "probe" and "train.epochs" not in recipe()


def test_a_fold_that_would_end_too_late_is_left_out(monkeypatch, messages):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    fold = SPEED.fold(WORK, 4)
    for slower, kept in ((1.0, 5), (1.2, 4), (9.0, 2)):
        plan = Planned({}, None, "", speed=SPEED, work=WORK, epochs=4)
        now[0] = 100.0
        pace = Pace(plan, 100.0, round(SPEED.folds(WORK, 4) * 1.05), 5)
        began = []
        for number in range(5):
            now[0] = 100.0 + number // 2 * fold * slower
            began.append(pace.may_begin(0, number))
        assert sum(began) == kept and began[:2] == [True, True]
        assert [of for _, of in pace.left_out] == [number for number in range(5) if not began[number]]
