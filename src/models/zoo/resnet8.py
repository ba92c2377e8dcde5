"""A residual network of 0.09 M parameters for images of a few pixels, and one with a narrow first layer."""

from timm.models import build_model_with_cfg, register_model
from timm.models.resnet import BasicBlock, ResNet
from torch import nn

from src.models.zoo.timm_config import facts_of

default_cfgs = {
    **facts_of("resnet8", 32, first="conv1", last="fc"),
    **facts_of("resnet8_narrow", 32, first="conv1", last="fc"),
}
CHANNELS = (16, 32, 64)


class ThreeStages(ResNet):
    """timm's ResNet with no fourth stage: a picture of 24 pixels has nothing left for it.

    narrow: the first convolution makes 16 planes, as published, and not timm's 64, which are half of a step's work.
    """

    def __init__(self, narrow: bool = False, **kwargs: object) -> None:
        super().__init__(BasicBlock, (1, 1, 1), channels=CHANNELS, **kwargs)
        self.layer4 = nn.Identity()
        if narrow:
            first, norm = CHANNELS[0], type(self.bn1)
            self.conv1 = nn.Conv2d(self.conv1.in_channels, first, 7, 2, 3, bias=False)
            self.bn1 = norm(first)
            self.layer1 = nn.Sequential(BasicBlock(first, first, norm_layer=norm, act_layer=type(self.act1)))
            self.feature_info[0]["num_chs"] = first
            self.init_weights()


@register_model
def resnet8(pretrained: bool = False, **kwargs: object) -> nn.Module:
    """Three basic blocks of 16, 32 and 64 channels after timm's first convolution of 64."""
    return build_model_with_cfg(ThreeStages, "resnet8", pretrained, **kwargs)


@register_model
def resnet8_narrow(pretrained: bool = False, **kwargs: object) -> nn.Module:
    """As published (He et al., 2015, section 4.2, with n = 1): its first convolution makes 16 planes."""
    return build_model_with_cfg(ThreeStages, "resnet8_narrow", pretrained, narrow=True, **kwargs)
