"""The hand-built networks: their exact sizes, and names like any other of timm's."""

import pytest
import timm
import torch
from torch import nn

from src.models.factory import build
from src.models.zoo import register_networks
from src.training.dead_units import watched
from tests.fixtures.codes import raises
from tests.models.test_networks import model

register_networks()

# name: (classes, trainable parameters, side length it is made for)
EXACT = {
    "vgg19_scratch": (100, 139_990_820, 224),
    "resnet50_projected": (100, 38_936_676, 224),
    "resnet18_biased": (1000, 11_692_328, 224),
    "resnet18_mlp": (10, 11_509_290, 224),
    "cnn6": (2, 3_949_114, 444),
    "cnn4": (10, 182_314, 128),
}


@pytest.mark.parametrize("name", EXACT)
def test_shapes_are_exact(name):
    classes, parameters, side = EXACT[name]
    with torch.device("meta"):
        network = timm.create_model(name, num_classes=classes)
        answers = network(torch.zeros(2, 3, side, side))
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == parameters
    assert answers.shape == (2, classes)
    assert timm.is_model(name) and name in timm.list_models()


def test_the_head_of_dense_layers_fits_a_published_trunk():
    network = build(model(name="resnet18", head="mlp"), 10, 224)  # as its weights from ImageNet have it
    assert sum(p.numel() for p in network.parameters()) == EXACT["resnet18_mlp"][1]


@pytest.mark.parametrize(
    ("name", "layers"), [("resnet50_projected", 49), ("resnet18_biased", 17), ("resnet18_mlp", 20)]
)
def test_every_relu_is_watched(name, layers):
    network = timm.create_model(name, num_classes=2, width=0.25).eval()
    with watched(network) as watch, torch.inference_mode():
        network(torch.zeros(1, 3, 32, 32))
    assert len(watch.alive) == layers


@pytest.mark.parametrize("name", ["vgg19_scratch", "resnet50_projected", "resnet18_biased", "resnet18_mlp"])
def test_a_narrower_network_has_the_same_layers(name):
    with torch.device("meta"):
        whole, narrow = (timm.create_model(name, num_classes=7, width=width) for width in (1.0, 0.25))
        assert narrow(torch.zeros(2, 3, 64, 64)).shape == (2, 7)
    assert narrow.state_dict().keys() == whole.state_dict().keys()
    counts = [sum(p.numel() for p in network.parameters()) for network in (whole, narrow)]
    assert 14 < counts[0] / counts[1] < 17


@pytest.mark.parametrize("hidden", [[100], []])
def test_a_plain_network_may_have_fewer_layers(hidden):
    args = {"kernels": [5] * 4, "channels": [8, 16, 32, 64], "hidden": hidden}
    with torch.device("meta"):
        network = timm.create_model("cnn6", num_classes=2, **args)
        assert network(torch.zeros(1, 3, 444, 444)).shape == (1, 2)
    layers = [type(layer) for layer in network.modules()]
    assert (layers.count(nn.Conv2d), layers.count(nn.Linear)) == (4, len(hidden) + 1)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("cnn6", {"channels": [8, 16]}),
        ("convnext_tiny", {"depths": [], "dims": []}),
        ("resnet18", {"layers": [1]}),
        ("resnet18", {"layers": []}),  # is made, and cannot be called
        ("resnet18", {"layers": [0, 0, 0, 0]}),  # no image of any size fits
        ("resnet18", {"layers": "two"}),
        ("resnet18", {"img_size": 64}),
        ("resnet18", {"nosuch": 1}),
        ("resnet18", {"global_pool": ""}),
        ("vit_tiny_patch16_224", {"img_size": 48, "num_heads": 5}),
    ],
)
def test_arguments_that_make_no_network_are_told(name, args):
    with raises("bad-model-args", name):
        build(model(name=name, args=args), 2, 32)


def test_weights_are_no_argument_of_a_network(tmp_path):
    with raises("set-elsewhere", "checkpoint_path"):
        build(model(name="resnet18", args={"checkpoint_path": str(tmp_path / "w.pth")}), 2, 32)


def test_the_vgg_has_a_norm_after_every_convolution_but_the_first():
    layers = list(timm.create_model("vgg19_scratch", num_classes=2).features)
    after = [type(layers[i + 1]) for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]
    assert after == [nn.ReLU] + [nn.BatchNorm2d] * 15
    assert sum(isinstance(layer, nn.MaxPool2d) for layer in layers) == 5


def test_the_bottlenecks_stride_on_their_first_convolution_and_project_always():
    network = timm.create_model("resnet50_projected", num_classes=2)
    blocks = [block for stage in network.layers for block in stage]
    assert [len(stage) for stage in network.layers] == [3, 4, 6, 3]
    for block in blocks:
        convolutions = [layer for layer in block.body if isinstance(layer, nn.Conv2d)]
        assert [conv.kernel_size[0] for conv in convolutions] == [1, 3, 1]
        assert all(conv.bias is not None for conv in (*convolutions, block.shortcut[0]))
        assert convolutions[1].stride == (1, 1)
        assert convolutions[0].stride == block.shortcut[0].stride
    assert sum(block.body[0].stride == (2, 2) for block in blocks) == 3


@pytest.mark.parametrize(("name", "smallest"), [("cnn6", 316), ("cnn4", 64)])
def test_a_size_that_cannot_work_is_told_with_the_smallest(name, smallest):
    with raises("bad-image-size", f"{smallest} pixels"):
        build(model(name=name), 2, smallest - 1)
    with raises("bad-image-size", "images.size="):
        build(model(name=name), 2, smallest)


def test_dropout_is_a_key():
    network = build(model(name="cnn4", drop_rate=0.4), 10, 128)
    assert [m.p for m in network.modules() if isinstance(m, nn.Dropout)] == [0.4] * 4
