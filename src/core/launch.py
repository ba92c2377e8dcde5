"""What a launcher (accelerate's, or torchrun below it) tells each process that it starts, through the environment.

Known before torch is loaded, so that a misspelt key is told at once, and once.
"""

import os
from dataclasses import dataclass
from pathlib import Path

NUMBERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


@dataclass(frozen=True)
class Place:
    """This process among those that were started together: `rank` of `count`, `local` of `here` on this machine."""

    rank: int = 0
    count: int = 1
    local: int = 0
    here: int = 1


def place() -> Place:
    """Where this process stands; alone where nobody launched it together with others."""
    found = [os.environ.get(name, "") for name in NUMBERS]
    return Place(*map(int, found)) if all(word.isdigit() for word in found) else Place()


def left_alone() -> bool:
    """Whether accelerate's launcher was asked for several processes and started one, as it does with --cpu."""
    of_accelerate = "ACCELERATE_MIXED_PRECISION" in os.environ and "MASTER_PORT" in os.environ
    return of_accelerate and "RANK" not in os.environ


def first_to_tell() -> bool:
    """Whether this process is the first one on its machine that has to tell why it ends.

    What stops one process stops the others, each in its own words: the first one's are those that matter. The launcher
    gives its processes a fresh folder for error reports, and whoever makes a file there first has the word.
    """
    report = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if place().count == 1:
        return True
    if not report:
        return place().local == 0
    try:
        (Path(report).parent.parent / "told").open("x").close()
    except FileExistsError:
        return False
    except OSError:
        return place().local == 0
    return True
