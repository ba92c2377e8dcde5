"""The notebook for a competition that runs it: built from a run, executed as at Kaggle, pushed and submitted."""

import contextlib
import io
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from src.inference import in_time
from src.inference.exported import Exported
from src.inference.in_time import affordable_passes, answers_in_time, passes
from src.kernel import main as kernel
from src.notebooks.sources import modules_of
from src.predict import main as predict
from src.runs import REPOSITORY
from src.train import main as train
from tests.offline import Machine
from tests.test_export import write_shares, write_spots
from tests.tiny import CARD, COLOURS, write_tiny

SLUG, USER = "three-colours", "tester"


def said(door, *words: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert door(list(words)) == 0
    return out.getvalue()


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Iterator[Path]:
    """A home in which `tiny`, which is at Kaggle, is trained, predicted and exported."""
    home = tmp_path_factory.mktemp("shop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(home))
        write_tiny(home)
        (home / "competition" / "tiny" / "card.yaml").write_text(CARD + f"kaggle: {SLUG}\n")
        said(train, "config=tiny")
        said(predict, "--tta", "--export", "config=tiny")
        yield home


def hidden_data(data: Path, goal: Path, count: int) -> None:
    """The host's files with another test set: other ids, another number, sizes of their own."""
    goal.mkdir(parents=True)
    generator = np.random.default_rng(5)
    shutil.copy(data / "train.csv", goal)
    shutil.copytree(data / "train", goal / "train")
    (goal / "test").mkdir()
    ids = [f"h{number:05d}" for number in generator.permutation(count)]
    for number, name in enumerate(ids):
        colour = list(COLOURS.values())[number % 3]
        image = np.array(colour) + generator.normal(0, 60, (18 + number % 5, 24, 3))
        cv2.imwrite(str(goal / "test" / f"{name}.png"), image.clip(0, 255).astype(np.uint8))
    sample = pd.read_csv(data / "sample_submission.csv", dtype=str, nrows=1)
    pd.DataFrame({"image_id": ids, **{name: sample[name][0] for name in sample.columns[1:]}}).to_csv(
        goal / "sample_submission.csv", index=False
    )


def built(home: Path, *words: str) -> Path:
    said(kernel, "config=tiny", f"kernel.user={USER}", *words)
    return home / "runs" / "tiny" / "tiny" / "kernel"


def address(folder: Path) -> str:
    return json.loads((folder / "dataset" / "dataset-metadata.json").read_text())["id"]


PLACES = [
    ("{slug}", "three-colours"),
    ("datasets/tester/{slug}", "competitions/three-colours"),
]


@pytest.mark.parametrize("places", PLACES, ids=["flat", "by kind"])
def test_the_notebook_answers_a_hidden_test_set_offline_as_predict_does(shop, tmp_path, monkeypatch, places):
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    write_marker(wheels)
    folder = built(shop, f"kernel.wheels={wheels}")
    slug = address(folder).split("/")[1]
    hidden = tmp_path / "hidden"
    hidden_data(shop / "competition" / "tiny" / "data", hidden, 37)
    broken, missing = sorted((hidden / "test").iterdir())[3:5]
    broken.write_bytes(broken.read_bytes()[:-30])
    missing.unlink()
    machine = Machine(tmp_path / "kaggle")
    for source, place in zip((folder / "dataset", hidden), places, strict=True):
        machine.mount(source, place.format(slug=slug))
    ended = machine.run(folder / "notebook" / "podium.ipynb")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "2 wheels installed" in ended.stdout and "36 test images, 1 missing; 37 rows" in ended.stdout
    assert f"{broken.name}: truncated" in ended.stdout and "2 images were missing or broken" in ended.stdout
    site = next((machine.folder / "venv" / "lib").glob("python*/site-packages"))
    assert (site / "marker.py").exists() and (site / "src" / "inference" / "hidden.py").exists()

    home = tmp_path / "home"
    for part in ("configs", "runs/tiny"):
        shutil.copytree(shop / part, home / part)
    shutil.copytree(hidden, home / "competition" / "tiny" / "data")
    card = CARD.replace("test_labels: answers/test.csv", "on_bad_image: drop")
    (home / "competition" / "tiny" / "card.yaml").write_text(card)
    monkeypatch.setenv("PODIUM_HOME", str(home))
    said(predict, "--tta", "config=tiny")
    assert machine.written().read_bytes() == (home / "submissions" / "tiny" / "tiny.csv").read_bytes()
    answers = pd.read_csv(machine.written(), dtype=str).set_index("image_id")["colour"]
    assert answers.nunique() == 3 and answers[broken.stem] == answers[missing.stem] == "blue"
    assert list(answers.index) == list(pd.read_csv(hidden / "sample_submission.csv", dtype=str)["image_id"])


def write_marker(folder: Path) -> None:
    """A wheel that Kaggle's image lacks."""
    described = "marker-1.dist-info"
    with zipfile.ZipFile(folder / "marker-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("marker.py", "")
        wheel.writestr(f"{described}/METADATA", "Metadata-Version: 2.1\nName: marker\nVersion: 1\n")
        wheel.writestr(f"{described}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{described}/RECORD", "")


def test_an_input_that_is_not_attached_is_named(shop, tmp_path):
    folder = built(shop)
    machine = Machine(tmp_path / "kaggle")
    machine.mount(folder / "dataset", address(folder).split("/")[1])
    ended = machine.run(folder / "notebook" / "podium.ipynb")
    assert ended.returncode == 1 and "an input is not attached" in ended.stderr
    assert f"competitions/{SLUG}" in ended.stderr and not machine.written().exists()


@pytest.mark.parametrize("name", ["shares", "spots"])
def test_probabilities_and_sets_are_answered_as_predict_does(tmp_path, monkeypatch, name):
    """With a fitted temperature, and with fitted thresholds."""
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path))
    write_tiny(tmp_path)
    (write_shares if name == "shares" else write_spots)(tmp_path)
    said(train, f"config={name}")
    said(predict, "--tta", "--export", f"config={name}")
    parts = tmp_path / "parts"
    parts.mkdir()
    shutil.copy(tmp_path / "runs" / name / name / "export" / f"{name}.safetensors", parts / "model.safetensors")
    shutil.copy(tmp_path / "competition" / name / "card.yaml", parts)
    line = [sys.executable, "-m", "src.inference.hidden", parts, tmp_path / "competition" / name / "data"]
    line += [f"out={parts}/submission.csv"]
    ended = subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert (parts / "submission.csv").read_bytes() == (tmp_path / "submissions" / name / f"{name}.csv").read_bytes()


def test_the_folder_is_valid_and_whole(shop):
    nbformat = pytest.importorskip("nbformat")
    folder = built(shop, "kernel.hours=2.5")
    notebook = nbformat.read(folder / "notebook" / "podium.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3" and "HOURS = 2.5" in notebook.cells[0].source
    facts = json.loads((folder / "notebook" / "kernel-metadata.json").read_text())
    assert (facts["enable_internet"], facts["enable_gpu"], facts["is_private"]) == (False, True, True)
    assert (facts["competition_sources"], facts["dataset_sources"]) == ([SLUG], [address(folder)])
    owner, slug = address(folder).split("/")
    assert owner == USER and 6 <= len(slug) <= 50 and facts["title"].replace(" ", "-") == slug
    for path in folder.rglob("*"):
        assert path.is_dir() or str(shop).encode() not in path.read_bytes(), f"{path} names a path of this machine"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    built(shop, "kernel.hours=2.5")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_the_wheel_holds_what_prediction_imports_and_no_more(shop):
    """Worked out from the imports; that nothing is missing shows where the notebook runs."""
    with zipfile.ZipFile(built(shop) / "dataset" / "podium_notebook-1-py3-none-any.whl") as wheel:
        files = [name for name in wheel.namelist() if name.startswith("src/")]
        needs = wheel.read("podium_notebook-1.dist-info/METADATA").decode()
        assert all(wheel.read(name) == (REPOSITORY / name).read_bytes() for name in files)
    rooms = {name.split("/")[1] for name in files if name.count("/") > 1}
    assert rooms == {"competition", "images", "inference", "models", "submission"}
    checkers = {"__init__.py", "check.py", "layout.py", "table.py"}
    assert {name for name in files if "/submission/" in name} == {f"src/submission/{one}" for one in checkers}
    assert not {"src/train.py", "src/images/augment.py", "src/competition/archive.py"} & set(files)
    assert "Requires-Dist: timm" in needs and "kaggle" not in needs and "albumentations" not in needs
    exported = modules_of(["src.inference.exported"])
    assert {str(file.relative_to(REPOSITORY)) for file in exported.values()} < set(files)
    assert not [name for name in exported if name.startswith(("src.training", "src.submission", "src.competition"))]


# The time limit


@pytest.mark.parametrize(
    ("everything", "one", "most", "seconds", "looks"),
    [
        (100, 20, 9, 100, 9),
        (100, 20, 9, 99, 8),  # 20 + 8 * 10
        (100, 20, 9, 45, 3),
        (100, 20, 9, 20, 1),
        (100, 20, 9, 1, 1),
        (100, 100, 9, 99, 1),  # only reading takes time: nothing helps
        (100, 100, 1, 50, 1),
    ],
)
def test_so_many_looks_fit(everything, one, most, seconds, looks):
    assert affordable_passes(everything, one, most, seconds) == looks


class Clock:
    """Stands still, but for each image that is read and each look at it; `look` holds the seconds of one, call by
    call."""

    def __init__(self, monkeypatch, read: float, *look: float):
        self.now, self.looks = 0.0, []
        plain = Exported.batches

        def slow(exported, paths, **how):
            each = look[min(len(self.looks), len(look) - 1)]
            self.looks.append((len(paths), passes(exported)))
            for part in plain(exported, paths, **how):
                self.now += len(part.paths) * (read + each * passes(exported))
                yield part

        monkeypatch.setattr(Exported, "batches", slow)

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "views", "models"), [(10_000, 2, 3), (700, 1, 3), (450, 1, 2), (300, 1, 1), (10, 1, 1)]
)
def test_views_then_models_are_left_out_until_the_rest_fits(shop, monkeypatch, seconds, views, models):
    """300 images, 0.1 s to read and 0.4 s a look at each: all six looks take 750 s."""
    exported = Exported.open(shop / "runs" / "tiny" / "tiny" / "export" / "tiny.safetensors")
    (image, *_) = sorted((shop / "competition" / "tiny" / "data" / "test").iterdir())
    monkeypatch.setattr(in_time, "TIMED", 20)
    clock, lines = Clock(monkeypatch, 0.1, 0.4), []
    parts = list(answers_in_time(exported, [image] * 300, seconds, lines.append, clock))
    assert sum(len(part.paths) for part in parts) == 300
    assert clock.looks[-1] == (300, views * models) and clock.looks[1] == (20, 6)
    assert any("each image is seen in views identity" in line for line in lines) == (views * models < 6)
    assert any("may come too late" in line for line in lines) == (seconds == 10)


def test_a_machine_that_slows_down_later_loses_views_then(shop, monkeypatch):
    exported = Exported.open(shop / "runs" / "tiny" / "tiny" / "export" / "tiny.safetensors")
    (image, *_) = sorted((shop / "competition" / "tiny" / "data" / "test").iterdir())
    monkeypatch.setattr(in_time, "TIMED", 10)
    monkeypatch.setattr(in_time, "ROUND", 20)
    clock = Clock(monkeypatch, 0.0, 1.0, 1.0, 3.0)
    parts = list(answers_in_time(exported, [image] * 60, 700, lambda line: None, clock))
    assert [len(part.paths) for part in parts] == [20, 20, 20]
    assert clock.looks == [(8, 6), (10, 6), (20, 6), (20, 1), (20, 1)]


# What is wrong is told


def test_what_is_missing_is_told_with_the_remedy(shop, tmp_path, monkeypatch, capsys):
    home = tmp_path / "home"
    for part in ("competition/tiny", "configs", "runs/tiny"):
        shutil.copytree(shop / part, home / part)
    shutil.rmtree(home / "runs" / "tiny" / "tiny" / "kernel", ignore_errors=True)
    monkeypatch.setenv("PODIUM_HOME", str(home))

    def refused(code: int, *words: str) -> str:
        assert kernel(["config=tiny", *words]) == code
        return capsys.readouterr().err

    user = f"kernel.user={USER}"
    assert "there is no .whl file" in refused(2, user, f"kernel.wheels={home}")
    assert "kernel.hours" in refused(2, user, "kernel.hours=0")
    assert "--push and --train" in refused(2, user, "--push", "--train")
    assert "when the models are exported" in refused(2, user, "fold=0")
    done = home / "runs" / "tiny" / "tiny" / "seed0" / "fold1" / "done.json"
    facts = json.loads(done.read_text())
    done.write_text(json.dumps(facts | {"weights": "0" * 64}))
    assert "before seed0.fold1 was trained anew" in refused(1, user)
    (home / "runs" / "tiny" / "tiny" / "export" / "tiny.safetensors").unlink()
    assert "python -m src.predict --tta --export run=tiny" in refused(1, user)
    (home / "competition" / "tiny" / "card.yaml").write_text(CARD)
    assert "tiny is not at Kaggle" in refused(2, user)
    assert not (home / "runs" / "tiny" / "tiny" / "kernel").exists()
