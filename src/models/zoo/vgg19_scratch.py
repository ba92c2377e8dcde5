"""VGG-19 with batch norm after every convolution but the first, and dropout before each linear layer."""

import torch
from timm.models import build_model_with_cfg, register_model
from torch import nn

from src.models.zoo.timm_config import facts_of, scaled

default_cfgs = facts_of("vgg19_scratch", 224, first="features.0", last="head.last")

STAGES = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4)


class Vgg19(nn.Module):
    """(n, in_chans, h, w) -> (n, num_classes), h and w at least 32. width: of every layer, 1 as published."""

    def __init__(self, num_classes: int = 1000, in_chans: int = 3, drop_rate: float = 0.5, width: float = 1.0) -> None:
        super().__init__()
        self.last_width = scaled(4096, width)
        layers: list[nn.Module] = []
        before = in_chans
        for stage in STAGES:
            for after in (scaled(channels, width) for channels in stage):
                norm = [nn.BatchNorm2d(after)] if layers else []
                layers += [nn.Conv2d(before, after, 3, padding=1), *norm, nn.ReLU()]
                before = after
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(7)
        self.head = nn.Sequential()
        for number, features in enumerate((before * 7 * 7, self.last_width)):
            layer = nn.Sequential(nn.Dropout(drop_rate), nn.Linear(features, self.last_width), nn.ReLU())
            self.head.add_module(f"fc{number}", layer)
        self.head.drop = nn.Dropout(drop_rate)
        _initialise(self)
        self.reset_classifier(num_classes)

    def reset_classifier(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.head.last = nn.Linear(self.last_width, num_classes) if num_classes else nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(self.features(images)).flatten(1))


def _initialise(network: nn.Module) -> None:
    """He et al., 2015: with torch's default nineteen layers hand on hardly any signal."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)


@register_model
def vgg19_scratch(pretrained: bool = False, **kwargs: object) -> nn.Module:
    """VGG-19 (Simonyan and Zisserman, 2014), batch norm from its second convolution on."""
    return build_model_with_cfg(Vgg19, "vgg19_scratch", pretrained, **kwargs)
