"""Grad-CAM finds a planted cause, works on the networks that it is for, and says where it cannot."""

import numpy as np
import pytest
import timm
import torch
from torch import nn

from src.models.bag_head import bag_weights, pool_bags
from src.models.factory import Network
from src.models.gradcam import bag_grad_cam, grad_cam
from src.models.zoo import register_networks
from tests.fixtures.codes import raises

register_networks()


class RedOrBlue(nn.Module):
    """Class 0 is how much red there is, class 1 how much blue."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act, self.fc = (
            nn.Conv2d(3, 2, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(2, 2, bias=False),
        )
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([[1.0, -1, -1], [-1, -1, 1]])[:, :, None, None])
            self.fc.weight.copy_(torch.eye(2))

    def forward(self, x):
        return self.fc(self.act(self.conv(x)).mean((2, 3)))


def test_the_map_lies_where_the_class_is():
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    images[:, 0, :4, :4] = 255  # red above on the left
    images[:, 2, 4:, 4:] = 255  # blue below on the right
    heat = grad_cam(Network(RedOrBlue()), images, np.array([0, 1]))
    assert heat.shape == (2, 8, 8)
    for one, corner in ((heat[0], np.s_[:4, :4]), (heat[1], np.s_[4:, 4:])):
        outside = np.ones((8, 8), dtype=bool)
        outside[corner] = False
        assert np.allclose(one[corner], 1) and one[outside].max() < 0.5


@pytest.mark.parametrize("pool", ["max", "attention"])
def test_of_a_bag_the_image_that_counts_has_the_map(pool):
    bags = torch.full((2, 9, 8, 8), 40, dtype=torch.uint8)
    bags[0, 3, :4, :4] = 255  # red in the second of three images
    bags[1, 8, 4:, 4:] = 255  # blue in the third
    bags[1, :3] = 0  # and no first one
    backbone = RedOrBlue()
    pool_bags(backbone, "own", pool)
    if pool == "attention":  # by how much red and blue there is
        attention = backbone.fc.pool
        with torch.no_grad():
            attention.content.fill_(0.5), attention.gate.fill_(0.5), attention.score.fill_(1)
    network = Network(backbone)
    heat, slots = bag_grad_cam(network, bags, np.array([0, 1]))
    assert slots.tolist() == [1, 2] and heat.shape == (2, 8, 8)
    assert heat[0][:4, :4].min() == 1 and heat[0][4:].max() < 0.5
    assert heat[1][4:, 4:].min() == 1 and heat[1][:4].max() < 0.5
    weights = bag_weights(network, bags)
    assert (weights is None) == (pool == "max")
    if weights is not None:
        assert np.allclose(weights.sum(1), 1) and weights.argmax(1).tolist() == [1, 2] and weights[1, 0] == 0


@pytest.mark.parametrize(
    ("name", "size", "map_side"),
    [("resnet8", 16, None), ("resnet18", 64, 2), ("vgg11_bn", 64, 4), ("cnn4", 128, 10), ("convnext_atto", 64, 2)],
)
def test_networks_of_convolutions_have_a_map(name, size, map_side):
    torch.manual_seed(0)
    smaller = {"mlp_ratio": 0.05} if name.startswith("vgg") else {}
    network = Network(timm.create_model(name, num_classes=4, **smaller))
    images = torch.randint(0, 256, (3, 3, size, size), dtype=torch.uint8)
    before = [value.clone() for value in network.state_dict().values()]
    heat = grad_cam(network, images, np.array([0, 1, 2]))
    assert heat.shape == (3, map_side or heat.shape[1], heat.shape[1]) and heat.shape[1] > 1
    assert (heat >= 0).all() and (heat <= 1).all() and np.isfinite(heat).all()
    assert all(torch.equal(a, b) for a, b in zip(before, network.state_dict().values(), strict=True))
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_transformers_are_refused(name):
    network = Network(timm.create_model(name, num_classes=4))
    with raises("unfit-network"):
        grad_cam(network, torch.zeros(1, 3, 224, 224, dtype=torch.uint8), np.array([0]))
