"""Runs on a Ray cluster: each cell is an ordinary run, written to storage that all nodes share.

A cell whose node dies is begun again on another one, where it goes on
from its last checkpoint.
"""

import time
import traceback
from dataclasses import replace
from types import ModuleType
from typing import Any

from src.cluster.connection import connected
from src.command import Request
from src.errors import Busy, Problem, UsageError
from src.progress import progress
from src.runs import DONE, Run, home
from src.training.session import Say, train

RETRIES = 5  # nodes that may die under one cell
LOOK_SECONDS = 0.3
STOP_SECONDS = 60  # for the cells to keep their step when they are stopped
LEFT_SECONDS = 120  # for what a dead node left behind to let go of a fold
STORAGE_SECONDS = 60  # until a file that another machine wrote is seen here
NOT_SHARED = "{}: it is trained, but not into {}: set PODIUM_HOME to a folder that all nodes of the cluster share"


def train_on_ray(request: Request, address: str, say: Say = print) -> None:
    """As `train`, every fold and seed a cell of its own. The first Problem stops the others, and is raised."""
    run, data = Run(request.competition, request.run), request.config.data
    folds = request.folds or range(1 if data.validation == "host" else data.folds)
    left = [(seed, fold) for seed in request.seeds for fold in folds if not run.finished(seed, fold)]
    cells = {
        f"fold {fold}" + (f" seed {seed}" if seed else ""): replace(request, folds=(fold,), seeds=(seed,))
        for seed, fold in left
    }
    if cells:
        for problem in run_on_ray(cells, address, say, stop_at_first=True).values():
            raise problem
    train(request, say)  # all folds are there, and it tells what they came to


def run_on_ray(cells: dict[str, Request], address: str, say: Say, stop_at_first: bool = False) -> dict[str, Exception]:
    """Train the cells {label: request} on the cluster at `address`; return what was wrong with which.

    Raises Problem where Ray is missing or does not answer, UsageError where no node has what a cell needs.
    """
    with connected(address) as ray:
        say(f"Ray: {len(cells)} cells for {len(_nodes(ray))} nodes")
        # Told through an actor beside this process, not on a node that may die.
        beside = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        board = ray.remote(Board).options(num_cpus=0, scheduling_strategy=beside).remote()
        work = Work(ray, board, cells, say)
        try:
            while work.left:
                work.start()
                work.look()
                if stop_at_first and work.problems:
                    break
        finally:
            work.stop()
        return work.problems


class Board:
    """Where the cells write what they tell."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def tell(self, label: str, text: str) -> None:
        self.lines.append((label, text))

    def take(self) -> list[tuple[str, str]]:
        """What was told since the last time."""
        taken, self.lines = self.lines, []
        return taken


class Work:
    """The cells of one command: those that wait, those on the cluster, and one live bar over their epochs."""

    def __init__(self, ray: ModuleType, board: Any, cells: dict[str, Request], say: Say) -> None:
        self.ray, self.board, self.say = ray, board, say
        self.waiting = {label: _on_a_node(request) for label, request in cells.items()}
        self.needs = {label: _needs(ray, request) for label, request in cells.items()}
        self.running: dict[Any, str] = {}
        self.requests = dict(self.waiting)
        self.problems: dict[str, Exception] = {}
        self.logs = [file for request in self.requests.values() for file in _logs(request)]
        self.bar = progress(_epochs(self.requests), "training", "epoch")

    @property
    def left(self) -> bool:
        return bool(self.waiting or self.running)

    def start(self) -> None:
        """Hand over what may begin: of a new run one cell first, which decides for the others how they train."""
        for label, request in list(self.waiting.items()):
            run = _run(request)
            if not _begun(run) and any(_run(self.requests[other]) == run for other in self.running.values()):
                continue
            options = {"max_retries": RETRIES, "scheduling_strategy": "SPREAD", "name": label}
            cell = self.ray.remote(train_cell).options(**self.needs[label], **options)
            self.running[cell.remote(request, self.board, label)] = label
            del self.waiting[label]

    def look(self) -> None:
        """Wait a moment, tell what the cells told, and take note of those that are over."""
        over, _ = self.ray.wait(list(self.running), timeout=LOOK_SECONDS)
        self._relay()
        for one in over:
            label = self.running.pop(one)
            problem = self._outcome(one, label)
            if problem:
                self.problems[label] = problem

    def stop(self) -> None:
        """Let what still runs keep its step and end."""
        for one in self.running:
            self.ray.cancel(one)
        if self.running:
            self.ray.wait(list(self.running), num_returns=len(self.running), timeout=STOP_SECONDS)
        self._relay()
        self.bar.close()

    def _outcome(self, one: Any, label: str) -> Exception | None:
        try:
            problem = self.ray.get(one)
        except self.ray.exceptions.RayError as error:
            return Problem(
                f"{label}: its process was lost {RETRIES + 1} times ({type(error).__name__}); the same command goes on "
                f"from its last checkpoint (killed by the system? then less memory may help)"
            )
        return problem or (None if _arrived(self.requests[label]) else Problem(NOT_SHARED.format(label, home())))

    def _relay(self) -> None:
        for label, text in self.ray.get(self.board.take.remote()):
            with self.bar.external_write_mode():
                lines = [line if line.startswith(label) else f"{label} | {line}" for line in text.splitlines()]
                self.say("\n".join(lines))
        self.bar.update(sum(_epochs_of(file) for file in self.logs) - self.bar.n)


def train_cell(request: Request, board: Any, label: str) -> Exception | None:
    """On a node: train the folds of one request; what was wrong with it is returned, for it crosses machines."""

    def say(text: str) -> None:
        board.tell.remote(label, text)

    deadline = time.monotonic() + LEFT_SECONDS
    while True:
        try:
            train(request, say)
            return None
        except Busy as busy:  # the process of a node that died may not be gone yet
            if time.monotonic() > deadline:
                return busy
            time.sleep(1)
        except (Problem, OSError) as problem:
            return problem
        except Exception as error:
            say(traceback.format_exc())
            return Problem(f"{type(error).__name__}: {error}")


def _nodes(ray: ModuleType) -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _needs(ray: ModuleType, request: Request) -> dict[str, int]:
    """What a cell takes of its node: machine.threads CPUs (auto: one), and a GPU where it is to train on one."""
    machine, nodes = request.config.machine, [node["Resources"] for node in _nodes(ray)]
    gpu = machine.device == "cuda" or (machine.device == "auto" and any(node.get("GPU", 0) >= 1 for node in nodes))
    needs = {"num_cpus": _threads(request), "num_gpus": int(gpu)}
    if not any(node.get("CPU", 0) >= needs["num_cpus"] and node.get("GPU", 0) >= needs["num_gpus"] for node in nodes):
        told = f"{needs['num_cpus']} CPUs" + (" and a GPU" if gpu else "")
        raise UsageError(f"no node of the Ray cluster has {told}: lower machine.threads, or set machine.device=cpu")
    return needs


def _threads(request: Request) -> int:
    threads = request.config.machine.threads
    return 1 if threads == "auto" else threads


def _on_a_node(request: Request) -> Request:
    """The request as it is trained there: its folds one after the other, on the CPUs that it takes."""
    machine = request.config.machine.model_copy(update={"jobs": 1, "threads": _threads(request)})
    return replace(request, config=request.config.model_copy(update={"machine": machine}))


def _run(request: Request) -> Run:
    return Run(request.competition, request.run)


def _begun(run: Run) -> bool:
    """Whether something is learned, so that its configuration and machine are settled."""
    return any(run.folder.glob("seed*/*/checkpoint.pt")) or any(run.folder.glob(f"seed*/*/{DONE}"))


def _logs(request: Request) -> list[Any]:
    data = request.config.data
    folds = request.folds or range(1 if data.validation == "host" else data.folds)
    return [_run(request).member(seed, fold) / "log.csv" for seed in request.seeds for fold in folds]


def _arrived(request: Request) -> bool:
    """Whether what a cell wrote is seen here; shared storage may take a moment to show it."""
    deadline = time.monotonic() + STORAGE_SECONDS
    while not all((log.parent / DONE).exists() for log in _logs(request)):
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_SECONDS)
    return True


def _epochs(requests: dict[str, Request]) -> int | None:
    """All epochs of all cells; None where their number is left to Podium."""
    numbers = [request.config.epochs for request in requests.values()]
    if "auto" in numbers:
        return None
    return sum(number * len(_logs(request)) for number, request in zip(numbers, requests.values(), strict=True))


def _epochs_of(log: Any) -> int:
    try:
        return max(0, len(log.read_text().splitlines()) - 1)
    except FileNotFoundError:
        return 0
