"""The learning rate of every step, as a pure function of the configuration and of what the epochs so far scored."""

import numpy as np
import torch

from src.config.schema import Config
from src.core.errors import Problem
from src.training.schedules import Curve, schedule_of
from src.training.stages import Stage


def rates(config: Config, stages: list[Stage], steps: int) -> Curve:
    """The schedule's, one curve for each run of stages that share a peak rate.

    Raises Problem where the schedule gives another number of rates than there are steps, or what is no rate.
    """
    schedule, curves = schedule_of(config.schedule.of_steps(steps)), []
    for peak, epochs in _spans(config, stages):
        curve = schedule.curve(peak, epochs, steps)
        if curve.lr.shape != (epochs * steps,) or not (np.isfinite(curve.lr) & (curve.lr >= 0)).all():
            raise Problem(
                f"schedule.name={schedule.name} must give {epochs * steps} rates, finite and not below 0, and gave an "
                f"array of shape {curve.lr.shape}",
                code="schedule-output",
            )
        curves.append(curve)
    momentum = None if curves[0].momentum is None else np.concatenate([curve.momentum for curve in curves])
    return Curve(np.concatenate([curve.lr for curve in curves]), momentum)


def set_rate(optimizer: torch.optim.Optimizer, lr: float, momentum: float | None) -> None:
    """To every group its share: `lr_scale` is the layer-wise decay's."""
    momentum = None if momentum is None else float(momentum)  # a numpy number would not load safely again
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
        if momentum is not None and "betas" in group:
            group["betas"] = (momentum, *group["betas"][1:])
        elif momentum is not None and "momentum" in group:
            group["momentum"] = momentum


def _spans(config: Config, stages: list[Stage]) -> list[tuple[float, int]]:
    """(peak rate, epochs): a stage with a rate of its own begins a new span."""
    spans: list[tuple[float, int]] = []
    for stage in stages:
        if stage.lr is not None or not spans:
            spans.append((stage.lr or config.optim.lr, stage.epochs))
        else:
            spans[-1] = (spans[-1][0], spans[-1][1] + stage.epochs)
    return spans
