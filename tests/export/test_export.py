"""An exported file predicts alone what its run predicted, and says so where it cannot."""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from src.core.files import sha256_of
from src.core.paths import REPOSITORY
from src.export.export_file import PROBE, read_export, write_export
from src.export.predict import Exported, main
from src.images import read as reading
from src.images.cache import ImageCache
from src.images.dataset import PlainRows
from src.images.file_batches import file_batches
from src.images.stream import ImageStream
from src.predict import main as predict
from src.train import main as train
from tests.fixtures.codes import raises, refused
from tests.fixtures.notes import Notes
from tests.fixtures.tiny import CARD, CONFIG, write_tiny
from tests.fixtures.warm_python import warm_python

NAMES = ("tiny", "shares", "spots")  # a label, a probability each, a set of classes
SPOTS = ("green", "red")


def write_shares(home: Path) -> None:
    """`tiny` once more, asking for probabilities that the log loss judges: a temperature is fitted to them."""
    folder = home / "competition" / "shares"
    shutil.copytree(home / "competition" / "tiny", folder)
    card = CARD.replace("kind: label", "kind: columns").replace("accuracy", "log_loss").replace("test_labels", "#")
    (folder / "card.yaml").write_text(card)
    sample = pd.read_csv(folder / "data" / "sample_submission.csv", dtype=str)[["image_id"]]
    sample.assign(red=0.5, blue=0.25, green=0.25).to_csv(folder / "data" / "sample_submission.csv", index=False)
    (home / "configs" / "shares.yaml").write_text(CONFIG.replace("competition: tiny", "competition: shares"))


def write_spots(home: Path) -> None:
    """JPEGs of several sizes inside a black border, with a red or a green half, both or none."""
    data, generator = home / "competition" / "spots" / "data", np.random.default_rng(0)
    truth = pd.DataFrame(generator.random((54, 2)) < 0.5, columns=list(SPOTS)).astype(int)
    for row, (green, red) in enumerate(truth.to_numpy()):
        image = generator.normal(110, 20, (30 + row % 5, 44, 3))
        image[:15] += green * np.array([-40, 90, -40])
        image[15:] += red * np.array([-40, -40, 90])
        whole = np.zeros((50, 60, 3))
        whole[5 : 5 + len(image), 8:52] = image
        path = data / ("train" if row < 40 else "test") / f"{row:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), whole.clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 95])
    truth.insert(0, "name", [f"{row:03d}" for row in range(len(truth))])
    truth[:40].to_csv(data / "train.csv", index=False)
    truth[40:][["name"]].assign(seen="red").to_csv(data / "sample.csv", index=False)
    (data.parent / "card.yaml").write_text(
        'title: Spots\ntrain: {table: train.csv, id: name, images: "train/{name}.jpg", label: [green, red]}\n'
        'test: {table: sample.csv, id: name, images: "test/{name}.jpg"}\n'
        "target: multilabel\nmetric: micro_f1\nsubmission: {sample: sample.csv, kind: set}\n"
    )
    config = CONFIG.replace("competition: tiny", "competition: spots").replace(", sampler: weighted", "")
    config = config.replace("load_size: 16", "load_size: 20, fit: pad, prepare: [crop_border]")
    (home / "configs" / "spots.yaml").write_text(config)


def said(door, *words: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert door(list(words)) == 0
    return out.getvalue()


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Iterator[Path]:
    """A home in which all three are trained, predicted and exported; `told` in it holds what the last command said."""
    home = tmp_path_factory.mktemp("shop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(home))
        write_tiny(home)
        write_shares(home)
        write_spots(home)
        for name in NAMES:
            said(train, f"config={name}")
            (home / f"{name}.told").write_text(said(predict, "--tta", "--export", "--json", f"config={name}"))
        yield home


def exported(home: Path, name: str = "tiny") -> Path:
    return home / "runs" / name / name / "export" / f"{name}.safetensors"


def test_images(home: Path, name: str) -> list[Path]:
    return sorted((home / "competition" / name / "data" / "test").iterdir())


test_images.__test__ = False


@pytest.fixture
def spoilt(shop, home) -> Path:
    """A copy of the shop's tiny that a test may spoil."""
    for part in ("competition/tiny", "configs", "runs/tiny", "submissions/tiny"):
        shutil.copytree(shop / part, home / part)
    return home


def alone(folder: Path, *words: str) -> subprocess.CompletedProcess:
    """The command in a fresh process, whose home is empty."""
    empty = folder / "empty"
    empty.mkdir(exist_ok=True)
    command = [warm_python(), "-m", "src.export.predict", *words]
    environment = os.environ | {"PODIUM_HOME": str(empty)}
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)


# The same answers, without the run


@pytest.mark.parametrize("name", NAMES)
def test_it_is_told_that_the_file_answers_as_the_run(shop, name):
    (told,) = Notes(json.loads((shop / f"{name}.told").read_text())["notes"]).texts("exported", exported(shop, name))
    models, size, images, *away, _ = re.findall(r"(?<![\w.])[\d.]+\b", told.removeprefix(str(exported(shop, name))))
    assert (int(models), int(images)) == (3, len(test_images(shop, name)))
    assert float(size) == pytest.approx(exported(shop, name).stat().st_size / 1e6, abs=0.05)
    assert away == ["0", "0"], "the same batch, yet other bits"


@pytest.mark.parametrize("name", NAMES)
def test_a_fresh_process_answers_as_the_submission(shop, tmp_path, name):
    """The file and the images are all there is: no run, no card, no table."""
    shutil.copy(exported(shop, name), tmp_path / "a=b.safetensors")
    shutil.copytree(shop / "competition" / name / "data" / "test", tmp_path / "images")
    ended = alone(tmp_path, str(tmp_path / "a=b.safetensors"), str(tmp_path / "images"), "batch=4", "workers=2")
    assert ended.returncode == 0, ended.stderr
    found = pd.read_csv(io.StringIO(ended.stdout), dtype={"answer": str}, keep_default_na=False)
    found.index = [Path(file).stem for file in found["file"]]
    submission = shop / "submissions" / name / f"{name}.csv"
    wanted = pd.read_csv(submission, dtype=str, keep_default_na=False).set_index(
        "name" if name == "spots" else "image_id"
    )
    found = found.loc[wanted.index]
    assert len(found) == len(test_images(shop, name))
    if name == "shares":
        assert json.loads(podium(exported(shop, name)))["facts"]["decision"]["temperature"] != 1
        np.testing.assert_allclose(found[wanted.columns], wanted.astype(float), atol=1e-6)
    else:
        answers = found["answer"].str.replace("|", " ")
        assert answers.tolist() == wanted.iloc[:, 0].tolist()
        assert answers.nunique() > 1


def podium(file: Path) -> str:
    with safe_open(file, "pt") as competition:
        return competition.metadata()["podium"]


@pytest.mark.slow
def test_no_training_code_is_needed(shop, tmp_path):
    """Nor tables, cards, configurations, or the libraries that only those need."""
    code = (
        "import sys; from src.export.predict import Exported\n"
        f"Exported.open({str(exported(shop, 'spots'))!r}).predict({[str(p) for p in test_images(shop, 'spots')]})\n"
        "print({n.split('.')[1] for n in sys.modules if n.startswith('src.')} | "
        "{n for n in ('albumentations', 'pandas', 'sklearn', 'omegaconf') if n in sys.modules})"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert "images" in ended.stdout
    allowed = {"core", "config", "metrics", "targets", "losses", "images", "models", "evaluation"}
    allowed |= {"inference", "export"}
    assert set(re.findall(r"'(\w+)'", ended.stdout)) <= allowed


def test_the_facts_of_the_run_are_in_the_file(shop):
    facts, tensors = read_export(exported(shop, "spots"))
    assert (facts.classes, facts.target, facts.views) == (list(SPOTS), "multilabel", ["identity", "hflip"])
    pixels = facts.images
    assert (pixels.size, pixels.load_side, pixels.fit, pixels.prepare) == (16, 20, "pad", ["crop_border"])
    assert [model.name for model in facts.models] == ["seed0.fold0", "seed0.fold1", "seed0.fold2"]
    predictions = shop / "runs" / "spots" / "spots" / "predictions"
    (record,) = (json.loads(file.read_text()) for file in predictions.glob("*.json"))
    assert (facts.decision["thresholds"], facts.score.value) == (
        record["decision"]["thresholds"],
        record["score"]["value"],
    )
    for fold in range(3):
        known = load_file(shop / "runs" / "spots" / "spots" / "seed0" / f"fold{fold}" / "model.safetensors")
        assert known and all(tensors[f"seed0.fold{fold}.{name}"].equal(tensor) for name, tensor in known.items())


def test_decisions_are_applied(shop):
    """Thresholds, and where none is reached the likeliest class if the run never answers nothing."""
    facts, tensors = read_export(exported(shop, "spots"))
    paths = test_images(shop, "spots")
    rule = facts.decision | {"thresholds": [0.999999, 1e-6], "never_empty": False}
    for never_empty, thresholds in ((False, [0.999999, 1e-6]), (False, [1.1, 1.1]), (True, [1.1, 1.1])):
        changed = facts.model_copy(
            update={"decision": rule | {"thresholds": thresholds}, "never_empty": never_empty, "stored": "exact"}
        )
        file = shop / "changed.safetensors"
        write_export(file, changed, tensors)
        answers = Exported.open(file).predict(paths)
        reached = answers.probabilities >= thresholds
        if never_empty:
            reached = np.eye(2, dtype=bool)[answers.probabilities.argmax(1)]
        np.testing.assert_array_equal(answers.decisions, reached)
    words = Exported.open(file).words(np.array([[True, True], [False, True], [False, False]]))
    assert words == ["green|red", "red", ""]


def test_one_fold_and_half_precision(spoilt, capsys, notes):
    """A run in bf16: it is predicted so again, and in single precision too where that is asked for."""
    said(train, "config=tiny", "run=half", "fold=0", "train.precision=bf16", "train.epochs=2")
    said(predict, "--export", "run=half", "fold=0")
    file = spoilt / "runs" / "tiny" / "half" / "export" / "half.safetensors"
    assert notes.texts("exported", file, 0)
    paths = test_images(spoilt, "tiny")
    as_run, exact = (Exported.open(file, "cpu", precision) for precision in (None, "fp32"))
    assert (as_run.engine.precision, exact.engine.precision) == ("bf16", "fp32")
    assert as_run.facts.views == ["identity"]
    apart = np.abs(as_run.predict(paths).probabilities - exact.predict(paths).probabilities).max()
    assert 0 < apart < 0.02
    refused(capsys, predict, ["--export", "runs=tiny,half"], "one-run-only")


def test_the_same_run_gives_the_same_bytes_and_fp16_half_of_them(spoilt, notes):
    before = exported(spoilt).read_bytes()
    said(predict, "--tta", "--export", "config=tiny")
    assert exported(spoilt).read_bytes() == before
    exact = Exported.open(exported(spoilt)).predict(test_images(spoilt, "tiny"))
    notes.clear()
    said(predict, "--tta", "--export=fp16", "config=tiny")
    assert notes.texts("exported", exported(spoilt), 15) and not notes.texts("exported", 0)
    assert exported(spoilt).stat().st_size < 0.6 * len(before)
    half = Exported.open(exported(spoilt)).predict(test_images(spoilt, "tiny"))
    assert 0 < np.abs(half.probabilities - exact.probabilities).max() < 1e-3


# From files to batches


def test_files_give_the_pixels_of_the_cache(shop, tmp_path):
    paths = sorted((shop / "competition" / "spots" / "data").glob("*/*.jpg"))
    assert len(paths) == 54
    cache = ImageCache.open(tmp_path, paths, 20, "pad", ("crop_border",))
    wanted, _ = PlainRows(cache, 16)[np.arange(54)]
    parts = list(file_batches(ImageStream(paths, 20, "pad", ("crop_border",)), 16, 10, workers=3))
    assert [len(part.rows) for part in parts] == [10, 10, 10, 10, 10, 4]
    assert np.array_equal(np.concatenate([part.images for part in parts]), wanted)
    assert np.concatenate([part.rows for part in parts]).tolist() == list(range(54))


def test_batches_come_one_by_one_and_change_nothing(shop, monkeypatch):
    """What lies more than a batch ahead is not yet read: more images than fit into memory can be predicted."""
    model, paths = Exported.open(exported(shop)), test_images(shop, "tiny")
    whole, read = model.predict(paths), []
    monkeypatch.setattr(
        "src.images.stream.read_image", lambda path, *how: read.append(path) or reading.read_image(path, *how)
    )
    parts = model.batches([*paths, shop / "absent.png"], batch=4)
    some = [next(parts)]
    assert 4 <= len(read) <= 8
    some += [next(parts), next(parts)]
    assert [path for part in some for path in part.paths] == paths[:12]
    np.testing.assert_allclose(np.vstack([part.probabilities for part in some]), whole.probabilities[:12], atol=1e-6)
    with raises("bad-image", "absent"):
        list(parts)
    with raises("no-images"):
        model.predict([])


def test_a_broken_image_stops_or_is_answered_by_the_shares(shop, tmp_path):
    images = tmp_path / "images"
    shutil.copytree(shop / "competition" / "tiny" / "data" / "test", images)
    broken = images / "0503.png"
    broken.write_bytes(broken.read_bytes()[:-20])
    out = tmp_path / "answers.csv"
    ended = alone(tmp_path, str(exported(shop)), str(images), f"out={out}", "batch=2")
    assert ended.returncode == 1 and str(broken) in ended.stderr and not list(tmp_path.glob("*answers*"))
    ended = alone(tmp_path, str(exported(shop)), str(images), f"out={out}", "batch=2", "bad=shares")
    assert ended.returncode == 0 and str(broken) in ended.stderr and not ended.stdout
    table = pd.read_csv(out).set_index("file")
    answer, *shares = table.loc[str(broken)]
    assert answer == "blue" and shares == pytest.approx([24 / 45, 14 / 45, 7 / 45])
    assert len(table) == 15 and table["blue"].nunique() > 10


# What is wrong is told


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda data: data[: len(data) // 2], "damaged-file"),
        (lambda data: b"", "damaged-file"),
        (lambda data: b"id,label\n1,cat\n", "damaged-file"),
        (lambda data: flip(data, len(data) - 1000), "changed-file"),
        (lambda data: data.replace(b'\\"green\\", \\"red\\"', b'\\"red\\", \\"green\\"', 1), "changed-file"),
        (lambda data: data.replace(b'\\"version\\": 1', b'\\"version\\": 2', 1), "export-version"),
        (lambda data: data.replace(b'\\"trained\\"', b'\\"trainee\\"', 1), "damaged-file"),
        (lambda data: data.replace(b'\\"sha256\\"', b'\\"sha255\\"', 1), "damaged-file"),
    ],
)
def test_a_damaged_or_changed_file_is_refused(shop, tmp_path, spoil, code):
    whole = exported(shop).read_bytes()
    file = tmp_path / "spoilt.safetensors"
    file.write_bytes(spoil(whole))
    assert file.read_bytes() != whole
    with raises(code, str(file)):
        Exported.open(file)


def test_other_weights_and_no_file_are_refused(shop):
    weights = shop / "runs" / "tiny" / "tiny" / "seed0" / "fold0" / "model.safetensors"
    with raises("not-an-export", weights.name):
        Exported.open(weights)
    with raises("no-such-file", "absent.safetensors"):
        Exported.open(shop / "absent.safetensors")


def test_code_that_would_answer_otherwise_is_refused(shop, tmp_path, monkeypatch):
    """Another decoder; and a network of the same tensors that computes something else, as another timm might build."""
    facts, tensors = read_export(exported(shop))
    file = tmp_path / "other.safetensors"
    write_export(file, facts, tensors | {PROBE + "seed0.fold1": tensors[PROBE + "seed0.fold1"] + 0.5})
    with raises("export-differs", "seed0.fold1"):
        Exported.open(file)
    write_export(file, facts.model_copy(update={"model": facts.model.model_copy(update={"name": "resnet18"})}), tensors)
    with raises("weights-mismatch", "seed0.fold0", "resnet18"):
        Exported.open(file)
    later = facts.images.model_copy(update={"decoder": facts.images.decoder + 1})
    write_export(file, facts.model_copy(update={"images": later}), tensors)
    with raises("export-of-other-decoder"):
        Exported.open(file)


def test_words_of_the_command(shop, tmp_path, capsys):
    file, images = str(exported(shop)), str(shop / "competition" / "tiny" / "data" / "test")
    for words, code, name in (
        ([], "usage", "--help"),
        ([file], "no-images", ""),
        ([file, str(tmp_path / "absent")], "no-such-file", str(tmp_path / "absent")),
        ([file, str(tmp_path)], "no-images", str(tmp_path)),
        ([file, images, "--tta"], "unknown-flag", "--tta"),
        ([file, images, "batch=0"], "bad-value", "batch=0"),
        ([file, images, "bad=black"], "bad-value", "bad=black"),
        ([file, images, "device=tpu"], "no-such-device", "device=tpu"),
        ([file, images, "device=cpu", "precision=fp16"], "unsupported-precision", "precision=fp16"),
    ):
        refused(capsys, main, words, code, name)
    assert main(["--help"]) == 0 and "src.export.predict" in capsys.readouterr().out
    assert predict(["--export=onnx", "config=tiny"]) == 2
    assert "--export=onnx" in capsys.readouterr().err


# The check itself can fail


def other_weights(member: Path) -> None:
    """Other weights, and every record made to agree with them: only predicting tells."""
    file = member / "model.safetensors"
    tensors = load_file(file)
    tensors["fc.weight"] = tensors["fc.weight"] * 1.05
    save_file(tensors, file)
    done = json.loads((member / "done.json").read_text())
    (member / "done.json").write_text(json.dumps(done | {"weights": sha256_of(file)}))
    for table in (member / "logits").iterdir():
        with np.load(table) as stored:
            arrays = dict(stored)
        arrays["meta"] = np.asarray(json.dumps(json.loads(str(arrays["meta"])) | {"weights": sha256_of(file)}))
        np.savez(table, **arrays)


def one_other_logit(member: Path) -> None:
    table = member / "logits" / "test-hflip.npz"
    with np.load(table) as stored:
        arrays = dict(stored)
    arrays["logits"][7, 1] += 0.05
    np.savez(table, **arrays)


@pytest.mark.parametrize("alter", [other_weights, one_other_logit])
def test_a_file_that_answers_otherwise_is_not_written(spoilt, capsys, alter):
    exported(spoilt).unlink()
    alter(spoilt / "runs" / "tiny" / "tiny" / "seed0" / "fold1")
    refused(capsys, predict, ["--tta", "--export", "config=tiny"], "export-differs", str(exported(spoilt)))
    assert list(exported(spoilt).parent.iterdir()) == []


def test_weights_that_training_did_not_write_are_refused(spoilt, capsys):
    before = exported(spoilt).read_bytes()
    file = spoilt / "runs" / "tiny" / "tiny" / "seed0" / "fold2" / "model.safetensors"
    file.write_bytes(flip(file.read_bytes(), file.stat().st_size - 100))
    refused(capsys, predict, ["--tta", "--export", "config=tiny"], "weights-changed", str(file))
    assert exported(spoilt).read_bytes() == before
