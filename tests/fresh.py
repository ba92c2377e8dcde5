"""Training in a process of its own, as at the command line, on a machine with another number of cores.

Folds are forked off the process that trains. A child that wants threads hangs where its parent has had some, and a
process that runs tests has had them.
"""

import subprocess
import sys

from src.runs import REPOSITORY

DOOR = """
import sys
from src.train import main
from src.training import machine, speed
machine.cores = speed.cores = lambda: {cores}
{before}
sys.exit(main(sys.argv[1:]))
"""


def trained(*words: str, cores: int, before: str = "") -> str:
    """What `python -m src.train` with these words tells. before: code that runs in its process before."""
    line = [sys.executable, "-c", DOOR.format(cores=cores, before=before), *words]
    done = subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
