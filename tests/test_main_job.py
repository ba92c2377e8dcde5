"""The main job as a user meets it: train, predict with views, and a submission whose every number can be recomputed."""

import hashlib
import io
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from sklearn.datasets import load_digits

from src.competition.competition import open_competition
from src.config.request import parse
from src.core.paths import Run
from src.models.factory import build
from src.predict import main as predict
from src.reporting.sections.score import TEST
from src.train import main as train
from tests.fixtures.notes import names_it
from tests.fixtures.tiny import COLOURS, write_tiny

CLASSES = sorted(COLOURS)
FOLDS = [(0, 0), (0, 1), (0, 2)]  # seed and fold


@dataclass(frozen=True)
class Shop:
    """A home in which both competitions are trained: `tiny` asks for labels, `shares` for a probability each."""

    home: Path
    trained: str  # what training printed
    predicted: str

    def latest(self, competition: str, run: str) -> Path:
        return self.home / "submissions" / competition / f"{run}.csv"

    def member(self, run: str, seed: int, fold: int | str, competition: str = "shares") -> Path:
        folder = fold if isinstance(fold, str) else f"fold{fold}"
        return self.home / "runs" / competition / run / f"seed{seed}" / folder


def said(door, *words: str) -> str:
    """What a door prints when all goes well."""
    out = io.StringIO()
    with redirect_stdout(out):
        assert door(list(words)) == 0
    return out.getvalue()


def write_shares(home: Path) -> None:
    """`tiny` once more, with a sample submission that asks for the probability of each class.

    Its columns are in another order than the classes, and its rows in another one than the table of test images.
    """
    source, folder = home / "competition" / "tiny", home / "competition" / "shares"
    shutil.copytree(source, folder)
    card = (folder / "card.yaml").read_text().replace("kind: label", "kind: columns").replace("accuracy", "log_loss")
    card = card.replace("test: {table: sample_submission.csv", "test: {table: test.csv")
    (folder / "card.yaml").write_text(card)
    sample = folder / "data" / "sample_submission.csv"
    ids = pd.read_csv(sample, dtype=str)["image_id"]
    pd.DataFrame({"image_id": sorted(ids)}).to_csv(folder / "data" / "test.csv", index=False)
    pd.DataFrame({"image_id": ids, "red": 0.5, "blue": 0.25, "green": 0.25}).to_csv(sample, index=False)
    config = (home / "configs" / "tiny.yaml").read_text().replace("competition: tiny", "competition: shares")
    config += "predict: {decide: plain}\n"  # the probabilities as they are, but where a test asks for more
    (home / "configs" / "shares.yaml").write_text(config)


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Iterator[Shop]:
    home = tmp_path_factory.mktemp("shop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(home))
        write_tiny(home)
        write_shares(home)
        said(train, "config=tiny")
        said(predict, "--tta", "config=tiny")
        yield Shop(home, said(train, "config=shares"), said(predict, "--tta", "config=shares"))


def table(file: Path) -> tuple[np.ndarray, np.ndarray, dict]:
    """Ids, logits and the record of one stored table, read as any program would."""
    with np.load(file) as stored:
        assert stored["classes"].tolist() == CLASSES
        return stored["id"], stored["logits"], json.loads(str(stored["meta"]))


def softmax(logits: np.ndarray) -> np.ndarray:
    exps = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return exps / exps.sum(axis=1, keepdims=True)


def averaged(shop: Shop, views: tuple[str, ...], members: list[tuple[int, int | str]], run="shares") -> pd.DataFrame:
    """The mean test probabilities of members and views, recomputed from the stored logits with nothing but numpy."""
    frames = []
    for seed, fold in members:
        for view in views:
            ids, logits, _ = table(shop.member(run, seed, fold) / "logits" / f"test-{view}.npz")
            frames.append(pd.DataFrame(softmax(logits), index=ids, columns=CLASSES))
    return sum(frame.sort_index() for frame in frames) / len(frames)


def assert_mean(shop: Shop, views: tuple[str, ...], members: list[tuple[int, int | str]], run: str = "shares") -> None:
    """The latest CSV of the run holds these means, to the last printed decimal."""
    expected = averaged(shop, views, members, run)
    pd.testing.assert_frame_equal(
        teacher_logits(shop.latest("shares", run)), expected, check_names=False, atol=1e-11, rtol=0
    )


def teacher_logits(file: Path) -> pd.DataFrame:
    return pd.read_csv(file, dtype={"image_id": str}).set_index("image_id")[CLASSES].sort_index()


def truth(home: Path, competition: str = "tiny") -> pd.Series:
    answers = pd.read_csv(home / "competition" / competition / "answers" / "test.csv", dtype=str)
    return answers.set_index("image_id")["colour"]


# The embedded competition


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Iterator[Path]:
    """competition/demo-digits of a home in which the demo was opened, as every command opens it."""
    home = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(home))
        open_competition(parse([]).config, Run("demo-digits", "first"))
        yield home / "competition" / "demo-digits"


def test_the_demo_is_laid_out_as_kaggle_serves_it(demo):
    data = demo / "data"
    assert {path.name for path in data.iterdir()} == {"train.csv", "train", "test", "sample_submission.csv"}
    labels = pd.read_csv(data / "train.csv", dtype=str)
    sample = pd.read_csv(data / "sample_submission.csv", dtype=str)
    answers = pd.read_csv(demo / "answers" / "test.csv", dtype=str)
    assert list(labels) == list(sample) == list(answers) == ["image_id", "digit"]

    counts = Counter(labels["digit"])
    assert set(counts) == set("0123456789")
    assert max(counts.values()) >= 10 * min(counts.values())
    assert set(Counter(answers["digit"]).values()) == {30}
    assert list(sample["image_id"]) == list(answers["image_id"])
    assert sample["digit"].nunique() == 1, "the sample must not tell the answers"

    files = {
        part: {path.stem: cv2.imread(str(path), -1) for path in (data / part).iterdir()} for part in ("train", "test")
    }
    assert set(files["train"]) == set(labels["image_id"]) and labels["image_id"].is_unique
    assert set(files["test"]) == set(sample["image_id"]) and sample["image_id"].is_unique
    pixels = {part: {image.tobytes() for image in images.values()} for part, images in files.items()}
    assert not pixels["train"] & pixels["test"], "an image stands in both parts"

    # Real scans with their real labels, each used once.
    scans, digits = load_digits(return_X_y=True)
    known = {
        np.rint(scan * 255 / 16).astype(np.uint8).tobytes(): str(digit)
        for scan, digit in zip(scans, digits, strict=True)
    }
    text = {**labels.set_index("image_id")["digit"], **answers.set_index("image_id")["digit"]}
    assert len(text) == len(labels) + len(answers) == sum(map(len, pixels.values()))
    for image_id, image in {**files["train"], **files["test"]}.items():
        assert known[image.tobytes()] == text[image_id]


def test_the_demo_is_written_once(demo):
    before = {path: path.stat().st_mtime_ns for path in (demo / "data").rglob("*")}
    assert len(before) > 800
    open_competition(parse(["config=demo-digits", "run=second"]).config, Run("demo-digits", "second"))
    assert {path: path.stat().st_mtime_ns for path in (demo / "data").rglob("*")} == before


# The submission


def test_the_csv_has_the_header_ids_and_order_of_the_sample(shop):
    for competition in ("tiny", "shares"):
        sample = (shop.home / "competition" / competition / "data" / "sample_submission.csv").read_text().splitlines()
        ours = shop.latest(competition, competition).read_text().splitlines()
        assert ours[0] == sample[0]
        assert [line.split(",")[0] for line in ours] == [line.split(",")[0] for line in sample]
        assert [line.split(",")[0] for line in ours[1:]] != sorted(line.split(",")[0] for line in ours[1:])


def test_it_scores_well_above_chance(shop):
    right = truth(shop.home)
    ours = pd.read_csv(shop.latest("tiny", "tiny"), dtype=str).set_index("image_id")["colour"]
    assert (ours.reindex(right.index) == right).mean() >= 0.8  # chance is 0.33


def test_each_probability_is_the_mean_over_folds_and_views(shop):
    views = ("identity", "hflip")
    said(predict, "--tta", "config=shares")
    assert_mean(shop, views, FOLDS)
    plain, expected = averaged(shop, ("identity",), FOLDS), averaged(shop, views, FOLDS)
    assert np.abs(plain - expected).to_numpy().max() > 1e-4, "the views make no difference, so this test sees none"


def test_without_tta_each_image_is_seen_once(shop):
    said(predict, "config=shares")
    assert_mean(shop, ("identity",), FOLDS)


def test_views_can_be_named(shop):
    said(predict, "--tta", "config=shares", "predict.views=[identity,rot90,up]")
    assert_mean(shop, ("identity", "rot90", "up"), FOLDS)


def test_stored_logits_are_what_the_stored_network_says_of_the_files(shop):
    """From PNG and safetensors to logits by a way of its own: no cache, no loader, no predictor."""
    network = build(parse(["config=shares"]).config.model, 3, 16, load=False).eval()
    network.backbone.load_state_dict(load_file(shop.member("shares", 0, 1) / "model.safetensors"))
    parts = {"test": "test", "oof": "train"}
    for part, folder in parts.items():
        for view, seen in (("identity", lambda image: image), ("hflip", lambda image: image[:, ::-1])):
            ids, stored, meta = table(shop.member("shares", 0, 1) / "logits" / f"{part}-{view}.npz")
            files = [shop.home / "competition" / "shares" / "data" / folder / f"{name}.png" for name in ids]
            images = [
                cv2.resize(cv2.imread(str(file))[:, :, ::-1], (16, 16), interpolation=cv2.INTER_AREA) for file in files
            ]
            batch = torch.from_numpy(np.stack([seen(image) for image in images]).transpose(0, 3, 1, 2).copy())
            with torch.inference_mode():
                np.testing.assert_allclose(network(batch).numpy(), stored, atol=1e-3)
            weights = (shop.member("shares", 0, 1) / "model.safetensors").read_bytes()
            assert meta["weights"] == hashlib.sha256(weights).hexdigest()
            assert (meta["precision"], meta["size"]) == ("fp32", 16)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_gives_others(shop):
    said(predict, "--tta", "config=shares")
    first = shop.latest("shares", "shares").read_bytes()
    for run, seed in (("again", 0), ("other", 7)):
        said(train, "config=shares", f"run={run}", f"seed={seed}")
        said(predict, "--tta", "config=shares", f"run={run}", f"seed={seed}")
    assert shop.latest("shares", "again").read_bytes() == first
    assert shop.latest("shares", "other").read_bytes() != first


def test_files_bear_the_start_of_their_hash_and_the_latest_is_a_copy(shop):
    said(predict, "--tta", "config=shares")
    folder = shop.home / "submissions" / "shares"
    latest = (folder / "shares.csv").read_bytes()
    named = folder / f"shares-{hashlib.sha256(latest).hexdigest()[:8]}.csv"
    assert named.read_bytes() == latest
    before = {path.name: path.read_bytes() for path in folder.glob("shares-*.csv")}
    said(predict, "--tta", "config=shares", "predict.views=[identity,vflip]")
    assert (folder / "shares.csv").read_bytes() != latest
    assert before.items() <= {path.name: path.read_bytes() for path in folder.glob("shares-*.csv")}.items()
    assert not list(folder.glob(".*.part"))


# Scores and facts


def oof(shop: Shop, run: str, views: tuple[str, ...], folds=(0, 1, 2)) -> tuple[np.ndarray, np.ndarray]:
    """Class indices and mean probabilities of all rows that the folds held out."""
    labels = pd.read_csv(shop.home / "competition" / "shares" / "data" / "train.csv", dtype=str).set_index("image_id")
    right, answers = [], []
    for fold in folds:
        tables = [table(shop.member(run, 0, fold) / "logits" / f"oof-{view}.npz") for view in views]
        right += [CLASSES.index(labels["colour"][name]) for name in tables[0][0]]
        answers.append(np.mean([softmax(logits) for _, logits, _ in tables], axis=0))
    return np.array(right), np.concatenate(answers)


def log_loss(right: np.ndarray, answers: np.ndarray) -> float:
    return float(-np.log(answers[np.arange(len(right)), right]).mean())


def figures(printed: str, line: str) -> list[float]:
    """Rows, plain score and score with views, as they stand on the line that begins so."""
    (found,) = [one for one in printed.splitlines() if one.startswith(line)]
    return [float(word) for word in found[len(line) :].split()[:3]]


def test_printed_scores_are_those_of_the_stored_logits(shop):
    for line, folds in (("fold 0", (0,)), ("fold 2", (2,)), ("out of fold", (0, 1, 2))):
        rows, plain, tta = figures(shop.predicted, line)
        right, answers = oof(shop, "shares", ("identity",), folds)
        assert rows == len(right)
        assert plain == pytest.approx(log_loss(right, answers), abs=6e-5)
        assert tta == pytest.approx(log_loss(*oof(shop, "shares", ("identity", "hflip"), folds)), abs=6e-5)
    assert len(oof(shop, "shares", ("identity",))[0]) == 45
    assert names_it(shop.trained, f"{log_loss(*oof(shop, 'shares', ('identity',))):.4f}")


def test_the_printed_test_score_is_that_of_the_answers(shop):
    rows, plain, tta = figures(shop.predicted, TEST)
    right = truth(shop.home, "shares")
    for text, views in ((plain, ("identity",)), (tta, ("identity", "hflip"))):
        answers = averaged(shop, views, FOLDS).reindex(right.index)
        indices = np.array([CLASSES.index(colour) for colour in right])
        assert text == pytest.approx(log_loss(indices, answers.to_numpy()), abs=6e-5)
    assert rows == 15


def test_answers_kept_apart_are_for_telling_only(shop):
    """Without them the same submission comes out, and no test score is told."""
    said(predict, "--tta", "config=shares")
    before = shop.latest("shares", "shares").read_bytes()
    card = shop.home / "competition" / "shares" / "card.yaml"
    whole = card.read_text()
    try:
        card.write_text(whole.replace("test_labels: answers/test.csv\n", ""))
        printed = said(predict, "--tta", "config=shares")
    finally:
        card.write_text(whole)
    assert not [line for line in printed.splitlines() if line.startswith(TEST)]
    assert shop.latest("shares", "shares").read_bytes() == before


def test_the_facts_of_a_submission_are_true(shop):
    printed = said(predict, "--tta", "config=shares")
    latest = shop.latest("shares", "shares").read_bytes()
    sha256 = hashlib.sha256(latest).hexdigest()
    predictions = shop.home / "runs" / "shares" / "shares" / "predictions"
    facts = json.loads((predictions / f"shares-{sha256[:8]}.json").read_text())
    assert facts["sha256"] == sha256
    assert facts["file"] == f"shares-{sha256[:8]}.csv"
    assert facts["runs"] == ["shares"]
    assert (facts["seeds"], facts["folds"]) == ([0], ["0", "1", "2"])
    assert facts["views"] == ["identity", "hflip"]
    assert facts["metric"] == "log_loss"
    assert facts["score"]["value"] == pytest.approx(figures(printed, "out of fold")[-1], abs=6e-5)
    assert facts["config_hash"] == parse(["config=shares"]).config.hash()
    assert f"shares-{sha256[:8]}.csv" in printed


def test_tables_of_classes_agree_with_the_logits(shop):
    labels = pd.read_csv(shop.home / "competition" / "shares" / "data" / "train.csv", dtype=str).set_index("image_id")
    for fold in (0, 1, 2):
        folder = shop.member("shares", 0, fold)
        ids, logits, _ = table(folder / "logits" / "oof-identity.npz")
        pairs = Counter(zip(labels["colour"][ids], (CLASSES[k] for k in logits.argmax(axis=1)), strict=True))
        confusion = pd.read_csv(folder / "confusion.csv", index_col=0)
        assert {(t, a): n for t, row in confusion.iterrows() for a, n in row.items() if n} == pairs
        per_class = pd.read_csv(folder / "per_class.csv").set_index("class")
        for name in CLASSES:
            rows = sum(n for (t, _), n in pairs.items() if t == name)
            assert per_class["rows"][name] == rows
            assert per_class["accuracy"][name] == pytest.approx(pairs[name, name] / rows, abs=1e-4)


# Which models take part


def test_a_second_prediction_computes_nothing_again(shop):
    said(predict, "--tta", "config=shares")
    before = shop.latest("shares", "shares").read_bytes()
    files = [shop.member("shares", 0, fold) / "model.safetensors" for fold in (0, 1, 2)]
    weights = {file: file.read_bytes() for file in files}
    for file in files:
        file.unlink()
    try:
        said(predict, "--tta", "config=shares")
    finally:
        for file, content in weights.items():
            file.write_bytes(content)
    assert shop.latest("shares", "shares").read_bytes() == before


def test_stored_logits_are_joined_by_id(shop):
    """Their rows may stand in any order."""
    before = said(predict, "--tta", "config=shares"), shop.latest("shares", "shares").read_bytes()
    whole = {}
    for fold in (0, 1, 2):
        for file in (shop.member("shares", 0, fold) / "logits").iterdir():
            whole[file] = file.read_bytes()
            with np.load(file) as stored:
                arrays = dict(stored)
            order = np.random.default_rng(fold).permutation(len(arrays["id"]))
            np.savez(file, **{**arrays, "id": arrays["id"][order], "logits": arrays["logits"][order]})
    try:
        after = said(predict, "--tta", "config=shares"), shop.latest("shares", "shares").read_bytes()
    finally:
        for file, content in whole.items():
            file.write_bytes(content)
    assert len(whole) >= 12
    assert after == before


def test_another_size_at_prediction(shop):
    before = {path: path.read_bytes() for path in (shop.home / "runs").rglob("logits/*.npz")}
    printed = said(predict, "--tta", "config=shares", "predict.size=24")
    assert len(figures(printed, "out of fold")) == 3
    for fold in (0, 1, 2):
        for part in ("oof", "test"):
            logits = shop.member("shares", 0, fold) / "logits"
            ids, larger, meta = table(logits / f"{part}-hflip@24.npz")
            assert meta["size"] == 24
            same_ids, trained, _ = table(logits / f"{part}-hflip.npz")
            assert ids.tolist() == same_ids.tolist()
            assert np.abs(larger - trained).max() > 1e-3
    assert all(path.read_bytes() == content for path, content in before.items())
    assert_mean(shop, ("identity@24", "hflip@24"), FOLDS)


def test_some_folds_only(shop):
    printed = said(train, "config=shares", "run=some", "fold=0,2")
    assert {path.name for path in (shop.home / "runs" / "shares" / "some" / "seed0").iterdir()} == {"fold0", "fold2"}
    assert "fold 1" not in printed
    for words, members in (((), [(0, 0), (0, 2)]), (("fold=2",), [(0, 2)]), (("fold=0..0",), [(0, 0)])):
        said(predict, "--tta", "config=shares", "run=some", *words)
        assert_mean(shop, ("identity", "hflip"), members, "some")
    assert predict(["--tta", "config=shares", "run=some", "fold=1"]) == 2


def test_one_model_on_everything(shop, notes):
    said(train, "config=shares", "run=everything", "fold=all")
    assert notes.texts("not-scored")
    printed = said(predict, "--tta", "config=shares", "run=everything", "fold=all")
    assert_mean(shop, ("identity", "hflip"), [(0, "all")], "everything")
    assert not list(shop.member("everything", 0, "all").glob("logits/oof-*"))
    assert notes.texts("no-score", "fold=all")
    assert figures(printed, TEST)[0] == 15
    facts = list((shop.home / "runs" / "shares" / "everything" / "predictions").iterdir())
    assert [json.loads(file.read_text())["score"]["value"] for file in facts] == [None]


def test_seeds_are_bagged_on_the_same_folds(shop):
    said(train, "config=shares", "run=bag", "seed=0,1")
    held_out = [
        [table(shop.member("bag", seed, fold) / "logits" / "oof-identity.npz")[0].tolist() for fold in (0, 1, 2)]
        for seed in (0, 1)
    ]
    assert held_out[0] == held_out[1]
    printed = said(predict, "--tta", "config=shares", "run=bag", "seed=0,1")
    members = [(seed, fold) for seed in (0, 1) for fold in (0, 1, 2)]
    assert_mean(shop, ("identity", "hflip"), members, "bag")
    right, first = oof(shop, "bag", ("identity",))
    assert figures(printed, "out of fold")[0] == 45
    second = []
    for fold in (0, 1, 2):
        second.append(softmax(table(shop.member("bag", 1, fold) / "logits" / "oof-identity.npz")[1]))
    assert figures(printed, "out of fold")[1] == pytest.approx(
        log_loss(right, (first + np.concatenate(second)) / 2), abs=6e-5
    )


def test_what_is_fitted_out_of_fold_is_applied_to_the_test_rows(shop):
    """A temperature for the log loss: its nested score is told and kept, and every row still sums to one."""
    out = said(predict, "--tta", "config=shares", "predict.decide=auto")
    taken = re.search(r"^using (.*?)(?::.*)? \(each fold", out, re.M)[1]
    assert taken in ("temperature", "prior and temperature")
    nested = float(re.search(rf"^{taken} +[\d.]+ +([\d.]+)", out, re.M)[1])
    stem = Path(re.search(r"^(.*\.csv): 15 rows", out, re.M)[1]).stem
    facts = json.loads((shop.home / "runs/shares/shares/predictions" / f"{stem}.json").read_text())
    assert facts["score"]["value"] == pytest.approx(nested, abs=6e-5)
    assert facts["score"]["low"] <= nested <= facts["score"]["high"]
    assert facts["decision"]["temperature"] < 1, "a network stopped early is too unsure"
    answers = pd.read_csv(shop.latest("shares", "shares"), index_col=0)
    np.testing.assert_allclose(answers.sum(axis=1), 1)
    rows = [
        averaged(shop, ("identity", "hflip"), [(0, fold)]).loc[[f"{i:04d}" for i in answers.index]] for fold in range(3)
    ]
    shift = np.array(facts["decision"]["shift"] or [0, 0, 0])
    expected = np.mean([softmax(np.log(p.to_numpy()) / facts["decision"]["temperature"] + shift) for p in rows], axis=0)
    np.testing.assert_allclose(answers[CLASSES], expected, atol=1e-9)
