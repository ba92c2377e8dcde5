"""Weights of the hub: what its cache holds, networks named `hf-hub:...`, and hubs that answer badly or not at all."""

import hashlib
import io
import os
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save, save_file

from src.models import hub
from src.models.factory import build
from src.predict import main as predict
from src.train import main as train
from tests.fixtures.codes import raises, refused
from tests.fixtures.hub_cache import own_cache, put, reach
from tests.models.test_networks import model

SMALL = "test_resnet"  # 0.5 M parameters; timm's hub has it as timm/test_resnet.r160_in1k
OF_TIMM = "timm/test_resnet.r160_in1k"
WORDS = ["config=tiny", "fold=0", "train.epochs=1", "train.ema_decay=0", "optim.lr=1e-12", "model.stem=stock"]


def tensors(network: torch.nn.Module) -> bytes:
    return save(network.state_dict())


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of the hub."""
    hub._knock.cache_clear()
    return own_cache(monkeypatch, tmp_path / "hub")


# Damaged and foreign files


@pytest.mark.parametrize(
    "content",
    [lambda whole: whole[:-1000], lambda whole: b"<html>404</html>", lambda whole: b""],
    ids=["cut", "html", "none"],
)
def test_a_broken_download_is_told_before_anything_is_trained(tiny, cache, capsys, content):
    file = put(cache, OF_TIMM, model=content(tensors(timm.create_model(SMALL)))) / "model.safetensors"
    with raises("weights-damaged", str(file)):
        build(model(name=SMALL, pretrained=True), 3, 64)
    refused(capsys, train, [*WORDS, f"model.name={SMALL}", "model.pretrained=auto"], "weights-damaged", str(file))
    assert not list(tiny.glob("runs/tiny/*/seed*/fold*/log.csv"))


def test_flipped_bytes_are_found_by_the_checksum_that_the_cache_calls_its_copies_by(cache):
    whole = bytearray(tensors(timm.create_model(SMALL)))
    snapshot = put(cache, OF_TIMM)
    blob = snapshot.parents[1] / "blobs" / hashlib.sha256(whole).hexdigest()
    blob.parent.mkdir()
    blob.write_bytes(whole)
    (snapshot / "model.safetensors").symlink_to(blob)
    build(model(name=SMALL, pretrained=True), 3, 64)
    whole[-5] ^= 255
    blob.write_bytes(whole)
    with raises("weights-damaged"):
        build(model(name=SMALL, pretrained=True), 3, 64)


@pytest.mark.parametrize("other", ["test_efficientnet", "test_vit", "resnet10t"])
def test_weights_of_another_network_are_told_wherever_they_come_from(cache, tmp_path, other):
    """timm itself takes them in silence where the classes differ in number, and begins from scratch."""
    put(cache, OF_TIMM, model=tensors(timm.create_model(other)))
    save_file(timm.create_model(other).state_dict(), tmp_path / "other.safetensors")
    for choice in (
        {"pretrained": True},
        {"weights": str(tmp_path / "other.safetensors")},
        {"weights": f"hf-hub:{OF_TIMM}"},
    ):
        with raises("weights-mismatch", SMALL):
            build(model(name=SMALL, **choice), 3, 64)


# Names of the hub


def own_network(cache: Path, **facts) -> torch.nn.Module:
    torch.manual_seed(11)
    network = timm.create_model(SMALL, num_classes=7)
    told = {"mean": [0.2, 0.3, 0.4], "std": [0.1, 0.2, 0.3], "license": "mit"} | facts
    config = {"architecture": SMALL, "num_classes": 7, "pretrained_cfg": told}
    put(cache, "someone/net", model=tensors(network), config=config | facts)
    return network


def test_a_network_of_the_hub_by_its_name(tiny, cache, notes):
    own = own_network(cache)
    words = [*WORDS, "model.name=hf-hub:someone/net", "run=own"]
    assert train(words) == 0
    assert notes.texts("network-of-hub", "hf-hub:someone/net", SMALL, "mit")
    begun = load_file(tiny / "runs/tiny/own/seed0/fold0/model.safetensors")
    assert torch.allclose(begun["layer4.0.conv1.weight"], own.state_dict()["layer4.0.conv1.weight"], atol=1e-6)
    # The run has all that it needs: it is predicted, and goes on, without the repository's description.
    for file in cache.rglob("config.json"):
        file.unlink()
    assert predict(["run=own", "fold=0"]) == 0
    onward = [word for word in words if word != "fold=0"] + ["fold=1"]
    assert train(onward) == 0
    assert train([*onward, "model.args.drop_path_rate=0.1"]) == 2


def test_its_own_normalisation_is_kept_and_its_wishes_are_not(tiny, cache):
    own_network(cache, model_args={"act_layer": "gelu", "checkpoint_path": "/etc/passwd", "num_classes": 3})
    found = hub.hub_network("hf-hub:someone/net")
    assert found.args == {"act_layer": "gelu"} and found.mean == [0.2, 0.3, 0.4]
    network = build(model(name=SMALL, mean=found.mean, std=found.std, args=found.args), 3, 64)
    torch.testing.assert_close(network.mean.flatten() / 255, torch.tensor([0.2, 0.3, 0.4]))
    torch.testing.assert_close(network.std.flatten() / 255, torch.tensor([0.1, 0.2, 0.3]))


class Intruder:
    def __reduce__(self):
        return os.system, ("touch intruder",)


def test_a_repository_of_pickles_alone_is_read_only_where_it_holds_nothing_but_tensors(tmp_path, cache, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for owner, payload, code in (
        ("plain", timm.create_model(SMALL, num_classes=7).state_dict(), None),
        ("evil", {"state_dict": {"fc.weight": torch.zeros(3, 4)}, "more": Intruder()}, "weights-damaged"),
    ):
        held = io.BytesIO()
        torch.save(payload, held)
        put(cache, f"{owner}/net", bin=held.getvalue())
        asked = model(name=SMALL, weights=f"hf-hub:{owner}/net")
        if code is None:
            build(asked, 3, 64)
        else:
            with raises(code):
                build(asked, 3, 64)
    assert not (tmp_path / "intruder").exists()


@pytest.mark.parametrize(
    ("config", "code"),
    [
        (b"{", "bad-hub-network"),
        ({"architecture": ["resnet18"]}, "unknown-network"),
        ({"architecture": "resnet81"}, "unknown-network"),
        ({"pretrained_cfg": {}}, "bad-hub-network"),
        ({"architecture": SMALL, "pretrained_cfg": {"mean": "red"}}, "bad-hub-network"),
    ],
)
def test_a_description_that_cannot_be_used_is_told(cache, config, code):
    put(cache, "someone/net", config=config)
    with raises(code, "hf-hub:someone/net"):
        hub.hub_network("hf-hub:someone/net")


@pytest.mark.parametrize("word", ["hf-hub:nobody/nothing", "hf-hub:no slash at all!", "hf-hub:"])
def test_a_name_that_is_not_there_is_told(tiny, cache, word, capsys):
    assert train([*WORDS, f"model.name={word}"]) in (1, 2)
    assert capsys.readouterr().err.startswith("error: ")


# Hubs that do not serve


class Dripping(BaseHTTPRequestHandler):
    """Answers at once, and then sends a byte now and then."""

    def do_HEAD(self):
        self._head()

    def _head(self):
        self.send_response(200)
        self.send_header("Content-Length", "2000000")
        self.send_header("ETag", '"abc"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()

    def do_GET(self):
        self._head()
        try:
            while True:
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.3)
        except OSError:
            pass

    def log_message(self, *_):
        pass


@pytest.fixture(params=[pytest.param("silent", marks=pytest.mark.slow), "dripping"])
def bad_hub(request):
    if request.param == "silent":  # it takes every connection and never says a word
        with socket.create_server(("127.0.0.1", 0)) as server:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        return
    server = ThreadingHTTPServer(("127.0.0.1", 0), Dripping)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def test_a_hub_that_hangs_or_drips_is_given_up_within_ten_seconds(bad_hub, cache, monkeypatch):
    reach(monkeypatch, bad_hub)
    begun = time.monotonic()
    with raises("weights-unreachable", "model.weights=PATH"):
        build(model(name=SMALL, pretrained=True), 3, 64)
    assert time.monotonic() - begun < 10
