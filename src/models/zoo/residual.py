"""Three hand-built residual networks: biased convolutions, a projection in every bottleneck, a deep head."""

from itertools import pairwise

import torch
from timm.models import build_model_with_cfg, register_model
from torch import nn

from src.models.zoo.timm_config import facts_of, scaled

default_cfgs = {
    **facts_of("resnet50_projected", 224, first="conv1", last="fc"),
    **facts_of("resnet18_biased", 224, first="conv1", last="fc"),
    **facts_of("resnet18_mlp", 224, first="conv1", last="fc"),
}


class ProjectedBottleneck(nn.Module):
    """1x1, 3x3, 1x1, all biased, the stride on the first; the shortcut is always a 1x1 projection."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        after = width * 4
        self.body = nn.Sequential(
            *(nn.Conv2d(before, width, 1, stride), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, after, 1), nn.BatchNorm2d(after)),
        )
        self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride), nn.BatchNorm2d(after))
        self.relu, self.after = nn.ReLU(), after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.body(x) + self.shortcut(x))


class Basic(nn.Module):
    """Two 3x3 convolutions; with `biased` the second and the projection have a bias."""

    def __init__(self, before: int, width: int, stride: int, biased: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, 1, 1, bias=biased), nn.BatchNorm2d(width)),
        )
        changes = stride != 1 or before != width
        projection = [nn.Conv2d(before, width, 1, stride, bias=biased), nn.BatchNorm2d(width)] if changes else []
        self.shortcut = nn.Sequential(*projection)
        self.relu, self.after = nn.ReLU(), width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.body(x) + self.shortcut(x))


class Residual(nn.Module):
    """Stem, four stages of blocks, a pool to `pool` x `pool`, and a head. (n, in_chans, h, w) -> (n, num_classes)."""

    def __init__(
        self,
        blocks: list[list[nn.Module]],
        stem: nn.Conv2d,
        pool: int,
        hidden: tuple[int, ...],
        num_classes: int,
        drop_rate: float,
    ) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu = stem, nn.BatchNorm2d(stem.out_channels), nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layers = nn.Sequential(*(nn.Sequential(*stage) for stage in blocks))
        self.pool = nn.AdaptiveAvgPool2d(pool)
        widths = (blocks[-1][-1].after * pool**2, *hidden)
        linears = [nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(widths)]
        self.head = nn.Sequential(nn.Dropout(drop_rate), *linears)
        self.last_width = widths[-1]
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.reset_classifier(num_classes)

    def reset_classifier(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.fc = nn.Linear(self.last_width, num_classes) if num_classes else nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        return self.fc(self.head(self.pool(self.layers(x)).flatten(1)))


class Resnet50Projected(Residual):
    """width: of every layer, 1 as published."""

    def __init__(self, num_classes: int = 1000, in_chans: int = 3, drop_rate: float = 0.5, width: float = 1.0) -> None:
        stem = nn.Conv2d(in_chans, scaled(64, width), 7, 2, 3)
        stages, before = [], stem.out_channels
        for channels, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
            blocks = []
            for i in range(count):
                blocks.append(ProjectedBottleneck(before, scaled(channels, width), stride if i == 0 else 1))
                before = blocks[-1].after
            stages.append(blocks)
        super().__init__(stages, stem, 2, (), num_classes, drop_rate)


class Resnet18(Residual):
    """width: of every layer, those of the head too, 1 as published."""

    def __init__(
        self,
        biased: bool,
        hidden: tuple[int, ...],
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_rate: float = 0.0,
        width: float = 1.0,
    ) -> None:
        first = scaled(64, width)
        stages, before = [], first
        for channels, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            after = scaled(channels, width)
            stages.append([Basic(before, after, stride, biased), Basic(after, after, 1, biased)])
            before = after
        stem = nn.Conv2d(in_chans, first, 7, 2, 3, bias=False)  # after the blocks: runs made earlier began so
        super().__init__(stages, stem, 1, tuple(scaled(size, width) for size in hidden), num_classes, drop_rate)


@register_model
def resnet50_projected(pretrained: bool = False, **kwargs: object) -> nn.Module:
    """ResNet-50 (He et al., 2015) with a projection in every bottleneck, pooled to 2x2."""
    return build_model_with_cfg(Resnet50Projected, "resnet50_projected", pretrained, **kwargs)


@register_model
def resnet18_biased(pretrained: bool = False, **kwargs: object) -> nn.Module:
    """ResNet-18 whose second convolutions and projections are biased."""
    return build_model_with_cfg(Resnet18, "resnet18_biased", pretrained, biased=True, hidden=(), **kwargs)


@register_model
def resnet18_mlp(pretrained: bool = False, **kwargs: object) -> nn.Module:
    """A ResNet-18 trunk with a 512-512-128-32-classes head."""
    return build_model_with_cfg(Resnet18, "resnet18_mlp", pretrained, biased=False, hidden=(512, 128, 32), **kwargs)
