"""The losses of steps on their way to the progress: a GPU's are read a step late, so that it never waits to be read."""

from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class StepLoss:
    """One step: the sum of its images' losses, and where it stands."""

    loss_sum: float
    epoch: int
    step: int


class LossMeter:
    """Hands the loss sum of every step to `take`, in order; a GPU's once the next step is under way."""

    def __init__(self, device: torch.device, take: Callable[[StepLoss], None]) -> None:
        self.late, self.take = device.type == "cuda", take
        self._waiting: tuple[Callable[[], float], int, int] | None = None

    def add(self, losses: list[tuple[torch.Tensor, float]], epoch: int, step: int) -> None:
        """losses: of the pieces of a step, each the mean over its images and by how much it counts in the sum."""
        if not self.late:
            loss_sum = 0.0
            for loss, share in losses:
                loss_sum += loss.item() * share
            self.take(StepLoss(loss_sum, epoch, step))
            return
        total = sum(loss.double() * share for loss, share in losses)
        self.flush()
        self._waiting = _reading(total), epoch, step

    def flush(self) -> None:
        """Hand over what waits: before anything is made of the progress."""
        if self._waiting:
            (read, epoch, step), self._waiting = self._waiting, None
            self.take(StepLoss(read(), epoch, step))


def _reading(total: torch.Tensor) -> Callable[[], float]:
    """Begin to bring a number to the processor; what is returned waits for it, asleep: its core loads images."""
    if not total.is_cuda:
        return total.item
    here = torch.empty((), dtype=total.dtype, pin_memory=True)
    here.copy_(total, non_blocking=True)
    done = torch.cuda.Event(blocking=True)
    done.record()

    def read() -> float:
        done.synchronize()
        return here.item()

    return read
