"""What was measured on: the facts that stand above the table, and the commit that was measured."""

import platform
import subprocess
from pathlib import Path

import torch

from src.core.paths import REPOSITORY
from src.training.machine import cores


def machine() -> str:
    """Processor, cores, memory, torch and accelerator in one line; results of another machine are not compared."""
    pages = _line(Path("/proc/meminfo"), "MemTotal")
    memory = f"{int(pages.split()[0]) / 2**20:.0f} GiB" if pages else "memory unknown"
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    processor = _line(Path("/proc/cpuinfo"), "model name") or platform.processor() or platform.machine()
    fast = "with AVX512-bf16" if "avx512_bf16" in _line(Path("/proc/cpuinfo"), "flags") else ""
    parts = (f"{processor} {fast}".strip(), f"{cores()} cores", memory, device, f"torch {torch.__version__}")
    return ", ".join(parts)


def commit() -> str:
    """The commit of the working tree, with a + where it differs from it; empty outside git."""
    try:
        text = subprocess.run(
            ["git", "describe", "--always", "--abbrev=8", "--dirty=+", "--exclude=*"],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return text.stdout.strip()


def _line(file: Path, key: str) -> str:
    """The value of the first `key : value` of a file of /proc; empty where there is none."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return ""
    return next(
        (value.strip() for name, _, value in (line.partition(":") for line in lines) if name.strip() == key), ""
    )
