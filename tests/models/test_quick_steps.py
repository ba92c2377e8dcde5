"""What makes a training step quick on a processor changes no gradient."""

from contextlib import ExitStack

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from src.models.depthwise import FastDepthwise, has_depthwise
from src.models.folded_norms import FoldedNorms, foldable
from src.models.quick_steps import QuickSteps

SHAPES = [(3, 2, 1), (5, 1, 2), (5, 2, 2), (7, 1, 3), (4, 1, 0), (5, 2, 0)]  # kernel, stride, padding


def gradients(kernel, stride, padding, kind, quickly):
    random = torch.Generator().manual_seed(1)
    images, weight, bias = (
        torch.randn(*shape, generator=random, dtype=torch.float64).to(kind).requires_grad_()
        for shape in ((2, 6, 11, 8), (6, 1, kernel, kernel), (6,))
    )
    with ExitStack() as stack:
        if quickly:
            stack.enter_context(FastDepthwise())
        outputs = F.conv2d(images, weight, bias, stride, padding, 1, 6)
    outputs.backward(torch.randn(outputs.shape, generator=random, dtype=torch.float64).to(kind))
    return outputs.grad_fn.name(), [outputs.detach(), images.grad, weight.grad, bias.grad]


@pytest.mark.parametrize(("kernel", "stride", "padding"), SHAPES)
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_depthwise_convolution_learns_the_same(kernel, stride, padding, kind):
    name, quick = gradients(kernel, stride, padding, kind, quickly=True)
    usual, plain = gradients(kernel, stride, padding, kind, quickly=False)
    assert (name != usual) == (kernel > 3 or (stride > 1 and kind == torch.bfloat16))
    near = {torch.float32: 1e-5, torch.bfloat16: 2e-2}[kind]
    for one, other in zip(quick, plain, strict=True):
        assert one.dtype == kind and one.shape == other.shape
        assert torch.allclose(one, other, rtol=near, atol=near * float(other.abs().max()))


def learned(network: nn.Module) -> _BatchNorm:
    """Norms as training leaves them, not as a network begins."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return network


NETWORKS = [("tf_efficientnet_lite0", 49, 2), ("resnet18", 20, 0), ("convnext_atto", 0, 1)]


@pytest.mark.parametrize(("name", "folded", "modes"), NETWORKS)
def test_a_network_whose_norms_rest_learns_the_same(name, folded, modes):
    torch.manual_seed(0)
    network = learned(timm.create_model(name, num_classes=3)).double().eval()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    quick = QuickSteps(network)
    quick.folded = foldable(network, images)
    assert len(quick.folded) == folded and len(quick.modes) == modes
    assert has_depthwise(network) == (name != "resnet18")
    found = []
    for around in (ExitStack(), quick.around()):
        network.zero_grad()
        with around:
            loss = network(images).logsumexp(1).sum()
        loss.backward()
        found.append([loss.detach(), *(parameter.grad for parameter in network.parameters())])
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=1e-8, atol=1e-10 * float(other.abs().max()))


class Twice(nn.Module):
    """Its convolution's outputs are seen by the norm and by what comes after both."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images):
        outputs = self.convolution(images)
        return (outputs + self.norm(outputs)).mean((2, 3))


def test_a_norm_that_is_not_alone_is_left_as_it_is():
    torch.manual_seed(0)
    network = learned(Twice())
    assert foldable(network, torch.randn(1, 3, 8, 8)) == []
    assert network.training


def test_norms_that_learn_are_not_folded():
    torch.manual_seed(0)
    network = learned(timm.create_model("resnet18", num_classes=3))
    images = torch.randn(2, 3, 32, 32)
    pairs = foldable(network, images)
    before = network.layer1[0].bn1.running_mean.clone()
    with FoldedNorms(pairs):
        network.train()(images)
    assert not torch.equal(network.layer1[0].bn1.running_mean, before)
