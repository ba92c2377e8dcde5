"""Views are chosen by rows that did not choose them, within the time allowed, and none where none really helps."""

import io
import json
import re
import shutil
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src.evaluation.view_selection import choose_views
from src.inference.tta import VIEWS
from src.predict import main as predict
from src.targets import target_type
from src.train import main as train
from tests.fixtures.codes import raises, refused
from tests.fixtures.made_up_competition import held_out
from tests.fixtures.notes import names_it
from tests.fixtures.tiny import COLOURS, write_tiny

SECONDS = {"identity": 0.010, "hflip": 0.010, "vflip": 0.010, "zoom": 0.020, "rot90": 0.010}


def views(
    seed: int, rows: int = 1000, helpful: tuple[str, ...] = ("hflip", "zoom"), useless: tuple[str, ...] = ("vflip",)
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Helpful views see the image with noise of their own, as the plain one does; useless ones add noise to that."""
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, 5, rows)
    image = generator.normal(0, 0.7, (rows, 5))
    image[np.arange(rows), targets] += 2

    def noise(size: float) -> np.ndarray:
        return generator.normal(0, size, (rows, 5))

    plain = image + noise(1.0)
    logits = {"identity": plain} | {view: image + noise(1.0) for view in helpful}
    logits |= {view: plain + noise(0.5) for view in useless}
    return targets, {view: target_type("multiclass").predictions(one) for view, one in logits.items()}


def test_the_views_that_help_are_found():
    for seed in range(10):
        targets, tables = views(seed)
        choice = choose_views(held_out("accuracy", targets), tables, SECONDS)
        assert choice.views[0] == "identity"
        assert {"hflip", "zoom"} & set(choice.views)
        assert "vflip" not in choice.views
        assert choice.taken.gain.low > 0
        assert choice.taken.seconds == pytest.approx(sum(SECONDS[view] for view in choice.views))
        assert "   taken" in choice.lines[len(choice.views)]


def test_what_does_not_help_is_not_taken():
    """Of eight useless views the best one seems to help; on rows that did not pick it it does not."""
    useless = tuple(f"view{k}" for k in range(8))
    seconds = dict.fromkeys(("identity", *useless), 0.01)
    taken, seeming, nested = 0, [], []
    for seed in range(30):
        targets, tables = views(seed, 400, (), useless)
        held = held_out("accuracy", targets)
        plain = tables["identity"]
        best = max(held.objective(((plain + tables[view]) / 2, None)) for view in useless)
        seeming.append(best - held.objective((plain, None)))
        choice = choose_views(held, tables, seconds)
        nested.append(choice.steps[1].gain.value)
        taken += choice.views != ("identity",)
    assert np.mean(seeming) > 0
    assert np.mean(nested) < np.mean(seeming) - 0.004
    assert taken <= 1


def test_the_time_allowed_bounds_the_set():
    targets, tables = views(0, helpful=("hflip", "vflip", "zoom", "rot90"), useless=())
    held = held_out("log_loss", targets)
    free = choose_views(held, tables, SECONDS)
    assert len(free.views) > 3
    for budget in (0.010, 0.020, 0.035, 0.05):
        choice = choose_views(held, tables, SECONDS, budget)
        assert all(step.seconds <= budget + 1e-9 for step in choice.steps)
        assert len(choice.steps) == {0.010: 1, 0.020: 2, 0.035: 3, 0.05: 4}[budget]
    with raises("budget-too-small", "predict.budget=0.005", "0.01"):
        choose_views(held, tables, SECONDS, 0.005)


def test_of_equals_the_first_view_is_taken_whatever_the_clock_says():
    targets, tables = views(0, helpful=("zoom",), useless=())
    tables["hflip"] = tables["zoom"]
    for seconds in (SECONDS, SECONDS | {"hflip": 2.0}, SECONDS | {"zoom": 2.0}):
        assert choose_views(held_out("accuracy", targets), tables, seconds).steps[1].views == ("identity", "zoom")


def test_longer_sets_that_bring_nothing_are_not_taken():
    """The second view halves the noise; twelve copies of it cost seconds and bring nothing."""
    targets, tables = views(0, helpful=("hflip",), useless=())
    copies = {f"copy{k}": (tables["identity"] + tables["hflip"]) / 2 for k in range(12)}
    seconds = dict.fromkeys(tables | copies, 0.01)
    choice = choose_views(held_out("accuracy", targets), tables | copies, seconds)
    assert len(choice.steps) == 14
    assert len(choice.views) == 2


def test_the_order_of_rows_changes_nothing():
    targets, tables = views(4)
    order = np.random.default_rng(0).permutation(len(targets))
    held, mixed = held_out("accuracy", targets), held_out("accuracy", targets[order])
    mixed = type(mixed)(mixed.metric, held.id[order], mixed.targets, held.folds[order], held.groups[order])
    first = choose_views(held, tables, SECONDS)
    second = choose_views(mixed, {view: table[order] for view, table in tables.items()}, SECONDS)
    assert [step.views for step in first.steps] == [step.views for step in second.steps]
    assert [step.score for step in first.steps] == pytest.approx([step.score for step in second.steps])


def test_one_view_alone_is_what_there_is():
    targets, tables = views(0, rows=100)
    choice = choose_views(held_out("accuracy", targets), {"identity": tables["identity"]}, SECONDS)
    assert choice.views == ("identity",)
    assert len(choice.lines) == 2


def test_the_answer_is_the_nested_one():
    targets, tables = views(1, helpful=("hflip",), useless=())
    held = held_out("accuracy", targets)
    choice = choose_views(held, tables, SECONDS)
    assert choice.views == ("identity", "hflip")
    assert held.metric.score(targets, choice.answer) == choice.taken.score
    np.testing.assert_allclose(choice.answer, (tables["identity"] + tables["hflip"]) / 2)  # all folds chose alike


# Through the door


@pytest.fixture(scope="module")
def once(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("auto")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(home))
        write_tiny(home)
        assert train(["config=tiny", "train.epochs=1", "run=r", "fold=0..1"]) == 0
    return home


@pytest.fixture
def trained(once: Path, home: Path) -> Path:
    shutil.copytree(once, home, dirs_exist_ok=True)
    return home


def said(*words: str) -> str:
    """What prediction prints when all goes well."""
    out = io.StringIO()
    with redirect_stdout(out):
        assert predict(["run=r", *words]) == 0
    return out.getvalue()


def views_of(*words: str) -> list[str]:
    """The views that made the submission."""
    return json.loads(said(*words, "--json"))["views"]


def table(home: Path, fold: int, name: str) -> Path:
    return home / "runs" / "tiny" / "r" / "seed0" / f"fold{fold}" / "logits" / f"{name}.npz"


def tables(home: Path, part: str) -> set[str]:
    return {file.stem.removeprefix(f"{part}-") for file in table(home, 0, "x").parent.glob(f"{part}-*.npz")}


def told_seconds(home: Path, fold: int, view: str) -> float | None:
    with np.load(table(home, fold, f"oof-{view}")) as stored:
        return json.loads(str(stored["meta"])).get("seconds_per_image")


def put(home: Path, view: str, seconds: float, right: float) -> None:
    """Stored out-of-fold answers of a view become made-up ones, of this skill and time."""
    truth = pd.read_csv(home / "competition/tiny/data/train.csv", dtype=str).set_index("image_id")["colour"]
    for fold in (0, 1):
        with np.load(table(home, fold, f"oof-{view}")) as stored:
            arrays = dict(stored)
        logits = np.random.default_rng(fold).normal(0, 1, arrays["logits"].shape)
        logits[np.arange(len(logits)), [sorted(COLOURS).index(truth[one]) for one in arrays["id"]]] += right
        meta = json.loads(str(arrays["meta"])) | {"seconds_per_image": seconds}
        np.savez(table(home, fold, f"oof-{view}"), **arrays | {"logits": logits, "meta": json.dumps(meta)})


@pytest.mark.slow
def test_every_view_is_measured_and_only_the_chosen_are_made_of_test_images(trained, notes):
    identity = table(trained, 1, "oof-identity").read_bytes()
    with np.load(table(trained, 0, "oof-identity")) as stored:
        logits = stored["logits"]
    assert tables(trained, "oof") == {"identity"}
    printed = said("--tta=auto")
    assert tables(trained, "oof") == set(VIEWS)
    taken = re.search(r"^r: 2 models .*views (.*)$", printed, re.M)[1].split(", ")
    assert tables(trained, "test") == {"identity", *taken}
    assert all(0 < told_seconds(trained, fold, view) < 1 for fold in (0, 1) for view in set(VIEWS) - {"identity"})
    # Training stored the plain view without its time: one model was timed on a batch, the answers stay as they were.
    assert notes.texts("view-timed", "identity", 15)
    assert 0 < told_seconds(trained, 0, "identity") < 1
    assert table(trained, 1, "oof-identity").read_bytes() == identity
    with np.load(table(trained, 0, "oof-identity")) as stored:
        np.testing.assert_array_equal(stored["logits"], logits)
    shown = re.findall(r"^(?:\+ )?(\w+) +(\d\.\d{5}) +\d\.\d{4}", printed, re.M)
    assert {view for view, _ in shown} == set(VIEWS)
    spent = sum(np.median([s for f in (0, 1) if (s := told_seconds(trained, f, view))]) for view in VIEWS)
    assert float(shown[-1][1]) == pytest.approx(spent, abs=2e-5)


def test_a_view_that_helps_is_taken_and_answers_the_test_rows(trained):
    said("--tta=auto")
    for view in VIEWS:
        put(trained, view, 0.01, 9 if view == "vflip" else 0)
    table(trained, 0, "test-vflip").unlink(missing_ok=True)
    printed = said("--tta=auto")
    assert re.search(r"^\+ vflip +0\.02000 ", printed, re.M)
    assert names_it(printed, "0.04 s")
    (facts,) = [
        facts
        for file in (trained / "runs/tiny/r/predictions").iterdir()
        if (facts := json.loads(file.read_text()))["views"] == ["identity", "vflip"]
    ]
    assert facts["file"] in printed
    answer = []
    for fold in (0, 1):
        for view in ("identity", "vflip"):
            with np.load(table(trained, fold, f"test-{view}")) as stored:
                order = np.argsort(stored["id"])
                answer.append(target_type("multiclass").predictions(stored["logits"][order]))
    named = pd.read_csv(trained / "submissions/tiny" / facts["file"], dtype=str).sort_values("image_id")["colour"]
    assert [sorted(COLOURS)[k] for k in np.mean(answer, axis=0).argmax(axis=1)] == named.tolist()
    # And all that again without a network.
    for file in (trained / "runs/tiny/r").rglob("model.safetensors"):
        file.write_bytes(b"no weights")
    assert said("--tta=auto").splitlines()[1:20] == printed.splitlines()[1:20]


@pytest.mark.slow
def test_the_budget_bounds_what_is_taken(trained, capsys):
    said("--tta=auto")
    for view in VIEWS:
        put(trained, view, 0.03 if view == "vflip" else 0.01, 9 if view == "vflip" else 0)
    assert "vflip" in said("--tta=auto")
    printed = said("--tta=auto", "predict.budget=0.035")  # too little for the view that helps most
    steps = [float(spent) for spent in re.findall(r"^(?:\+ )?\w+ +(\d\.\d{5}) +\d\.\d{4}", printed, re.M)]
    assert steps == [0.01, 0.02, 0.03]
    assert "vflip" not in printed
    refused(capsys, predict, ["run=r", "--tta=auto", "predict.budget=0.005"], "budget-too-small", "0.01")
    refused(capsys, predict, ["run=r", "--tta=auto", "predict.budget=0"], "bad-value", "predict.budget")


def test_plain_tta_means_what_it_meant(trained):
    assert views_of("--tta") == ["identity", "hflip"]
    assert tables(trained, "test") == tables(trained, "oof") == {"identity", "hflip"}
    assert views_of() == ["identity"]
