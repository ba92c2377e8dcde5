"""What several stages of a network see, beside each other."""

from functools import partial

import torch
from torch import nn

from src.core.errors import UsageError
from src.models.classifier import classifiers, linear_of, name_within
from src.models.pools import POOLS
from src.models.pools.root import RootMean
from src.models.unfit import UNFIT

LAST = 3  # stages that are joined to what the pool is given
EXAMPLE = 64  # pixels of an image that shows how wide they are


class _Seen:
    """What the stages have seen of the batch under way. No module's attribute, which an exported graph would hold."""

    def __init__(self) -> None:
        self.outputs: dict[int, torch.Tensor] = {}


class JoinedStages(nn.Module):
    """(n, c, h, w), and the same of the last stages -> (n, the sum of their c), each as its root of the mean.

    Earlier stages see smaller parts: classes that look alike are told apart by them too. Each hands over what it sees
    as it is computed: its last block does, for timm calls the blocks alone where activations are computed again.
    """

    def __init__(self, stages: list[nn.Module]) -> None:
        super().__init__()
        self.mean, self.count, self._seen = RootMean(), len(stages), _Seen()
        for at, stage in enumerate(stages):
            last = stage[-1] if isinstance(stage, nn.Sequential) and len(stage) else stage
            last.register_forward_hook(partial(_take, self._seen, at))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        stages = [self._seen.outputs.pop(at) for at in range(self.count)]
        return torch.cat([self.mean(one) for one in (features, *stages)], dim=1)


def _take(seen: _Seen, at: int, _: nn.Module, __: tuple, output: torch.Tensor) -> None:
    seen.outputs[at] = output


@POOLS.register("stages")
def stages(backbone: nn.Module, name: str) -> None:
    """Raises UsageError for a network without stages, a pool of its own and one linear last layer."""
    found, layers = _last_stages(backbone, name), [linear_of(one) for one in classifiers(backbone)]
    pooled = isinstance(getattr(backbone, "global_pool", None), nn.Module)
    if not found or not pooled or len(layers) != 1 or not isinstance(layers[0], nn.Linear):
        raise UsageError(
            f"model.pool=stages: {name} has no stages before a pool that could be joined; an EfficientNet has. Give "
            f"model.pool=stock",
            code="unfit-network",
        )
    backbone.global_pool = JoinedStages(found)
    place = name_within(backbone, layers[0])
    backbone.set_submodule(place, nn.Identity())
    backbone.set_submodule(place, nn.Linear(_width(backbone, name), layers[0].out_features))


def _last_stages(backbone: nn.Module, name: str) -> list[nn.Module]:
    """The last blocks of an EfficientNet and its like; the stages before the last of a ResNet, whose pool has that."""
    blocks = getattr(backbone, "blocks", None)
    if isinstance(blocks, nn.Sequential):
        return list(blocks)[-LAST:]
    try:
        names = [one["module"] for one in getattr(backbone, "feature_info", [])]
        return [backbone.get_submodule(one) for one in names[:-1][-LAST:]]
    except UNFIT as error:
        raise _no_pictures(name, error) from None


def _width(backbone: nn.Module, name: str) -> int:
    training, first = backbone.training, next(one for one in backbone.modules() if isinstance(one, nn.Conv2d))
    try:
        with torch.no_grad():
            seen = backbone.eval()(torch.zeros(1, first.in_channels, EXAMPLE, EXAMPLE))
    except UNFIT as error:
        raise _no_pictures(name, error) from None
    finally:
        backbone.train(training)
    return seen.shape[1]


def _no_pictures(name: str, error: Exception) -> UsageError:
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return UsageError(
        f"model.pool=stages: the stages of {name} see no pictures that could be joined ({reason}): give "
        f"model.pool=stock",
        code="unfit-network",
    )
