"""What a network sees in an image before its last layer makes classes of it."""

from dataclasses import dataclass

import torch
from torch import nn

from src.core.errors import Problem
from src.models.bag_head import bag_head
from src.models.classifier import JOINED, classifiers, linear_of, name_within
from src.models.factory import Network
from src.models.joined import Joined


class FeaturesOf(nn.Module):
    """A network without its last layer: (n, 3, h, w) uint8 in, (n, width) float32 out.

    The features are caught on their way into that layer, so that any network will do, those of timm and ours. The
    forward pass raises Problem where a network's last layer is given no vectors.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self._caught: torch.Tensor | None = None
        last, bags = classifiers(network.backbone)[-1], bag_head(network.backbone)
        (bags.layer if bags is not None and last is bags else last).register_forward_pre_hook(self._catch)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self._caught = None
        self.network(images)
        features, self._caught = self._caught, None
        if features is not None and features.ndim == 3:  # of a bag whose answers are joined, which its pool joins too
            there = bag_head(self.network.backbone).bags.there
            features = features.masked_fill(~there[..., None], torch.finfo(features.dtype).min).amax(1)
        if features is not None and features.ndim == 4:  # a last layer that is a 1x1 convolution
            features = features.mean((2, 3))
        if features is None or features.ndim != 2:
            raise Problem(
                "the last layer of this network is not given one vector an image: it has no features to show",
                code="unfit-network",
            )
        return features.float()

    def _catch(self, _: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self._caught = inputs[0]


@dataclass(frozen=True)
class Head:
    """The last layer of a network, and its name there. own_unit: whether the network turns its outputs into a unit.
    joined: what the layer belongs to, where columns stand beside its features."""

    name: str
    layer: nn.Module  # nn.Linear or nn.Conv2d, as a network begins
    own_unit: bool = False
    joined: Joined | None = None

    @property
    def width(self) -> int:
        """Of the features that it is given."""
        return self.layer.weight.shape[1]

    def set(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """weight: (classes, width). bias: (classes,)."""
        with torch.no_grad():
            self.layer.weight.copy_(weight.reshape(self.layer.weight.shape))
            self.layer.bias.copy_(bias)


def without_head(network: Network) -> Head:
    """Take the last layer out of a network, in place: it then makes (n, width) features, what that layer was given.

    `put_back` is the way back. Raises Problem for a network that does not
    end in one linear layer with a bias.
    """
    bags = bag_head(network.backbone)
    if bags is not None and bags.pool.joins_answers:
        raise Problem(
            "this network joins the answers of a bag's images, so a bag has no features that a layer could be fitted "
            "on: take model.bag=max",
            code="no-linear-head",
        )
    if network.joined is not None:
        joined = network.joined
        delattr(network.backbone, JOINED)
        head = Head(JOINED, joined.layer, network.own_unit, joined)
        network.own_unit = False
        return head
    several = classifiers(network.backbone)
    layer = linear_of(several[0]) if len(several) == 1 else None
    if layer is None or layer.bias is None:
        raise Problem(
            "this network does not end in one linear layer, so it has no features that one could be fitted on: "
            "choose another model.name, or model.head=linear",
            code="no-linear-head",
        )
    name = name_within(network.backbone, layer)
    network.backbone.set_submodule(name, nn.Identity())
    head = Head(name, layer, network.own_unit)
    network.own_unit = False  # features have none
    return head


def put_back(network: Network, head: Head) -> None:
    """Undo `without_head`."""
    if head.joined is not None:
        network.backbone.add_module(head.name, head.joined)
    else:
        network.backbone.set_submodule(head.name, head.layer)
    network.own_unit = head.own_unit
