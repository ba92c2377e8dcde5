"""What this machine trains with: device, precision, loader processes. Decided once a run, then kept."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from joblib import cpu_count

from src.config.schema import Config
from src.core.devices import gpus
from src.core.distributed import ALONE, Ranks
from src.core.errors import Problem, UsageError
from src.core.files import read_json, write_json
from src.core.launch import launched

CHANNELS_LAST, CONTIGUOUS = "channels_last", "contiguous"
LOADERS = 8  # processes that load images for one fold on a GPU, at most
TINY = 1_000_000  # parameters below which half precision and several threads cost more than they bring


@dataclass(frozen=True)
class Machine:
    device: str
    precision: str
    workers: int  # processes that load images, of a fold that has the machine to itself
    batch: int  # images a forward pass
    layout: str = CHANNELS_LAST  # of tensors in memory
    threads: int | None = None  # of a fold that has the CPU to itself; None: all cores

    @property
    def torch_device(self) -> torch.device:
        """Of this process: where torchrun started several, each has a GPU of its own."""
        return torch.device(self.device, launched().local if self.device == "cuda" else None)

    @property
    def format(self) -> torch.memory_format:
        return torch.channels_last if self.layout == CHANNELS_LAST else torch.contiguous_format


@dataclass(frozen=True)
class Share:
    """How folds share this machine: `jobs` of them side by side, each with so many threads of torch and workers.

    gpus: where they are trained on several GPUs, the one that each sees; else empty. last: so many folds, the last of
    all, are fewer than the cores: they wait for the others, and have all cores for their `last_threads` each.
    """

    jobs: int
    threads: int
    workers: int
    gpus: tuple[str, ...] = ()
    last: int = 0
    last_threads: int = 0


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
    known = ranks.broadcast(read_json(record) if record.exists() else None)
    if known:
        kept = Machine(**known)
        if asked.device not in ("auto", kept.device):
            raise UsageError(
                f"this run was begun on {kept.device}: give run=NAME to begin one on {asked.device}",
                code="run-device-differs",
            )
        if kept.device == "cuda" and not gpus().names:
            raise Problem(
                "this run was begun on a GPU, and there is none here: give run=NAME to begin anew",
                code="run-device-differs",
            )
        _fit_launch(kept.device, ranks)
        return kept
    device = ranks.broadcast(device_for(asked.device))
    _fit_launch(device, ranks)
    machine = Machine(
        device=device,
        precision=_precision(config.train.precision, device, parameters < TINY),
        workers=loaders(config, device, ranks.here),
        batch=1 if config.train.batch == "auto" else config.train.batch,
        layout=CHANNELS_LAST if asked.layout == "auto" else asked.layout,
    )
    machine = ranks.broadcast(tried(machine))  # half precision may be fast on one machine and slow on another
    if ranks.is_main:
        write_json(record, asdict(machine))
    return machine


def share_out(config: Config, machine: Machine, folds: int, ranks: Ranks = ALONE, parameters: int = TINY) -> Share:
    """So many folds shared out: on CPUs as many side by side as there are cores, on GPUs one on each.

    The last folds, fewer than the cores, share them all, but for a network of so few parameters that it gains nothing.

    Several ranks train each fold together, and one fold after the other. Raises UsageError for more jobs than GPUs.
    """
    asked, device = config.machine, machine.device
    if ranks.count > 1 and asked.jobs not in ("auto", 1):
        raise UsageError(
            f"machine.jobs={asked.jobs}: launched processes share each fold; give machine.jobs=1", code="bad-jobs"
        )
    jobs = 1 if ranks.count > 1 else max(1, min(most_at_once(config, device), folds))
    processes = max(jobs, ranks.here)
    if asked.threads != "auto":
        threads = asked.threads
    elif jobs > 1 and device == "cuda":
        threads = 1  # the arithmetic is the GPU's, and the cores are the loaders'
    else:
        found = machine.threads if jobs == ranks.count == 1 else None
        threads = found or max(1, cores() // processes)
    names = gpus().names[:jobs] if jobs > 1 and device == "cuda" else ()
    last = last_threads = 0
    if jobs > 1 and device == "cpu" and asked.threads == "auto" and folds % jobs and parameters >= TINY:
        last, last_threads = folds % jobs, cores() // (folds % jobs)
        if last_threads <= threads:
            last = last_threads = 0
    return Share(jobs, threads, loaders(config, device, processes), names, last, last_threads)


def most_at_once(config: Config, device: str) -> int:
    """How many trainings may run side by side on such a device. Raises UsageError where more are asked for.

    A GPU is never shared: each training may take all of its memory, and train.batch=auto does.
    """
    there = cores() if device == "cpu" else max(1, len(gpus().names)) if device == "cuda" else 1
    jobs = there if config.machine.jobs == "auto" else config.machine.jobs
    if jobs > there and device != "cpu":
        raise UsageError(
            f"machine.jobs={jobs}: each fold has a GPU to itself, and torch finds {there} here; give "
            f"machine.jobs={there}, or auto",
            code="bad-jobs",
        )
    return jobs


def loaders(config: Config, device: str, processes: int) -> int:
    """Processes that load images for each of so many trainings; on a CPU they would only take cores from them."""
    if config.machine.workers != "auto":
        return config.machine.workers
    return min(LOADERS, max(1, cores() // processes)) if device == "cuda" else 0


def cores() -> int:
    """The cores that this process may use, by its affinity and by its container's limit of CPU time.

    joblib, which scikit-learn brings, knows where the kernel tells them.
    """
    return cpu_count()


def device_for(asked: str) -> str:
    """What machine.device comes to here. Raises UsageError for a device that is not here."""
    if asked == "cpu":
        return "cpu"
    present = {"cuda": len(gpus().names) > 0, "mps": torch.backends.mps.is_available(), "cpu": True}
    if asked == "auto":
        return next(name for name, there in present.items() if there)
    if not present[asked]:
        raise UsageError(
            f"machine.device={asked}: torch {torch.__version__} finds none on this machine", code="no-such-device"
        )
    return asked


def _fit_launch(device: str, ranks: Ranks) -> None:
    """Raises UsageError where the launched processes cannot work on such devices."""
    if ranks.count == 1 or device == "cpu":
        return
    if device != "cuda":
        raise UsageError(
            f"several processes share a fold on CUDA's GPUs or on CPUs, not on {device}: launch one", code="bad-launch"
        )
    if torch.cuda.device_count() < ranks.here:
        raise UsageError(
            f"{ranks.here} processes on this machine and {torch.cuda.device_count()} GPU: launch one for each GPU "
            f"(--nproc-per-node), or give machine.device=cpu",
            code="bad-launch",
        )


def _precision(asked: str, device: str, tiny: bool) -> str:
    if asked == "fp16" and device == "cpu":
        raise UsageError("train.precision=fp16 is for GPUs: use bf16 or fp32 on a CPU", code="unsupported-precision")
    if asked != "auto":
        return asked
    if device == "cuda":
        return "bf16" if gpus().bf16 else "fp16"
    return "bf16" if device == "cpu" and not tiny and knows_bf16() else "fp32"


def knows_bf16() -> bool:
    """Whether this processor computes in bf16, and does not only imitate it."""
    # A build without oneDNN, as for a Mac's own processor, does not even have the question.
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
