"""A residual network of 0.09 M parameters for images of a few pixels."""

from timm.models import build_model_with_cfg, register_model
from timm.models.resnet import BasicBlock, ResNet
from torch import nn

from src.models.zoo.timm_config import facts_of

default_cfgs = facts_of("resnet8", 32, first="conv1", last="fc")


class ThreeStages(ResNet):
    """timm's ResNet with no fourth stage: a picture of 24 pixels has nothing left for it."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(BasicBlock, (1, 1, 1), channels=(16, 32, 64), **kwargs)
        self.layer4 = nn.Identity()


@register_model
def resnet8(pretrained: bool = False, **kwargs: object) -> nn.Module:
    """Three basic blocks of 16, 32 and 64 channels (He et al., 2015, section 4.2, with n = 1)."""
    return build_model_with_cfg(ThreeStages, "resnet8", pretrained, **kwargs)
