"""The training losses: one class in one file each.

A new one: a file with a class under `@LOSSES.register("name")`, here or in PODIUM_HOME/extensions. See Loss.
"""

from typing import Any

import numpy as np

from src.core.errors import UsageError
from src.core.registry import Registry, parsed
from src.losses.loss import Loss, TrainingRows, class_weights
from src.targets import TargetType

__all__ = ["LOSSES", "Loss", "TrainingRows", "class_weights", "loss_of"]

LOSSES: Registry[type[Loss]] = Registry("loss", "src.losses", shapes_weights=True)
AUTO = "auto"


def loss_of(section: Any, counts: np.ndarray, target: TargetType) -> Loss:
    """The loss that the section `loss` of a configuration asks for, for outputs that `counts` training rows tell of.

    `loss.name` may set a loss's parameters, {name: focal, gamma: 1.5}; those that are keys of the section come from
    there otherwise. Raises UsageError where the loss is not made for this kind of target.
    """
    name, given = parsed(section.name, "loss.name")
    kind = LOSSES.get(target.usual_loss if name == AUTO else name)
    shared = {key: getattr(section, key) for key in kind.parameters if hasattr(section, key)}
    if not kind.fits(target) and kind.registered != target.usual_loss:
        fitting = ", ".join([AUTO, *(other for other, one in LOSSES.items() if one.fits(target))])
        raise UsageError(
            f"loss.name={name} is not made for targets that are {target.name}: take {fitting}", code="unfit-for-target"
        )
    loss = kind(**shared | given)
    loss.begin(TrainingRows(counts, target, class_weights(section.class_weights, counts, section.beta)))
    return loss
