"""Several dense layers in the place of the last one."""

from itertools import pairwise

from torch import nn

from src.core.errors import UsageError
from src.models.classifier import classifiers, linear_of, name_within
from src.models.heads import HEADS

HIDDEN = (512, 128, 32)


@HEADS.register("mlp")
def mlp(backbone: nn.Module, name: str) -> None:
    """Dense layers of 512, 128 and 32 with ReLU, then the classes: the head of resnet18_mlp, for any trunk.

    Raises UsageError for a network that does not end in one linear layer.
    """
    for classifier in classifiers(backbone):
        last = linear_of(classifier)
        if not isinstance(last, nn.Linear):
            raise UsageError(
                f"model.head=mlp: {name} does not end in one linear layer; a ResNet does", code="unfit-network"
            )
        widths = (last.in_features, *HIDDEN)
        hidden = [nn.Sequential(nn.Linear(before, after), nn.ReLU()) for before, after in pairwise(widths)]
        backbone.set_submodule(
            name_within(backbone, last), nn.Sequential(*hidden, nn.Linear(HIDDEN[-1], last.out_features))
        )
