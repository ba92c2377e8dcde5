"""Teaching: fold k learns from another run's fold k alone, and never from a row that it holds out."""

import itertools
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from src.competition.competition import Competition, open_competition
from src.competition.folds import units_of
from src.config.request import parse
from src.core.console import ProgressReporter
from src.core.files import sha256_of
from src.core.paths import REPOSITORY, Run
from src.evaluation.bootstrap import format_difference, paired_difference
from src.predict import main as predict
from src.targets import target_type
from src.train import main as train
from src.training import run as session
from src.training import trainer as fold_module
from src.training.distillation import FoldTargets
from src.training.step import Stepper
from src.training.trainer import FoldTraining
from tests.fixtures import fresh_process
from tests.fixtures.codes import refused
from tests.fixtures.killed import killed_at
from tests.fixtures.notes import names_it
from tests.fixtures.older_runs import without_keys
from tests.fixtures.tiny import write_tiny
from tests.fixtures.warm_python import KILL, warm_python

MULTICLASS = target_type("multiclass")
MULTILABEL = target_type("multilabel")

ROWS, TEST = 45, 15  # of the tiny competition; 30 are trained on in each of its three folds
PLAIN = ["config=tiny", "machine.jobs=1"]
TAUGHT = [*PLAIN, "run=student", "teach.run=base"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The tiny competition, with a run `base` that is sure of what it learned, folds 0 and 1."""
    home = tmp_path_factory.mktemp("taught")
    write_tiny(home, side=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(home))
        assert train([*PLAIN, "run=base", "fold=0..1", "train.epochs=8", "loss.smoothing=0"]) == 0
    return home


@pytest.fixture
def tiny(trained, tmp_path, monkeypatch) -> Path:
    """A copy of it for one test."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path))
    return tmp_path


def member(home: Path, run: str, fold: int | str = 0, seed: int = 0) -> Path:
    return home / "runs" / "tiny" / run / f"seed{seed}" / (fold if fold == "all" else f"fold{fold}")


def done(home: Path, run: str, fold: int | str = 0, seed: int = 0) -> dict:
    return json.loads((member(home, run, fold, seed) / "done.json").read_text())


def weights(home: Path, run: str, fold: int | str = 0, seed: int = 0) -> bytes:
    return (member(home, run, fold, seed) / "model.safetensors").read_bytes()


def table(home: Path, run: str, part: str = "oof", fold: int = 0, seed: int = 0) -> pd.DataFrame:
    with np.load(member(home, run, fold, seed) / "logits" / f"{part}-identity.npz") as file:
        return pd.DataFrame(MULTICLASS.predictions(file["logits"]), index=file["id"], columns=file["classes"])


def answers(home: Path, run: str, fold: int = 0) -> pd.Series:
    return table(home, run, fold=fold).idxmax(axis=1)


def truth(home: Path) -> pd.Series:
    return pd.read_csv(home / "competition/tiny/data/train.csv", dtype=str).set_index("image_id")["colour"]


def opened(words: list[str]) -> Competition:
    request = parse(words)
    return open_competition(request.config, Run("tiny", request.run))


def swap(home: Path, fold: int, first: int = 0, second: int = 1, run: str = "base") -> None:
    """Let a trained model take one class for another, as if it had been trained anew to say so."""
    file = member(home, run, fold) / "model.safetensors"
    tensors = load_file(file)
    order = np.arange(3)
    order[[first, second]] = second, first
    save_file({name: value[order] if name.startswith("fc.") else value for name, value in tensors.items()}, file)
    facts = done(home, run, fold) | {"weights": sha256_of(file)}
    (file.parent / "done.json").write_text(json.dumps(facts))


class Watched(Stepper):
    """Notes what every step is made of."""

    lessons: list[np.ndarray]
    rows: list[np.ndarray]

    def __init__(self, job, state, targets) -> None:
        super().__init__(job, state, targets)
        self.lessons.append(targets)

    def take(self, images, rows, updates) -> None:
        self.rows.append(rows.numpy())
        super().take(images, rows, updates)


@pytest.fixture
def watched(monkeypatch) -> type[Watched]:
    Watched.lessons, Watched.rows = [], []
    monkeypatch.setattr(fold_module, "Stepper", Watched)
    return Watched


# Off, and who teaches


def test_without_a_teacher_the_section_changes_nothing(tiny, capsys):
    assert train([*PLAIN, "run=plain", "fold=0"]) == 0
    assert "teach" not in (tiny / "runs/tiny/plain/config.yaml").read_text()  # as in runs older than the section
    assert train([*PLAIN, "run=section", "fold=0", "teach.distill=1.0"]) == 0
    assert weights(tiny, "plain") == weights(tiny, "section")
    assert train([*PLAIN, "run=plain", "fold=0", "teach.distill=1.0"]) == 0  # and so it is the same run
    assert "teacher" not in done(tiny, "section")
    assert "teacher" not in capsys.readouterr().out


def test_fold_k_learns_from_the_teachers_fold_k_alone(tiny):
    """Its labels weigh nothing here: where the teacher takes blue for green so does the student, in that fold only."""
    swap(tiny, 0)
    assert train([*TAUGHT, "fold=0..1", "teach.distill=1", "train.epochs=8"]) == 0
    swapped = truth(tiny).replace({"blue": "green", "green": "blue"})
    for fold, expected in ((0, swapped), (1, truth(tiny))):
        said = answers(tiny, "student", fold)
        assert (said == expected[said.index]).mean() > 0.9
        taught = done(tiny, "student", fold)["teacher"]
        assert (taught["run"], taught["fold"], taught["seed"]) == ("base", fold, 0)
        assert taught["weights"] == done(tiny, "base", fold)["weights"]
    assert train([*PLAIN, "run=halves", "teach.run=base", "teach.distill=0.25", "fold=0", "train.epochs=8"]) == 0
    said = answers(tiny, "halves")
    assert (said == truth(tiny)[said.index]).mean() > 0.9  # the labels outweigh it


@pytest.mark.slow
def test_the_same_seed_teaches_or_else_seed_0(tiny, notes):
    assert train([*PLAIN, "run=base", "fold=0", "seed=1", "train.epochs=8", "loss.smoothing=0"]) == 0
    assert train([*TAUGHT, "fold=0", "seed=1,2", "train.epochs=1"]) == 0
    assert [done(tiny, "student", seed=seed)["teacher"]["seed"] for seed in (1, 2)] == [1, 0]
    assert train([*PLAIN, "run=again", "teach.run=base", "fold=0", "seed=2,3", "train.epochs=1"]) == 0
    assert len(notes.texts("uneven-seeds", 2, 1)) == 1


def test_a_fold_that_the_teacher_lacks_is_refused_with_the_command_that_helps(tiny, capsys):
    message = refused(capsys, train, [*TAUGHT, "fold=0..2", "train.epochs=1"], "folds-missing", "fold 2")
    assert not (tiny / "runs/tiny/student/config.yaml").exists()
    command = re.search(r"python -m src\.train (.*)", message)[1].split()
    assert train(command) == 0
    assert train([*TAUGHT, "fold=0..2", "train.epochs=1"]) == 0


@pytest.mark.slow
def test_fold_all_is_taught_by_fold_all(tiny, capsys):
    words = [*TAUGHT, "fold=all", "train.epochs=2", "teach.pseudo=0.5"]
    message = refused(capsys, train, words, "folds-missing", "fold all")
    assert train(re.search(r"python -m src\.train (.*)", message)[1].split()) == 0
    assert train(words) == 0
    assert done(tiny, "student", "all")["teacher"]["fold"] == "all"
    assert done(tiny, "student", "all")["teacher"]["test_images"] > 0


@pytest.mark.parametrize(
    ("words", "code", "name"),
    [
        (["data.fold_seed=1"], "run-folds-differ", "base"),
        (["teach.run=nowhere"], "unknown-run", "nowhere"),
        (["teach.run=../base"], "bad-value", "teach.run"),
        (["run=base", "teach.run=base"], "teaches-itself", "base"),
        (["teach.run=null", "teach.pseudo=0.9"], "no-teacher", "teach.pseudo"),
        (["teach.run=null", "teach.pseudo=0.9", "data.sampler=auto"], "no-teacher", "teach.pseudo"),
        (["teach.distill=0"], "nothing-to-learn", "teach.distill"),
        (["teach.pseudo=1.5"], "bad-value", "teach.pseudo"),
        (["loss.name=arcface", "model.head=cosine"], "unfit-for-target", "loss.name=arcface"),
    ],
)
def test_what_cannot_work_is_refused_before_training(tiny, capsys, words, code, name):
    given = {word.partition("=")[0] for word in words}
    rest = [word for word in [*TAUGHT, "fold=2"] if word.partition("=")[0] not in given]
    refused(capsys, train, [*rest, *words], code, name)
    assert not list((tiny / "runs/tiny").glob("*/seed0/fold2"))


@pytest.mark.parametrize("loss", ["ordinal", "smooth_l1"])
def test_losses_of_grades_are_refused(tiny, capsys, loss):
    card = tiny / "competition/tiny/card.yaml"
    text = card.read_text().replace("target: multiclass", "target: ordinal\nclasses: [blue, green, red]")
    card.write_text(text.replace("metric: accuracy", "metric: qwk"))
    refused(capsys, train, [*TAUGHT, "fold=0", f"loss.name={loss}"], "unfit-for-target", f"loss.name={loss}")


def test_a_teacher_that_chose_its_epochs_on_the_held_out_rows_is_noted(tiny, notes):
    assert train([*PLAIN, "run=chosen", "fold=0", "train.epochs=2", "train.keep=best"]) == 0
    assert "epochs-chosen-by-score" not in notes.codes
    assert train([*PLAIN, "run=student", "teach.run=chosen", "fold=0", "train.epochs=1"]) == 0
    assert notes.texts("epochs-chosen-by-score", "chosen")


def test_a_run_made_before_some_keys_were_there_can_teach(tiny):
    file = tiny / "runs/tiny/base/config.yaml"
    assert {"smoothing", "class_weights"} <= set(yaml.safe_load(file.read_text())["loss"])
    without_keys(file.parent, "loss.class_weights", "loss.beta", "loss.gamma")
    assert train([*TAUGHT, "fold=0", "train.epochs=1"]) == 0


# What is learned


def test_no_row_that_the_fold_holds_out_nor_its_near_duplicate_is_learned_from(tiny, watched):
    data = tiny / "competition/tiny/data"
    labels, sample = pd.read_csv(data / "train.csv", dtype=str), pd.read_csv(data / "sample_submission.csv", dtype=str)
    copies = labels.iloc[:6].assign(image_id=[f"9{i:03d}" for i in range(6)])
    for old, new in zip(labels["image_id"], copies["image_id"], strict=False):
        shutil.copy(data / "train" / f"{old}.png", data / "train" / f"{new}.png")
        shutil.copy(data / "train" / f"{old}.png", data / "test" / f"{sample['image_id'][int(new[1:])]}.png")
    pd.concat([labels, copies]).to_csv(data / "train.csv", index=False)
    (tiny / "competition/tiny/answers/test.csv").unlink()
    card = tiny / "competition/tiny/card.yaml"
    card.write_text(card.read_text().replace("test_labels: answers/test.csv\n", ""))
    words = [*PLAIN, "run=first", "fold=0..2", "train.epochs=3", "loss.smoothing=0"]
    assert train(words) == 0
    competition = opened(words)
    units = units_of(competition.samples.train)
    assert len(np.unique(units)) <= len(units) - 6, "the copies are not found"
    for fold, sampler in itertools.product(range(3), ("plain", "weighted")):
        watched.rows.clear(), watched.lessons.clear()
        taught = [*PLAIN, f"run={sampler}", "teach.run=first", "teach.pseudo=0.34", "train.epochs=3"]
        assert train([*taught, f"fold={fold}", f"data.sampler={sampler}"]) == 0
        seen = np.unique(np.concatenate(watched.rows))
        labelled, test = seen[seen < len(units)], seen[seen >= len(units)]
        rows, held_out = competition.folds.rows(fold)
        assert len(held_out) and len(test)
        assert not set(labelled) & set(held_out)
        assert not set(units[labelled]) & set(units[held_out])
        assert np.isnan(watched.lessons[0][held_out]).all()  # would stop the training
        assert not np.isnan(watched.lessons[0][rows]).any()
        if sampler == "plain":
            assert set(labelled) == set(rows)


def test_the_targets_are_shares_of_labels_and_of_the_teachers_answers(tiny, watched):
    assert predict(["run=base", "fold=0"]) == 0
    competition = opened(PLAIN)
    expected = table(tiny, "base", "test").loc[competition.samples.test["id"]].to_numpy()
    limit = round(float(np.median(expected.max(1))), 4)
    for share in (1, 0.25, 0):
        words = [f"run=by{share}", "teach.run=base", f"teach.distill={share}", f"teach.pseudo={limit}"]
        assert train([*PLAIN, "fold=0", "train.epochs=1", *words]) == 0
    teacher, quarter, labels = watched.lessons
    rows, _ = competition.folds.rows(0)
    one_hot = np.eye(3)[competition.samples.targets[rows]]
    np.testing.assert_array_equal(labels[rows], one_hot)
    np.testing.assert_allclose(quarter[rows], 0.75 * one_hot + 0.25 * teacher[rows], atol=1e-6)
    assert 0 < np.abs(teacher[rows] - one_hot).max() < 1
    sure = expected.max(1) >= limit
    assert 0 < sure.sum() < TEST
    for targets in watched.lessons:
        np.testing.assert_allclose(targets[ROWS:][sure], expected[sure], atol=1e-5)
        assert np.isnan(targets[ROWS:][~sure]).all()


@pytest.mark.slow
def test_the_teacher_sees_images_as_it_was_trained_on_them(tiny, watched):
    """Of another size, fit, network and precision than the student's."""
    other = ["images.size=24", "images.load_size=28", "images.fit=crop", "model.pool=gem", "train.precision=bf16"]
    assert train([*PLAIN, *other, "run=other", "fold=0", "train.epochs=3"]) == 0
    assert predict([*PLAIN, *other, "run=other", "fold=0"]) == 0
    words = ["teach.run=other", "teach.pseudo=0", "predict.batch=128", "train.epochs=1"]
    watched.lessons.clear()
    assert train([*PLAIN, "run=student", "fold=0", *words]) == 0
    expected = table(tiny, "other", "test").loc[opened(PLAIN).samples.test["id"]].to_numpy()
    np.testing.assert_allclose(watched.lessons[0][ROWS:], expected, atol=1e-5)


def test_sure_images_lengthen_the_epochs_everywhere_alike(tiny, watched, monkeypatch, notes):
    ahead, behind = {}, {}

    class Counted(ProgressReporter):
        def show(self, row, progress):
            ahead.setdefault(row, progress.total)  # told before the first fold begins
            behind[row] = progress.done
            super().show(row, progress)

    monkeypatch.setattr(session, "ProgressReporter", Counted)
    words = [*TAUGHT, "fold=0..1", "train.epochs=2", "data.sampler=plain", "teach.pseudo=0.7", "train.batch=4"]
    assert train(words) == 0
    taken = [done(tiny, "student", fold)["teacher"]["test_images"] for fold in range(2)]
    told = notes.texts("teacher-answers", f"{TEST}")
    expected = 0
    for fold, count in enumerate(taken):
        assert 2 < count <= TEST, "these runs show nothing"
        assert names_it(told[fold], count)
        log = pd.read_csv(member(tiny, "student", fold) / "log.csv")
        assert set(log["steps"]) == {-(-(30 + count) // 4)} != {-(-30 // 4)}
        expected += int(log["steps"].sum())
    assert sum(ahead.values()) == expected == sum(behind.values()) == len(watched.rows)
    drawn = np.concatenate(watched.rows)
    assert len(drawn) == 2 * (60 + sum(taken))
    assert (drawn >= ROWS).sum() == 2 * sum(taken)  # each once an epoch


@pytest.mark.slow
def test_the_weighted_sampler_counts_them_to_the_class_that_the_teacher_says(tiny, watched):
    words = ["teach.pseudo=0.6", "train.epochs=30", "train.batch=64", "data.sampler=weighted", "teach.distill=0"]
    assert predict(["run=base", "fold=0"]) == 0
    assert train([*TAUGHT, "fold=0", *words]) == 0
    competition = opened(PLAIN)
    said = table(tiny, "base", "test").loc[competition.samples.test["id"]].to_numpy()
    label = np.concatenate([competition.samples.targets, said.argmax(1)])
    drawn = np.concatenate(watched.rows)
    np.testing.assert_allclose(np.bincount(label[drawn]) / len(drawn), 1 / 3, atol=0.04)
    learned = np.append(competition.folds.rows(0)[0], ROWS + np.flatnonzero(said.max(1) >= 0.6))
    for one in range(3):
        own = learned[label[learned] == one]
        assert (own >= ROWS).any()
        times = np.bincount(drawn, minlength=ROWS + TEST)
        labelled, answered = times[own[own < ROWS]].mean(), times[own[own >= ROWS]].mean()
        assert answered == pytest.approx(labelled, rel=0.25)


def test_nobody_sure_is_told_and_adds_nothing(tiny, notes):
    assert train([*TAUGHT, "fold=0", "train.epochs=1", "teach.pseudo=1"]) == 0
    assert notes.texts("teacher-answers", 15)
    assert done(tiny, "student")["teacher"]["test_images"] == 0


@pytest.mark.slow
def test_mixing_stages_class_weights_and_chosen_augmentation_take_them_too(tiny):
    words = ["train.mixup=0.3", "train.cutmix=1.0", "loss.class_weights=balanced", "augment.only=all_but_largest"]
    stages = "train.stages=[{epochs: 1, sampler: plain, augment: none}, {epochs: 1, size: 12, sampler: weighted}]"
    assert train([*TAUGHT, "fold=0", "teach.pseudo=0.5", *words, stages]) == 0
    assert done(tiny, "student")["teacher"]["test_images"] > 0
    plain = ["teach.run=base", "fold=0", "data.sampler=plain", "train.epochs=6"]
    for loss in ("focal", "balanced_softmax"):
        assert train([*PLAIN, *plain, f"run={loss}", f"loss.name={loss}"]) == 0
        assert done(tiny, loss)["score"] > 0.8


def test_several_classes_an_image(tiny, watched, capsys):
    data, card = tiny / "competition/tiny/data", tiny / "competition/tiny/card.yaml"
    labels = pd.read_csv(data / "train.csv", dtype=str)
    labels["colour"] = labels["colour"].replace({"green": "green dark", "red": "red dark"})
    labels.to_csv(data / "train.csv", index=False)
    text = card.read_text().replace("label: colour}", 'label: colour, label_separator: " "}')
    text = text.replace("target: multiclass", "target: multilabel").replace("kind: label", "kind: set")
    card.write_text(text.replace("test_labels: answers/test.csv\n", ""))
    words = [*PLAIN, "fold=0", "train.epochs=12", "loss.smoothing=0"]
    assert train([*words, "run=first"]) == 0
    assert train([*words, "run=second", "teach.run=first", "teach.distill=0.5", "teach.pseudo=0.6"]) == 0
    competition = opened([*words, "run=second"])
    rows, _ = competition.folds.rows(0)
    targets, truth = watched.lessons[1], competition.samples.targets[rows]
    assert targets.shape == (ROWS + TEST, 4)
    assert ((targets[rows] - truth / 2 >= 0) & (targets[rows] - truth / 2 <= 0.5)).all()
    assert len(np.unique(targets[rows])) > 30
    learned = targets[ROWS:][~np.isnan(targets[ROWS:]).any(1)]
    assert len(learned) == done(tiny, "second")["teacher"]["test_images"] > 0
    assert np.maximum(learned, 1 - learned).min() >= 0.6 - 1e-6
    words += ["run=third", "teach.run=first", "loss.name=focal"]
    refused(capsys, train, words, "unfit-for-target", "loss.name=focal")


def test_sureness_of_several_is_that_of_the_least_certain():
    shares = np.array([[0.95, 0.02, 0.9], [0.95, 0.4, 0.9], [0.01, 0.02, 0.03]])
    np.testing.assert_allclose(MULTILABEL.confidence(shares), [0.9, 0.6, 0.97])
    np.testing.assert_allclose(MULTICLASS.confidence(np.array([[0.2, 0.7, 0.1]])), [0.7])


# Before and after


def test_the_score_before_and_after_is_told_of_the_same_rows(tiny, notes):
    swap_words = ["fold=0..1", "train.epochs=1", "optim.lr=1e-9", "train.ema_decay=0"]  # a student that learns nothing
    assert train([*TAUGHT, *swap_words]) == 0
    (line,) = notes.take().texts("student-and-teacher")
    competition = opened(PLAIN)
    rows = np.concatenate([competition.folds.rows(fold)[1] for fold in range(2)])
    ids = competition.samples.train["id"].to_numpy()[rows]
    before, after = (
        pd.concat([table(tiny, run, fold=fold) for fold in range(2)]).loc[ids].to_numpy() for run in ("base", "student")
    )
    truth_, units = competition.samples.targets[rows], units_of(competition.samples.train)[rows]
    scores = [(answer.argmax(1) == truth_).mean() for answer in (before, after)]
    gain = paired_difference(competition.metric, truth_, before, after, units)
    assert gain.high < 0
    assert all(names_it(line, told) for told in (f"{scores[0]:.4f}", f"{scores[1]:.4f}", 30))
    assert format_difference("the teacher (base)", "the student (student)", gain) in line
    assert train([*TAUGHT, *swap_words]) == 0  # nothing to do: told again
    assert notes.take().texts("student-and-teacher") == [line]
    swap(tiny, 1)
    assert train([*TAUGHT, *swap_words]) == 0
    assert notes.texts("teacher-changed", "fold 1", "base")
    shutil.rmtree(tiny / "runs/tiny/base")
    assert train([*TAUGHT, *swap_words]) == 0  # what is trained needs it no more


def test_the_teacher_belongs_to_what_a_run_is(tiny, capsys):
    words = [*TAUGHT, "fold=0", "train.epochs=1"]
    assert train(words) == 0
    refused(capsys, train, [*words, "teach.distill=0.7"], "run-config-differs", "teach.distill", "0.5", "0.7")


def test_rows_that_are_not_scored_may_not_teach_what_is_scored_here(tiny, capsys, notes):
    """data.ignore changes what is held out, and leaves the frozen fold table as it is."""
    held_out = sorted(table(tiny, "base").index)
    files = {"never": tiny / "never.csv", "train": tiny / "train.csv"}
    for use, file in files.items():
        pd.DataFrame({"id": held_out[:2], "use": use}).to_csv(file, index=False)
    short = ["fold=0", "train.epochs=1"]
    for use, file in files.items():
        assert train([*PLAIN, *short, f"run={use}", f"data.ignore={file}"]) == 0
        assert train([*PLAIN, *short, f"run=of-{use}", "teach.run=base", f"data.ignore={file}"]) == 0
    assert len(table(tiny, "of-never")) == len(held_out) - 2
    notes.clear()
    assert train([*PLAIN, *short, "run=after-never", "teach.run=never"]) == 0
    assert notes.texts("student-and-teacher", len(held_out) - 2)
    for key, word in (("teach.run", "train"), ("model.weights", "run:train")):
        words = [*PLAIN, *short, "run=after-train", f"{key}={word}"]
        refused(capsys, train, words, "run-ignored-differ", f"{key}={word}", "data.ignore")
        assert train([*PLAIN, *short, f"run=same-{key}", f"{key}={word}", f"data.ignore={files['train']}"]) == 0


# The same bits

LONG = ["config=tiny", "fold=0", "teach.run=base", "teach.pseudo=0.6", "train.epochs=6", "train.batch=4"]
LONG += ["machine.checkpoint_minutes=0.002", "model.drop_rate=0.3", "train.mixup=0.2"]


def test_killed_folds_end_with_the_same_bits_even_if_the_teacher_was_trained_anew(tiny):
    assert train([*LONG, "run=whole"]) == 0
    log = member(tiny, "killed") / "log.csv"
    for epochs in (1, 3):
        process = subprocess.Popen(
            [warm_python(), "-m", "src.train", *LONG, "run=killed"],
            cwd=REPOSITORY,
            env={**os.environ, "PODIUM_HOME": str(tiny)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        deadline = time.monotonic() + 300
        while not log.exists() or len(log.read_text().splitlines()) <= epochs:
            assert time.monotonic() < deadline and process.poll() is None, process.stdout.read()
            time.sleep(0.002)
        process.send_signal(KILL)
        process.communicate()
        assert not (member(tiny, "killed") / "done.json").exists(), "killed too late to test anything"
    swap(tiny, 0)
    assert train([*LONG, "run=killed", "predict.batch=4"]) == 0
    assert weights(tiny, "killed") == weights(tiny, "whole")
    assert done(tiny, "killed")["teacher"] == done(tiny, "whole")["teacher"]
    columns = ["epoch", "steps", "loss", "lr", "score"]
    logs = [pd.read_csv(member(tiny, run) / "log.csv")[columns] for run in ("whole", "killed")]
    pd.testing.assert_frame_equal(*logs)
    assert not (member(tiny, "killed") / "teacher").exists()  # its answers are not kept


def test_a_fold_that_never_began_asks_anew(tiny):
    """The name is still free, and its teacher may be another one now."""
    with killed_at(FoldTraining, "run"):
        train([*TAUGHT, "fold=0", "train.epochs=1"])
    assert (member(tiny, "student") / "teacher" / "train.npz").exists()
    swap(tiny, 0)
    assert train([*TAUGHT, "fold=0", "train.epochs=1"]) == 0
    assert done(tiny, "student")["teacher"]["weights"] == done(tiny, "base")["weights"]
    assert train([*PLAIN, "run=fresh", "teach.run=base", "fold=0", "train.epochs=1"]) == 0
    assert weights(tiny, "student") == weights(tiny, "fresh")


def test_damaged_answers_are_told(tiny, capsys):
    words = [word for word in LONG if not word.startswith(("machine.", "train.epochs"))]
    words += ["machine.checkpoint_minutes=1e-9", "train.epochs=2", "run=student"]  # a checkpoint after every step
    with killed_at(FoldTraining, "_end_epoch"):
        train(words)
    assert (member(tiny, "student") / "checkpoint.pt").exists()
    file = member(tiny, "student") / "teacher" / "test.npz"
    file.unlink()
    # Another teacher's answers may not take their place in the middle of a fold.
    refused(capsys, train, words, "missing-file", str(member(tiny, "student")))
    file.write_bytes(b"PK no more")
    refused(capsys, train, words, "damaged-file", str(file), str(member(tiny, "student")))
    shutil.rmtree(member(tiny, "student"))
    assert train(words) == 0


def test_a_changed_teacher_file_is_refused(tiny, capsys):
    file = member(tiny, "base") / "model.safetensors"
    file.write_bytes(weights(tiny, "base", 1))
    refused(capsys, train, [*TAUGHT, "fold=0"], "weights-changed", str(file))
    file.write_bytes(b"nothing")
    refused(capsys, train, [*TAUGHT, "fold=0"], "weights-damaged", str(file))


@pytest.mark.slow
def test_side_by_side_is_the_same_as_one_by_one(tiny):
    words = [*TAUGHT[:1], "teach.run=base", "teach.pseudo=0.6", "fold=0..1", "train.epochs=2", "machine.threads=1"]
    assert train([*words, "machine.jobs=2", "run=both"]) == 0
    assert train([*words, "machine.jobs=1", "run=each"]) == 0
    assert [weights(tiny, "both", fold) for fold in (0, 1)] == [weights(tiny, "each", fold) for fold in (0, 1)]


@pytest.mark.slow
def test_the_finder_of_rates_is_taught_too_and_leaves_nothing(tiny, watched):
    assert train([*TAUGHT, "fold=0", "teach.pseudo=0.5", "--find-lr"]) == 0
    assert (np.concatenate(watched.rows) >= ROWS).any()
    assert {path.name for path in (tiny / "runs/tiny/student").iterdir()} == {"lr-finder.csv", "lr-finder.png"}


def test_a_lesson_without_a_teacher_copies_nothing(tiny, monkeypatch):
    lessons: list[FoldTargets] = []
    made = fold_module.fold_targets
    monkeypatch.setattr(fold_module, "fold_targets", lambda job: lessons.append(made(job)) or lessons[-1])
    words = [*PLAIN, "run=plain", "fold=0", "train.epochs=1"]
    assert train(words) == 0
    assert lessons[0].targets.dtype == np.int64 and len(lessons[0].targets) == ROWS
    assert len(lessons[0].rows) == 30 and not len(lessons[0].taken)


@pytest.mark.slow
def test_one_fold_left_of_two_with_threads_is_taught_and_trained(tiny):
    """Its teacher must not answer in the process that is forked afterwards: threads do not survive that."""
    assert train([*TAUGHT, "fold=0", "train.epochs=1"]) == 0
    words = ["config=tiny", *TAUGHT[2:], "fold=0,1", "train.epochs=1", "machine.threads=auto"]
    assert ", 2 threads\n" in fresh_process.trained(*words, cores=4)
    assert done(tiny, "student", 1)["epochs"] == 1
