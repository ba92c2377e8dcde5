"""Reviews of a trained run: a test set that differs and labels that are wrong are found, shown, and told what to do."""

import json
import shutil
import warnings
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import timm
import torch

from src.config.load import config_names, load
from src.core.files import sha256_of
from src.models.factory import Network, build
from src.models.features import FeaturesOf
from src.reporting.adversarial_validation import compare_sets
from src.reporting.gallery import Picture, draw_gallery
from src.review import main as review
from src.train import main as train
from tests.fixtures.codes import refused
from tests.fixtures.notes import names_it
from tests.fixtures.planted_faults import TEST, WORDS, list_test, planted, write_planted

MOVED = [f"m{row:03d}" for row in range(1, TEST, 2)]
ALIKE = [f"p{row:03d}" for row in range(0, TEST, 2)]


@pytest.fixture(scope="module")
def once_trained(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("planted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(home))
        write_planted(home)
        assert train(WORDS) == 0
        assert review(["run=planted"]) == 0
    return home


@pytest.fixture
def reviewed(once_trained: Path, home: Path, monkeypatch) -> Path:
    """A home with a trained and reviewed run, which a test may spoil; further reviews draw no galleries."""
    monkeypatch.setattr("src.reporting.review.write_gallery", lambda path, *_: path.write_bytes(b"not drawn"))
    shutil.copytree(once_trained, home, dirs_exist_ok=True)
    return home


def run_folder(home: Path) -> Path:
    return home / "runs" / "tiny" / "planted"


def table(home: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(run_folder(home) / "review" / name, dtype={"id": str})


def record(home: Path) -> dict:
    return json.loads((run_folder(home) / "review" / "review.json").read_text())


def told(capsys, *words: str) -> str:
    capsys.readouterr()
    assert review(["run=planted", *words]) == 0
    return capsys.readouterr().out


def edit_card(home: Path, old: str, new: str) -> None:
    card = home / "competition" / "tiny" / "card.yaml"
    assert old in card.read_text()
    card.write_text(card.read_text().replace(old, new))


# Is the test set like the training set?


def test_a_test_set_that_is_half_unlike_is_told(once_trained, reviewed, capsys):
    text = told(capsys)
    shift = record(reviewed)["shift"]
    assert shift["flagged"] and shift["low"] > 0.55
    assert all(names_it(text, f"{shift[key]:.3f}") for key in ("auc", "low", "high"))
    assert (shift["fold"], shift["held_out"], shift["test"]) == (0, 120, 120)
    unlike = table(reviewed, "unlike.csv")
    assert sorted(unlike["id"]) == sorted(MOVED + ALIKE)
    assert unlike["suspicion"].is_monotonic_decreasing
    assert unlike["id"][:30].isin(MOVED).mean() > 0.9
    assert ", ".join(unlike["id"][:10]) in text
    for id_, file in zip(unlike["id"], unlike["file"], strict=True):
        assert not Path(file).is_absolute() and (reviewed / file).stem == id_
    picture = cv2.imread(str(run_folder(once_trained) / "review" / "unlike.png"))
    assert picture.shape[0] > 800 and picture.shape[1] > 1000


def test_a_test_set_that_is_like_the_training_set_raises_no_alarm(reviewed, capsys):
    list_test(reviewed, ALIKE)
    told(capsys)
    assert record(reviewed)["shift"]["flagged"] is False and record(reviewed)["shift"]["test"] == 60
    assert sorted(table(reviewed, "unlike.csv")["id"]) == ALIKE, "features are made anew for other test images"


def test_how_often_real_features_raise_the_alarm(reviewed):
    """Halves of the held-out rows are alike; the moved test images are not: 20 draws of each."""
    with np.load(run_folder(reviewed) / "seed0" / "fold0" / "features.npz") as stored:
        held, test, ids = stored["held_out"], stored["test"], stored["test_id"]
    moved = test[np.isin(ids, MOVED)]
    flagged = {"alike": 0, "moved": 0}
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(len(held))
        flagged["alike"] += compare_sets(held[order[:60]], held[order[60:]], seed=seed).flagged
        flagged["moved"] += compare_sets(held[order[:60]], moved, seed=seed).flagged
    print(f"alarms in 20 draws of 60 against 60: {flagged}")
    assert flagged["alike"] <= 1, flagged
    assert flagged["moved"] == 20, flagged


def test_a_second_review_runs_no_network(reviewed, capsys):
    before = table(reviewed, "unlike.csv")
    weights = run_folder(reviewed) / "seed0" / "fold0" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(b"no weights")
    told(capsys)
    weights.write_bytes(whole)
    pd.testing.assert_frame_equal(table(reviewed, "unlike.csv"), before)
    file = run_folder(reviewed) / "seed0" / "fold0" / "features.npz"
    with np.load(file) as stored:
        assert stored["held_out"].shape == (120, 64)
        done = json.loads((file.parent / "done.json").read_text())
        assert (
            json.loads(str(stored["meta"]))["weights"]
            == done["weights"]
            == sha256_of(file.parent / "model.safetensors")
        )


def test_features_of_other_weights_are_made_anew(reviewed, capsys):
    file = run_folder(reviewed) / "seed0" / "fold0" / "features.npz"
    with np.load(file) as stored:
        arrays = dict(stored)
    meta = json.loads(str(arrays["meta"]))
    arrays |= {"held_out": arrays["held_out"] * 0, "meta": np.asarray(json.dumps(meta | {"weights": "of yore"}))}
    np.savez(file, **arrays)
    told(capsys)
    with np.load(file) as stored:
        assert stored["held_out"].any()
        assert json.loads(str(stored["meta"])) == meta


def test_damaged_features_and_weights_are_named(reviewed, capsys):
    file = run_folder(reviewed) / "seed0" / "fold0" / "features.npz"
    file.write_bytes(b"no table")
    assert review(["run=planted"]) == 0, "features are only kept: they are made anew"
    with np.load(file) as table:
        assert table.files
    file.unlink()
    weights = file.parent / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    refused(capsys, review, ["run=planted"], "weights-changed", str(weights))


def test_another_fold_can_be_asked(reviewed, capsys):
    assert names_it(told(capsys, "fold=1"), 120)
    assert record(reviewed)["shift"]["fold"] == 1
    assert table(reviewed, "label_issues.csv")["fold"].tolist() == [1] * record(reviewed)["label_issues"]


def test_without_test_images_the_first_question_is_left_out(reviewed, capsys, notes):
    card = reviewed / "competition" / "tiny" / "card.yaml"
    card.write_text("".join(s for s in card.read_text().splitlines(True) if not s.startswith(("test:", "submission:"))))
    shutil.rmtree(run_folder(reviewed) / "review")
    told(capsys)
    assert notes.texts("no-test-images", "tiny")
    assert record(reviewed)["shift"] is None
    assert len(table(reviewed, "label_issues.csv")) > 10
    assert not (run_folder(reviewed) / "review" / "unlike.csv").exists()


def test_too_few_images_are_told_and_labels_looked_at(tiny, capsys, notes):
    assert train(["config=tiny"]) == 0
    assert review(["config=tiny"]) == 0
    out = capsys.readouterr().out
    assert notes.texts("too-few-images", 15, 40)
    assert names_it(out, 45) and "data.ignore" not in out
    assert not list((tiny / "runs" / "tiny" / "tiny" / "review").glob("*.png"))


# Which labels look wrong?


def test_planted_errors_are_found(reviewed, capsys):
    text = told(capsys)
    issues, truth = table(reviewed, "label_issues.csv"), planted(reviewed)
    found = truth.loc[issues["id"], "wrong"]
    print(f"{found.sum()} of {truth['wrong'].sum()} planted errors among {len(issues)} doubted labels")
    assert found.mean() >= 0.9, "precision"
    assert found.sum() / truth["wrong"].sum() >= 0.7, "recall"
    assert (issues["suggested"].to_numpy() == truth.loc[issues["id"], "true"]).mean() >= 0.9
    assert list(issues) == ["id", "given", "suggested", "given_probability", "suggested_probability", "fold", "file"]
    assert issues["given_probability"].is_monotonic_increasing
    given = pd.read_csv(reviewed / "competition" / "tiny" / "data" / "train.csv", dtype=str).set_index("image_id")
    assert issues["given"].tolist() == given.loc[issues["id"], "colour"].tolist()
    for row in issues.itertuples():
        assert (reviewed / row.file).stem == row.id
        with np.load(run_folder(reviewed) / "seed0" / f"fold{row.fold}" / "logits" / "oof-identity.npz") as held_out:
            assert row.id in held_out["id"]
    assert names_it(text, len(issues)) and names_it(text, 240)
    assert "data.ignore=runs/tiny/planted/review/label_issues.csv run=planted-reviewed" in text
    assert record(reviewed)["label_issues"] == len(issues)


def test_what_a_person_changed_is_kept(reviewed, capsys, notes):
    folder = run_folder(reviewed) / "review"
    kept = folder / "label_issues.csv"
    edited = "".join(kept.read_text().splitlines(True)[:4])
    whole = kept.read_text()
    told(capsys)
    assert not notes.texts("file-kept"), "an untouched table is written again in its place"
    kept.write_text(edited)
    for _ in range(2):
        text = told(capsys)
        assert kept.read_text() == edited
        assert notes.take().texts("file-kept", kept)
        assert "data.ignore=runs/tiny/planted/review/label_issues-2.csv" in text
    assert (folder / "label_issues-2.csv").read_text() == whole
    assert (folder / "label_issues-2.png").exists()
    assert not (folder / "label_issues-3.csv").exists()


def test_several_seeds_answer_together(reviewed, capsys):
    assert train([*WORDS, "seed=1", "fold=0"]) == 0
    told(capsys, "seed=0,1", "fold=0")
    both = table(reviewed, "label_issues.csv").set_index("id")
    answers = []
    for seed in (0, 1):
        with np.load(run_folder(reviewed) / f"seed{seed}" / "fold0" / "logits" / "oof-identity.npz") as file:
            p = torch.tensor(file["logits"]).double().softmax(1).numpy()
            answers.append(pd.DataFrame(p, file["id"], file["classes"]))
    mean = (answers[0] + answers[1]) / 2
    for row in both.itertuples():
        assert row.given_probability == pytest.approx(mean.loc[row.Index, row.given], abs=1e-4)


@pytest.mark.slow
def test_several_labels_an_image_are_one_line(reviewed, notes):
    """Each image gets a second label; a line of the table names all that is doubted, and can be ignored by as it is."""
    data, truth = reviewed / "competition" / "tiny" / "data", planted(reviewed)
    labels = pd.read_csv(data / "train.csv", dtype=str)
    cold = truth.loc[labels["image_id"], "true"].isin(["blue", "green"]).to_numpy()
    labels["colour"] += np.where(cold ^ (np.arange(len(labels)) % 20 == 0), " cold", " warm")
    labels.to_csv(data / "train.csv", index=False)
    edit_card(reviewed, "label: colour}", 'label: colour, label_separator: " "}')
    edit_card(reviewed, "target: multiclass", "target: multilabel")
    edit_card(reviewed, "kind: label", "kind: set")
    words = [word for word in WORDS if not word.startswith("run=")]
    assert train([*words, "data.sampler=plain", "run=several"]) == 0
    assert review(["run=several"]) == 0
    file = reviewed / "runs" / "tiny" / "several" / "review" / "label_issues.csv"
    issues = pd.read_csv(file, dtype={"id": str})
    assert issues["id"].is_unique and len(issues) > 10
    assert issues["given"].str.contains(", ").any()
    wrong = truth["wrong"] | pd.Series(np.arange(len(labels)) % 20 == 0, labels["image_id"])
    assert wrong[issues["id"]].mean() >= 0.85
    words += ["data.sampler=plain", "fold=0", "train.epochs=1", "run=checked"]
    words.remove("train.epochs=6")
    assert train([*words, "data.ignore=runs/tiny/several/review/label_issues.csv"]) == 0
    assert notes.texts("rows-ignored", len(issues), 240)


def test_grades_are_not_doubted(reviewed, capsys, notes):
    edit_card(reviewed, "target: multiclass", "target: ordinal")
    shutil.rmtree(run_folder(reviewed) / "review")
    text = told(capsys)
    assert notes.texts("no-label-issues", "ordinal")
    assert "data.ignore" not in text
    assert record(reviewed)["shift"]["flagged"]
    assert not (run_folder(reviewed) / "review" / "label_issues.csv").exists()


# The command line


@pytest.mark.parametrize(
    ("words", "code", "name"),
    [
        (["run=nothing"], "unknown-run", "nothing"),
        (["config=tiny"], "unknown-run", "tiny"),
        (["run=planted", "fold=2"], "bad-fold", "fold=2"),
        (["run=planted", "seed=3"], "folds-missing", "seed 3"),
        (["run=planted", "--tta"], "unknown-flag", "--tta"),
        (["config=tiny", "run=planted"], "run-config-differs", "data.folds"),
    ],
)
def test_what_cannot_be_reviewed_is_told(reviewed, capsys, words, code, name):
    refused(capsys, review, words, code, name)


def test_a_model_of_all_rows_has_nothing_held_out(tiny, capsys):
    assert train(["config=tiny", "fold=all", "train.epochs=1", "run=all"]) == 0
    refused(capsys, review, ["run=all"], "no-held-out-rows", "all")


def test_help_tells_the_files(capsys):
    assert review(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("unlike.csv", "label_issues.csv", "data.ignore=PATH"))


# What networks see


QUICK = ("resnet8", "vgg16_bn", "cnn4")  # one of each family


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in config_names("model")]
)
def test_every_network_shows_its_features(name):
    torch.manual_seed(0)
    smaller = {"model.args": "{mlp_ratio: 0.05}"} if name == "vgg16_bn" else {}
    config = load("default", {"model": name} | smaller, "demo-digits")
    size = {"cnn4": 128, "cnn6": 444}.get(name, 32)
    network = build(config.model, 3, size, load=False).eval()
    images = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)
    last = network.backbone.get_classifier() if hasattr(network.backbone, "get_classifier") else None
    last = last or [m for m in network.modules() if isinstance(m, torch.nn.Linear)][-1]
    with torch.inference_mode():
        seen = FeaturesOf(network)(images)
        assert seen.shape[0] == 2 and seen.shape[1] > 8 and seen.dtype == torch.float32
        torch.testing.assert_close(last(seen), network(images))


@pytest.mark.parametrize(
    "name", ["resnet18", "efficientnet_b0", "vit_tiny_patch16_224", "convnext_atto", "test_byobnet"]
)
def test_they_are_what_timm_calls_so(name):
    torch.manual_seed(0)
    network = Network(timm.create_model(name, num_classes=4)).eval()
    images = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)
    with torch.inference_mode():
        seen, ready = FeaturesOf(network)(images), (images.float() - network.mean) / network.std
        same = network.backbone.forward_head(network.backbone.forward_features(ready), pre_logits=True)
    torch.testing.assert_close(seen, same.flatten(1))


def test_a_network_with_a_cosine_head_shows_its_features():
    config = load("default", {"model": "resnet18", "model.head": "cosine", "loss.name": "arcface"}, "demo-digits")
    network = build(config.model, 3, 32, load=False).eval()
    assert FeaturesOf(network)(torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).shape == (2, 512)


# Galleries


def test_names_of_any_script_stand_under_their_images(reviewed):
    files = sorted((reviewed / "competition" / "tiny" / "data" / "train").glob("*.png"))[:8]
    names = ["Адмирал", "$\\alpha_1", "Οφρύς", "a\nb\tc", "x" * 60, "фиалка " * 9, "\ue000 private", "bell\x07"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of letters that no font draws
        figure = draw_gallery("names", [Picture(file, (name,)) for file, name in zip(files, names, strict=True)])
        figure.canvas.draw()
    written = [place.texts[0].get_text() for place in figure.axes if place.texts]
    assert len(figure.axes) == 12 and len(written) == 8
    assert written[:4] == ["Адмирал", "$\\alpha_1", "Οφρύς", "a b c"]
    assert written[4] == "x" * 27 + "…" and len(written[5]) == 28
    assert written[6:] == ["U+E000 private", "bellU+0007"]


def test_every_image_of_a_gallery_is_whole_and_in_its_place(tmp_path):
    wide = np.zeros((20, 40, 3), np.uint8)
    wide[:, :, 2] = 255
    cv2.imwrite(str(tmp_path / "wide.png"), wide)
    cv2.imwrite(str(tmp_path / "blue.png"), np.full((8, 8, 3), (255, 0, 0), np.uint8))
    figure = draw_gallery("two", [Picture(tmp_path / f"{name}.png", (name,)) for name in ("wide", "blue")])
    shown = [place.images[0].get_array() for place in figure.axes]
    assert shown[0].shape == shown[1].shape
    assert shown[0][112, 5].tolist() == shown[0][112, 220].tolist() == [255, 0, 0]
    assert shown[0][5, 112].tolist() == [0, 0, 0], "what fills the square"
    assert (shown[1] == [0, 0, 255]).all()
