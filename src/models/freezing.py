"""Layers that rest: they learn nothing, and no gradient is computed for them.

`trunk` is all but the last layer. A number is so many of the first groups of layers, as timm knows them: the stem is
the first, each stage one more. Nothing that learns comes before them, so that a backward pass ends where they begin.
"""

from collections.abc import Callable

from timm.models._manipulate import group_with_matcher
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from src.core.errors import UsageError
from src.models.classifier import classifiers
from src.models.unfit import UNFIT

NOTHING, TRUNK = "nothing", "trunk"


def freeze(backbone: nn.Module, frozen: str | int, hold_norms: bool = False) -> list[_BatchNorm]:
    """Let a part of a network rest, and all else learn.

    Its batch norms are returned, with hold_norms all others too: whoever trains keeps them in eval mode, so that their
    statistics rest. Raises UsageError for a number of groups that the network does not have.
    """
    rests = _resting(backbone, frozen)
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(not rests(name))
    return [module for name, module in _batch_norms(backbone) if hold_norms or rests(name)]


def _resting(backbone: nn.Module, frozen: str | int) -> Callable[[str], bool]:
    """Whether the parameter or module of this name rests."""
    if frozen == NOTHING:
        return lambda name: False
    if frozen == TRUNK:
        last = {id(module) for classifier in classifiers(backbone) for module in classifier.modules()}
        learning = {name for name, module in backbone.named_modules() if id(module) in last}
        return lambda name: name not in learning and name.rpartition(".")[0] not in learning
    group_of = _groups(backbone)
    groups = max(group_of.values(), default=0)  # the last one holds the last layer
    if not groups:
        raise UsageError(
            f"train.frozen={frozen}: this network does not tell its groups of layers (group_matcher): give trunk or "
            f"nothing",
            code="no-layer-groups",
        )
    if frozen > groups:
        raise UsageError(
            f"train.frozen={frozen}: this network has {groups} groups of layers before its last: give 1 to {groups}, "
            f"or trunk",
            code="too-many-frozen",
        )
    return lambda name: group_of[name] < frozen


def _batch_norms(backbone: nn.Module) -> list[tuple[str, _BatchNorm]]:
    return [(name, module) for name, module in backbone.named_modules() if isinstance(module, _BatchNorm)]


def at_most(frozen: str | int, backbone: nn.Module) -> str | int:
    """`frozen` groups of layers, or half of those that the network has, where it has no more; NOTHING where none."""
    groups = max(_groups(backbone).values(), default=0)
    return frozen if isinstance(frozen, str) or frozen < groups else groups // 2 or NOTHING


def _groups(backbone: nn.Module) -> dict[str, int]:
    """{parameter or norm: its group, in the order of the forward pass}; nothing where a network does not tell."""
    names = [*dict(backbone.named_parameters()), *(name for name, _ in _batch_norms(backbone))]
    try:
        matcher = backbone.group_matcher(coarse=True)
        return group_with_matcher(((name, name) for name in names), matcher, reverse=True)
    except UNFIT:
        return {}
