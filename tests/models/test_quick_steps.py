"""What makes a training step quick on a processor changes no gradient."""

from contextlib import ExitStack

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from src.competition.auto_config import with_values
from src.config.load import load
from src.models.depthwise import FastDepthwise, has_depthwise
from src.models.factory import build
from src.models.folded_norms import FoldedNorms, foldable
from src.models.freezing import freeze
from src.models.quick_steps import QuickSteps
from src.training.machine import Machine
from src.training.state import State

# kernel, stride, padding, columns of the picture
SHAPES = [(3, 2, 1, 8), (5, 1, 2, 8), (5, 2, 2, 8), (7, 1, 3, 8), (4, 1, 0, 8), (5, 2, 0, 9)]
NARROW = [(7, 1, 3, 1), (7, 2, 3, 2), (9, 1, 4, 1), (11, 1, 5, 2)]  # a piece of the weight may see padding alone


def gradients(kernel, stride, padding, columns, kind, quickly):
    random = torch.Generator().manual_seed(1)
    images, weight, bias = (
        torch.randn(*shape, generator=random, dtype=torch.float64).to(kind).requires_grad_()
        for shape in ((2, 6, 11, columns), (6, 1, kernel, kernel), (6,))
    )
    with ExitStack() as stack:
        if quickly:
            stack.enter_context(FastDepthwise())
        outputs = F.conv2d(images, weight, bias, stride, padding, 1, 6)
    outputs.backward(torch.randn(outputs.shape, generator=random, dtype=torch.float64).to(kind))
    return outputs.grad_fn.name(), [outputs.detach(), images.grad, weight.grad, bias.grad]


@pytest.mark.parametrize(("kernel", "stride", "padding", "columns"), SHAPES + NARROW)
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_depthwise_convolution_learns_the_same(kernel, stride, padding, columns, kind):
    name, quick = gradients(kernel, stride, padding, columns, kind, quickly=True)
    usual, plain = gradients(kernel, stride, padding, columns, kind, quickly=False)
    assert (name != usual) == (kernel > 3 or (stride > 1 and kind == torch.bfloat16))
    near = {torch.float32: 1e-5, torch.bfloat16: 2e-2}[kind]
    for one, other in zip(quick, plain, strict=True):
        assert one.dtype == kind and one.shape == other.shape
        assert torch.allclose(one, other, rtol=near, atol=near * float(other.abs().max()))


def learned(network: nn.Module) -> nn.Module:
    """Norms as training leaves them, not as a network begins."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return network


def of_both(network: nn.Module, images: torch.Tensor, quick: QuickSteps) -> list[list[torch.Tensor]]:
    """Loss and gradients of a step, plainly and quickly, with the same random numbers."""
    found = []
    for around in (ExitStack(), quick.around()):
        network.zero_grad()
        torch.manual_seed(7)
        with around:
            loss = network(images).logsumexp(1).sum()
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in network.parameters() if p.grad is not None)])
    return found


def rested(network: nn.Module) -> list[_BatchNorm]:
    """The norms of a network that trains, put into eval mode."""
    norms = [module for module in network.train().modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.eval()
    return norms


NETWORKS = [("tf_efficientnet_lite0", 49, 2), ("resnet18", 20, 0), ("convnext_atto", 0, 1)]


@pytest.mark.parametrize(("name", "folded", "modes"), NETWORKS)
def test_a_network_whose_norms_rest_learns_the_same(name, folded, modes):
    network = learned(timm.create_model(name, num_classes=3)).double()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    quick = QuickSteps(network.float(), (3, 64, 64))
    quick.rest(rested(network))
    network.double()
    assert len(quick.folded) == folded and len(quick.modes) == modes
    assert has_depthwise(network) == (name != "resnet18")
    for one, other in zip(*of_both(network, images, quick), strict=True):
        assert torch.allclose(one, other, rtol=1e-8, atol=1e-10 * float(other.abs().max()))


class Twice(nn.Module):
    """Its convolution's outputs are seen by the norm and by what comes after both."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images):
        outputs = self.convolution(images.float())
        return (outputs + self.norm(outputs)).mean((2, 3))


class Shared(nn.Module):
    """One weight, and a norm for each of its uses."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norms = nn.Conv2d(3, 3, 3, padding=1), nn.ModuleList(nn.BatchNorm2d(3) for _ in range(2))

    def forward(self, images):
        images = images.float()
        for norm in self.norms:
            images = norm(self.convolution(images))
        return images.mean((2, 3))


class Named(nn.Module):
    """It names the arguments of its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(3, 1, 5, 5)), nn.Parameter(torch.randn(3))
        self.norm = nn.BatchNorm2d(3)

    def forward(self, images):
        outputs = F.conv2d(input=images.float(), weight=self.weight, bias=self.bias, padding=2, groups=3)
        return self.norm(outputs).mean((2, 3))


def chain(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


ODD = {
    "seen twice": (Twice, 0),
    "a weight with two norms": (Shared, 0),
    "dropped between": (lambda: chain(nn.Conv2d(3, 4, 3), nn.Dropout2d(0.5), nn.BatchNorm2d(4)), 0),
    "without statistics": (lambda: chain(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)), 0),
    "named arguments": (Named, 1),
    "changed in place": (
        lambda: chain(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU6(inplace=True), nn.Dropout(0.5, inplace=True)),
        1,
    ),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_networks_learn_the_same_too(kind):
    make, folded = ODD[kind]
    torch.manual_seed(3)
    network = learned(nn.Sequential(Floats(), make()))
    quick = QuickSteps(network, (3, 16, 16))
    quick.rest(rested(network))
    assert len(quick.folded) == folded
    images = torch.randint(0, 256, (2, 3, 16, 16)).float()
    for one, other in zip(*of_both(network, images, quick), strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


class Floats(nn.Module):
    def forward(self, images):
        return images.float() / 255


def test_a_look_at_a_network_changes_nothing():
    network = learned(timm.create_model("resnet18", num_classes=3)).train()
    network.layer1.eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    pairs = foldable(network, torch.randn(2, 3, 32, 32))
    assert len(pairs) == 20 and network.training and not network.layer1[0].bn1.training
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    with FoldedNorms(pairs):  # norms that learn are not folded
        network.train()(torch.randn(2, 3, 32, 32))
    assert not torch.equal(network.layer1[0].bn1.running_mean, before["layer1.0.bn1.running_mean"])


def test_a_network_that_checkpoints_itself_is_left_alone():
    network = timm.create_model("densenet121", num_classes=3, memory_efficient=True)
    quick = QuickSteps(network, (3, 32, 32))
    quick.rest(rested(network))
    assert quick.folded == [] and quick.modes == []


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_of_training_is_as_without_it_in_each_stage(precision):
    config = load("demo-digits", {"model.name": "mobilenetv3_small_050", "images.size": "64", "model.stem": "stock"})
    config = with_values(config, {"model.pretrained": False, "train.epochs": 1, "images.load_size": 64})
    machine = Machine("cpu", precision, 0, 4)
    images = torch.randint(0, 256, (4, 3, 64, 64), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    found = []
    for quickly in (False, True):
        torch.manual_seed(2)
        state = State(config, machine, learned(build(config.model, 3, 64)))
        assert state.quick.modes
        if not quickly:
            state.quick = None
        for frozen in (3, "nothing"):  # a later stage lets more learn, and its norms too
            state.rest(freeze(state.plain_network.backbone, frozen, hold_norms=frozen == 3))
            assert not quickly or bool(state.quick.folded) == (frozen == 3)
            state.train_mode()
            torch.manual_seed(5)
            state.backward(state.forward(images).logsumexp(1).sum())
            gradients = [p.grad for p in state.plain_network.parameters() if p.grad is not None]
            found.append(torch.cat([one.flatten() for one in gradients]))
            state.optimizer.zero_grad()
    for plain, quick in zip(found[:2], found[2:], strict=True):
        away = float((plain - quick).norm() / plain.norm())
        assert away < (1e-4 if precision == "fp32" else 0.2)
