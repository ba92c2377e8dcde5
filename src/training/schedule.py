"""The learning rate of every step, as a pure function of the configuration and of what the epochs so far scored."""

from dataclasses import dataclass

import numpy as np
import torch
from timm.scheduler import create_scheduler_v2
from torch.optim import SGD
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau

from src.config.schema import Config, Schedule
from src.training.stages import Stage


@dataclass(frozen=True)
class Rates:
    """lr: (updates,) the rate of each step before any fall of `plateau`. momentum: (updates,), or None to leave it."""

    lr: np.ndarray
    momentum: np.ndarray | None


def rates(config: Config, stages: list[Stage], steps: int) -> Rates:
    """The library's schedules, run once ahead on a stand-in; one for each run of stages that share a peak rate."""
    curves, momenta = [], []
    for peak, epochs in _spans(config, stages):
        curve, momentum = _curve(config.schedule, peak, epochs, steps)
        curves.append(curve)
        momenta.append(momentum)
    momentum = None if momenta[0] is None else np.concatenate(momenta)
    return Rates(np.concatenate(curves), momentum)


def set_rate(optimizer: torch.optim.Optimizer, lr: float, momentum: float | None) -> None:
    """To every group its share: `lr_scale` is the layer-wise decay's."""
    momentum = None if momentum is None else float(momentum)  # a numpy number would not load safely again
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
        if momentum is not None and "betas" in group:
            group["betas"] = (momentum, *group["betas"][1:])
        elif momentum is not None and "momentum" in group:
            group["momentum"] = momentum


def plateau_factor(schedule: Schedule, losses: list[float]) -> float:
    """By how much the held-out losses of the epochs so far have lowered the rate; 1 for other schedules."""
    if schedule.name != "plateau":
        return 1.0
    stand_in = _stand_in(1.0)
    scheduler = ReduceLROnPlateau(stand_in, factor=schedule.decay, patience=schedule.patience)
    for loss in losses:
        scheduler.step(loss)
    return stand_in.param_groups[0]["lr"]


def _spans(config: Config, stages: list[Stage]) -> list[tuple[float, int]]:
    """(peak rate, epochs): a stage with a rate of its own begins a new span."""
    spans: list[tuple[float, int]] = []
    for stage in stages:
        if stage.lr is not None or not spans:
            spans.append((stage.lr or config.optim.lr, stage.epochs))
        else:
            spans[-1] = (spans[-1][0], spans[-1][1] + stage.epochs)
    return spans


def _curve(schedule: Schedule, peak: float, epochs: int, steps: int) -> tuple[np.ndarray, np.ndarray | None]:
    optimizer, total = _stand_in(peak), epochs * steps
    warmup = min(schedule.warmup_epochs, epochs / 2)
    if schedule.name == "one_cycle":
        return _one_cycle(optimizer, peak, total, warmup / epochs)
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched="constant" if schedule.name == "plateau" else schedule.name,
        num_epochs=epochs,
        warmup_epochs=warmup,
        warmup_lr=peak / 100,
        decay_epochs=schedule.step_epochs,
        decay_rate=schedule.decay,
        step_on_epochs=False,
        updates_per_epoch=steps,
    )
    curve = np.empty(total)
    for update in range(total):
        scheduler.step_update(update)
        curve[update] = optimizer.param_groups[0]["lr"]
    return curve, None


def _one_cycle(optimizer: SGD, peak: float, total: int, rising: float) -> tuple[np.ndarray, np.ndarray]:
    """Smith, 2018: the rate rises and falls, the momentum the other way round."""
    curve, momentum = np.full(total, peak), np.full(total, 0.9)
    if total < 2:
        return curve, momentum
    scheduler = OneCycleLR(optimizer, peak, total_steps=total, pct_start=max(rising, 2 / total), final_div_factor=1e4)
    for update in range(total):
        curve[update] = optimizer.param_groups[0]["lr"]
        momentum[update] = optimizer.param_groups[0]["momentum"]
        optimizer.step()
        if update + 1 < total:
            scheduler.step()
    return curve, momentum


def _stand_in(lr: float) -> SGD:
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9)
