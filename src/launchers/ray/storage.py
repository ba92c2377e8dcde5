"""Whether a node of the cluster works on the storage of the machine that gives the command, and minds its locks.

Everything that keeps two machines apart, in a fold as in the cache of images, is flock on a file of that storage. On
NFS the kernel hands such a lock to the server, as Lustre does where it is mounted with `flock`; some mounts keep locks
to each machine, and then nothing would.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from src.core.errors import Problem
from src.core.locks import hold, try_hold
from src.core.paths import home

PATIENCE = 60  # seconds that a network disk is given to show another machine's file


@contextlib.contextmanager
def storage_held() -> Iterator[None]:
    """Hold the mark by which nodes know this storage. Several commands may hold it at once."""
    mark = _mark()
    mark.parent.mkdir(parents=True, exist_ok=True)
    with mark.open("a+") as file:
        hold(file, shared=True)
        yield


def check_storage() -> None:
    """On a node: raises Problem where the mark is not there, or nobody is seen to hold it."""
    until = time.monotonic() + PATIENCE
    while not _mark().exists():
        if time.monotonic() > until:
            raise Problem(
                f"{home()} is not the storage of the machine that gave the command: all nodes must share it",
                code="storage-not-shared",
            )
        time.sleep(0.5)
    with _mark().open("a+") as file:
        if not try_hold(file):
            return
    raise Problem(
        f"{home()} is not the storage of the machine that gave the command, or its file locks do not reach this one: "
        f"set PODIUM_HOME to a folder that all nodes share, mounted with locks (NFS without nolock and local_lock, "
        f"Lustre with flock)",
        code="storage-not-shared",
    )


def _mark() -> Path:
    return home() / "runs" / "cluster.lock"
