"""What torchrun tells each process that it starts, through the environment.

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


def launched() -> Place:
    """Where this process stands; alone where nobody launched it together with others."""
    found = [os.environ.get(name, "") for name in NUMBERS]
    return Place(*map(int, found)) if all(word.isdigit() for word in found) else Place()


def first_to_tell() -> bool:
    """Whether this process is the first one on its machine that has to tell why it ends.

    What stops one process stops the others, each in its own words: the first one's are those that matter. The launcher
    gives its processes a fresh folder for error reports, and whoever makes a file there first has the word.
    """
    report = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if launched().count == 1:
        return True
    if not report:
        return launched().local == 0
    try:
        (Path(report).parent.parent / "told").open("x").close()
    except FileExistsError:
        return False
    except OSError:
        return launched().local == 0
    return True
