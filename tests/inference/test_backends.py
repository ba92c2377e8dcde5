"""Another engine gives the answers of the run's own, faster; where it does not, or is not there, that is told."""

import io
import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from src.config.schema import Model
from src.core.paths import REPOSITORY
from src.images import held_batches
from src.images.stream import ImageStream
from src.inference import backend_choice, backend_networks
from src.inference.backend_parity import Trial
from src.inference.backends import BACKENDS, Engine, onnxruntime_backend, openvino_backend
from src.models.factory import build
from src.predict import main as predict
from src.train import main as train
from tests.fixtures.codes import raises, refused
from tests.fixtures.tiny import write_tiny

needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed")
needs_nncf = pytest.mark.skipif(
    find_spec("openvino") is None or find_spec("nncf") is None, reason="openvino or nncf is not installed"
)
needs_onnxruntime = pytest.mark.skipif(
    any(find_spec(package) is None for package in onnxruntime_backend.PACKAGES),
    reason=f"one of {', '.join(onnxruntime_backend.PACKAGES)} is not installed",
)
EITHER = [pytest.param("openvino", marks=needs_openvino), pytest.param("onnxruntime", marks=needs_onnxruntime)]
# Where one of the two shows as much as both.
ONE = [EITHER[0], pytest.param("onnxruntime", marks=[needs_onnxruntime, pytest.mark.slow])]
INT8 = [pytest.param("openvino", marks=needs_nncf), pytest.param("onnxruntime", marks=needs_onnxruntime)]
COMMAND = ["config=tiny", "run=r", "fold=0", "--tta"]
MEMBER = Path("runs/tiny/r/seed0/fold0")


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    write_tiny(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(home))
        assert train(["config=tiny", "run=r", "fold=0", "train.epochs=6"]) == 0
    return home


@pytest.fixture
def trained(once: Path, home: Path) -> Path:
    """A home with a trained fold in it."""
    shutil.copytree(once, home, dirs_exist_ok=True)
    text = (home / "runs/tiny/r/config.yaml").read_text()
    (home / "configs/tiny.yaml").write_text(text)
    return home


def tables(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    found = {}
    for file in sorted(folder.glob("*.npz")):
        with np.load(file) as table:
            found[file.name] = dict(table)
    return found


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*.npz"))}


def facts(home: Path) -> dict:
    newest = max((home / "runs/tiny/r/predictions").iterdir(), key=lambda file: file.stat().st_mtime_ns)
    return json.loads(newest.read_text())


def without(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Let these packages be absent: Python finds none that stands so among its modules."""
    for package in packages:
        monkeypatch.setitem(sys.modules, package, None)


def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test set of any size be worth a measurement."""
    monkeypatch.setattr(backend_choice, "PAYS", 0)
    monkeypatch.setattr(backend_choice, "EACH", 0)


def test_a_small_test_set_is_answered_as_the_run_was_trained(trained, notes):
    assert predict(COMMAND) == 0
    assert "engine-chosen" not in notes.codes
    assert facts(trained)["engines"] == ["torch fp32"]
    assert not (trained / "runs/tiny/r/engines").exists()
    assert [path.name for path in (trained / MEMBER / "logits").iterdir() if path.is_dir()] == []


@pytest.mark.parametrize("name", EITHER)
def test_a_named_engine_answers_in_tables_of_its_own(trained, notes, name):
    assert predict(COMMAND) == 0
    submission = trained / "submissions/tiny/r.csv"
    before, expected = files(trained / MEMBER / "logits"), submission.read_bytes()
    assert predict([*COMMAND, f"predict.engine={name}", "predict.precision=fp32"]) == 0
    assert len(notes.texts("engine-chosen", f"{name} fp32", "torch fp32", "0 %")) == 1
    assert facts(trained)["engines"] == [f"{name} fp32"]
    assert submission.read_bytes() == expected
    own, others = tables(trained / MEMBER / "logits"), tables(trained / MEMBER / f"logits/{name}-fp32")
    assert set(own) == set(others) and len(own) == 4
    for file, table in own.items():
        np.testing.assert_array_equal(table["id"], others[file]["id"])
        np.testing.assert_allclose(table["logits"], others[file]["logits"], atol=1e-4)
        meta = json.loads(str(others[file]["meta"]))
        assert (meta["engine"], meta["precision"]) == (name, "fp32")
    assert {file: data for file, data in files(trained / MEMBER / "logits").items() if "/" not in file} == before


@needs_nncf
def test_int8_is_calibrated_on_the_folds_training_rows_and_kept(trained, notes, monkeypatch):
    seen, quantise = [], openvino_backend.OpenVino.quantised
    monkeypatch.setattr(
        openvino_backend.OpenVino, "quantised", lambda own, *given: seen.append(given[1]) or quantise(own, *given)
    )
    words = [*COMMAND, "predict.precision=int8", "predict.tolerance=0.3"]
    assert predict(words) == 0
    assert notes.texts("engine-chosen", "openvino int8")
    (cache,) = (trained / "competition/tiny/cache").glob("*.npy")
    squares, (images,) = np.load(cache), seen
    held = tables(trained / MEMBER / "logits/openvino-int8")["oof-identity.npz"]["id"]
    rows = [
        int(np.flatnonzero((squares == image).all(axis=(1, 2, 3)))[0]) for image in images
    ]  # noise: no two images are alike
    assert len(set(rows)) == len(images) == 45 - len(held)
    assert max(rows) < 45, "a test image was seen"

    kept, logits = trained / MEMBER / "engines/openvino-int8@16.npz", trained / MEMBER / "logits/openvino-int8"
    network, answers = kept.read_bytes(), files(logits)
    (logits / "test-hflip.npz").unlink()
    assert predict(words) == 0  # the choice, the network and three tables are read, one is computed
    assert len(seen) == 1
    assert kept.read_bytes() == network
    again = tables(logits)
    assert (again["test-hflip.npz"]["logits"] == _logits(answers["test-hflip.npz"])).all()

    assert predict([*words, "predict.views=[identity, vflip]"]) == 0  # measured anew, and not quantised
    assert len(seen) == 1
    assert kept.read_bytes() == network

    kept.write_bytes(network[: len(network) // 2])
    (logits / "test-hflip.npz").unlink()
    assert predict(words) == 0
    assert len(seen) == 2, "a damaged network was used"
    assert (tables(logits)["test-hflip.npz"]["logits"] == _logits(answers["test-hflip.npz"])).all()

    monkeypatch.setattr(backend_networks, "processor", lambda: "another one")
    assert predict(words) == 0
    assert len(seen) == 3
    assert kept.read_bytes() != network
    after = files(logits)
    assert answers.keys() <= after.keys()
    assert all(_made_of(after[name]) != _made_of(old) for name, old in answers.items()), (
        "answers of two networks are mixed"
    )


def _logits(data: bytes) -> np.ndarray:
    with np.load(io.BytesIO(data)) as table:
        return table["logits"]


def _made_of(data: bytes) -> str:
    with np.load(io.BytesIO(data)) as table:
        return json.loads(str(table["meta"]))["made_of"]


@needs_nncf
def test_auto_takes_the_fastest_that_answers_alike_and_remembers_it(trained, notes, monkeypatch):
    any_size(monkeypatch)
    speeds = {"torch fp32": 4.0, "torch bf16": 3.0, "openvino fp32": 2.0, "openvino bf16": 2.5, "openvino int8": 1.0}
    measured = Trial.seconds

    def timed(trial: Trial, ready: dict, rounds: int = 1) -> dict:
        assert measured(trial, ready, 1).keys() == ready.keys()
        return {engine: speeds.get(str(engine), 5.0) for engine in ready}

    monkeypatch.setattr(Trial, "seconds", timed)
    assert predict([*COMMAND, "predict.tolerance=0.0001"]) == 0
    told = notes.take()
    assert told.texts("engine-chosen", "openvino fp32", "2.0")
    assert told.texts("engine-left-out", "openvino int8", "0.0001")

    with monkeypatch.context() as once:
        once.setattr(Trial, "seconds", lambda *_, **__: pytest.fail("measured again"))
        assert predict([*COMMAND, "predict.tolerance=0.0001"]) == 0
    again = notes.take()
    assert again.texts("engine-chosen") == told.texts("engine-chosen")
    assert again.texts("stored-already")

    (kept,) = (trained / "runs/tiny/r/engines").glob("*.json")
    kept.write_text(kept.read_text()[:40])  # it is measured again
    assert predict([*COMMAND, "predict.tolerance=0.0001"]) == 0
    assert notes.texts("engine-chosen") == told.texts("engine-chosen")


@pytest.mark.slow
@needs_onnxruntime
def test_onnxruntimes_int8_is_kept_too(trained, monkeypatch):
    words = [*COMMAND, "predict.engine=onnxruntime", "predict.precision=int8", "predict.tolerance=0.5"]
    assert predict(words) == 0
    assert facts(trained)["engines"] == ["onnxruntime int8"]
    logits = trained / MEMBER / "logits/onnxruntime-int8"
    answers = tables(logits)
    plain = tables(trained / MEMBER / "logits")["oof-identity.npz"]["logits"]
    away = np.abs(answers["oof-identity.npz"]["logits"] - plain).max()
    assert 0.001 < away < 2, "it is not quantised, or answers nonsense"
    (logits / "test-hflip.npz").unlink()
    monkeypatch.setattr(onnxruntime_backend.OnnxRuntime, "quantised", lambda *_: pytest.fail("quantised again"))
    assert predict(words) == 0
    assert (tables(logits)["test-hflip.npz"]["logits"] == answers["test-hflip.npz"]["logits"]).all()


@pytest.mark.slow
@needs_openvino
def test_an_engine_that_answers_no_number_is_refused(trained, capsys, monkeypatch):
    answer = openvino_backend.OpenVinoNetwork.forward
    monkeypatch.setattr(
        openvino_backend.OpenVinoNetwork, "forward", lambda network, images: answer(network, images) * float("nan")
    )
    refused(capsys, predict, [*COMMAND, "predict.engine=openvino", "predict.precision=fp32"], "logits-differ", "inf")


def failing_after(calls: int, monkeypatch: pytest.MonkeyPatch, name: str = "openvino") -> None:
    """Let an engine's library take so many requests, and then fail."""
    if name == "openvino":
        taker, method = openvino_backend._openvino().AsyncInferQueue, "start_async"
    else:
        taker, method = onnxruntime_backend.OnnxNetwork, "_answer"
    take, taken = getattr(taker, method), iter(range(calls))

    def failing(*request: object) -> object:
        if next(taken, None) is None:
            raise RuntimeError("the device\nwent away")
        return take(*request)

    monkeypatch.setattr(taker, method, failing)


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize("calls", [pytest.param(0, marks=pytest.mark.slow), 120])
def test_an_engine_that_fails_while_it_answers_is_told_in_a_line(trained, capsys, notes, monkeypatch, calls, name):
    failing_after(calls, monkeypatch, name)
    monkeypatch.setattr(openvino_backend, "CHUNK", {"fp32": 1})
    monkeypatch.setattr(onnxruntime_backend, "CHUNK", 1)
    names = (f"{name} fp32", "predict.engine=torch", "the device went away")
    words = [*COMMAND, f"predict.engine={name}", "predict.precision=fp32"]
    message = refused(capsys, predict, words, "backend-failed" if calls else "logits-differ", *names)
    assert len(notes.texts("engine-chosen", f"{name} fp32")) == (calls > 0)  # chosen, and then it fails
    assert "\n" not in message and not list((trained / "submissions").rglob("*.csv"))


@pytest.mark.slow
@needs_openvino
def test_an_engine_that_lacks_memory_for_answers_under_way_is_told_in_a_line(trained, capsys, monkeypatch):
    def failing(queue: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(openvino_backend._openvino().AsyncInferQueue, "wait_all", failing)
    words = [*COMMAND, "predict.engine=openvino", "predict.precision=fp32"]
    message = refused(capsys, predict, words, "logits-differ", "openvino fp32", "predict.batch")
    assert "\n" not in message


@pytest.mark.slow
@needs_openvino
def test_an_engine_that_fails_when_it_is_tried_is_left_out(trained, notes, monkeypatch):
    failing_after(0, monkeypatch)
    any_size(monkeypatch)
    assert predict([*COMMAND, "predict.precision=fp32"]) == 0
    assert notes.texts("engine-left-out", "openvino fp32", "went away")


@pytest.mark.slow
@pytest.mark.parametrize("name", INT8)
def test_an_engine_whose_library_fails_is_left_out(trained, capsys, notes, monkeypatch, name):
    other = ["openvino"] if name == "onnxruntime" else onnxruntime_backend.PACKAGES

    def failing(*_: object) -> None:
        raise RuntimeError("no kernel\nfor this " + 300 * "x")

    monkeypatch.setattr(BACKENDS.get(name), "quantised", failing)
    words = [*COMMAND, f"predict.engine={name}", "predict.precision=int8"]
    message = refused(capsys, predict, words, "logits-differ", f"{name} int8", "no kernel for this xxx")
    assert "x" * 201 not in message and not list((trained / "submissions").rglob("*.csv"))
    any_size(monkeypatch)
    without(monkeypatch, *other)
    assert predict(COMMAND) == 0
    assert notes.texts("engine-chosen") and notes.texts("engine-left-out", f"{name} int8", "no kernel")


@pytest.mark.slow
@needs_nncf
def test_an_engine_that_fails_at_another_fold_is_left_out(trained, notes, monkeypatch):
    assert train(["config=tiny", "run=r", "fold=1", "train.epochs=6"]) == 0
    made, quantise = [], openvino_backend.OpenVino.quantised

    def failing_once(own: object, model: object, images: np.ndarray) -> object:
        made.append(model)
        if len(made) > 1:
            raise RuntimeError("no kernel")
        return quantise(own, model, images)

    monkeypatch.setattr(openvino_backend.OpenVino, "quantised", failing_once)
    without(monkeypatch, *onnxruntime_backend.PACKAGES)
    speeds = {"torch fp32": 2.0, "openvino int8": 1.0}
    monkeypatch.setattr(
        Trial, "seconds", lambda _, ready, *__, **___: {one: speeds.get(str(one), 3.0) for one in ready}
    )
    any_size(monkeypatch)
    assert predict(["config=tiny", "run=r", "fold=0,1", "predict.tolerance=0.5"]) == 0
    assert notes.texts("engine-chosen", "torch fp32") and notes.texts("engine-left-out", "openvino int8", "no kernel")
    assert len(made) == 2 and facts(trained)["engines"] == ["torch fp32"]


@needs_openvino
def test_what_answers_otherwise_is_refused(trained, capsys):
    words = [*COMMAND, "predict.engine=openvino", "predict.precision=fp32", "predict.tolerance=1e-12"]
    refused(capsys, predict, words, "logits-differ", "openvino fp32", "1e-12", "predict.tolerance=")
    assert not list((trained / "submissions").rglob("*.csv"))


def test_an_absent_package_is_named_with_the_remedy(trained, capsys, notes, monkeypatch):
    without(monkeypatch, "openvino")
    refused(capsys, predict, [*COMMAND, "predict.engine=openvino"], "backend-unavailable", "pip install openvino")
    words = [*COMMAND, "predict.engine=torch", "predict.precision=int8"]
    refused(capsys, predict, words, "unsupported-precision", "torch", "fp32", "bf16")
    without(monkeypatch, *onnxruntime_backend.PACKAGES)
    words = [*COMMAND, "predict.engine=onnxruntime"]
    refused(capsys, predict, words, "backend-unavailable", "pip install onnxruntime onnx onnxscript")
    any_size(monkeypatch)
    assert predict(COMMAND) == 0
    assert notes.texts("engine-chosen", "torch") and notes.texts("engine-left-out", "openvino int8")


@pytest.mark.slow
@needs_openvino
def test_without_nncf_openvino_does_all_but_int8(trained, capsys, notes, monkeypatch):
    without(monkeypatch, "nncf")
    words = [*COMMAND, "predict.engine=openvino", "predict.precision=int8"]
    refused(capsys, predict, words, "backend-unavailable", "nncf", "pip install openvino nncf")
    assert predict([*COMMAND, "predict.engine=openvino"]) == 0
    assert notes.texts("engine-left-out", "openvino int8", "nncf")
    assert facts(trained)["engines"][0].startswith("openvino ")


@needs_openvino
def test_a_package_that_cannot_be_loaded_stops_nobody(trained, capsys, notes, monkeypatch):
    def broken() -> None:
        raise ImportError("libtbb.so.12: cannot open shared object file")

    monkeypatch.setattr(openvino_backend, "_openvino", broken)
    refused(capsys, predict, [*COMMAND, "predict.engine=openvino"], "backend-unavailable", "libtbb.so.12")
    any_size(monkeypatch)
    assert predict(COMMAND) == 0
    assert notes.texts("engine-left-out", "openvino fp32", "libtbb.so.12")


def test_an_exported_file_is_of_torch(trained, capsys, monkeypatch):
    refused(
        capsys, predict, [*COMMAND, "--export", "predict.engine=openvino"], "export-engine", "predict.engine=openvino"
    )
    any_size(monkeypatch)
    assert predict([*COMMAND, "--export"]) == 0
    assert facts(trained)["engines"] == ["torch fp32"]


def test_all_views_of_an_image_come_from_one_decode(trained, monkeypatch):
    decoded, decode = [], ImageStream.__getitem__

    def counted(stream: ImageStream, row: int) -> np.ndarray:
        decoded.append(row)
        return decode(stream, row)

    monkeypatch.setattr(ImageStream, "__getitem__", counted)
    words = [*COMMAND, "machine.cache_max_gb=1e-9", "predict.views=[square]", "predict.engine=torch"]
    assert predict(words) == 0
    test = [row for row in decoded if row >= 45]
    assert sorted(test) == list(range(45, 60))


@pytest.mark.parametrize("fits", [True, False])
def test_folds_share_one_decode_of_the_test_images_that_no_cache_holds(trained, monkeypatch, fits):
    """Where they fit into memory; else each fold decodes them. The same bits."""
    words = [*COMMAND[:2], "--tta", "predict.engine=torch", "predict.batch=4"]
    assert train([*COMMAND[:2], "fold=1", "train.epochs=6"]) == 0
    assert predict(words) == 0
    run = trained / "runs/tiny/r/seed0"
    expected = {fold: tables(run / f"{fold}/logits") for fold in ("fold0", "fold1")}
    for fold in expected:
        shutil.rmtree(run / f"{fold}/logits")
    shutil.rmtree(trained / "competition/tiny/cache")

    decoded, decode = [], ImageStream.__getitem__
    monkeypatch.setattr(ImageStream, "__getitem__", lambda own, row: decoded.append(row) or decode(own, row))
    monkeypatch.setattr(held_batches, "MOST", (15 if fits else 14) * 3 * 16 * 16)  # bytes, of 15 images of 16 pixels
    assert predict([*words, "machine.cache_max_gb=1e-9"]) == 0
    assert sorted(row for row in decoded if row >= 45) == sorted([*range(45, 60)] * (1 if fits else 2))
    for fold, before in expected.items():
        after = tables(run / f"{fold}/logits")
        assert after.keys() == before.keys()
        for name, table in after.items():
            np.testing.assert_array_equal(table["id"], before[name]["id"])
            np.testing.assert_array_equal(table["logits"], before[name]["logits"])


@pytest.mark.parametrize("name", EITHER)
@pytest.mark.parametrize(
    "count", [pytest.param(1, marks=pytest.mark.slow), 15, pytest.param(40, marks=pytest.mark.slow)]
)
def test_any_number_of_images_is_answered_as_torch_does(name, count):
    torch.manual_seed(0)
    model = Model(name="resnet8", pretrained=False, weights=None, stem="auto", drop_rate=0.0, pool="stock",
                  head="linear", args={})  # fmt: skip
    network = build(model, 3, 24, load=False).eval()
    backend = BACKENDS.get(name)()
    ready = backend.ready(backend.converted(network, 24), Engine("cpu", "fp32", name), batch=40)
    images = torch.randint(0, 256, (40, 3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected, every, some = network(images), ready(images), ready(images[:count])
    torch.testing.assert_close(every, expected, atol=1e-4, rtol=1e-4)
    assert (some == every[:count]).all()


@pytest.mark.parametrize("name", EITHER)
def test_a_network_that_an_engine_does_not_know_is_told(name):
    class Odd(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.float().mean((2, 3)) if images.sum() > 3 else images.float().amax((2, 3))

    with raises("backend-failed"):
        BACKENDS.get(name)().converted(Odd(), 16)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("openvino", marks=needs_nncf),
        pytest.param("onnxruntime", marks=[needs_onnxruntime, pytest.mark.slow]),
    ],
)
def test_no_telemetry_is_loaded_or_written_home(tmp_path, name):
    """Both count their users: OpenVINO and nncf through a Python package that sends, ONNX Runtime by itself, with a
    number for the machine in the home folder, unless they were told not to.

    What is seen here: an empty home stays empty, that package is not loaded, ONNX Runtime's switch is set before it is
    imported, and Python connects to nothing. Sockets that a library opens from C++ are not heard.
    """
    script = f"""
import os, sys
sys.addaudithook(lambda event, args: event == "import" and args[0] == "onnxruntime"
                 and os.environ.get("ORT_DISABLE_TELEMETRY") != "1" and print("imported without the switch"))
from src.inference.backends import BACKENDS, Engine
engine = BACKENDS.get({name!r})()
import numpy as np, torch
sys.addaudithook(lambda event, args: event == "socket.connect" and print("sent", args))
network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
class Plain(torch.nn.Module):
    def forward(self, images): return network(images.float() / 255)
model = engine.converted(Plain().eval(), 16)
model = engine.quantised(model, np.random.default_rng(0).integers(0, 255, (8, 16, 16, 3), np.uint8))
engine.ready(model, Engine("cpu", "int8", {name!r}), 8)(torch.zeros(8, 3, 16, 16, dtype=torch.uint8))
print([name for name, module in sys.modules.items() if name.startswith("openvino_telemetry") and module])
"""
    quiet = ("CI", "GITHUB_ACTIONS", "TF_BUILD", "JENKINS_URL", "XDG_CACHE_HOME", "ORT_DISABLE_TELEMETRY")
    clean = {key: value for key, value in os.environ.items() if key not in quiet}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        check=False,
        env=clean | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    assert list(tmp_path.iterdir()) == []
