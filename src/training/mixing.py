"""Which images are augmented, and which are mixed with each other."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from src.config.schema import Train
from src.core.errors import UsageError
from src.targets import TargetType

Mixed = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]
Mix = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], Mixed]
LEAST = 1e-12  # stands for the weight of a pair of which neither counts


def mixing(train: Train, classes: int) -> Mix:
    """Mixup (Zhang et al., 2018), cutmix (Yun et al., 2019), one of the two by turns, or nothing.

    (n, channels, s, s) images, targets and (n,) weights of the rows, or None -> float images, (n, classes) shares and
    the weights of the pairs; or all as they were. A pair of which a share s is the row a and 1 - s the row b weighs
    s w_a + (1 - s) w_b, and its target is that of each row by its part of it: what counts nothing teaches nothing.
    """
    if not train.mixup and not train.cutmix:
        return lambda images, targets, weights=None: (images, targets, weights)
    from torchvision.transforms import v2

    def pick(count: int) -> v2.Transform:
        kinds = [v2.MixUp(alpha=train.mixup, num_classes=count)] if train.mixup else []
        kinds += [v2.CutMix(alpha=train.cutmix, num_classes=count)] if train.cutmix else []
        return v2.RandomChoice(kinds)

    plain, weighing = pick(classes), pick(classes + 1)

    def mix(images: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None) -> Mixed:
        if weights is None:
            return *plain(images.float(), targets), None
        shares = F.one_hot(targets, classes) if targets.ndim == 1 else targets
        beside = torch.cat([shares.float() * weights[:, None], weights[:, None]], dim=1)
        mixed, beside = weighing(images.float(), beside)
        weights = beside[:, -1]
        return mixed, beside[:, :-1] / weights.clamp(min=LEAST)[:, None], weights

    return mix


def augmented_rows(
    only: list[str | int] | str | None,
    targets: np.ndarray,
    classes: tuple[str, ...],
    target: TargetType,
    answered: np.ndarray | None = None,
) -> np.ndarray | None:
    """(training rows,) bool: the rows whose class is augmented; None for every row.

    answered: the classes that further rows are taken for; they follow the training rows, and count for no class.
    Raises UsageError for a class that is not there.
    """
    if only is None:
        return None
    counts = target.counts(targets, len(classes))
    if only == "all_but_largest":
        chosen = np.arange(len(classes)) != counts.argmax()
    else:
        unknown = [str(name) for name in only if str(name) not in classes]
        if unknown:
            raise UsageError(
                f"augment.only: {', '.join(unknown)} is no class; the classes are {', '.join(classes[:20])}",
                code="unknown-class",
            )
        chosen = np.isin(classes, [str(name) for name in only])
    every = targets if answered is None else np.concatenate([targets, answered])
    return target.having(every, chosen)
