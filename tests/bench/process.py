"""Measured commands: each a process of its own, timed from its start to its end."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from src.core.errors import Problem
from src.core.paths import REPOSITORY
from tests.bench.peers import peers_python
from tests.bench.row import Figures

PEERS = Path(__file__).parent / "peer"
LIMIT = 3 * 3600  # seconds after which a measurement has failed
TOLD = 12  # lines of a failed command's output that are shown


def podium(home: Path, door: str, *words: str) -> float:
    """Run a door, such as src.train, in `home`; return its seconds. Raises Problem where it fails."""
    return _run([sys.executable, "-m", door, *words], {"PODIUM_HOME": str(home)})[0]


def processor() -> float:
    """Seconds, user and system, of all processes that this one has started and that have ended."""
    return sum(os.times()[2:4])


def peer(script: str, *words: object) -> Figures:
    """Run one of the scripts in peer/ in the peers' environment; the JSON of its last line, with its
    `command` seconds and `began`, the time of the clock at its start.

    Raises Problem where it fails.
    """
    return script_figures(peers_python(), PEERS / script, *words)


def own(script: Path, *words: object) -> Figures:
    """The same of a script that runs in Podium's environment."""
    return script_figures(Path(sys.executable), script, *words)


def script_figures(python: Path, script: Path, *words: object) -> Figures:
    began = time.time()
    seconds, output = _run([str(python), str(script), *map(str, words)], {})
    try:
        return json.loads(output.splitlines()[-1]) | {"command": seconds, "began": began}
    except (IndexError, ValueError):
        raise Problem(f"{script.name} printed no figures at its end:\n{_tail(output)}") from None


def _run(command: list[str], extra: dict[str, str]) -> tuple[float, str]:
    environment = os.environ | {
        "PYTHONPATH": str(REPOSITORY),
        "HF_HUB_OFFLINE": "1",
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "PYTHONWARNINGS": "ignore",
    }
    begun = time.perf_counter()
    try:
        done = subprocess.run(
            command, env=environment | extra, capture_output=True, text=True, timeout=LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        raise Problem(f"{' '.join(command[1:4])} was stopped after {LIMIT} s") from None
    if done.returncode:
        raise Problem(f"{' '.join(command[1:4])} ended with code {done.returncode}:\n{_tail(done.stderr)}")
    return time.perf_counter() - begun, done.stdout


def _tail(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-TOLD:])
