"""One cycle (Smith, 2018): the rate rises and falls, the momentum the other way round."""

from typing import ClassVar

import numpy as np
from torch.optim.lr_scheduler import OneCycleLR

from src.training.schedules import SCHEDULES
from src.training.schedules.schedule import Curve, Schedule, stand_in


@SCHEDULES.register("one_cycle")
class OneCycle(Schedule):
    """warmup_epochs: the rising part."""

    parameters: ClassVar = {"warmup_epochs": 1.0}

    def curve(self, peak: float, epochs: int, steps: int) -> Curve:
        optimizer, total = stand_in(peak), epochs * steps
        rising = min(self.warmup_epochs, epochs / 2) / epochs
        lr, momentum = np.full(total, peak), np.full(total, 0.9)
        if total < 2:
            return Curve(lr, momentum)
        scheduler = OneCycleLR(
            optimizer, peak, total_steps=total, pct_start=max(rising, 2 / total), final_div_factor=1e4
        )
        for update in range(total):
            lr[update] = optimizer.param_groups[0]["lr"]
            momentum[update] = optimizer.param_groups[0]["momentum"]
            optimizer.step()
            if update + 1 < total:
                scheduler.step()
        return Curve(lr, momentum)
