"""Several processes that train one fold together, as a launcher starts them. Rank 0 decides, tells and writes.

Small things (a choice, a loss, a table of logits) travel between the processors, gradients and images between the
devices. Every method is called by all ranks, in the same order; alone, each costs nothing.
"""

import contextlib
import ctypes
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from src.core.errors import Problem
from src.core.launch import launched

T = TypeVar("T")
LONGEST_WAIT = timedelta(hours=2)  # while rank 0 decodes the images, say; a process that died is noticed at once
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Ranks:
    """This process is the `index`th of `count`, of which `here` run on its machine."""

    index: int = 0
    count: int = 1
    here: int = 1

    @property
    def is_main(self) -> bool:
        return self.index == 0

    def barrier(self) -> None:
        """Wait for all."""
        self.all_reduce(0)

    @contextlib.contextmanager
    def main_first(self) -> Iterator[None]:
        """The main process does the block alone, and writes; then the others do it, and find what was written."""
        if not self.is_main:
            self.barrier()
        yield
        if self.is_main:
            self.barrier()

    def broadcast(self, value: T) -> T:
        """The main process's value."""
        if self.count == 1:
            return value
        box = [value if self.is_main else None]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def all_reduce(self, *numbers: float) -> tuple[float, ...]:
        """The sum of each number over the ranks."""
        if self.count == 1:
            return numbers
        sums = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(sums)
        return tuple(sums.tolist())

    def all_gather(self, value: T) -> list[T]:
        """Every rank's value, by rank."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def all_reduce_mean(self, tensors: list[torch.Tensor]) -> None:
        """Put the mean over the ranks into each tensor."""
        for tensor in tensors if self.count > 1 else ():
            dist.all_reduce(tensor)
            tensor.div_(self.count)

    def broadcast_tensor(self, tensor: torch.Tensor, owner: int) -> torch.Tensor:
        """Fill the others' `tensor` with the owner's."""
        if self.count > 1:
            dist.broadcast(tensor, src=owner)
        return tensor


ALONE = Ranks()


@contextlib.contextmanager
def together() -> Iterator[Ranks]:
    """Join the processes that were launched with this one. Raises Problem where one of them is lost."""
    ranks = _join()
    try:
        yield ranks
    except RuntimeError as error:
        if ranks.count == 1 or not _lost(error):
            raise
        raise Problem(
            f"another process of this training has ended ({' '.join(str(error).split())[:160]}). Killed by the system? "
            f"Then less memory may help: a smaller train.batch with the same train.global_batch. The same command goes "
            f"on from the last checkpoint, with as many processes as you like",
            code="process-lost",
        ) from None
    if ranks.count > 1:
        ranks.barrier()
        dist.destroy_process_group()


def _join() -> Ranks:
    at = launched()
    if at.count == 1:
        return ALONE
    if sys.platform == "linux":  # a launcher that is killed must not leave processes behind that train on
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    on_gpus = torch.cuda.is_available() and dist.is_nccl_available()
    if on_gpus and torch.cuda.device_count() > at.local:
        torch.cuda.set_device(at.local)
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpus else "gloo", timeout=LONGEST_WAIT)
    return Ranks(at.rank, at.count, at.here)


def _lost(error: RuntimeError) -> bool:
    """Whether this is what a process hears when the one that it waits for has died."""
    return isinstance(error, dist.DistError) or any(word in str(error).lower() for word in ("gloo", "nccl"))
