"""Two plain networks of convolution and pooling, each made for one size of image.

`model.args` may give them other kernels, channels, hidden layers, norms and another side.
"""

from itertools import pairwise

import torch
from timm.models import build_model_with_cfg, register_model
from torch import nn

from src.models.zoo.timm_config import facts_of

default_cfgs = {
    **facts_of("cnn4", 128, first="stages.0.0", last="head.last"),
    **facts_of("cnn6", 444, first="stages.0.0", last="head.last"),
}


class PlainCnn(nn.Module):
    """Convolutions without padding, each with ReLU and a 2x2 max pool, then fully connected layers.

    (n, in_chans, side, side) -> (n, num_classes); other sizes end in another number of features and are refused.
    """

    def __init__(
        self,
        kernels: tuple[int, ...],
        channels: tuple[int, ...],
        hidden: tuple[int, ...],
        side: int,
        norm: bool,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        if len(kernels) != len(channels):
            raise ValueError(f"{len(kernels)} kernels for {len(channels)} channels: each stage needs one of both")
        self.kernels, self.side = kernels, side
        widths = (in_chans, *channels)
        self.stages = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(before, after, kernel),
                    nn.BatchNorm2d(after) if norm else nn.Identity(),
                    nn.ReLU(),
                    nn.MaxPool2d(2),
                )
                for before, after, kernel in zip(widths[:-1], widths[1:], kernels, strict=True)
            )
        )
        self.features = widths[-1] * _left(side, kernels) ** 2
        self.head = nn.Sequential()
        widths = (self.features, *hidden)
        for number, (before, after) in enumerate(pairwise(widths)):
            self.head.add_module(
                f"fc{number}", nn.Sequential(nn.Linear(before, after), nn.ReLU(), nn.Dropout(drop_rate))
            )
        self.last_width = widths[-1]
        self.reset_classifier(num_classes)

    def reset_classifier(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.head.last = nn.Linear(self.last_width, num_classes) if num_classes else nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        smallest = _smallest(self.kernels)
        if min(images.shape[2:]) < smallest:
            raise ValueError(f"its convolutions need at least {smallest} pixels; it is made for {self.side}")
        features = self.stages(images).flatten(1)
        if features.shape[1] != self.features:
            raise ValueError(
                f"its fully connected layers are made for images of {self.side} pixels: set images.size={self.side}"
            )
        return self.head(features)


def _left(side: int, kernels: tuple[int, ...]) -> int:
    """Side length after all stages."""
    for kernel in kernels:
        side = (side - kernel + 1) // 2
    return side


def _smallest(kernels: tuple[int, ...]) -> int:
    """The smallest side length of which a pixel is left."""
    side = 1
    for kernel in reversed(kernels):
        side = side * 2 + kernel - 1
    return side


@register_model
def cnn6(pretrained: bool = False, **kwargs: object) -> nn.Module:
    """Six 5x5 stages with batch norm, for 444 pixels; 2304-1000-500-100-classes."""
    shape = {
        "kernels": (5,) * 6,
        "channels": (8, 16, 32, 64, 128, 256),
        "hidden": (1000, 500, 100),
        "side": 444,
        "norm": True,
    }
    return build_model_with_cfg(PlainCnn, "cnn6", pretrained, **(shape | kwargs))


@register_model
def cnn4(pretrained: bool = False, **kwargs: object) -> nn.Module:
    """Four stages of 5, 5, 4 and 4 pixels, for 128 pixels; 500-256-128-64-32-classes, dropout between by drop_rate."""
    shape = {
        "kernels": (5, 5, 4, 4),
        "channels": (6, 12, 16, 20),
        "hidden": (256, 128, 64, 32),
        "side": 128,
        "norm": False,
    }
    return build_model_with_cfg(PlainCnn, "cnn4", pretrained, **(shape | kwargs))
