"""The notebook for a competition that runs it: built from a run, executed as at Kaggle, pushed and submitted."""

import json
import re
import shutil
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from src.core.paths import REPOSITORY
from src.export.hidden_test import main as hidden_main
from src.export.predict import Exported
from src.export.time_limit import affordable_passes, answers_in_time, passes
from src.kernel import main as kernel
from src.launchers.kaggle_notebook import folder as folder_module
from src.launchers.kaggle_notebook.wheel import modules_of
from src.predict import main as predict
from src.train import main as train
from tests.export.test_export import write_shares, write_spots
from tests.fixtures.codes import refused
from tests.fixtures.kernel_home import ME, SLUG, USER, address, built, hidden_data, said
from tests.fixtures.notes import names_it
from tests.fixtures.offline import Machine
from tests.fixtures.tiny import CARD, write_tiny

pytest_plugins = ["tests.fixtures.kernel_fixtures"]


def mounted(machine: Machine, folder: Path, hidden: Path, parts: str, data: str) -> None:
    machine.mount(folder / "dataset", parts.format(slug=address(folder).split("/")[1]))
    machine.mount(hidden, data)


@pytest.mark.slow
def test_the_notebook_answers_a_hidden_test_set_offline_as_predict_does(shop, tmp_path, monkeypatch):
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    write_marker(wheels)
    folder = built(shop, f"kernel.wheels={wheels}")
    hidden = tmp_path / "hidden"
    hidden_data(shop / "competition" / "tiny" / "data", hidden, 37)
    broken, missing = sorted((hidden / "test").iterdir())[3:5]
    broken.write_bytes(broken.read_bytes()[:-30])
    missing.unlink()
    machine = Machine(tmp_path / "kaggle")
    mounted(machine, folder, hidden, "{slug}", SLUG)
    ended = machine.run(folder / "notebook" / "podium.ipynb")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert all(names_it(ended.stdout, told) for told in (2, 36, 37, broken.name))
    site = next((machine.folder / "venv" / "lib").glob("python*/site-packages"))
    assert (site / "marker.py").exists() and (site / "src" / "export" / "hidden_test.py").exists()

    home = tmp_path / "at home"
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


@pytest.mark.slow
def test_inputs_mounted_by_their_kind_are_found_and_the_hours_are_kept_in_mind(shop, tmp_path):
    folder = built(shop, "kernel.hours=1")
    hidden = tmp_path / "hidden"
    hidden_data(shop / "competition" / "tiny" / "data", hidden, 203)
    machine = Machine(tmp_path / "kaggle")
    mounted(machine, folder, hidden, f"datasets/{USER}/{{slug}}", f"competitions/{SLUG}")
    ended = machine.run(folder / "notebook" / "podium.ipynb")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (told,) = [line for line in ended.stdout.splitlines() if line.startswith("200 ") and names_it(line, 203)]
    assert 40 < float(re.findall(r"[\d.]+ min", told)[-1][:-4]) < 51, "of an hour, less what installing took"
    assert len(pd.read_csv(machine.written())) == 203


def write_marker(folder: Path) -> None:
    """A wheel that Kaggle's image lacks."""
    described = "marker-1.dist-info"
    with zipfile.ZipFile(folder / "marker-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("marker.py", "")
        wheel.writestr(f"{described}/METADATA", "Metadata-Version: 2.1\nName: marker\nVersion: 1\n")
        wheel.writestr(f"{described}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{described}/RECORD", "")


@pytest.mark.slow
def test_an_input_that_is_not_attached_is_named(shop, tmp_path):
    folder = built(shop)
    machine = Machine(tmp_path / "kaggle")
    machine.mount(folder / "dataset", address(folder).split("/")[1])
    ended = machine.run(folder / "notebook" / "podium.ipynb")
    assert ended.returncode == 1
    assert f"competitions/{SLUG}" in ended.stderr and not machine.written().exists()


@pytest.mark.parametrize("name", ["shares", pytest.param("spots", marks=pytest.mark.slow)])
def test_probabilities_and_sets_are_answered_as_predict_does(tmp_path, monkeypatch, notes, name):
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
    said(hidden_main, str(parts), str(tmp_path / "competition" / name / "data"), f"out={parts}/submission.csv")
    assert (parts / "submission.csv").read_bytes() == (tmp_path / "submissions" / name / f"{name}.csv").read_bytes()
    rows = len(pd.read_csv(parts / "submission.csv"))
    shutil.rmtree(tmp_path / "competition" / name / "data" / "test")
    words = [str(parts), str(tmp_path / "competition" / name / "data"), f"out={parts}/shares.csv"]
    said(hidden_main, *words)
    assert notes.texts("no-test-images", rows)
    table = pd.read_csv(parts / "shares.csv", dtype=str, keep_default_na=False)
    assert len(table) == rows and len(table.drop(columns=table.columns[0]).drop_duplicates()) == 1


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
    assert rooms == {
        *("competition", "config", "core", "evaluation", "export", "images", "inference", "models", "submission"),
        *("targets", "metrics", "losses"),  # config.yaml and card.yaml may name any of them
    }
    assert {"src/losses/focal.py", "src/targets/ordinal.py", "src/inference/tta/views.py"} < set(files), "registered"
    checkers = {"__init__.py", "check.py", "sample_layout.py", "writer.py"}
    assert {name for name in files if "/submission/" in name} == {f"src/submission/{one}" for one in checkers}
    assert not {"src/train.py", "src/images/augment.py", "src/competition/sources/data_folder.py"} & set(files)
    assert "Requires-Python: >=3.11" in needs
    assert "Requires-Dist: timm" in needs and "kaggle" not in needs and "albumentations" not in needs
    exported = modules_of(["src.export.predict"])
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
def test_views_then_models_are_left_out_until_the_rest_fits(shop, monkeypatch, notes, seconds, views, models):
    """300 images, 0.1 s to read and 0.4 s a look at each: all six looks take 750 s."""
    exported = Exported.open(shop / "runs" / "tiny" / "tiny" / "export" / "tiny.safetensors")
    (image, *_) = sorted((shop / "competition" / "tiny" / "data" / "test").iterdir())
    clock = Clock(monkeypatch, 0.1, 0.4)
    parts = list(answers_in_time(exported, [image] * 300, seconds, clock, timed=20))
    assert sum(len(part.paths) for part in parts) == 300
    assert clock.looks[-1] == (300, views * models) and clock.looks[1] == (20, 6)
    assert ("views-left-out" in notes.codes) == (views * models < 6)
    assert ("too-slow" in notes.codes) == (seconds == 10)


def test_a_machine_that_slows_down_later_loses_views_then(shop, monkeypatch):
    exported = Exported.open(shop / "runs" / "tiny" / "tiny" / "export" / "tiny.safetensors")
    (image, *_) = sorted((shop / "competition" / "tiny" / "data" / "test").iterdir())
    clock = Clock(monkeypatch, 0.0, 1.0, 1.0, 3.0)
    parts = list(answers_in_time(exported, [image] * 60, 700, clock, timed=10, every=20))
    assert [len(part.paths) for part in parts] == [20, 20, 20]
    assert clock.looks == [(8, 6), (10, 6), (20, 6), (20, 1), (20, 1)]


# What is wrong is told


def test_what_is_missing_is_told_with_the_remedy(shop, tmp_path, capsys):
    run = shop / "runs" / "tiny" / "tiny"

    def stopped(error: str, *words: str, names: tuple[str, ...] = ()) -> None:
        refused(capsys, kernel, ["config=tiny", *words], error, *names)

    (tmp_path / "odd-1-py3-none-any.whl").write_bytes(b"<html>Not found</html>")
    stopped("bad-wheels", ME, f"kernel.wheels={tmp_path}", names=("odd-1-py3-none-any.whl",))
    stopped("bad-wheels", ME, f"kernel.wheels={shop}", names=(str(shop), ".whl"))
    stopped("bad-wheels", ME, f"kernel.wheels={shop}/nowhere", names=(f"{shop}/nowhere",))
    stopped("bad-value", ME, "kernel.hours=0", names=("kernel.hours",))
    stopped("one-action", ME, "--push", "--train", names=("--push", "--train"))
    stopped("not-for-kernel", ME, "fold=0", names=("fold=",))
    done = run / "seed0" / "fold1" / "done.json"
    facts = json.loads(done.read_text())
    done.write_text(json.dumps(facts | {"weights": "0" * 64}))
    stopped("export-outdated", ME, names=("seed0.fold1",))
    (run / "export" / "tiny.safetensors").unlink()
    stopped("missing-export", ME, names=("python -m src.predict --tta --export run=tiny",))
    (shop / "competition" / "tiny" / "card.yaml").write_text(CARD)
    stopped("not-at-kaggle", ME, names=("tiny",))
    assert not (run / "kernel").exists()


def test_a_package_that_the_image_lacks_is_named_until_its_wheel_is_given(shop, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(folder_module, "AT_KAGGLE", folder_module.AT_KAGGLE - {"timm"})
    refused(capsys, kernel, ["config=tiny", ME], "missing-wheels", "pip download --no-deps timm")
    with zipfile.ZipFile(tmp_path / "timm-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("timm.py", "")
    assert (built(shop, f"kernel.wheels={tmp_path}") / "dataset" / "timm-1-py3-none-any.whl").exists()


def test_without_an_accelerator_no_gpu_hours_are_asked_for(shop):
    facts = json.loads((built(shop, "kernel.machine=cpu") / "notebook" / "kernel-metadata.json").read_text())
    assert (facts["enable_gpu"], facts["machine_shape"]) == (False, None)
