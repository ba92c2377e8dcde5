"""Which images are augmented, and which are mixed with each other."""

from collections.abc import Callable

import numpy as np
import torch

from src.config.schema import Train
from src.core.errors import UsageError
from src.targets import TargetType

Mix = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def mixing(train: Train, classes: int) -> Mix:
    """Mixup (Zhang et al., 2018), cutmix (Yun et al., 2019), one of the two by turns, or nothing.

    (n, channels, s, s) images and targets -> float images and (n, classes) shares, or both as they were.
    """
    if not train.mixup and not train.cutmix:
        return lambda images, targets: (images, targets)
    from torchvision.transforms import v2

    kinds = [v2.MixUp(alpha=train.mixup, num_classes=classes)] if train.mixup else []
    kinds += [v2.CutMix(alpha=train.cutmix, num_classes=classes)] if train.cutmix else []
    pick = v2.RandomChoice(kinds)
    return lambda images, targets: pick(images.float(), targets)


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
