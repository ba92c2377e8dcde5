"""What this machine trains with: device, precision, loader processes. Decided once a run, then kept."""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from src.errors import Problem, UsageError
from src.runs import read_json, write_json
from src.schema import Config
from src.training.ranks import ALONE, Ranks

CHANNELS_LAST, CONTIGUOUS = "channels_last", "contiguous"
TINY = 1_000_000  # parameters below which half precision and several threads cost more than they bring


@dataclass(frozen=True)
class Machine:
    device: str
    precision: str
    workers: int
    batch: int  # images a forward pass
    layout: str = CHANNELS_LAST  # of tensors in memory
    threads: int | None = None  # of a fold that has the CPU to itself; None: all cores

    @property
    def format(self) -> torch.memory_format:
        return torch.channels_last if self.layout == CHANNELS_LAST else torch.contiguous_format


def choose(
    config: Config,
    parameters: int,
    record: Path,
    tried: Callable[["Machine"], "Machine"],
    ranks: Ranks = ALONE,
) -> Machine:
    """The machine of a run: as `record` says where it exists, else chosen by the configuration and written there.

    `tried` settles what takes a trial: which kind of step is fast, and the batch for train.batch=auto. Raises
    UsageError for a device or precision that this machine lacks, or that contradicts the record or the launcher.
    """
    asked = config.machine
    known = ranks.same(read_json(record) if record.exists() else None)
    if known:
        kept = Machine(**known)
        if asked.device not in ("auto", kept.device):
            raise UsageError(f"this run was begun on {kept.device}: give run=NAME to begin one on {asked.device}")
        if kept.device == "cuda" and not torch.cuda.is_available():
            raise Problem("this run was begun on a GPU, and there is none here: give run=NAME to begin anew")
        _fit_launch(kept.device, ranks)
        return kept
    device = ranks.same(_device(asked.device))
    _fit_launch(device, ranks)
    machine = Machine(
        device=device,
        precision=_precision(config.train.precision, device, parameters < TINY),
        # On a CPU the loaders would only take cores from training.
        workers=(min(8, max(1, cores() // ranks.here)) if device == "cuda" else 0)
        if asked.workers == "auto"
        else asked.workers,
        batch=1 if config.train.batch == "auto" else config.train.batch,
        layout=CHANNELS_LAST if asked.layout == "auto" else asked.layout,
    )
    machine = ranks.same(tried(machine))  # half precision may be fast on one machine and slow on another
    if ranks.leads:
        write_json(record, asdict(machine))
    return machine


def split_cores(config: Config, machine: Machine, folds: int, ranks: Ranks = ALONE) -> tuple[int, int]:
    """(jobs, threads of each): on a CPU as many folds side by side as there are cores, on a GPU one by one.

    Several ranks train each fold together, and one fold after the other.
    """
    asked = config.machine
    if ranks.count > 1:
        if asked.jobs not in ("auto", 1):
            raise UsageError(f"machine.jobs={asked.jobs}: launched processes share each fold; give machine.jobs=1")
        return 1, max(1, cores() // ranks.here) if asked.threads == "auto" else asked.threads
    device, side_by_side = machine.device, cores() if machine.device == "cpu" else 1
    jobs = side_by_side if asked.jobs == "auto" else asked.jobs
    if jobs > 1 and device != "cpu":
        raise UsageError(f"machine.jobs={jobs}: folds run side by side on a CPU only; give machine.jobs=1")
    jobs = max(1, min(jobs, folds))
    found = machine.threads if jobs == 1 else None
    return jobs, found or max(1, cores() // jobs) if asked.threads == "auto" else asked.threads


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _device(asked: str) -> str:
    if asked == "auto" and _kept_to_cpu():
        return "cpu"
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if asked == "auto":
        return next(name for name, there in present.items() if there)
    if not present[asked]:
        raise UsageError(f"machine.device={asked}: torch {torch.__version__} finds none on this machine")
    return asked


def _kept_to_cpu() -> bool:
    """Whether accelerate's launcher was given --cpu."""
    return os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("true", "1")


def _fit_launch(device: str, ranks: Ranks) -> None:
    """Raises UsageError where the launched processes cannot work on such devices."""
    if device != "cpu" and _kept_to_cpu():
        raise UsageError(f"this run works on {device}: leave --cpu out, or give run=NAME to begin one on the CPU")
    if ranks.count == 1 or device == "cpu":
        return
    if device != "cuda":
        raise UsageError(f"several processes share a fold on CUDA's GPUs or on CPUs, not on {device}: launch one")
    if torch.cuda.device_count() < ranks.here:
        raise UsageError(
            f"{ranks.here} processes on this machine and {torch.cuda.device_count()} GPU: launch one for each GPU "
            f"(--num_processes), or give machine.device=cpu"
        )


def _precision(asked: str, device: str, tiny: bool) -> str:
    if asked == "fp16" and device == "cpu":
        raise UsageError("train.precision=fp16 is for GPUs: use bf16 or fp32 on a CPU")
    if asked != "auto":
        return asked
    if device == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    fast = device == "cpu" and not tiny and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "bf16" if fast else "fp32"
