"""timm's schedules, each with a warm-up from a hundredth of the peak."""

from typing import ClassVar

import numpy as np
from timm.scheduler import create_scheduler_v2
from torch.optim.lr_scheduler import ReduceLROnPlateau

from src.training.schedules import SCHEDULES
from src.training.schedules.schedule import Curve, Schedule, stand_in


class TimmSchedule(Schedule):
    parameters: ClassVar = {"warmup_epochs": 1.0, "step_epochs": 5, "decay": 0.1}
    timm_name: ClassVar[str]

    def curve(self, peak: float, epochs: int, steps: int) -> Curve:
        optimizer, total = stand_in(peak), epochs * steps
        scheduler, _ = create_scheduler_v2(
            optimizer,
            sched=self.timm_name,
            num_epochs=epochs,
            warmup_epochs=min(self.warmup_epochs, epochs / 2),
            warmup_lr=peak / 100,
            decay_epochs=self.step_epochs,
            decay_rate=self.decay,
            step_on_epochs=False,
            updates_per_epoch=steps,
        )
        lr = np.empty(total)
        for update in range(total):
            scheduler.step_update(update)
            lr[update] = optimizer.param_groups[0]["lr"]
        return Curve(lr)


@SCHEDULES.register("cosine")
class Cosine(TimmSchedule):
    timm_name = "cosine"


@SCHEDULES.register("constant")
class Constant(TimmSchedule):
    timm_name = "constant"


@SCHEDULES.register("step")
class Step(TimmSchedule):
    timm_name = "step"


@SCHEDULES.register("plateau")
class Plateau(TimmSchedule):
    """Constant, and lowered where the held-out loss does not fall any more."""

    timm_name = "constant"
    parameters: ClassVar = {**TimmSchedule.parameters, "patience": 3}

    def factor(self, losses: list[float]) -> float:
        optimizer = stand_in(1.0)
        scheduler = ReduceLROnPlateau(optimizer, factor=self.decay, patience=self.patience)
        for loss in losses:
            scheduler.step(loss)
        return optimizer.param_groups[0]["lr"]
