"""What a network sees in an image before its last layer makes classes of it."""

import torch
from torch import nn

from src.core.errors import Problem
from src.models.factory import Network


class FeaturesOf(nn.Module):
    """A network without its last layer: (n, 3, h, w) uint8 in, (n, width) float32 out.

    The features are caught on their way into that layer, so that any network will do, those of timm and ours. The
    forward pass raises Problem where a network's last layer is given no vectors.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self._caught: torch.Tensor | None = None
        last_layer(network.backbone).register_forward_pre_hook(self._catch)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self._caught = None
        self.network(images)
        features, self._caught = self._caught, None
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


def last_layer(backbone: nn.Module) -> nn.Module:
    """The classifier of a timm network or of one of ours."""
    named = backbone.get_classifier() if hasattr(backbone, "get_classifier") else None
    if isinstance(named, nn.Module) and any(True for _ in named.parameters()):
        return named
    return [module for module in backbone.modules() if isinstance(module, nn.Linear)][-1]
