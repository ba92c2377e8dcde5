"""Training a fold: what is asked for reaches the weights, and what goes wrong is said in time."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from timm.models import register_model
from torch import nn

from src.models.zoo.resnet8 import resnet8
from src.predict import main as predict
from src.train import main as train
from src.training import finish
from tests.fixtures.codes import refused


def member(home: Path, run: str, fold: int | str = 0, seed: int = 0) -> Path:
    return home / "runs" / "tiny" / run / f"seed{seed}" / (fold if fold == "all" else f"fold{fold}")


def done(home: Path, run: str, fold: int | str = 0, seed: int = 0) -> dict:
    return json.loads((member(home, run, fold, seed) / "done.json").read_text())


def log(home: Path, run: str, fold: int | str = 0, seed: int = 0) -> pd.DataFrame:
    return pd.read_csv(member(home, run, fold, seed) / "log.csv")


def weights(home: Path, run: str, fold: int | str = 0, seed: int = 0) -> bytes:
    return (member(home, run, fold, seed) / "model.safetensors").read_bytes()


def oof(home: Path, run: str, fold: int = 0, seed: int = 0) -> dict[str, np.ndarray]:
    with np.load(member(home, run, fold, seed) / "logits" / "oof-identity.npz") as file:
        return dict(file)


def ok(run: str, *words: str, fold: int | str = 0) -> None:
    assert train(["config=tiny", f"fold={fold}", f"run={run}", *words]) == 0


# Averaged weights


@pytest.mark.slow
def test_a_long_average_does_not_ruin_a_short_run(tiny):
    sixty = ["train.epochs=15", "train.batch=8"]  # 30 rows: 4 steps an epoch
    ok("with", *sixty, "train.ema_decay=0.9999")
    ok("without", *sixty, "train.ema_decay=0")
    assert log(tiny, "with")["steps"].sum() == 60
    assert done(tiny, "without")["score"] >= 0.9
    assert done(tiny, "with")["score"] >= done(tiny, "without")["score"] - 0.05
    assert weights(tiny, "with") != weights(tiny, "without")


# Which epoch is kept

# No average and a high rate that stays: scores go up and down.
UNSTEADY = ["schedule.name=constant", "optim.lr=0.2", "train.ema_decay=0", "train.batch=4"]


@pytest.mark.slow
def test_the_last_epoch_is_the_model_and_the_best_only_on_request(tiny, notes):
    ok("last", *UNSTEADY, "train.epochs=6", fold="0..2")
    ok("best", *UNSTEADY, "train.epochs=6", "train.keep=best", fold="0..2")
    shown = 0
    for fold in range(3):
        scores = log(tiny, "best", fold)["score"]
        highest, last = scores.max(), scores.iloc[-1]
        best = int(scores.argmax()) + 1
        assert scores.tolist() == log(tiny, "last", fold)["score"].tolist()
        assert done(tiny, "last", fold)["score"] == pytest.approx(last)
        assert done(tiny, "best", fold)["score"] == pytest.approx(highest)
        assert done(tiny, "best", fold)["best_epoch"] == done(tiny, "last", fold)["best_epoch"] == best
        names = (f"fold {fold}", best, f"{highest:.4f}", f"{last:.4f}", f"{highest - last:.4f}")
        assert notes.texts("epoch-kept", *names)
        if 1 < best < 6:  # with a constant rate, stopping at that epoch gives the very weights that were kept
            run = f"short{fold}"
            ok(run, *UNSTEADY, f"train.epochs={best}", fold=fold)
            assert weights(tiny, run, fold) == weights(tiny, "best", fold) != weights(tiny, "last", fold)
            shown += 1
    assert shown, "these runs show nothing: no fold has its best epoch in the middle"


def test_the_kept_epochs_logits_are_stored(tiny):
    ok("best", *UNSTEADY, "train.epochs=6", "train.keep=best")
    table = oof(tiny, "best")
    truth = pd.read_csv(tiny / "competition/tiny/data/train.csv", dtype=str).set_index("image_id")["colour"]
    answers = table["classes"][table["logits"].argmax(1)]
    assert (answers == truth[table["id"]].to_numpy()).mean() == pytest.approx(done(tiny, "best")["score"])


@pytest.mark.parametrize("where", [pytest.param("save_logits", marks=pytest.mark.slow), "write_json"])
def test_killed_while_it_finishes_it_goes_on(tiny, monkeypatch, where):
    """Between the choice of the best epoch and the mark that all is done."""
    words = [*UNSTEADY, "train.epochs=3", "train.keep=best"]
    ok("whole", *words)
    with monkeypatch.context() as killed:

        def die(*_: object) -> None:
            raise KeyboardInterrupt

        killed.setattr(finish, where, die)
        assert train(["config=tiny", "fold=0", "run=killed", *words]) == 130
    ok("killed", *words)
    assert weights(tiny, "killed") == weights(tiny, "whole")
    assert done(tiny, "killed")["score"] == done(tiny, "whole")["score"]


def test_patience_stops_early(tiny, notes):
    ok("patient", *UNSTEADY, "train.epochs=60", "train.patience=2")
    scores = log(tiny, "patient")["score"]
    assert len(scores) < 60
    assert len(scores) - 1 - int(scores.argmax()) == 2
    assert notes.take().texts("fold-stopped-early", 2)
    ok("patient", *UNSTEADY, "train.epochs=60", "train.patience=2")  # and stays so
    assert notes.texts("nothing-to-do", "patient")


# What goes wrong is said

DEAF = ["optim.lr=1e-12", "optim.weight_decay=0"]


def test_a_loss_that_is_no_number_stops_the_fold(tiny, capsys):
    refused(capsys, train, ["config=tiny", "fold=0", "run=nan", "optim.lr=1e30"], "loss-not-finite", "optim.lr")
    assert not (member(tiny, "nan") / "done.json").exists()


def test_weights_ruined_by_the_last_step_are_not_taken_for_a_result(tiny, capsys):
    words = ["train.epochs=1", "train.batch=64", "optim.lr=1e30", "schedule.warmup_epochs=0", "train.ema_decay=0"]
    assert train(["config=tiny", "fold=0", "run=nan", *words]) == 1
    assert "optim.lr" in capsys.readouterr().err
    assert not (member(tiny, "nan") / "done.json").exists()


@pytest.mark.parametrize("epochs", [1, pytest.param(2, marks=pytest.mark.slow), 4])
def test_a_network_that_learns_nothing_is_told(tiny, notes, epochs):
    ok("deaf", *DEAF, f"train.epochs={epochs}")
    assert len(notes.texts("loss-at-chance", "fold 0")) == (1 if epochs <= 2 else 2)  # after warm-up, and at its end


@pytest.mark.parametrize("epochs", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_one_answer_for_everything_is_told(tiny, notes, epochs):
    blank = (tiny / "competition/tiny/data/train/0001.png").read_bytes()
    for image in (tiny / "competition/tiny/data/train").iterdir():
        image.write_bytes(blank)
    ok("blind", f"train.epochs={epochs}", "augment=none", "data.duplicates=ignore")
    assert len(notes.texts("one-answer", "fold 0")) == min(epochs, 2)


@pytest.mark.parametrize("smoothing", [pytest.param(0.0, marks=pytest.mark.slow), 0.3])
def test_a_network_that_learns_is_not_warned_of(tiny, notes, smoothing):
    """Not even where one class has four fifths of the rows and the labels are smoothed."""
    table = pd.read_csv(tiny / "competition/tiny/data/train.csv", dtype=str)
    table = pd.concat([table[table["colour"] == c].head(n) for c, n in {"blue": 24, "green": 3, "red": 3}.items()])
    table.to_csv(tiny / "competition/tiny/data/train.csv", index=False)
    words = ["data.sampler=plain", "train.batch=4", "train.epochs=12", "schedule.warmup_epochs=8", "optim.lr=2e-2"]
    ok("learns", *words, f"loss.smoothing={smoothing}")
    assert done(tiny, "learns")["score"] == 1, "this run shows nothing: it did not learn"
    assert not {"loss-at-chance", "one-answer"} & {*notes.codes}


def test_a_class_smaller_than_the_folds_is_told(tiny, notes):
    table = pd.read_csv(tiny / "competition/tiny/data/train.csv", dtype=str)
    red = table["colour"] == "red"
    pd.concat([table[~red], table[red].head(2)]).to_csv(tiny / "competition/tiny/data/train.csv", index=False)
    ok("small", "train.epochs=1")
    assert notes.texts("classes-small", "red (2)")


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("optim.name=adamx", "adamx"),
        ("optim.args.betta=1", "betta"),
        pytest.param("optim.args.betas=fast", "adamw", marks=pytest.mark.slow),
        pytest.param("optim.args.lr=1", "lr", marks=pytest.mark.slow),
    ],
)
def test_a_wrong_optimizer_is_told_before_the_images_are_decoded(tiny, capsys, word, text):
    assert train(["config=tiny", "fold=0", "run=a", word]) == 2
    message = capsys.readouterr().err
    assert "optim." in message
    assert text in message
    assert not list((tiny / "competition" / "tiny" / "cache").glob("*.npy"))
    ok("a", "train.epochs=1")  # the name is free for the mended command


# What the configuration asks for


def test_the_rate_warms_up_and_follows_the_cosine(tiny):
    ok("cosine", "train.epochs=8", "schedule.warmup_epochs=2", "optim.lr=0.01", "optim.weight_decay=0.1")
    last_steps = np.arange(1, 9) * 4 - 1  # of each epoch, counted from 0
    expected = 0.005 * (1 + np.cos(math.pi * last_steps / 32))
    warming = 0.0001 + (0.01 - 0.0001) * last_steps / 8
    expected[:2] = warming[:2]
    np.testing.assert_allclose(log(tiny, "cosine")["lr"], expected, rtol=1e-6)


def test_a_constant_rate_stays_after_its_warm_up(tiny):
    ok("constant", "train.epochs=5", "schedule.name=constant", "schedule.warmup_epochs=1.5", "optim.lr=0.004")
    rates = log(tiny, "constant")["lr"]
    assert rates.iloc[0] < 0.003
    np.testing.assert_allclose(rates.iloc[1:], 0.004)


def test_smoothed_labels_bound_the_loss_from_below(tiny):
    words = ["train.epochs=12", "train.batch=8", "augment=none", "images.size=8"]
    ok("smooth", *words, "loss.smoothing=0.5")
    ok("hard", *words, "loss.smoothing=0")
    target = np.array([1 / 2 + 1 / 6, 1 / 6, 1 / 6])
    bound = -(target * np.log(target)).sum()
    smooth, hard = log(tiny, "smooth"), log(tiny, "hard")
    assert smooth["loss"].iloc[-1] < bound + 0.1
    assert (smooth["loss"] >= bound).all()
    assert hard["loss"].iloc[-1] < bound / 2
    assert smooth["held_out_loss"].iloc[-1] < bound  # told without smoothing, so that runs can be compared


def test_a_clipped_gradient_moves_less(tiny):
    words = ["train.epochs=2", "optim.name=sgd", "optim.weight_decay=0"]
    ok("free", *words, "optim.lr=0.1")
    ok("clipped", *words, "optim.lr=0.1", "optim.clip=1e-9")
    ok("still", *words, "optim.lr=1e-12")
    at_rest = log(tiny, "still")["loss"]
    assert np.abs(log(tiny, "clipped")["loss"] - at_rest).max() < 1e-4
    assert np.abs(log(tiny, "free")["loss"] - at_rest).max() > 1e-2


class Watched(nn.Module):
    """Tells in which number format its last layer worked."""

    formats: ClassVar[Counter] = Counter()

    def __init__(self, **choices: object) -> None:
        super().__init__()
        self.inner = resnet8(**choices)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.inner.forward_head(self.inner.forward_features(images), pre_logits=True)
        logits = self.inner.fc(features)
        Watched.formats["training" if self.training else "scoring", str(logits.dtype)] += 1
        return logits


@register_model
def watched(pretrained: bool = False, num_classes: int = 3, drop_rate: float = 0.0, **_: object) -> nn.Module:
    return Watched(num_classes=num_classes, drop_rate=drop_rate)


@pytest.mark.parametrize(
    ("precision", "ema"),
    [
        ("bf16", "0.99"),
        ("fp32", "0"),
        *(pytest.param(*one, marks=pytest.mark.slow) for one in (("bf16", "0"), ("fp32", "0.99"))),
    ],
)
def test_every_step_works_in_the_asked_precision(tiny, precision, ema):
    Watched.formats.clear()
    words = [f"train.precision={precision}", f"train.ema_decay={ema}", "train.epochs=2", "run=w", "model.name=watched"]
    assert train(["config=tiny", "fold=0", *words]) == 0
    seen = {"bf16": "torch.bfloat16", "fp32": "torch.float32"}[precision]
    trained = {kind: count for (phase, kind), count in Watched.formats.items() if phase == "training"}
    assert trained == {seen: 8}
    tried = 0 if precision == "bf16" else 2  # whether the size fits, of the throw-away network and the fold's own
    assert Watched.formats["scoring", seen] == 2 + tried  # each epoch: the last one's answers are the fold's
    assert json.loads((tiny / "runs/tiny/w/machine.json").read_text())["precision"] == precision


def test_a_run_in_half_precision_learns(tiny):
    ok("half", "train.precision=bf16", "train.epochs=10", "images.size=8")
    assert done(tiny, "half")["score"] >= 0.9


def test_the_tables_of_mistakes_count_the_held_out_rows(tiny, capsys):
    ok("tables", "train.epochs=2")
    table = oof(tiny, "tables")
    names = table["classes"].tolist()
    truth = pd.read_csv(tiny / "competition/tiny/data/train.csv", dtype=str).set_index("image_id")["colour"]
    counted = Counter(zip(truth[table["id"]], table["classes"][table["logits"].argmax(1)], strict=True))
    confusion = pd.read_csv(member(tiny, "tables") / "confusion.csv", index_col="truth")
    assert {(t, a): int(confusion.loc[t, a]) for t in names for a in names} == {
        (t, a): counted[t, a] for t in names for a in names
    }
    classes = pd.read_csv(member(tiny, "tables") / "per_class.csv").set_index("class")
    for name in names:
        rows = sum(counted[name, answer] for answer in names)
        assert classes.loc[name, "rows"] == rows
        assert classes.loc[name, "accuracy"] == pytest.approx(counted[name, name] / rows, abs=1e-4)
    assert "right" in capsys.readouterr().out


# The fold `all`


def test_one_model_on_everything(tiny, notes):
    ok("everything", "train.epochs=2", fold="all")
    assert "score" not in done(tiny, "everything", "all")
    assert log(tiny, "everything", "all")["steps"].tolist() == [6, 6]  # all 45 rows in steps of 8
    assert notes.texts("not-scored", 2)
    assert not (member(tiny, "everything", "all") / "logits").exists()


def test_its_epochs_come_from_cross_validation(tiny, capsys):
    words = [*UNSTEADY, "train.epochs=6", "train.keep=best"]
    refused(capsys, train, ["config=tiny", "fold=all", "run=cv", *words], "folds-missing", "train.keep=best")
    ok("cv", *words, fold="0..2")
    best = [done(tiny, "cv", fold)["best_epoch"] for fold in range(3)]
    assert best == [int(log(tiny, "cv", fold)["score"].argmax()) + 1 for fold in range(3)]
    assert best != [6, 6, 6], "this run shows nothing: the last epochs are the best"
    ok("cv", *words, fold="all")
    assert len(log(tiny, "cv", "all")) == sorted(best)[1]


@pytest.mark.slow
def test_its_epochs_come_from_early_stopping(tiny):
    words = [*UNSTEADY, "train.epochs=60", "train.patience=2"]
    ok("patient", *words, fold="0..2")
    lengths = [len(log(tiny, "patient", fold)) for fold in range(3)]
    ok("patient", *words, fold="all")
    assert len(log(tiny, "patient", "all")) == sorted(lengths)[1]


# Seeds


def test_seeds_share_their_folds_and_nothing_else(tiny, capsys):
    ok("bag", "seed=0,1", "train.epochs=2")
    first, second = oof(tiny, "bag", seed=0), oof(tiny, "bag", seed=1)
    assert first["id"].tolist() == second["id"].tolist()
    assert np.abs(first["logits"] - second["logits"]).max() > 0.01
    assert weights(tiny, "bag", seed=0) != weights(tiny, "bag", seed=1)
    ok("alone", "seed=1", "train.epochs=2")
    assert weights(tiny, "alone", seed=1) == weights(tiny, "bag", seed=1)
    ok("apart", "data.fold_seed=1", "train.epochs=2")
    hashes = {
        run: json.loads((tiny / "runs/tiny" / run / "run.json").read_text())["folds"]
        for run in ("bag", "alone", "apart")
    }
    assert hashes["bag"] == hashes["alone"] != hashes["apart"]
    assert oof(tiny, "apart")["id"].tolist() != first["id"].tolist()
    assert len(list((tiny / "runs" / "tiny").glob("folds-*.csv"))) == 2


def test_folds_differ_in_weights_and_rows(tiny):
    ok("folds", "train.epochs=1", fold="0..2")
    ids = [oof(tiny, "folds", fold)["id"].tolist() for fold in range(3)]
    assert sorted(ids[0] + ids[1] + ids[2]) == sorted(
        pd.read_csv(tiny / "competition/tiny/data/train.csv", dtype=str)["image_id"]
    )
    assert len({weights(tiny, "folds", fold) for fold in range(3)}) == 3


# A run folder belongs to one configuration

OTHERS = {"optim.lr": "0.5", "model.args.drop_path_rate": "0.2", "augment": "none"}


@pytest.mark.parametrize(
    ("first", "others"),
    [
        ([], {key: [f"{key}={value}"] for key, value in OTHERS.items()}),
        (["model.args.drop_path_rate=0.2", "optim.args.eps=1e-3"], {"model.args.drop_path_rate": []}),
        (["optim.args.eps=1e-3"], {"optim.args.eps": []}),
    ],
    ids=["another value", "two values less", "a value less"],
)
def test_another_configuration_under_the_same_name_is_refused(tiny, capsys, first, others):
    ok("mine", "train.epochs=1", *first)
    before = {path: path.read_bytes() for path in (tiny / "runs").rglob("*") if path.is_file()}
    for text, second in others.items():
        for door in (train, predict):
            assert door(["config=tiny", "run=mine", "fold=0", "train.epochs=1", *second]) == 2
            assert text in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in (tiny / "runs").rglob("*") if path.is_file()}


def test_free_settings_may_change_between_two_commands(tiny):
    ok("mine", "train.epochs=1")
    ok("mine", "train.epochs=1", "machine.checkpoint_minutes=1", "log.tensorboard=true", fold="0..1")
    assert predict(["run=mine", "--tta", "predict.views=[flips]", "predict.batch=3"]) == 0
