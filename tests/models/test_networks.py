"""Names, files and sizes become networks: with the weights that were asked for, or with a clear refusal."""

import io
import json
import os
import pickle
import socket
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file

from src.config import run_config
from src.config.load import config_names
from src.config.request import parse
from src.config.schema import Model
from src.models import hub
from src.models.factory import Network, build
from src.predict import main as predict
from src.train import main as train
from tests.fixtures.codes import raises
from tests.fixtures.codes import refused as stopped
from tests.fixtures.hub_cache import own_cache, reach

PLAIN = {"name": "resnet18", "pretrained": False, "weights": None, "stem": "auto", "drop_rate": 0.0}
PLAIN |= {"pool": "stock", "head": "linear", "args": {}}
# Millions of parameters with 1000 classes, as published.
MILLIONS = {
    "resnet18": 11.7,
    "resnet34": 21.8,
    "resnet50": 25.6,
    "resnet101": 44.5,
    "resnet8": 0.1,
    "resnet8_narrow": 0.1,
}
MILLIONS |= {"vgg16": 138.4, "vgg16_bn": 138.4, "vgg19": 143.7, "vgg19_bn": 143.7}
MILLIONS |= {"resnet8": 0.1, "resnet8_narrow": 0.1}


def model(**choices) -> Model:
    return Model(**PLAIN | choices)


def pictures(size: int, count: int = 2) -> torch.Tensor:
    values = np.random.default_rng(0).integers(0, 256, (count, 3, size, size), dtype=np.uint8)
    return torch.from_numpy(values)


# Every shipped name


def test_the_promised_networks_are_shipped():
    assert set(MILLIONS) <= set(config_names("model"))


@pytest.mark.parametrize("size", [28, *(pytest.param(size, marks=pytest.mark.slow) for size in (32, 64)), 224])
@pytest.mark.parametrize("name", MILLIONS)
def test_every_shipped_network_builds_at_every_size(name, size):
    """On torch's meta device: shapes are worked out, no memory is taken."""
    shipped = parse([f"model={name}"]).config.model
    with torch.device("meta"):
        network = build(shipped, 7, size)
        assert network(torch.zeros(2, 3, size, size, dtype=torch.uint8)).shape == (2, 7)
        if size == 224:
            whole = sum(p.numel() for p in build(shipped, 1000, size).parameters())
            assert whole / 1e6 == pytest.approx(MILLIONS[name], rel=0.01) or name.startswith("resnet8")


def test_a_network_of_its_own_normalisation_and_range():
    network = build(model(), 5, 32).eval()
    images = pictures(32)
    with torch.no_grad():
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])  # ImageNet's
        expected = network.backbone((images / 255 - mean[:, None, None]) / std[:, None, None])
        torch.testing.assert_close(network(images), expected, atol=1e-4, rtol=1e-4)


# Stems that fit small images


@pytest.mark.parametrize(
    ("size", "stem", "side"),
    [(28, "auto", 28), (32, "auto", 32), (64, "auto", 32), (128, "auto", 32), (64, "stock", 16)],
)
@pytest.mark.parametrize("name", ["resnet18", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_a_small_image_is_not_thrown_away_by_the_stem(name, size, stem, side):
    """`side`: of what the first stage sees."""
    seen = []
    with torch.device("meta"):
        network = build(model(name=name, stem=stem), 5, size)
        network.backbone.layer1.register_forward_hook(lambda layer, inputs, output: seen.append(tuple(inputs[0].shape)))
        network(torch.zeros(2, 3, size, size, dtype=torch.uint8))
    assert seen == [(2, 64, side, side)]


@pytest.mark.parametrize(("size", "side"), [(32, 32), (64, 32), (128, 32)])
def test_a_deep_stem_is_fitted_too(size, side):
    seen = []
    network = build(model(name="resnet10t"), 5, size)
    network.backbone.layer1.register_forward_hook(lambda layer, inputs, output: seen.append(inputs[0].shape[-1]))
    network(torch.zeros(2, 3, size, size, dtype=torch.uint8))
    assert seen == [side]


def test_a_stem_that_cannot_be_made_small_is_told():
    with raises("unfit-network", "model.stem"):
        build(model(name="mobilenetv3_small_050", stem="small"), 5, 32)


@pytest.mark.parametrize("size", [32, 64])
def test_pretrained_kernels_stay_and_scratch_ones_are_3x3(tmp_path, size):
    source = timm.create_model("resnet18", num_classes=5)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    kept = build(model(weights=str(tmp_path / "w.safetensors")), 5, size)
    torch.testing.assert_close(kept.backbone.conv1.weight, source.conv1.weight, atol=0, rtol=0)
    assert build(model(), 5, size).backbone.conv1.kernel_size == (3, 3)


# Weights from a file


def random_norms(network: torch.nn.Module) -> torch.nn.Module:
    """Running averages as training leaves them: a loader that forgets them would give other outputs."""
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return network.eval()


@pytest.fixture(scope="module")
def resnet_files(tmp_path_factory):
    """A torchvision ResNet-18 of 12 classes, and its weights as each kind of file that people have."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("resnet")
    source = random_norms(torchvision.models.resnet18(num_classes=12))
    state = source.state_dict()
    torch.save(state, folder / "plain.pth")
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 3}, folder / "ddp.pth")
    save_file(state, folder / "plain.safetensors")
    headless = {key: value for key, value in state.items() if not key.startswith("fc.")}
    save_file(headless, folder / "headless.safetensors")
    return folder, source


@pytest.fixture(scope="module")
def vgg_files(tmp_path_factory):
    """A torchvision VGG-11 with batch norm and its weights, and the same as timm names them."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("vgg")
    source = random_norms(torchvision.models.vgg11_bn(num_classes=12, init_weights=False))
    torch.save(source.state_dict(), folder / "torchvision.pth")
    yield folder, source
    for file in folder.iterdir():
        file.unlink()


def normalised(network: Network, images: torch.Tensor) -> torch.Tensor:
    return (images - network.mean) / network.std


@pytest.mark.parametrize("file", ["plain.pth", "ddp.pth", "plain.safetensors", "headless.safetensors"])
@pytest.mark.parametrize("classes", [12, pytest.param(3, marks=pytest.mark.slow)])
def test_a_resnets_file_gives_its_features(resnet_files, file, classes):
    folder, source = resnet_files
    network = build(model(weights=str(folder / file), stem="stock"), classes, 64).eval()
    images = pictures(64)
    with torch.no_grad():
        inputs = normalised(network, images)
        found = network.backbone.forward_head(network.backbone.forward_features(inputs), pre_logits=True)
        trunk = torch.nn.Sequential(*list(source.children())[:-1], torch.nn.Flatten())
        torch.testing.assert_close(found, trunk(inputs), atol=1e-4, rtol=1e-4)
        assert network(images).shape == (2, classes)
        if classes == 12 and "headless" not in file:  # the classifier fits, so it is kept
            torch.testing.assert_close(network(images), source(inputs), atol=1e-4, rtol=1e-4)


@pytest.mark.slow  # half a gigabyte of weights
def test_a_vggs_file_gives_its_features_in_both_namings(vgg_files):
    folder, source = vgg_files
    images = pictures(64)
    network = build(model(name="vgg11_bn", weights=str(folder / "torchvision.pth")), 12, 64).eval()
    with torch.no_grad():
        inputs = normalised(network, images)
        torch.testing.assert_close(network(images), source(inputs), atol=1e-4, rtol=1e-4)
    save_file(network.backbone.state_dict(), folder / "timm.safetensors")
    del network
    network = build(model(name="vgg11_bn", weights=str(folder / "timm.safetensors")), 3, 64).eval()
    with torch.no_grad():
        backbone = network.backbone
        found = backbone.forward_head(backbone.forward_features(inputs), pre_logits=True)
        penultimate = source.classifier[:-1](source.avgpool(source.features(inputs)).flatten(1))
        torch.testing.assert_close(found.flatten(1), penultimate, atol=1e-4, rtol=1e-4)
        assert network(images).shape == (2, 3)


def test_a_new_classifier_is_drawn_from_the_seed(resnet_files):
    folder, _ = resnet_files
    heads = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        heads.append(build(model(weights=str(folder / "plain.pth")), 3, 64).backbone.fc.weight)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


@pytest.fixture
def own_file(tmp_path) -> Path:
    """Weights for the network of the tiny competition, of five classes where it has three."""
    torch.manual_seed(3)
    file = tmp_path / "mine.safetensors"
    save_file(timm.create_model("resnet8", num_classes=5).state_dict(), file)
    return file


def test_training_starts_from_the_file_and_prediction_does_without_it(tiny, own_file, capsys):
    words = ["config=tiny", "fold=0", "train.epochs=1", "run=w", f"model.weights={own_file}"]
    frozen = ["optim.lr=1e-12", "optim.weight_decay=0", "train.ema_decay=0"]  # so that what it started from is seen
    assert train([*words, *frozen]) == 0
    ended = load_file(tiny / "runs/tiny/w/seed0/fold0/model.safetensors")
    begun = load_file(own_file)
    torch.testing.assert_close(ended["layer1.0.conv1.weight"], begun["layer1.0.conv1.weight"], atol=1e-6, rtol=0)
    assert len(ended["fc.weight"]) == 3
    own_file.unlink()
    assert predict(["run=w", "fold=0"]) == 0
    stopped(capsys, train, ["run=w", "fold=1"], "no-such-file", str(own_file))


# Refusals: nothing is trained, and the message names the file and the remedy


def refused(tiny: Path, capsys: pytest.CaptureFixture, code: int, *words: str) -> str:
    assert train(["config=tiny", "fold=0", *words]) == code
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert not list(tiny.glob("runs/tiny/*/seed*/fold*/log.csv"))
    return message


def test_a_file_that_is_not_there(tiny, capsys):
    assert "nowhere.pth" in refused(tiny, capsys, 1, "model.weights=nowhere.pth")


def test_a_file_of_another_network(tiny, capsys, own_file):
    message = refused(tiny, capsys, 1, f"model.weights={own_file}", "model.name=resnet18")
    assert str(own_file) in message
    assert "resnet18" in message


class Intruder:
    """Unpickled, it would run a command."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.system, (f"touch {self.trace}",)


def legacy(payload: object) -> bytes:
    file = io.BytesIO()
    torch.save(payload, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def test_a_file_without_weights_is_not_taken_for_published_ones(tiny, tmp_path, capsys):
    file = tmp_path / "empty.pth"
    torch.save({}, file)
    assert train(["config=tiny", "fold=0", f"model.weights={file}", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "bad-weights-file"


def test_an_argument_without_a_value_is_refused(tiny, capsys):
    words = ["config=tiny", "fold=0", "model.name=vgg11", "model.args={mlp_ratio:0.05}", "--json"]
    assert train(words) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "bad-model-args"


@pytest.mark.parametrize("kind", ["pickle", "torch", "legacy torch"])
def test_a_file_that_would_run_code_does_not(tiny, tmp_path, capsys, kind):
    trace, file = tmp_path / "trace", tmp_path / "evil.pth"
    payload = {"state_dict": {"fc.weight": torch.zeros(3, 64)}, "extra": Intruder(trace)}
    if kind == "pickle":
        file.write_bytes(pickle.dumps(payload))
    elif kind == "torch":
        torch.save(payload, file)
    else:
        file.write_bytes(legacy(payload))
    message = refused(tiny, capsys, 1, f"model.weights={file}")
    assert str(file) in message
    assert not trace.exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.pth", b""),
        ("text.pth", b"<html>404 not found</html>"),
        ("text.safetensors", b"<html>404 not found</html>"),
        ("empty.safetensors", b""),
    ],
)
def test_a_file_that_holds_no_weights(tiny, tmp_path, capsys, name, content):
    (tmp_path / name).write_bytes(content)
    assert name in refused(tiny, capsys, 1, f"model.weights={tmp_path / name}")


@pytest.mark.parametrize("payload", [[torch.zeros(3)], torch.zeros(3), {"model": 3}, {"fc.weight": [1, 2]}, {}])
def test_a_file_of_something_else_than_named_tensors(tiny, tmp_path, capsys, payload):
    torch.save(payload, tmp_path / "odd.pth")
    assert "odd.pth" in refused(tiny, capsys, 1, f"model.weights={tmp_path / 'odd.pth'}")


def test_a_cut_file(tiny, own_file, capsys):
    own_file.write_bytes(own_file.read_bytes()[:-1000])
    assert own_file.name in refused(tiny, capsys, 1, f"model.weights={own_file}")


def test_an_unknown_name_suggests_near_ones(tiny, capsys):
    message = refused(tiny, capsys, 2, "model.name=resnet81")
    assert "resnet81" in message
    assert "resnet18" in message or "resnet8" in message


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("model.args.drop_paht_rate=0.1", "drop_paht_rate"),
        ("model.args.act_layer=rellu", "rellu"),
        ("model.args.output_stride=7", "output_stride"),
        ("model.args.num_classes=5", "num_classes"),
        ("model.args.drop_rate=0.5", "drop_rate"),
        ("model.args.pretrained=true", "pretrained"),
        ("model.name=resnet18.no_such_tag", "no_such_tag"),
    ],
)
def test_wrong_arguments_are_usage_errors(tiny, capsys, word, text):
    assert text in refused(tiny, capsys, 2, word)


def test_a_network_of_ours_has_no_weights_on_the_hub(tiny, capsys):
    assert "resnet8" in refused(tiny, capsys, 1, "model.pretrained=true")


def test_an_image_too_small_for_a_network_is_told():
    with raises("bad-image-size", "images.size"), torch.device("meta"):
        build(model(name="densenet121"), 3, 8)


def test_without_a_network_true_tells_both_remedies_and_auto_begins_from_scratch(tiny, monkeypatch, capsys, notes):
    """One server that is not there, and one that takes every connection and never says a word, as some firewalls do.
    Who does not insist begins from scratch."""
    own_cache(monkeypatch, tiny / "hub")
    words = ["config=tiny", "fold=0", "model.name=test_resnet", "train.epochs=1"]
    with socket.socket() as closed:  # bound, not listening: a port that refuses
        closed.bind(("127.0.0.1", 0))
        reach(monkeypatch, f"http://127.0.0.1:{closed.getsockname()[1]}")
        stopped(
            capsys, train, [*words, "run=gone", "model.pretrained=true"], "weights-unreachable", "model.weights=PATH"
        )
    with socket.create_server(("127.0.0.1", 0)) as silent:
        reach(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(hub, "PATIENCE", 1.0)
        assert train([*words, "run=silent", "model.pretrained=auto"]) == 0
    assert "from-scratch" in notes.codes and not run_config.read(tiny / "runs/tiny/silent").model.pretrained
    assert {path.parent.name for path in tiny.glob("runs/tiny/*/seed*")} == {"silent"}
