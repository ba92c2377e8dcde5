"""One cell of work on a node of a Ray cluster: an ordinary request, trained there, and what it takes of the node."""

import errno
import time
import traceback
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from src.config.request import Request
from src.core.console import Note, log, messages_to
from src.core.errors import Busy, Problem, UsageError
from src.core.files import MissingFile, read_csv
from src.core.paths import DONE, Run
from src.core.reporter import PacedReporter, Reporter, RowProgress, RowReporter
from src.launchers.ray.storage import check_storage
from src.training.run import train_within

SHOWN_SECONDS = 1.0  # between two words of a cell about its steps: each is a call to another machine
LEFT_SECONDS = 120  # for what a dead node left behind to let go of a fold
STORAGE_SECONDS = 60  # until a file that another machine wrote is seen here


class BoardReporter:
    """A cell's reporter: everything goes to the board, and from there to the command."""

    def __init__(self, board: Any, label: str) -> None:
        self.board, self.label = board, label

    def message(self, text: str, code: str) -> None:
        self.board.tell.remote(self.label, Note(code, text))

    def show(self, row: str, progress: RowProgress) -> None:
        self.board.show.remote(row, progress)

    def end(self, row: str, how: str = "done") -> None:
        """The command sees by itself when a cell is over."""


def train_cell(request: Request, board: Any, label: str) -> Exception | None:
    """On a node: train the folds of one request; what was wrong with it is returned, for it crosses machines."""
    far = BoardReporter(board, label)
    with messages_to(far.message):
        return _train(request, RowReporter(PacedReporter(far, SHOWN_SECONDS), label))


def _train(request: Request, reporter: Reporter) -> Exception | None:
    deadline = time.monotonic() + LEFT_SECONDS
    while True:
        try:
            check_storage()
            train_within(request, reporter)
            return None
        except Busy as busy:  # the process of a node that died may not be gone yet
            if time.monotonic() > deadline:
                return busy
            time.sleep(1)
        except (Problem, OSError) as problem:
            return problem
        except Exception as error:
            log.info(traceback.format_exc())
            return Problem(f"{type(error).__name__}: {error}", code="unexpected")


def alive(ray: ModuleType) -> list[dict[str, Any]]:
    """The nodes that are there now."""
    return [node for node in ray.nodes() if node["Alive"]]


def needs_of(ray: ModuleType, request: Request) -> dict[str, int]:
    """What a cell takes of its node: machine.threads CPUs (auto: one), and a GPU where it is to train on one."""
    machine, nodes = request.config.machine, [node["Resources"] for node in alive(ray)]
    gpu = machine.device == "cuda" or (machine.device == "auto" and any(node.get("GPU", 0) >= 1 for node in nodes))
    needs = {"num_cpus": _threads(request), "num_gpus": int(gpu)}
    if not room_for(ray, needs):
        needed = f"{needs['num_cpus']} CPUs" + (" and a GPU" if gpu else "")
        raise UsageError(
            f"no node of the Ray cluster has {needed}: lower machine.threads, or set machine.device=cpu",
            code="no-such-device",
        )
    return needs


def room_for(ray: ModuleType, needs: dict[str, int]) -> int:
    """How many cells with these needs the whole cluster bears at once."""
    room = 0
    for node in (node["Resources"] for node in alive(ray)):
        shares = [node.get("CPU", 0) // needs["num_cpus"]]
        shares += [node.get("GPU", 0) // needs["num_gpus"]] if needs["num_gpus"] else []
        room += int(min(shares))
    return room


def on_a_node(request: Request) -> Request:
    """The request as it is trained there: its folds one after the other, on the CPUs that it takes."""
    machine = request.config.machine.model_copy(update={"jobs": 1, "threads": _threads(request)})
    return replace(request, config=request.config.model_copy(update={"machine": machine}))


def _threads(request: Request) -> int:
    threads = request.config.machine.threads
    return 1 if threads == "auto" else threads


def run_of(request: Request) -> Run:
    return Run(request.competition, request.run)


def logs_of(request: Request) -> list[Path]:
    """log.csv of each fold and seed, in the order in which they are trained."""
    return [run_of(request).member(*member) / "log.csv" for member in request.members]


def log_of(file: Path) -> pd.DataFrame | None:
    """The epochs in a log.csv; None where it is not there yet, or was replaced on its server while it was read."""
    try:
        return read_csv(file)
    except MissingFile:
        return None
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
        return None


def arrived(request: Request) -> bool:
    """Whether what a cell wrote is seen here; shared storage may take a moment to show it."""
    deadline = time.monotonic() + STORAGE_SECONDS
    while not all((log.parent / DONE).exists() for log in logs_of(request)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.3)
    return True
