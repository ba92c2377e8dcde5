"""The layers of a network that make its outputs, as timm names them."""

from torch import nn

JOINED = "joined"  # a backbone's module of this name takes the place of its last layer: see Joined


def classifiers(backbone: nn.Module) -> list[nn.Module]:
    """The last layers of a timm network or of one of ours: one, or several whose answers it takes the mean of.

    A last layer may itself consist of several.
    """
    if hasattr(backbone, JOINED):
        return [backbone.get_submodule(JOINED)]
    named = backbone.get_classifier() if hasattr(backbone, "get_classifier") else None
    several = named if isinstance(named, tuple | list | nn.ModuleList) else [named]
    found = [one for one in several if isinstance(one, nn.Module) and any(True for _ in one.parameters())]
    return found or [module for module in backbone.modules() if isinstance(module, nn.Linear)][-1:]


def linear_of(classifier: nn.Module) -> nn.Linear | nn.Conv2d | None:
    """The one linear layer of a classifier, which may be a 1x1 convolution and have a norm before it; else None."""
    layers = [module for module in classifier.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    alone = len(layers) == 1 and (isinstance(layers[0], nn.Linear) or layers[0].kernel_size == (1, 1))
    return layers[0] if alone else None


def name_within(backbone: nn.Module, layer: nn.Module) -> str:
    """As `backbone.get_submodule` takes it."""
    return next(name for name, module in backbone.named_modules() if module is layer)
